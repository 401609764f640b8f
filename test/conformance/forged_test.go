package conformance

import (
	"context"
	"crypto/rand"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/keytether/keytether/internal/testkit"
	"github.com/keytether/keytether/verify"
)

// forge is an issuer whose keys are ours, and an API that trusts it: what would
// a token do that is signed well and is wrong?
type forge struct {
	w           *world
	issuer, api string
	es, rs      *key
	k           *key // the caller's
	close       func()
}

func (w *world) newForge() (*forge, error) {
	issuer, err := testkit.FreeLoopback()
	api, err2 := testkit.FreeLoopback()
	if err := errors.Join(err, err2); err != nil {
		return nil, err
	}
	f := &forge{w: w, issuer: "http://" + issuer, api: "http://" + api, es: newKey("ES256"), rs: newKey("RS256"), k: newKey("ES256")}
	es, rs := f.es.jwk(), f.rs.jwk()
	es["kid"], rs["kid"], es["alg"], rs["alg"], es["use"], rs["use"] = "es", "rs", "ES256", "RS256", "sig", "sig"
	mux := http.NewServeMux()
	say := func(path string, v any) {
		mux.HandleFunc(path, func(rw http.ResponseWriter, _ *http.Request) {
			rw.Header().Set("Content-Type", "application/json")
			_, _ = io.WriteString(rw, compactJSON(v))
		})
	}
	say("/jwks", jose{"keys": []any{es, rs}})
	say("/.well-known/oauth-authorization-server", jose{
		"issuer": f.issuer, "jwks_uri": f.issuer + "/jwks", "token_endpoint": f.issuer + "/token", "authorization_endpoint": f.issuer + "/authorize",
		"response_types_supported": []string{"code"}, "dpop_signing_alg_values_supported": []string{"ES256"},
	})
	l, err := net.Listen("tcp", issuer)
	if err != nil {
		return nil, err
	}
	srv := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	go func() { _ = srv.Serve(l) }()
	file := filepath.Join(w.Dir, "forge.pem")
	if err := os.WriteFile(file, []byte(newKey("ES256").pem()), 0o600); err != nil {
		return nil, err
	}
	k, err := verify.LoadKey(file)
	if err != nil {
		return nil, err
	}
	v, err := verify.NewWithoutRevocations(context.Background(), verify.Options{Issuer: f.issuer, Resource: f.api, Key: k})
	if err != nil {
		return nil, err
	}
	apiSrv, err := serveAPI(api, v)
	if err != nil {
		return nil, err
	}
	f.close = func() { _ = srv.Close(); _ = apiSrv.Close(); v.Close() }
	for range 200 {
		if err = v.Ready(); err == nil {
			return f, nil
		}
		time.Sleep(10 * time.Millisecond)
	}
	f.close()
	return nil, err
}

// good is a token that is right.
func (f *forge) good() (header, body jose) {
	now := time.Now().Unix()
	return jose{"typ": "at+jwt", "alg": "ES256", "kid": "es"}, jose{
		"iss": f.issuer, "aud": f.api, "sub": "acc_1", "client_id": "c", "scope": "read", "iat": now, "exp": now + 300, "jti": rand.Text(), "sid": "grt_1",
		"auth_time": now, "cnf": jose{"jkt": f.k.thumb()},
	}
}

func (f *forge) call(token string) (answer, error) {
	to := f.api + "/reports"
	return f.w.get(to, "Authorization", "DPoP "+token, "DPoP", f.k.proof("GET", to, "", ath(token)))
}

// forgeries are tokens that must not open anything.
func forgeries() map[string]func(f *forge) string {
	bend := func(g func(f *forge, h, c jose)) func(*forge) string {
		return func(f *forge) string {
			h, c := f.good()
			g(f, h, c)
			return f.es.sign(h, c)
		}
	}
	claim := func(name string, v any) func(*forge) string {
		return bend(func(_ *forge, _, c jose) {
			if c[name] = v; v == nil {
				delete(c, name)
			}
		})
	}
	header := func(name string, v any) func(*forge) string {
		return bend(func(_ *forge, h, _ jose) {
			if h[name] = v; v == nil {
				delete(h, name)
			}
		})
	}
	now := time.Now().Unix()
	out := map[string]func(*forge) string{
		"typ-jwt":     header("typ", "JWT"),
		"typ-missing": header("typ", nil),
		"typ-dpop":    header("typ", "dpop+jwt"),
		"typ-id":      header("typ", "id+jwt"),
		"kid-missing": func(f *forge) string { h, c := f.good(); delete(h, "kid"); h["kid"] = ""; return f.es.sign(h, c) },
		"kid-path":    header("kid", "../../../../dev/null"),
		"kid-sql":     header("kid", "es' OR '1'='1"),
		"kid-unknown": header("kid", "nobody"),
		"kid-url":     header("kid", "http://127.0.0.1:1/"),
		"jku":         header("jku", "http://127.0.0.1:1/jwks"),
		"x5u":         header("x5u", "http://127.0.0.1:1/x"),
		"x5c":         header("x5c", []string{"AAAA"}),
		"crit":        header("crit", []string{"exp"}),
		"zip":         bend(func(_ *forge, h, _ jose) { h["crit"] = []string{"zip"}; h["zip"] = "DEF" }),
		"alg-rs":      header("alg", "RS256"),
		"alg-case":    header("alg", "es256"),
		"alg-none":    func(f *forge) string { h, c := f.good(); h["alg"] = "none"; return part(h) + "." + part(c) + "." },
		"alg-None":    func(f *forge) string { h, c := f.good(); h["alg"] = "nOnE"; return part(h) + "." + part(c) + "." },
		"alg-none-no-kid": func(f *forge) string {
			h, c := f.good()
			h["alg"] = "none"
			delete(h, "kid")
			return part(h) + "." + part(c) + "."
		},
		"no-signature":   func(f *forge) string { h, c := f.good(); return cut(f.es.sign(h, c)) },
		"zero-signature": func(f *forge) string { h, c := f.good(); return cut(f.es.sign(h, c)) + b64(make([]byte, 64)) },
		"hs256-pem":      func(f *forge) string { h, c := f.good(); h["alg"] = "HS256"; return hs256(h, c, []byte(f.rs.pem())) },
		"hs256-jwk": func(f *forge) string {
			h, c := f.good()
			h["alg"] = "HS256"
			h["kid"] = "rs"
			return hs256(h, c, []byte(compactJSON(f.rs.jwk())))
		},
		"hs256-empty": func(f *forge) string { h, c := f.good(); h["alg"] = "HS256"; return hs256(h, c, nil) },
		"embedded-jwk": func(f *forge) string {
			h, c := f.good()
			k := newKey("ES256")
			h["jwk"] = k.jwk()
			return k.sign(h, c)
		},
		"embedded-jwk-no-kid": func(f *forge) string {
			h, c := f.good()
			k := newKey("ES256")
			delete(h, "kid")
			h["jwk"] = k.jwk()
			return k.sign(h, c)
		},
		"other-key":  func(*forge) string { return "" },
		"iss-other":  claim("iss", "http://127.0.0.1:1"),
		"iss-slash":  bend(func(f *forge, _, c jose) { c["iss"] = f.issuer + "/" }),
		"aud-other":  claim("aud", "https://evil.example.test"),
		"aud-slash":  bend(func(f *forge, _, c jose) { c["aud"] = f.api + "/" }),
		"aud-issuer": bend(func(f *forge, _, c jose) { c["aud"] = f.issuer }),
		"aud-two":    bend(func(f *forge, _, c jose) { c["aud"] = []string{f.api, "https://evil.example.test"} }),
		"aud-none":   claim("aud", []string{}),
		"aud-number": claim("aud", 7),
		"exp-past":   claim("exp", now-60),
		"exp-text":   claim("exp", "never"),
		"exp-huge":   claim("exp", 1e30),
		"nbf-future": claim("nbf", now+3600),
		"iat-future": claim("iat", now+3600),
		"cnf-other":  claim("cnf", jose{"jkt": newKey("ES256").thumb()}),
		"cnf-empty":  claim("cnf", jose{}),
		"cnf-none":   claim("cnf", nil),
		"cnf-text":   claim("cnf", "jkt"),
		"scope-list": claim("scope", []string{"read"}),
		"scope-none": claim("scope", "readx xread"),
		"id-token": func(f *forge) string {
			h, c := f.good()
			h["typ"] = "JWT"
			c["aud"] = "c"
			c["nonce"] = "n"
			return f.es.sign(h, c)
		},
		"payload-list": func(f *forge) string { h, _ := f.good(); return f.es.sign(h, "[]") },
		"double-member": func(f *forge) string {
			h, c := f.good()
			text := compactJSON(c)
			return f.es.sign(h, strings.Replace(text, "{", `{"scope":"write","scope":"read",`, 1))
		},
		"jwe": func(*forge) string {
			return "eyJhbGciOiJkaXIiLCJlbmMiOiJBMTI4R0NNIn0.." + b64(make([]byte, 12)) + "." + b64([]byte("x")) + "." + b64(make([]byte, 16))
		},
		"json-form": func(f *forge) string {
			h, c := f.good()
			p := strings.Split(f.es.sign(h, c), ".")
			return `{"protected":"` + p[0] + `","payload":"` + p[1] + `","signature":"` + p[2] + `"}`
		},
		"padded":     func(f *forge) string { h, c := f.good(); return f.es.sign(h, c) + "=" },
		"four-parts": func(f *forge) string { h, c := f.good(); return f.es.sign(h, c) + ".x" },
	}
	out["other-key"] = func(f *forge) string { h, c := f.good(); return newKey("ES256").sign(h, c) }
	for _, name := range []string{"iss", "exp", "aud", "sub", "client_id", "iat", "jti"} {
		out["no-"+strings.ReplaceAll(name, "_", "-")] = claim(name, nil)
	}
	return out
}

func forgedRows() []row {
	var once sync.Once
	var f *forge
	var failed error
	forged := func(w *world) (*forge, error) {
		once.Do(func() {
			if f, failed = w.newForge(); failed == nil {
				w.atEnd(func() error { f.close(); return nil })
			}
		})
		return f, failed
	}
	rows := []row{{"9068 §4", "a-good-one", "A token of an issuer of our own that is right opens the API, by ES256 and RS256: so what follows is refused for what is wrong with it.", func(w *world) error {
		f, err := forged(w)
		if err != nil {
			return err
		}
		h, c := f.good()
		a, err := f.call(f.es.sign(h, c))
		if err := all(err, a.is(200)); err != nil {
			return err
		}
		h, c = f.good()
		h["alg"], h["kid"], h["typ"] = "RS256", "rs", "application/at+jwt"
		c["aud"] = []string{f.api}
		a, err = f.call(f.rs.sign(h, c))
		return all(err, a.is(200))
	}}}
	for name := range forgeries() {
		rows = append(rows, row{"9068 §2.2, §4; 8725 §3", "token-" + name, "A token that is wrong in this way is refused by the API.", func(w *world) error {
			f, err := forged(w)
			if err != nil {
				return err
			}
			a, err := f.call(forgeries()[name](f))
			if strings.HasPrefix(name, "scope-none") {
				return all(err, a.is(403))
			}
			return all(err, a.challenged(401, "DPoP", "invalid_token"))
		}})
	}
	return sorted(rows)
}
