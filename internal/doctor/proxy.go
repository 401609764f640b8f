package doctor

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net/url"
	"os"
	"time"

	"github.com/keytether/keytether/internal/outbound"
)

func checkProxy(_ context.Context, o *Options) []Finding { return one(judgeProxy(o)) }

// judgeProxy tells of the variables, and by which proxy the issuer is reached.
func judgeProxy(o *Options) Finding {
	to, err := url.Parse(o.Issuer)
	if err != nil || o.Issuer == "" {
		to = &url.URL{Scheme: "https", Host: "issuer.invalid"}
	}
	via, signsIn, err := outbound.Via(o.Env, to)
	if err != nil {
		return explained("proxy", Problem, err)
	}
	set := func(name string) string { return o.Env[name] }
	for _, pair := range [][2]string{{"HTTPS_PROXY", "https_proxy"}, {"NO_PROXY", "no_proxy"}} {
		if a, b := set(pair[0]), set(pair[1]); a != "" && b != "" && a != b {
			return Finding{"proxy", Warning, pair[0] + " and " + pair[1] + " differ", pair[0] + " counts here; other programs take the other", "Set them to the same"}
		}
	}
	configured := set("HTTPS_PROXY") != "" || set("https_proxy") != ""
	all := o.Getenv("ALL_PROXY") != "" || o.Getenv("all_proxy") != ""
	switch {
	case via != "" && signsIn:
		return ok("proxy", via+", with a user name")
	case via != "":
		return ok("proxy", via)
	case configured:
		return ok("proxy", "passed by: NO_PROXY names "+to.Hostname()+", or it is this machine")
	case all:
		return Finding{"proxy", Warning, "ALL_PROXY is set, and HTTPS_PROXY is not", "ALL_PROXY is not read here: the issuer is reached directly", "Set HTTPS_PROXY to it"}
	}
	return ok("proxy", "none")
}

// explained is an error of package outbound as a finding.
func explained(name string, s State, err error) Finding {
	if e, ok := errors.AsType[*outbound.Error](err); ok {
		return Finding{name, s, e.What, e.Why, e.Do}
	}
	return Finding{name, s, "it failed", err.Error(), "Try again"}
}

func checkCertificates(_ context.Context, o *Options) []Finding {
	file := o.Env["SSL_CERT_FILE"]
	if file == "" {
		pool, err := x509.SystemCertPool()
		return one(judgeSystem(err == nil && o.GOOS == "linux" && pool.Equal(x509.NewCertPool())))
	}
	b, err := os.ReadFile(file)
	return one(judgeCertificates(file, b, err, o.Now()))
}

func judgeSystem(empty bool) Finding {
	if empty {
		return Finding{"certificates", Problem, "this machine knows no authority", "no server's certificate can be checked", "Install ca-certificates, or name a file in SSL_CERT_FILE"}
	}
	return ok("certificates", "the system's")
}

func judgeCertificates(file string, b []byte, err error, now time.Time) Finding {
	const mend = "Correct SSL_CERT_FILE, or unset it"
	if err != nil {
		return Finding{"certificates", Problem, "SSL_CERT_FILE cannot be read", err.Error(), mend}
	}
	n, old := 0, ""
	for block, rest := pem.Decode(b); block != nil; block, rest = pem.Decode(rest) {
		c, err := x509.ParseCertificate(block.Bytes)
		if block.Type != "CERTIFICATE" || err != nil {
			continue
		}
		if n++; now.After(c.NotAfter) {
			old = c.Subject.CommonName
		}
	}
	switch {
	case n == 0:
		return Finding{"certificates", Problem, "SSL_CERT_FILE holds no certificate", file + " has no PEM of one", mend}
	case old != "" && n == 1:
		return Finding{"certificates", Warning, "the authority in SSL_CERT_FILE has expired", file + ": " + old, "Ask for the new one"}
	}
	return ok("certificates", fmt.Sprintf("the system's, and %d of SSL_CERT_FILE", n))
}
