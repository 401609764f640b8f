package conformance

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// challenged wants a status with a WWW-Authenticate of the scheme and error.
func (a answer) challenged(status int, scheme, code string) error {
	if err := a.is(status); err != nil {
		return err
	}
	all := strings.Join(a.header["Www-Authenticate"], ", ")
	if !strings.Contains(all, scheme) || code != "" && !strings.Contains(all, `error="`+code+`"`) {
		return wrong("WWW-Authenticate: %s; want %s and error=%q", all, scheme, code)
	}
	if code == "" && strings.Contains(all, "error=") {
		return wrong("an error code though nothing was sent (6750 §3.1): %s", all)
	}
	return nil
}

func resourceRows() []row {
	rows := []row{
		{"6750 §3; 9728 §5.1", "no-credentials", "Without credentials: 401 with a challenge, no error code, and where the metadata is.", func(w *world) error {
			for api, scheme := range map[string]string{w.bearer: "Bearer", w.Resource: "DPoP"} {
				a, err := w.call(api, "/reports", "")
				if err := all(err, a.challenged(401, scheme, "")); err != nil {
					return err
				}
				if !strings.Contains(strings.Join(a.header["Www-Authenticate"], ","), "resource_metadata=\""+api+"/.well-known/oauth-protected-resource\"") {
					return wrong("%v", a.header["Www-Authenticate"])
				}
			}
			return nil
		}},
		{"9449 §7.1", "challenge-algs", "The DPoP challenge lists algorithms.", func(w *world) error {
			a, err := w.call(w.Resource, "/reports", "")
			if err != nil {
				return err
			}
			if !strings.Contains(a.header.Get("Www-Authenticate"), "algs=\"") {
				return wrong("%v", a.header)
			}
			return nil
		}},
		{"6750 §3.1", "invalid-token", "A token that is no token: 401 invalid_token.", func(w *world) error {
			for _, t := range []string{"x", "a.b.c", strings.Repeat("a", 6000), "ktr_" + strings.Repeat("a", 90)} {
				a, err := w.call(w.bearer, "/reports", "Bearer "+t)
				if err := all(err, a.challenged(401, "Bearer", "invalid_token")); err != nil {
					return err
				}
			}
			return nil
		}},
		{"6750 §3.1", "malformed", "A header that is not a scheme and one token: 400 or 401, and no server error.", func(w *world) error {
			for _, h := range []string{"Bearer", "Bearer ", "Bearer a b", "bearer\tx", "Basic eDp5", "Bearer x, Bearer y", "DPoP", "Bearer  ", "Bearer \u00e9"} {
				a, err := w.call(w.bearer, "/reports", h)
				if err := all(err, a.is(400, 401)); err != nil {
					return fmt.Errorf("%q: %w", h, err)
				}
			}
			return nil
		}},
		{"9110 §11.1", "scheme-case", "The scheme's name may be in any case.", func(w *world) error {
			a, err := w.std().login()
			if err != nil {
				return err
			}
			for _, s := range []string{"bearer", "BEARER"} {
				b, err := w.call(w.bearer, "/reports", s+" "+a.str("access_token"))
				if err := all(err, b.is(200)); err != nil {
					return err
				}
			}
			return nil
		}},
		{"6750 §3.1", "scope", "Too little scope: 403 insufficient_scope, which names the scope.", func(w *world) error {
			a, err := w.std().login("scope", "read")
			if err != nil {
				return err
			}
			b, err := w.call(w.bearer, "/change", "Bearer "+a.str("access_token"))
			if err := all(err, b.challenged(403, "Bearer", "insufficient_scope")); err != nil {
				return err
			}
			if !strings.Contains(strings.Join(b.header["Www-Authenticate"], ","), `scope="write"`) {
				return wrong("%v", b.header)
			}
			return nil
		}},
		{"6750 §2.3; OAuth 2.1 §5.1; 9700 §4.3.2", "query-token", "A token in the query, or in a form, opens nothing.", func(w *world) error {
			a, err := w.std().login()
			if err != nil {
				return err
			}
			t := a.str("access_token")
			b, err := w.get(w.bearer + "/reports?access_token=" + t)
			if err := all(err, b.is(401, 400)); err != nil {
				return err
			}
			b, err = w.post(w.bearer+"/reports", url.Values{"access_token": {t}})
			if err := all(err, b.is(401, 400)); err != nil {
				return err
			}
			b, err = w.get(w.bearer+"/reports", "Cookie", "access_token="+t)
			return all(err, b.is(401, 400))
		}},
		{"6750 §2", "two-authorizations", "Two Authorization headers: refused.", func(w *world) error {
			a, err := w.std().login()
			if err != nil {
				return err
			}
			b, err := w.get(w.bearer+"/reports", "Authorization", "Bearer "+a.str("access_token"), "Authorization", "Bearer "+a.str("access_token"))
			return all(err, b.is(400, 401))
		}},
		{"9068 §4; 8707 §2", "audience", "A token for another API: 401 invalid_token.", func(w *world) error {
			a, err := w.std().login("resource", otherAPI)
			if err != nil {
				return err
			}
			b, err := w.call(w.bearer, "/reports", "Bearer "+a.str("access_token"))
			if err := all(err, b.challenged(401, "Bearer", "invalid_token")); err != nil {
				return err
			}
			c := w.bound()
			a, err = c.login("resource", w.bearer)
			if err != nil {
				return err
			}
			if ok, err := w.worksBound(c, a.str("access_token")); ok || err != nil {
				return all(err, wrong("the sample API took a token for the bearer API"))
			}
			return nil
		}},
		{"9449 §7.1", "bound-works", "A bound token with a proof by its key: 200.", func(w *world) error {
			c := w.bound()
			a, err := c.login()
			if err != nil {
				return err
			}
			if ok, err := w.worksBound(c, a.str("access_token")); !ok || err != nil {
				return all(err, wrong("refused"))
			}
			return nil
		}},
		{"9449 §7.2", "bound-as-bearer", "A bound token as Bearer: 401, also at an API that takes bearer tokens, with or without a proof.", func(w *world) error {
			c := w.bound()
			a, err := c.login("resource", w.bearer)
			if err != nil {
				return err
			}
			t := a.str("access_token")
			b, err := w.call(w.bearer, "/reports", "DPoP "+t, "DPoP", c.k.proof("GET", w.bearer+"/reports", "", ath(t)))
			if err := all(err, b.is(200)); err != nil {
				return err
			}
			for _, h := range [][]string{nil, {"DPoP", c.k.proof("GET", w.bearer+"/reports", "", ath(t))}} {
				b, err := w.call(w.bearer, "/reports", "Bearer "+t, h...)
				if err := all(err, b.is(401)); err != nil {
					return err
				}
			}
			return nil
		}},
		{"9449 §7.1", "bearer-as-dpop", "A token that is bound to nothing does not become bound by being sent with a proof.", func(w *world) error {
			a, err := w.std().login()
			if err != nil {
				return err
			}
			t := a.str("access_token")
			b, err := w.call(w.bearer, "/reports", "DPoP "+t, "DPoP", newKey("ES256").proof("GET", w.bearer+"/reports", "", ath(t)))
			return all(err, b.is(401))
		}},
		{"9449 §7.1", "two-proofs", "Two DPoP headers: refused.", func(w *world) error {
			c := w.bound()
			a, err := c.login()
			if err != nil {
				return err
			}
			to, t := w.Resource+"/reports", a.str("access_token")
			p := c.k.proof("GET", to, "", ath(t))
			b, err := w.get(to, "Authorization", "DPoP "+t, "DPoP", p, "DPoP", p)
			return all(err, b.is(400, 401))
		}},
		{"9449 §11.1", "replay", "A proof is taken once by an API.", func(w *world) error {
			c := w.bound()
			a, err := c.login()
			if err != nil {
				return err
			}
			to, t := w.Resource+"/reports", a.str("access_token")
			p := c.k.proof("GET", to, "", ath(t))
			b, err := w.get(to, "Authorization", "DPoP "+t, "DPoP", p)
			if err := all(err, b.is(200)); err != nil {
				return err
			}
			b, err = w.get(to, "Authorization", "DPoP "+t, "DPoP", p)
			return all(err, b.challenged(401, "DPoP", "invalid_dpop_proof"))
		}},
		{"9449 §4.3", "query-in-url", "The query is no part of the proof's URL.", func(w *world) error {
			c := w.bound()
			a, err := c.login()
			if err != nil {
				return err
			}
			to, t := w.Resource+"/reports", a.str("access_token")
			b, err := w.get(to+"?page=2", "Authorization", "DPoP "+t, "DPoP", c.k.proof("GET", to, "", ath(t)))
			return all(err, b.is(200))
		}},
		{"9449 §7.1; design", "revoked", "Revoked means refused within two seconds: invalid_token.", func(w *world) error {
			c := w.bound()
			a, err := c.login()
			if err != nil {
				return err
			}
			if _, err := c.revoke(a.str("refresh_token")); err != nil {
				return err
			}
			return w.diesBound(c, a.str("access_token"))
		}},
		{"9449 §7.1, §9, §11.1", "issuer-api-replay", "A proof is taken once by the issuer's own API, and a bound token there as Bearer never.", func(w *world) error {
			c := w.bound()
			a, err := c.login("resource", w.Issuer+"/api/v1", "scope", "account")
			if err != nil {
				return err
			}
			to, t := w.Issuer+"/api/v1/whoami", a.str("access_token")
			b, err := w.get(to)
			if err != nil {
				return err
			}
			p := c.k.proof("GET", to, b.header.Get("DPoP-Nonce"), ath(t))
			b, err = w.get(to, "Authorization", "DPoP "+t, "DPoP", p)
			if err := all(err, b.is(200)); err != nil {
				return err
			}
			if b, err = w.get(to, "Authorization", "DPoP "+t, "DPoP", p); err != nil || b.status != 401 {
				return all(err, b.is(401))
			}
			// Last, for what looks like a copy ends the token (docs/tripwire.md).
			p = c.k.proof("GET", to, b.header.Get("DPoP-Nonce"), ath(t))
			b, err = w.get(to, "Authorization", "Bearer "+t, "DPoP", p)
			return all(err, b.is(401))
		}},
		{"9728 §5.1", "issuer-api-metadata", "The issuer's own API names its metadata in the challenge, if anywhere, and then it is there and its `resource` is the API.", func(w *world) error {
			a, err := w.get(w.Issuer + "/api/v1/whoami")
			if err != nil {
				return err
			}
			_, rest, named := strings.Cut(strings.Join(a.header["Www-Authenticate"], ","), `resource_metadata="`)
			if !named {
				return nil
			}
			to, _, _ := strings.Cut(rest, `"`)
			b, err := w.get(to)
			if err := all(err, b.is(200)); err != nil {
				return err
			}
			if b.str("resource") != w.Issuer+"/api/v1" {
				return wrong("%s", b)
			}
			return nil
		}},
		{"9728 §3; 6750", "issuer-api", "The issuer's own API is guarded alike: a challenge without a token, 401 for another API's token.", func(w *world) error {
			for _, p := range []string{"/api/v1/whoami", "/api/v1/grants"} {
				a, err := w.get(w.Issuer + p)
				if err != nil {
					return err
				}
				if a.status == http.StatusNotFound {
					continue
				}
				if err := a.challenged(401, "DPoP", ""); err != nil {
					return err
				}
				c := w.bound()
				l, err := c.login()
				if err != nil {
					return err
				}
				t := l.str("access_token")
				b, err := w.get(w.Issuer+p, "Authorization", "DPoP "+t, "DPoP", c.k.proof("GET", w.Issuer+p, w.freshNonce(), ath(t)))
				if err := all(err, b.is(401)); err != nil {
					return err
				}
			}
			return nil
		}},
	}
	for name := range badCalls() {
		rows = append(rows, row{"9449 §4.3, §7.1", "proof-" + name, "A proof that is wrong in this way is refused by the API with 401 invalid_dpop_proof.", func(w *world) error {
			c := w.bound()
			a, err := c.login()
			if err != nil {
				return err
			}
			to, t := w.Resource+"/reports", a.str("access_token")
			var header []string
			if p := badCalls()[name](c.k, to, t, ""); p != "none" {
				header = []string{"DPoP", p}
			}
			b, err := w.call(w.Resource, "/reports", "DPoP "+t, header...)
			if err := all(err, b.is(401)); err != nil {
				return err
			}
			// RFC 9449 §7.1 lets an API say invalid_token where the key is another one.
			if c := strings.Join(b.header["Www-Authenticate"], ","); !strings.Contains(c, "invalid_dpop_proof") && !strings.Contains(c, "invalid_token") && !strings.Contains(c, "use_dpop_nonce") {
				return wrong("%s", c)
			}
			if name == "other-key" {
				return nil // it was copied, and may have ended (docs/tripwire.md)
			}
			if ok, err := w.worksBound(c, t); !ok || err != nil {
				return all(err, wrong("the token does not work any more"))
			}
			return nil
		}})
	}
	for name := range badCalls() {
		if name == "stale" || name == "future" {
			continue // the age of a nonce counts there
		}
		rows = append(rows, row{"9449 §4.3, §7.1, §9", "issuer-proof-" + name, "The same at the issuer's own API.", func(w *world) error {
			c := w.bound()
			a, err := c.login("resource", w.Issuer+"/api/v1", "scope", "account")
			if err != nil {
				return err
			}
			to, t := w.Issuer+"/api/v1/whoami", a.str("access_token")
			b, err := w.get(to)
			if err != nil {
				return err
			}
			nonce := b.header.Get("DPoP-Nonce")
			var header []string
			if p := badCalls()[name](c.k, to, t, nonce); p != "none" {
				header = []string{"DPoP", p}
			}
			if b, err = w.get(to, append(header, "Authorization", "DPoP "+t)...); err != nil || b.status != 401 {
				return all(err, b.is(401))
			}
			if strings.Contains(b.body, "acc_") {
				return wrong("%s", b)
			}
			b, err = w.get(to, "Authorization", "DPoP "+t, "DPoP", c.k.proof("GET", to, nonce, ath(t)))
			if name == "other-key" { // it was copied, and has ended (docs/tripwire.md)
				return all(err, b.is(401))
			}
			return all(err, b.is(200))
		}})
	}
	return sorted(rows)
}

// badCalls bend a proof for an API.
func badCalls() map[string]func(k *key, to, token, nonce string) string {
	claim := func(name string, v any) func(*key, string, string, string) string {
		return func(k *key, to, t, n string) string {
			return k.proof("GET", to, n, ath(t), func(_, c jose) {
				if c[name] = v; v == nil {
					delete(c, name)
				}
			})
		}
	}
	now := time.Now().Unix()
	return map[string]func(*key, string, string, string) string{
		"missing":     func(*key, string, string, string) string { return "none" },
		"empty":       func(*key, string, string, string) string { return "" },
		"ath-missing": claim("ath", nil),
		"ath-other":   claim("ath", hash("x")),
		"ath-number":  claim("ath", 1),
		"htm":         claim("htm", "POST"),
		"htm-case":    claim("htm", "get"),
		"htu-host":    claim("htu", "http://evil.example.test/reports"),
		"htu-path":    func(k *key, to, t, n string) string { return k.proof("GET", to+"/x", n, ath(t)) },
		"htu-prefix":  func(k *key, to, t, n string) string { return k.proof("GET", to[:len(to)-1], n, ath(t)) },
		"htu-case": func(k *key, to, t, n string) string {
			return k.proof("GET", to[:len(to)-2]+strings.ToUpper(to[len(to)-2:]), n, ath(t))
		},
		"stale":        claim("iat", now-3600),
		"future":       claim("iat", now+3600),
		"iat-missing":  claim("iat", nil),
		"iat-huge":     claim("iat", 1e300),
		"jti-missing":  claim("jti", nil),
		"nonce-forged": claim("nonce", strings.Repeat("A", 55)),
		"other-key":    func(_ *key, to, t, n string) string { return newKey("ES256").proof("GET", to, n, ath(t)) },
		"key-swapped": func(k *key, to, t, n string) string {
			return newKey("ES256").proof("GET", to, n, ath(t), func(h, _ jose) { h["jwk"] = k.jwk() })
		},
		"no-signature": func(k *key, to, t, n string) string { return cut(k.proof("GET", to, n, ath(t))) },
		"alg-none": func(k *key, to, t, n string) string {
			return cut(k.proof("GET", to, n, ath(t), func(h, _ jose) { h["alg"] = "none" }))
		},
		"typ": func(k *key, to, t, n string) string {
			return k.proof("GET", to, n, ath(t), func(h, _ jose) { h["typ"] = "JWT" })
		},
		"for-as":        func(k *key, _, t, n string) string { return k.proof("POST", "http://127.0.0.1/oauth/token", n, ath(t)) },
		"the-token":     func(_ *key, _, t, _ string) string { return t },
		"double-member": func(k *key, to, t, n string) string { return doubled(k, to, n) },
	}
}
