package conformance

import (
	"context"
	"strings"
	"sync"
	"time"

	"github.com/keytether/keytether/internal/testkit/stage"
)

// another starts a stage beside the main one.
func (w *world) another(opt stage.Options) (*world, error) {
	c, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	opt.NoAPI = true
	st, err := stage.New(c, binDir, opt)
	if err != nil {
		return nil, err
	}
	x := &world{Stage: st, http: st.Client()}
	a, err := x.get(st.Issuer + "/.well-known/oauth-authorization-server")
	if err != nil {
		return nil, err
	}
	x.meta = a.json
	return x, nil
}

func tlsRows() []row {
	var once sync.Once
	var x *world
	var failed error
	over := func(f func(x *world) error) func(*world) error {
		return func(w *world) error {
			once.Do(func() {
				x, failed = w.another(stage.Options{TLS: true, Clients: `- {id: std, name: Standard, redirect_uris: ["http://127.0.0.1/callback"], dpop: required, handshake: none}` + "\n"})
				if failed == nil {
					w.atEnd(x.end)
				}
			})
			if failed != nil {
				return failed
			}
			return f(x)
		}
	}
	return []row{
		{"6265bis §4.1.3.2", "host-cookies", "On https every cookie is `__Host-`, Secure, HttpOnly, SameSite, without Domain: before sign-in, after it, and at consent.", over(func(x *world) error {
			b := x.browser()
			a, err := x.get(x.Issuer + "/me")
			if err := all(err, cookiesAre(a, true)); err != nil {
				return err
			}
			page, err := b.get(x.Issuer + "/me")
			if err != nil {
				return err
			}
			a, err = b.signIn(page, stage.Email, stage.Password)
			return all(err, cookiesAre(a, true))
		})},
		{"6797 §7.1", "hsts", "Strict-Transport-Security on https, for half a year or longer.", over(func(x *world) error {
			for _, p := range []string{"/me", "/oauth/authorize", "/.well-known/openid-configuration"} {
				a, err := x.get(x.Issuer + p)
				if err != nil {
					return err
				}
				h := a.header.Get("Strict-Transport-Security")
				if !strings.Contains(h, "max-age=") || strings.Contains(h, "max-age=0") {
					return wrong("%s: %q", p, h)
				}
			}
			return nil
		})},
		{"8414 §2; 9207 §2", "https-urls", "Issuer and every endpoint are https.", over(func(x *world) error {
			for name, v := range x.meta {
				if s, ok := v.(string); ok && (strings.HasSuffix(name, "_endpoint") || name == "jwks_uri" || name == "issuer") && !strings.HasPrefix(s, "https://auth.test") {
					return wrong("%s: %s", name, s)
				}
			}
			return nil
		})},
		{"9449 §4.3", "https-login", "A bound login over https works, and a proof for http is refused.", over(func(x *world) error {
			p, err := x.signIn(ctx())
			if err != nil {
				return err
			}
			x.person = p
			c := &tool{w: x, id: "std", redirect: loop, k: newKey("ES256")}
			a, err := x.post(x.par(), c.write().params, "DPoP", c.k.proof("POST", strings.Replace(x.par(), "https:", "http:", 1), x.freshNonce()))
			if err := a.refusedBy(err, 400, "invalid_dpop_proof"); err != nil {
				return err
			}
			_, err = c.login()
			return err
		})},
		{"9449 §4.3; 3986 §6.2.3", "https-port", "htu may name the default port.", over(func(x *world) error {
			c := &tool{w: x, id: "std", redirect: loop, k: newKey("ES256")}
			a, err := x.post(x.par(), c.write().params, "DPoP", c.k.proof("POST", strings.Replace(x.par(), "auth.test", "auth.test:443", 1), x.freshNonce()))
			return all(err, a.is(201))
		})},
	}
}
