package conformance

import (
	"net/url"
	"strings"
	"time"
)

// revoke sends a token to the revocation endpoint, by POST with no proof.
func (c *tool) revoke(token string, change ...string) (answer, error) {
	f := url.Values{"client_id": {c.id}, "token": {token}}
	set(f, change)
	return c.w.post(c.w.at("revocation_endpoint"), f)
}

// diesWithin wants a bearer token refused by the API within two seconds.
func (w *world) diesWithin(token string) error {
	return dies(func() (bool, error) { return w.works(token) })
}

// diesBound wants the same of a bound token at the sample API.
func (w *world) diesBound(c *tool, token string) error {
	return dies(func() (bool, error) { return w.worksBound(c, token) })
}

func dies(works func() (bool, error)) error {
	for start := time.Now(); time.Since(start) < 2*time.Second; time.Sleep(20 * time.Millisecond) {
		if ok, err := works(); err != nil || !ok {
			return err
		}
	}
	return wrong("the access token still works after two seconds")
}

// worksBound asks the sample API.
func (w *world) worksBound(c *tool, token string) (bool, error) {
	to := w.Resource + "/reports"
	a, err := w.get(to, "Authorization", "DPoP "+token, "DPoP", c.k.proof("GET", to, "", ath(token)))
	return a.status == 200, err
}

func revokeRows() []row {
	return []row{
		{"7009 §2.1", "refresh-token", "A refresh token is revoked: 200 without a token, and the grant's access token dies at the API within two seconds.", func(w *world) error {
			c := w.std()
			a, err := c.login()
			if err != nil {
				return err
			}
			b, err := c.revoke(a.str("refresh_token"), "token_type_hint", "refresh_token")
			if err := all(err, b.is(200)); err != nil {
				return err
			}
			if !strings.Contains(b.header.Get("Cache-Control"), "no-store") {
				return wrong("%v", b.header)
			}
			return w.diesWithin(a.str("access_token"))
		}},
		{"7009 §2.1, §2.2", "access-token", "An access token is revoked and dies at the API.", func(w *world) error {
			c := w.std()
			a, err := c.login()
			if err != nil {
				return err
			}
			b, err := c.revoke(a.str("access_token"), "token_type_hint", "access_token")
			if err := all(err, b.is(200)); err != nil {
				return err
			}
			return w.diesWithin(a.str("access_token"))
		}},
		{"7009 §2.1", "wrong-hint", "A wrong or unknown hint does not hinder.", func(w *world) error {
			for _, hint := range []string{"access_token", "nonsense", "id_token"} {
				c := w.std()
				a, err := c.login()
				if err != nil {
					return err
				}
				b, err := c.revoke(a.str("refresh_token"), "token_type_hint", hint)
				if err := all(err, b.is(200)); err != nil {
					return err
				}
				b, err = c.refresh(a.str("refresh_token"))
				if err := b.refusedBy(err, 400, "invalid_grant"); err != nil {
					return err
				}
			}
			return nil
		}},
		{"7009 §2.2", "unknown", "An unknown token, garbage, or one revoked before: 200.", func(w *world) error {
			for _, t := range []string{"x", "ktr_" + strings.Repeat("a", 90), "a.b.c", "a b", "🙂", strings.Repeat("a", 4000)} {
				a, err := w.std().revoke(t)
				if err := all(err, a.is(200)); err != nil {
					return err
				}
			}
			c := w.std()
			a, err := c.login()
			if err != nil {
				return err
			}
			for range 2 {
				b, err := c.revoke(a.str("refresh_token"))
				if err := all(err, b.is(200)); err != nil {
					return err
				}
			}
			return nil
		}},
		{"7009 §2.1; 6749 §5.2", "missing", "Without token: invalid_request.", func(w *world) error {
			a, err := w.std().revoke("", "token", "")
			return a.refusedBy(err, 400, "invalid_request")
		}},
		{"7009 §2.1", "no-client", "Without client_id, or with an unknown one: refused, and nothing is revoked.", func(w *world) error {
			c := w.std()
			a, err := c.login()
			if err != nil {
				return err
			}
			for _, id := range []string{"", "nobody"} {
				b, err := c.revoke(a.str("refresh_token"), "client_id", id)
				if err != nil {
					return err
				}
				if e := b.refused(b.status, "invalid_client", "invalid_request"); e != nil {
					return e
				}
			}
			b, err := c.refresh(a.str("refresh_token"))
			return all(err, b.is(200))
		}},
		{"7009 §2.1", "other-client", "A token of another client is not revoked: neither the refresh token nor the access token.", func(w *world) error {
			c := w.std()
			a, err := c.login()
			if err != nil {
				return err
			}
			for _, t := range []string{a.str("refresh_token"), a.str("access_token")} {
				b, err := w.two().revoke(t)
				if err := all(err, b.is(200, 400)); err != nil {
					return err
				}
			}
			time.Sleep(300 * time.Millisecond)
			if ok, err := w.works(a.str("access_token")); err != nil || !ok {
				return all(err, wrong("the access token is dead"))
			}
			b, err := c.refresh(a.str("refresh_token"))
			return all(err, b.is(200))
		}},
		{"7009 §2; design", "forged-access-token", "An access token that somebody bent revokes nothing of the grant it speaks of.", func(w *world) error {
			c := w.std()
			a, err := c.login()
			if err != nil {
				return err
			}
			at := a.str("access_token")
			_, body, err := claims(at)
			if err != nil {
				return err
			}
			for _, t := range []string{cut(at), swap(at, len(at)-9), newKey("ES256").sign(jose{"alg": "ES256", "typ": "at+jwt"}, body), part(jose{"alg": "none", "typ": "at+jwt"}) + "." + part(body) + "."} {
				b, err := c.revoke(t)
				if err := all(err, b.is(200)); err != nil {
					return err
				}
			}
			time.Sleep(300 * time.Millisecond)
			if ok, err := w.works(at); err != nil || !ok {
				return all(err, wrong("it is dead"))
			}
			b, err := c.refresh(a.str("refresh_token"))
			return all(err, b.is(200))
		}},
		{"7009 §2.1", "id-token", "An ID token is no token to revoke: 200, and nothing dies.", func(w *world) error {
			c := w.std()
			a, err := c.login("scope", "openid read")
			if err != nil {
				return err
			}
			b, err := c.revoke(a.str("id_token"))
			if err := all(err, b.is(200, 400)); err != nil {
				return err
			}
			b, err = c.refresh(a.str("refresh_token"))
			return all(err, b.is(200))
		}},
		{"7009 §2", "no-jsonp", "A callback parameter makes no script.", func(w *world) error {
			a, err := w.std().revoke("x", "callback", "alert")
			if err := all(err, a.is(200)); err != nil {
				return err
			}
			if strings.Contains(a.body, "alert") {
				return wrong("%s", a)
			}
			return nil
		}},
		{"7009 §2.1; design", "older-generation", "Revoking the last refresh token also ends those before, and what they gave.", func(w *world) error {
			c := w.std()
			a, err := c.login()
			if err != nil {
				return err
			}
			b, err := c.refresh(a.str("refresh_token"))
			if err := all(err, b.is(200)); err != nil {
				return err
			}
			d, err := c.revoke(b.str("refresh_token"))
			if err := all(err, d.is(200)); err != nil {
				return err
			}
			return all(w.diesWithin(a.str("access_token")), w.diesWithin(b.str("access_token")))
		}},
		{"9449 §5; 7009", "bound-without-key", "Revocation needs no proof: whoever finds a bound token can end it, and a bad proof beside it does no more than be refused.", func(w *world) error {
			c := w.bound()
			a, err := c.login()
			if err != nil {
				return err
			}
			b, err := c.revoke(a.str("refresh_token"))
			if err := all(err, b.is(200)); err != nil {
				return err
			}
			return w.diesBound(c, a.str("access_token"))
		}},
	}
}
