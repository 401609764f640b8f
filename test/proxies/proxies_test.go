//go:build linux

package proxies

import (
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/keytether/keytether/internal/testkit/realproxy"
)

const dead = "127.0.0.1:9" // nothing listens there

func withUser(scheme, user, password, addr string) string {
	u := url.URL{Scheme: scheme, Host: addr, User: url.UserPassword(user, password)}
	return u.String()
}

// TestProxies reaches the server by every kind of proxy that may stand in HTTPS_PROXY, or says
// why not, with exit code 6 and without the proxy's password.
//
// Invariant: OB-1
func TestProxies(t *testing.T) {
	w := theWorld
	const wrong = "wr0ng-s3cret"
	ca := "SSL_CERT_FILE=" + w.caFile
	for _, tt := range []struct {
		name string
		env  []string
		want []string // words of the failure; nil: the server is reached
	}{
		{"no proxy", nil, nil},
		{"http", []string{"HTTPS_PROXY=http://" + w.squid.Open}, nil},
		{"host and port alone", []string{"https_proxy=" + w.squid.Open}, nil},
		{"both spellings", []string{"HTTPS_PROXY=" + w.squid.Open, "https_proxy=" + dead}, nil},
		{"ALL_PROXY alone", []string{"ALL_PROXY=http://" + dead}, nil},
		{"https", []string{"HTTPS_PROXY=https://" + w.squid.TLS}, nil},
		{"the right password", []string{"HTTPS_PROXY=" + withUser("http", realproxy.User, realproxy.Password, w.squid.Auth)}, nil},
		{
			"a wrong password",
			[]string{"HTTPS_PROXY=" + withUser("http", realproxy.User, wrong, w.squid.Auth)},
			[]string{"the proxy " + w.squid.Auth + " answers 407", "does not take the user name and password", "%40"},
		},
		{
			"no password",
			[]string{"HTTPS_PROXY=http://" + w.squid.Auth},
			[]string{"the proxy " + w.squid.Auth + " answers 407", "wants a user name and a password", "http://USER:PASSWORD@HOST:PORT"},
		},
		{"a proxy that refuses", []string{"HTTPS_PROXY=http://" + w.squid.Refusing}, []string{"the proxy " + w.squid.Refusing + " answers 403", "NO_PROXY"}},
		{"a sign-in page", []string{"HTTPS_PROXY=http://" + w.squid.SignIn}, []string{"the proxy " + w.squid.SignIn + " answers 302", "sign-in page"}},
		{"a proxy that is not there", []string{"HTTPS_PROXY=" + withUser("http", realproxy.User, wrong, dead)}, []string{"the proxy " + dead, "connection refused"}},
		{"a proxy whose name is unknown", []string{"HTTPS_PROXY=" + withUser("http", realproxy.User, wrong, "gone.corp.test:3128")}, []string{"the proxy gone.corp.test:3128"}},
		{"socks5", []string{"HTTPS_PROXY=" + withUser("socks5", realproxy.User, realproxy.SOCKSPassword, w.socks.Addr)}, nil},
		{"socks5h", []string{"HTTPS_PROXY=" + withUser("socks5h", realproxy.User, realproxy.SOCKSPassword, w.socks.Addr)}, nil},
		{"socks5 with a wrong password", []string{"HTTPS_PROXY=" + withUser("socks5", realproxy.User, wrong, w.socks.Addr)}, []string{"the proxy " + w.socks.Addr, "user name and password in HTTPS_PROXY"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			m := w.machine(t)
			reached, code, said := m.reach(t, append(tt.env, ca)...)
			if reached != (tt.want == nil) {
				t.Errorf("reached: %v\n%s", reached, said)
			}
			if tt.want != nil && code != 6 {
				t.Errorf("exit code %d, want 6: the server was not reached\n%s", code, said)
			}
			says(t, "the failure", said, tt.want...)
			for _, secret := range []string{wrong, realproxy.Password, realproxy.SOCKSPassword, url.UserPassword("", realproxy.Password).String()[1:]} {
				if strings.Contains(said, secret) || strings.Contains(m.files(t), secret) {
					t.Errorf("the proxy's password is printed or on disk:\n%s", said)
				}
			}
		})
	}
}

// TestNoProxy has a proxy that is not there, so that what is reached was reached without it.
//
// Invariant: OB-2
func TestNoProxy(t *testing.T) {
	w := theWorld
	for no, direct := range map[string]bool{
		"": false, "auth.test": true, "AUTH.TEST": true, "test": true, ".test": true, "*.test": true, "*": true,
		"other.test, auth.test": true, "auth.test:443": true, "auth.test:8443": false, ".auth.test": false, "uth.test": false,
		// A network counts for addresses that stand in the URL: a name is the proxy's to look up.
		"192.0.2.0/24": false,
	} {
		t.Run(no, func(t *testing.T) {
			t.Parallel()
			reached, code, said := w.machine(t).reach(t, "SSL_CERT_FILE="+w.caFile, "HTTPS_PROXY=http://"+dead, "NO_PROXY="+no)
			if reached != direct || !direct && code != 6 {
				t.Errorf("NO_PROXY=%q: reached %v, exit code %d\n%s", no, reached, code, said)
			}
		})
	}
	t.Run("a network", func(t *testing.T) {
		t.Parallel()
		m := w.machine(t)
		login := []string{"login", "--json", "--flow", "device", "--issuer", "https://" + address, "--client", "tool"}
		env := []string{"SSL_CERT_FILE=" + w.caFile, "HTTPS_PROXY=http://" + dead}
		says(t, "by the proxy", m.run(t, 6, env, login...), "the proxy "+dead)
		// Reached without it: the certificate is not for the address.
		says(t, "directly", m.run(t, 6, append(env, "NO_PROXY=192.0.2.0/24"), login...), "its certificate is not for "+address)
	})
}

// TestInspected goes through a proxy that looks into TLS: without its authority the login fails
// and says whose certificate is missing and where to name it, with it the login works.
//
// Invariant: OB-3
func TestInspected(t *testing.T) {
	w := theWorld
	via := "HTTPS_PROXY=http://" + w.mitm.Addr
	reached, code, said := w.machine(t).reach(t, via)
	if reached || code != 6 {
		t.Errorf("reached %v, exit code %d", reached, code)
	}
	says(t, "the failure", said, "mitmproxy", "the proxy "+w.mitm.Addr+" may look into TLS", "name its file in SSL_CERT_FILE")
	if reached, _, said := w.machine(t).reach(t, via, "SSL_CERT_FILE="+w.mitm.CA); !reached {
		t.Errorf("with the proxy's authority: %s", said)
	}
	m := w.machine(t)
	pem, err := os.ReadFile(w.mitm.CA)
	do(t, err)
	do(t, os.WriteFile(filepath.Join(m.home.Dir, "ca.pem"), pem, 0o600))
	if reached, _, said := m.reach(t, via, "SSL_CERT_FILE=ca.pem"); !reached {
		t.Errorf("with a file in the caller's folder: %s", said)
	}
	_, code, said = w.machine(t).reach(t, "HTTPS_PROXY=ftp://me:s3cret@proxy.test")
	if code != 2 || strings.Contains(said, "s3cret") {
		t.Errorf("no proxy's URL: exit code %d\n%s", code, said)
	}
	_, code, said = w.machine(t).reach(t, via, "SSL_CERT_FILE="+os.DevNull)
	if code != 2 {
		t.Errorf("a file without certificates: exit code %d\n%s", code, said)
	}
	says(t, "the failure", said, "holds no PEM certificate", "Correct SSL_CERT_FILE, or unset it")
}
