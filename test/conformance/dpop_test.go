package conformance

import (
	"fmt"
	"net/url"
	"strings"
	"time"
)

// badProofs bend a good proof.
func badProofs(issuer, to string) map[string]func(k *key, nonce string) string {
	bend := func(f func(h, c jose)) func(*key, string) string {
		return func(k *key, nonce string) string { return k.proof("POST", to, nonce, f) }
	}
	claim := func(name string, v any) func(*key, string) string {
		return bend(func(_, c jose) { c[name] = v })
	}
	header := func(name string, v any) func(*key, string) string {
		return bend(func(h, _ jose) { h[name] = v })
	}
	now := time.Now()
	return map[string]func(*key, string) string{
		"typ-jwt":     header("typ", "JWT"),
		"typ-at":      header("typ", "at+jwt"),
		"typ-missing": bend(func(h, _ jose) { delete(h, "typ") }),
		"typ-number":  header("typ", 1),
		"alg-none": func(k *key, n string) string {
			return cut(k.proof("POST", to, n, func(h, _ jose) { h["alg"] = "none" }))
		},
		"alg-none-signed": header("alg", "none"),
		"alg-hs256": func(k *key, n string) string {
			return hs256(jose{"typ": "dpop+jwt", "alg": "HS256", "jwk": k.jwk()}, jose{"htm": "POST", "htu": to, "iat": now.Unix(), "jti": "j", "nonce": n}, []byte(compactJSON(k.jwk())))
		},
		"alg-oct-key": func(_ *key, n string) string {
			return hs256(jose{"typ": "dpop+jwt", "alg": "HS256", "jwk": jose{"kty": "oct", "k": "c2VjcmV0"}}, jose{"htm": "POST", "htu": to, "iat": now.Unix(), "jti": "j", "nonce": n}, []byte("secret"))
		},
		"alg-other":      header("alg", "EdDSA"),
		"alg-missing":    bend(func(h, _ jose) { delete(h, "alg") }),
		"jwk-missing":    bend(func(h, _ jose) { delete(h, "jwk") }),
		"jwk-other":      header("jwk", newKey("ES256").jwk()),
		"jwk-private":    bend(func(h, _ jose) { h["jwk"].(map[string]any)["d"] = b64(make([]byte, 32)) }),
		"jwk-off-curve":  bend(func(h, _ jose) { h["jwk"].(map[string]any)["y"] = b64(make([]byte, 32)) }),
		"jwk-string":     header("jwk", "key"),
		"jku":            header("jku", "https://evil.example.test/jwks"),
		"x5u":            header("x5u", "https://evil.example.test/cert"),
		"kid-alone":      bend(func(h, _ jose) { delete(h, "jwk"); h["kid"] = "../../etc/passwd" }),
		"crit":           bend(func(h, _ jose) { h["crit"] = []string{"x"}; h["x"] = 1 }),
		"b64":            bend(func(h, _ jose) { h["b64"] = false; h["crit"] = []string{"b64"} }),
		"htm-get":        claim("htm", "GET"),
		"htm-case":       claim("htm", "post"),
		"htm-missing":    bend(func(_, c jose) { delete(c, "htm") }),
		"htm-list":       claim("htm", []string{"POST"}),
		"htu-other":      claim("htu", issuer+"/oauth/revoke-not"),
		"htu-host":       claim("htu", strings.Replace(to, issuer, "https://evil.example.test", 1)),
		"htu-scheme":     claim("htu", strings.Replace(to, "http://", "https://", 1)),
		"htu-port":       claim("htu", strings.Replace(to, issuer, "http://127.0.0.1", 1)),
		"htu-slash":      claim("htu", to+"/"),
		"htu-case":       claim("htu", strings.ToUpper(to)),
		"htu-userinfo":   claim("htu", strings.Replace(to, "http://", "http://u@", 1)),
		"htu-relative":   claim("htu", "/oauth/token"),
		"htu-missing":    bend(func(_, c jose) { delete(c, "htu") }),
		"jti-missing":    bend(func(_, c jose) { delete(c, "jti") }),
		"jti-empty":      claim("jti", ""),
		"jti-number":     claim("jti", 7),
		"jti-huge":       claim("jti", strings.Repeat("j", 6000)),
		"iat-missing":    bend(func(_, c jose) { delete(c, "iat") }),
		"iat-text":       claim("iat", "now"),
		"nonce-missing":  bend(func(_, c jose) { delete(c, "nonce") }),
		"nonce-forged":   claim("nonce", strings.Repeat("A", 55)),
		"nonce-number":   claim("nonce", 1),
		"nonce-bent":     func(k *key, n string) string { return k.proof("POST", to, swap(n, len(n)-3)) },
		"signature-bent": func(k *key, n string) string { p := k.proof("POST", to, n); return swap(p, len(p)-10) },
		"payload-bent": func(k *key, n string) string {
			p := k.proof("POST", to, n)
			return swap(p, strings.LastIndex(p, ".")-10)
		},
		"two-parts":     func(k *key, n string) string { p := k.proof("POST", to, n); return p[:strings.LastIndex(p, ".")] },
		"four-parts":    func(k *key, n string) string { return k.proof("POST", to, n) + ".x" },
		"padding":       func(k *key, n string) string { return k.proof("POST", to, n) + "==" },
		"garbage":       func(*key, string) string { return "garbage" },
		"empty":         func(*key, string) string { return "" },
		"list":          func(k *key, n string) string { return k.proof("POST", to, n) + ", " + k.proof("POST", to, n) },
		"double-member": func(k *key, n string) string { return doubled(k, to, n) },
		"payload-list": func(k *key, _ string) string {
			return k.sign(jose{"typ": "dpop+jwt", "alg": "ES256", "jwk": k.jwk()}, "[]")
		},
		"payload-invalid": func(k *key, _ string) string {
			return k.sign(jose{"typ": "dpop+jwt", "alg": "ES256", "jwk": k.jwk()}, "{")
		},
	}
}

// cut drops the signature.
func cut(jws string) string { return jws[:strings.LastIndex(jws, ".")+1] }

// doubled has htm twice, so that two parsers might read two things.
func doubled(k *key, to, nonce string) string {
	return k.sign(jose{"typ": "dpop+jwt", "alg": "ES256", "jwk": k.jwk()},
		fmt.Sprintf(`{"htm":"GET","htm":"POST","htu":%q,"iat":%d,"jti":"abcdefghijklmnop","nonce":%q}`, to, time.Now().Unix(), nonce))
}

func dpopRows() []row {
	rows := []row{
		{"9449 §8", "nonce-challenge", "Without a nonce: 400 use_dpop_nonce with a DPoP-Nonce header that is not stored; with that nonce: success.", func(w *world) error {
			c := w.bound()
			a, err := w.post(w.par(), c.write().params, "DPoP", c.k.proof("POST", w.par(), ""))
			if err := a.refusedBy(err, 400, "use_dpop_nonce"); err != nil {
				return err
			}
			n := a.header.Get("DPoP-Nonce")
			if len(n) < 20 || len(a.header["Dpop-Nonce"]) != 1 {
				return wrong("DPoP-Nonce %q", a.header["Dpop-Nonce"])
			}
			a, err = w.post(w.par(), c.write().params, "DPoP", c.k.proof("POST", w.par(), n))
			return all(err, a.is(201))
		}},
		{"9449 §8", "nonce-unpredictable", "No two nonces are alike, and none is a counter.", func(w *world) error {
			seen := map[string]bool{}
			for range 6 {
				k := newKey("ES256")
				a, err := w.post(w.token(), something(), "DPoP", k.proof("POST", w.token(), ""))
				if err != nil {
					return err
				}
				if seen[a.header.Get("DPoP-Nonce")] || a.header.Get("DPoP-Nonce") == "" {
					return wrong("%q", a.header.Get("DPoP-Nonce"))
				}
				seen[a.header.Get("DPoP-Nonce")] = true
			}
			return nil
		}},
		{"9449 §11.1; design", "clock", "With a fresh nonce a clock that is an hour wrong does not matter.", func(w *world) error {
			for _, d := range []time.Duration{-time.Hour, time.Hour} {
				c := w.bound()
				a, err := w.post(w.par(), c.write().params, "DPoP", c.k.proof("POST", w.par(), w.freshNonce(), func(_, x jose) { x["iat"] = time.Now().Add(d).Unix() }))
				if err := all(err, a.is(201)); err != nil {
					return err
				}
			}
			return nil
		}},
		{"9449 §4.3", "htu-query", "Query and fragment of htu are left out of the comparison; case and default port of the host are normalised or refused.", func(w *world) error {
			c := w.bound()
			a, err := w.post(w.par(), c.write().params, "DPoP", c.k.proof("POST", w.par()+"?x=1#y", w.freshNonce()))
			return all(err, a.is(201, 400))
		}},
		{"9449 §4.3 (1)", "two-headers", "Two DPoP headers are refused, even twice the same.", func(w *world) error {
			c := w.bound()
			for _, to := range []string{w.par(), w.token()} {
				p := c.k.proof("POST", to, w.freshNonce())
				a, err := w.post(to, c.write().params, "DPoP", p, "DPoP", p)
				if err := a.refusedBy(err, 400, "invalid_dpop_proof", "invalid_request"); err != nil {
					return err
				}
			}
			return nil
		}},
		{"9449 §5.2", "required", "A client registered as bound gets nothing without a proof: neither at PAR nor at the token endpoint.", func(w *world) error {
			c := w.bound()
			a, err := w.post(w.par(), c.write().params)
			if err := all(err, a.notCrashed()); err != nil {
				return err
			}
			if a.status == 201 {
				q := url.Values{"client_id": {c.id}, "request_uri": {a.str("request_uri")}}
				if back, err := w.person.Allow(ctx(), w.authorizeURL(q)); err == nil && back.Query().Get("code") != "" {
					s := &started{code: back.Query().Get("code"), params: c.write().params}
					a, err := w.post(w.token(), c.codeForm(s))
					return a.refusedBy(err, 400, "invalid_dpop_proof", "use_dpop_nonce")
				}
			}
			s, err := c.code()
			if err != nil {
				return err
			}
			a, err = w.post(w.token(), c.codeForm(s))
			if err := a.refusedBy(err, 400, "invalid_dpop_proof", "use_dpop_nonce"); err != nil {
				return err
			}
			a, err = c.send(w.token(), c.codeForm(s))
			return all(err, a.is(200))
		}},
		{"9449 §10", "code-bound", "A code whose request was made with a key is refused to another key and to none, and stays good for its own.", func(w *world) error {
			for _, c := range []*tool{w.bound(), {w: w, id: "std", redirect: loop, k: newKey("ES256")}} {
				s, err := c.code()
				if err != nil {
					return err
				}
				thief := &tool{w: w, id: c.id, redirect: loop, k: newKey("ES256")}
				a, err := thief.send(w.token(), c.codeForm(s))
				if err := a.refusedBy(err, 400, "invalid_grant", "invalid_dpop_proof"); err != nil {
					return err
				}
				a, err = w.post(w.token(), c.codeForm(s))
				if err := a.refusedBy(err, 400, "invalid_grant", "invalid_dpop_proof", "use_dpop_nonce"); err != nil {
					return fmt.Errorf("%s: %w", c.id, err)
				}
				a, err = c.send(w.token(), c.codeForm(s))
				if err := all(err, a.is(200)); err != nil {
					return err
				}
			}
			return nil
		}},
		{"9449 §10", "jkt-by-authorize", "dpop_jkt in a plain authorization request binds the code as well.", func(w *world) error {
			mine := newKey("ES256")
			c := w.std()
			s, err := c.code("dpop_jkt", mine.thumb())
			if err != nil {
				return err
			}
			for _, k := range []*key{nil, newKey("ES256")} {
				a, err := (&tool{w: w, id: c.id, k: k}).send(w.token(), c.codeForm(s))
				if err := a.refusedBy(err, 400, "invalid_grant", "invalid_dpop_proof", "use_dpop_nonce"); err != nil {
					return err
				}
			}
			a, err := (&tool{w: w, id: c.id, k: mine}).send(w.token(), c.codeForm(s))
			return all(err, a.is(200))
		}},
		{"9449 §10", "jkt-odd", "A dpop_jkt that is no thumbprint is refused.", func(w *world) error {
			for _, j := range []string{"x", strings.Repeat("a", 44), strings.Repeat("+", 43)} {
				if err := w.toldClient(w.std().write("dpop_jkt", j).params, "invalid_request", "invalid_dpop_proof"); err != nil {
					return err
				}
			}
			return nil
		}},
		{"9449 §5", "late-key", "A key may be shown first at the token endpoint, and binds from there on.", func(w *world) error {
			c := w.std()
			s, err := c.code()
			if err != nil {
				return err
			}
			c.k = newKey("ES256")
			a, err := c.send(w.token(), c.codeForm(s))
			if err := all(err, a.is(200)); err != nil {
				return err
			}
			if a.str("token_type") != "DPoP" {
				return wrong("%s", a)
			}
			thief := &tool{w: w, id: c.id, k: newKey("ES256")}
			a, err = thief.refresh(a.str("refresh_token"))
			return a.refusedBy(err, 400, "invalid_grant", "invalid_dpop_proof")
		}},
		{"9449 §5", "bad-proof-of-bearer-client", "A client that may do without a proof is refused with a bad one, not served as if it had sent none.", func(w *world) error {
			c := w.std()
			s, err := c.code()
			if err != nil {
				return err
			}
			for _, p := range []string{"garbage", "", newKey("ES256").proof("GET", w.token(), w.freshNonce())} {
				a, err := w.post(w.token(), c.codeForm(s), "DPoP", p)
				if err := a.refusedBy(err, 400, "invalid_dpop_proof"); err != nil {
					return fmt.Errorf("%.20q: %w", p, err)
				}
			}
			return nil
		}},
		{"9449 §5", "bad-proof-at-refresh", "A bad proof at the refresh of a grant without a key is refused, and the token stays good.", func(w *world) error {
			c := w.std()
			a, err := c.login()
			if err != nil {
				return err
			}
			f := url.Values{"grant_type": {"refresh_token"}, "client_id": {c.id}, "refresh_token": {a.str("refresh_token")}}
			for _, p := range []string{"garbage", newKey("ES256").proof("GET", w.token(), w.freshNonce())} {
				b, err := w.post(w.token(), f, "DPoP", p)
				if err := b.refusedBy(err, 400, "invalid_dpop_proof"); err != nil {
					return err
				}
			}
			b, err := c.refresh(a.str("refresh_token"))
			return all(err, b.is(200))
		}},
		{"9449 §5, §6", "token-type-true", "token_type says DPoP exactly when the token is bound, at a refresh with a new key too.", func(w *world) error {
			c := w.std()
			a, err := c.login()
			if err != nil {
				return err
			}
			c.k = newKey("ES256")
			b, err := c.refresh(a.str("refresh_token"))
			if err := all(err, b.is(200, 400)); err != nil || b.status == 400 {
				return err
			}
			_, body, err := claims(b.str("access_token"))
			if err != nil {
				return err
			}
			if (body["cnf"] != nil) != (b.str("token_type") == "DPoP") {
				return wrong("%s, and cnf %v", b.str("token_type"), body["cnf"])
			}
			return nil
		}},
		{"9449 §11.1", "replay", "A proof that was used is not used again for another request at the token endpoint.", func(w *world) error {
			c := w.bound()
			a, err := c.login()
			if err != nil {
				return err
			}
			p := c.k.proof("POST", w.token(), w.freshNonce())
			f := url.Values{"grant_type": {"refresh_token"}, "client_id": {c.id}, "refresh_token": {a.str("refresh_token")}}
			b, err := w.post(w.token(), f, "DPoP", p)
			if err := all(err, b.is(200)); err != nil {
				return err
			}
			f.Set("refresh_token", b.str("refresh_token"))
			d, err := w.post(w.token(), f, "DPoP", p)
			return d.refusedBy(err, 400, "invalid_dpop_proof", "use_dpop_nonce", "invalid_grant")
		}},
	}
	for name := range badProofs("http://x", "http://x/") {
		rows = append(rows, row{"9449 §4.3", "proof-" + name, "A proof that is wrong in this way is refused at PAR and at the token endpoint, and the code stays good.", func(w *world) error {
			codes := []string{"invalid_dpop_proof", "use_dpop_nonce"}
			c := w.bound()
			bad := badProofs(w.Issuer, w.par())[name](c.k, w.freshNonce())
			a, err := w.post(w.par(), c.write().params, "DPoP", bad)
			if err := a.refusedBy(err, 400, codes...); err != nil {
				return err
			}
			s, err := c.code()
			if err != nil {
				return err
			}
			bad = badProofs(w.Issuer, w.token())[name](c.k, w.freshNonce())
			a, err = w.post(w.token(), c.codeForm(s), "DPoP", bad)
			if err := a.refusedBy(err, 400, codes...); err != nil {
				return err
			}
			a, err = c.send(w.token(), c.codeForm(s))
			return all(err, a.is(200))
		}})
	}
	return sorted(rows)
}
