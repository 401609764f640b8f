package conformance

import (
	"strings"
	"sync"
)

func refreshRows() []row {
	return []row{
		{"6749 §6; 9700 §4.14", "rotates", "A refresh token gives a new access token of the same scope and audience, and another refresh token.", func(w *world) error {
			for _, c := range []*tool{w.std(), w.bound()} {
				a, err := c.login()
				if err != nil {
					return err
				}
				b, err := c.refresh(a.str("refresh_token"))
				if err := all(err, b.is(200)); err != nil {
					return err
				}
				_, x, err := claims(a.str("access_token"))
				_, y, err2 := claims(b.str("access_token"))
				if err := all(err, err2); err != nil {
					return err
				}
				if b.str("refresh_token") == "" || b.str("refresh_token") == a.str("refresh_token") || x["jti"] == y["jti"] || x["sub"] != y["sub"] || x["aud"] != y["aud"] || x["scope"] != y["scope"] || x["client_id"] != y["client_id"] || compactJSON(x["cnf"]) != compactJSON(y["cnf"]) {
					return wrong("%v\n%v", x, y)
				}
			}
			return nil
		}},
		{"6749 §5.2", "missing", "Without refresh_token: invalid_request.", func(w *world) error {
			a, err := w.std().refresh("", "refresh_token", "")
			return a.refusedBy(err, 400, "invalid_request")
		}},
		{"6749 §5.2", "garbage", "Garbage, an access token, or a bent refresh token: invalid_grant, and the real one works on.", func(w *world) error {
			c := w.std()
			a, err := c.login()
			if err != nil {
				return err
			}
			rt := a.str("refresh_token")
			for _, bad := range []string{"x", "ktr_", "\x00", a.str("access_token"), swap(rt, 20), swap(rt, len(rt)-1), rt + "0", rt[:len(rt)-1], strings.ToUpper(rt), " " + rt, strings.Repeat("a", 5000)} {
				b, err := c.refresh(bad)
				if err := b.refusedBy(err, 400, "invalid_grant", "invalid_request"); err != nil {
					return err
				}
			}
			b, err := c.refresh(rt)
			return all(err, b.is(200))
		}},
		{"6749 §6, §10.4", "other-client", "A refresh token of another client: invalid_grant, and the real client's works on.", func(w *world) error {
			c := w.std()
			a, err := c.login()
			if err != nil {
				return err
			}
			b, err := w.two().refresh(a.str("refresh_token"))
			if err := b.refusedBy(err, 400, "invalid_grant"); err != nil {
				return err
			}
			b, err = c.refresh(a.str("refresh_token"))
			return all(err, b.is(200))
		}},
		{"6749 §6", "narrower", "A narrower scope is given, and a later refresh gets the grant's again; a wider one is invalid_scope and changes nothing.", func(w *world) error {
			c := w.std()
			a, err := c.login()
			if err != nil {
				return err
			}
			b, err := c.refresh(a.str("refresh_token"), "scope", "read")
			if err := all(err, b.is(200)); err != nil {
				return err
			}
			_, y, err := claims(b.str("access_token"))
			if err != nil {
				return err
			}
			if y["scope"] != "read" || b.str("scope") != "read" {
				return wrong("scope %v, %q", y["scope"], b.str("scope"))
			}
			for _, wide := range []string{"read write admin", "openid", "write READ", "read  nope"} {
				x, err := c.refresh(b.str("refresh_token"), "scope", wide)
				if err := x.refusedBy(err, 400, "invalid_scope"); err != nil {
					return err
				}
			}
			b, err = c.refresh(b.str("refresh_token"))
			if err := all(err, b.is(200)); err != nil {
				return err
			}
			if b.str("scope") != "read write" {
				return wrong("scope %q", b.str("scope"))
			}
			return nil
		}},
		{"6749 §6; 9700 §2.2.2", "consented-only", "Scope that the person was not asked for is refused, though the client might have it.", func(w *world) error {
			c := w.std()
			a, err := c.login("scope", "read")
			if err != nil {
				return err
			}
			b, err := c.refresh(a.str("refresh_token"), "scope", "read write")
			return b.refusedBy(err, 400, "invalid_scope")
		}},
		{"8707 §2.2", "other-resource", "Another resource than consented to: invalid_target; the same one is taken.", func(w *world) error {
			c := w.std()
			a, err := c.login()
			if err != nil {
				return err
			}
			for _, r := range []string{otherAPI, w.Resource, w.bearer + "#", w.bearer + "/"} {
				b, err := c.refresh(a.str("refresh_token"), "resource", r)
				if err := b.refusedBy(err, 400, "invalid_target"); err != nil {
					return err
				}
			}
			b, err := c.refresh(a.str("refresh_token"), "resource", w.bearer)
			return all(err, b.is(200))
		}},
		{"design", "repeat-same-key", "The same key may repeat the same token, and gets the same successor, until that was used.", func(w *world) error {
			c := w.bound()
			a, err := c.login()
			if err != nil {
				return err
			}
			b, err := c.refresh(a.str("refresh_token"))
			d, err2 := c.refresh(a.str("refresh_token"))
			if err := all(err, err2, b.is(200), d.is(200)); err != nil {
				return err
			}
			if b.str("refresh_token") != d.str("refresh_token") {
				return wrong("two successors")
			}
			e, err := c.refresh(d.str("refresh_token"))
			if err := all(err, e.is(200)); err != nil {
				return err
			}
			f, err := c.refresh(a.str("refresh_token"))
			if err := f.refusedBy(err, 400, "invalid_grant"); err != nil {
				return err
			}
			f, err = c.refresh(e.str("refresh_token"))
			if err := all(err, f.is(200)); err != nil {
				return wrong("a quick repeat of the same key ended the grant: %v", err)
			}
			return nil
		}},
		{"9449 §5; 9700 §4.14.2", "other-key", "A bound refresh token with another key: refused, and the family is dead, its access token too.", func(w *world) error {
			c := w.bound()
			a, err := c.login()
			if err != nil {
				return err
			}
			thief := &tool{w: w, id: c.id, redirect: loop, k: newKey("ES256")}
			b, err := thief.refresh(a.str("refresh_token"))
			if err := b.refusedBy(err, 400, "invalid_grant", "invalid_dpop_proof"); err != nil {
				return err
			}
			b, err = c.refresh(a.str("refresh_token"))
			if err := b.refusedBy(err, 400, "invalid_grant"); err != nil {
				return err
			}
			return w.diesBound(c, a.str("access_token"))
		}},
		{"9449 §5", "no-proof", "A bound refresh token without a proof: refused, and the grant lives on.", func(w *world) error {
			c := w.bound()
			a, err := c.login()
			if err != nil {
				return err
			}
			b, err := w.post(w.token(), map[string][]string{"grant_type": {"refresh_token"}, "client_id": {c.id}, "refresh_token": {a.str("refresh_token")}})
			if err := b.refusedBy(err, 400, "invalid_dpop_proof", "use_dpop_nonce", "invalid_grant"); err != nil {
				return err
			}
			b, err = c.refresh(a.str("refresh_token"))
			return all(err, b.is(200))
		}},
		{"9449 §5", "stays-bound", "A client that may do without a key does not shake off the key of a grant that has one.", func(w *world) error {
			c := w.std()
			c.k = newKey("ES256")
			a, err := c.login()
			if err != nil {
				return err
			}
			b, err := w.std().refresh(a.str("refresh_token"))
			return b.refusedBy(err, 400, "invalid_dpop_proof", "use_dpop_nonce", "invalid_grant")
		}},
		{"9700 §4.14.2", "bearer-reuse", "A used refresh token of a client without a key, once its successor was used, is refused.", func(w *world) error {
			c := w.std()
			a, err := c.login()
			if err != nil {
				return err
			}
			b, err := c.refresh(a.str("refresh_token"))
			if err := all(err, b.is(200)); err != nil {
				return err
			}
			d, err := c.refresh(b.str("refresh_token"))
			if err := all(err, d.is(200)); err != nil {
				return err
			}
			e, err := c.refresh(a.str("refresh_token"))
			return e.refusedBy(err, 400, "invalid_grant")
		}},
		{"9700 §4.14.2; OAuth 2.1 §4.3.1", "bearer-old-generation", "With no key to tell thief from owner, a refresh token two generations old ends the family.", func(w *world) error {
			c := w.std()
			a, err := c.login()
			if err != nil {
				return err
			}
			last := a
			for range 3 {
				if last, err = c.refresh(last.str("refresh_token")); err != nil || last.status != 200 {
					return all(err, last.is(200))
				}
			}
			e, err := c.refresh(a.str("refresh_token"))
			if err := e.refusedBy(err, 400, "invalid_grant"); err != nil {
				return err
			}
			e, err = c.refresh(last.str("refresh_token"))
			return e.refusedBy(err, 400, "invalid_grant")
		}},
		{"6749 §10.4; design", "parallel", "Twenty at once with one token and one key: all get the same successor, and the login lives.", func(w *world) error {
			c := w.bound()
			a, err := c.login()
			if err != nil {
				return err
			}
			_ = w.freshNonce()
			next := map[string]bool{}
			var mu sync.Mutex
			var wg sync.WaitGroup
			for range 20 {
				wg.Go(func() {
					b, e := c.refresh(a.str("refresh_token"))
					mu.Lock()
					defer mu.Unlock()
					if e := all(e, b.is(200)); e != nil {
						err = e
						return
					}
					next[b.str("refresh_token")] = true
				})
			}
			wg.Wait()
			if err != nil {
				return err
			}
			if len(next) != 1 {
				return wrong("%d successors", len(next))
			}
			for rt := range next {
				b, err := c.refresh(rt)
				if err := all(err, b.is(200)); err != nil {
					return err
				}
			}
			return nil
		}},
		{"7009 §2.1; 6749 §6", "after-revoke", "After revocation: invalid_grant.", func(w *world) error {
			c := w.std()
			a, err := c.login()
			if err != nil {
				return err
			}
			b, err := c.revoke(a.str("refresh_token"))
			if err := all(err, b.is(200)); err != nil {
				return err
			}
			b, err = c.refresh(a.str("refresh_token"))
			return b.refusedBy(err, 400, "invalid_grant")
		}},
		{"OIDC Core §12.2", "id-token", "An ID token at refresh, if there is one, has the same iss, sub and aud, and no nonce of its own.", func(w *world) error {
			c := w.std()
			a, err := c.login("scope", "openid read", "nonce", "n-1")
			if err != nil {
				return err
			}
			b, err := c.refresh(a.str("refresh_token"))
			if err := all(err, b.is(200)); err != nil {
				return err
			}
			if b.str("id_token") == "" {
				return nil
			}
			_, x, err := claims(a.str("id_token"))
			_, y, err2 := w.verified(b.str("id_token"))
			if err := all(err, err2); err != nil {
				return err
			}
			for _, n := range []string{"iss", "sub", "aud", "auth_time"} {
				if compactJSON(x[n]) != compactJSON(y[n]) {
					return wrong("%s: %v then %v", n, x[n], y[n])
				}
			}
			if y["nonce"] != nil && y["nonce"] != "n-1" {
				return wrong("nonce %v", y["nonce"])
			}
			return nil
		}},
	}
}
