//go:build linux

package proxies

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/keytether/keytether/internal/testkit/realproxy"
)

// TestDoctor has `keytether doctor` find what is in the way, behind the same proxies as logins.
//
// Invariant: OB-7
func TestDoctor(t *testing.T) {
	w := theWorld
	const wrong = "wr0ng-s3cret"
	ca := "SSL_CERT_FILE=" + w.caFile
	dir := w.folder("mitm-doctor")
	do(t, os.Mkdir(dir, 0o700))
	portal, err := realproxy.StartMitm(dir, realproxy.MitmOptions{UpstreamCA: w.caFile})
	do(t, err)
	t.Cleanup(func() { do(t, portal.Close()) })
	do(t, portal.Portal(realproxy.PortalPage))
	t.Run("all", func(t *testing.T) {
		for _, tt := range []struct {
			name    string
			env     []string
			problem string   // the check that finds it; empty: no problem
			want    []string // in what it says
		}{
			{"no proxy", []string{ca}, "", []string{"auth.test is " + address, address + ":443", "Keytether test authority", "has all that is used", "as the server's"}},
			{"a proxy", []string{ca, "HTTPS_PROXY=" + withUser("http", realproxy.User, realproxy.Password, w.squid.Auth)}, "", []string{"http://" + w.squid.Auth + ", with a user name", "the proxy " + w.squid.Auth}},
			{"passed by", []string{ca, "HTTPS_PROXY=http://" + dead, "NO_PROXY=.test"}, "", []string{"NO_PROXY names auth.test"}},
			{"a wrong password", []string{ca, "HTTPS_PROXY=" + withUser("http", realproxy.User, wrong, w.squid.Auth)}, "issuer-connection", []string{"answers 407", "does not take the user name and password"}},
			{"no password", []string{ca, "HTTPS_PROXY=http://" + w.squid.Auth}, "issuer-connection", []string{"wants a user name and a password"}},
			{"a sign-in page of the proxy", []string{ca, "HTTPS_PROXY=http://" + w.squid.SignIn}, "issuer-connection", []string{"answers 302", "sign in"}},
			{"no proxy there", []string{ca, "HTTPS_PROXY=http://" + dead}, "issuer-connection", []string{"connection refused", "Check HTTPS_PROXY"}},
			{"a proxy that looks into TLS", []string{"HTTPS_PROXY=http://" + w.mitm.Addr}, "issuer-tls", []string{"mitmproxy", "name its file in SSL_CERT_FILE"}},
			{"with its authority", []string{"HTTPS_PROXY=http://" + w.mitm.Addr, "SSL_CERT_FILE=" + w.mitm.CA}, "", []string{`signed by "mitmproxy"`}},
			{"a sign-in page", []string{"HTTPS_PROXY=http://" + portal.Addr, "SSL_CERT_FILE=" + portal.CA}, "issuer-metadata", []string{"a web page where JSON was expected", "sign in to the network"}},
			{"an unknown authority", nil, "issuer-tls", []string{"Keytether test authority", "SSL_CERT_FILE"}},
		} {
			t.Run(tt.name, func(t *testing.T) {
				t.Parallel()
				code := 0
				if tt.problem != "" {
					code = 1
				}
				out := w.machine(t).run(t, code, tt.env, "doctor", "--json", "--issuer", issuer)
				var found struct {
					Checks []struct{ Name, State, Found, Why, Do string }
				}
				do(t, json.Unmarshal([]byte(out), &found))
				var all strings.Builder
				problem := ""
				for _, c := range found.Checks {
					text := strings.Join([]string{c.Found, c.Why, c.Do}, " ")
					if c.State == "problem" {
						problem += c.Name
						all.Reset()
						all.WriteString(text)
						break
					}
					all.WriteString(text + "\n")
				}
				if problem != tt.problem {
					t.Errorf("the problem is %q, want %q:\n%s", problem, tt.problem, out)
				}
				says(t, "doctor", all.String(), tt.want...)
				for _, secret := range []string{wrong, realproxy.Password, "s3cret"} {
					if strings.Contains(out, secret) {
						t.Errorf("a password is printed: %s", out)
					}
				}
			})
		}
	})
}
