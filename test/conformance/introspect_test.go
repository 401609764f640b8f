package conformance

import (
	"crypto/rand"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"
)

const assertionType = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

// assertion is a resource server's private_key_jwt (RFC 7523 §3), bent.
func (w *world) assertion(k *key, id string, bend ...func(h, c jose)) string {
	now := time.Now().Unix()
	h := jose{"alg": k.alg, "typ": "JWT"}
	c := jose{"iss": id, "sub": id, "aud": w.Issuer, "iat": now, "exp": now + 60, "jti": rand.Text()}
	for _, f := range bend {
		f(h, c)
	}
	return k.sign(h, c)
}

// introspect asks as a resource server.
func (w *world) introspect(token, assertion string) (answer, error) {
	f := url.Values{"token": {token}}
	if assertion != "" {
		f.Set("client_assertion_type", assertionType)
		f.Set("client_assertion", assertion)
	}
	return w.post(w.at("introspection_endpoint"), f)
}

// badAssertions bend a good one.
func badAssertions() map[string]func(w *world) string {
	bend := func(f func(h, c jose)) func(*world) string {
		return func(w *world) string { return w.assertion(w.api, w.bearer, f) }
	}
	claim := func(name string, v any) func(*world) string { return bend(func(_, c jose) { c[name] = v }) }
	gone := func(name string) func(*world) string { return bend(func(_, c jose) { delete(c, name) }) }
	old := time.Now().Unix()
	return map[string]func(*world) string{
		"none": func(w *world) string { return cut(w.assertion(w.api, w.bearer, func(h, _ jose) { h["alg"] = "none" })) },
		"hs256": func(w *world) string {
			return hs256(jose{"alg": "HS256"}, jose{"iss": w.bearer, "sub": w.bearer, "aud": w.Issuer, "exp": old + 60, "jti": "x"}, []byte(compactJSON(w.api.jwk())))
		},
		"other-key": func(w *world) string { return w.assertion(newKey("ES256"), w.bearer) },
		"embedded-key": func(w *world) string {
			k := newKey("ES256")
			return w.assertion(k, w.bearer, func(h, _ jose) { h["jwk"] = k.jwk() })
		},
		"jku":          bend(func(h, _ jose) { h["jku"] = "http://127.0.0.1:1/x" }),
		"kid-path":     bend(func(h, _ jose) { h["kid"] = "../../../etc/passwd" }),
		"anothers-key": func(w *world) string { return w.assertion(w.other, w.bearer) },
		"sub-other":    claim("sub", otherAPI),
		"iss-other":    claim("iss", otherAPI),
		"unknown":      func(w *world) string { return w.assertion(w.api, "https://nobody.example.test") },
		"iss-missing":  gone("iss"),
		"sub-missing":  gone("sub"),
		"aud-missing":  gone("aud"),
		"aud-other":    claim("aud", "https://evil.example.test"),
		"aud-empty":    claim("aud", []string{}),
		"aud-prefix": func(w *world) string {
			return w.assertion(w.api, w.bearer, func(_, c jose) { c["aud"] = w.Issuer + "/x" })
		},
		"exp-missing":     gone("exp"),
		"exp-past":        claim("exp", old-120),
		"exp-text":        claim("exp", "tomorrow"),
		"nbf-future":      claim("nbf", old+3600),
		"exp-far":         claim("exp", old+10*365*86400),
		"jti-missing":     gone("jti"),
		"signature-bent":  func(w *world) string { a := w.assertion(w.api, w.bearer); return swap(a, len(a)-9) },
		"garbage":         func(*world) string { return "garbage" },
		"a-client-is-not": func(w *world) string { return w.assertion(w.api, "std") },
	}
}

func introspectRows() []row {
	rows := []row{
		{"7662 §2.2", "active", "A token of this API: active, with scope, client_id, sub, aud, iss, exp, iat, jti, token_type, as the token says.", func(w *world) error {
			a, err := w.std().login()
			if err != nil {
				return err
			}
			b, err := w.introspect(a.str("access_token"), w.assertion(w.api, w.bearer))
			if err := all(err, b.is(200)); err != nil {
				return err
			}
			_, c, err := claims(a.str("access_token"))
			if err != nil {
				return err
			}
			for _, n := range []string{"scope", "client_id", "sub", "aud", "iss", "exp", "iat", "jti"} {
				if compactJSON(b.json[n]) != compactJSON(c[n]) {
					return wrong("%s: %v, and the token says %v", n, b.json[n], c[n])
				}
			}
			if b.json["active"] != true || !isJSON(b.header.Get("Content-Type")) || !strings.Contains(b.header.Get("Cache-Control"), "no-store") || b.str("token_type") != "Bearer" {
				return wrong("%v %s", b.header, b)
			}
			return nil
		}},
		{"9449 §6.2", "bound", "For a bound token cnf.jkt is told, and token_type DPoP.", func(w *world) error {
			c := w.bound()
			a, err := c.login("resource", w.bearer)
			if err != nil {
				return err
			}
			b, err := w.introspect(a.str("access_token"), w.assertion(w.api, w.bearer))
			if err := all(err, b.is(200)); err != nil {
				return err
			}
			cnf, _ := b.json["cnf"].(map[string]any)
			if b.json["active"] != true || cnf["jkt"] != c.k.thumb() || b.str("token_type") != "DPoP" {
				return wrong("%s", b)
			}
			return nil
		}},
		{"7662 §2.1, §4", "nobody", "Without authentication: 401 invalid_client, also for a client that is public, or with a bearer token.", func(w *world) error {
			a, err := w.std().login()
			if err != nil {
				return err
			}
			for _, f := range []url.Values{
				{"token": {a.str("access_token")}},
				{"token": {a.str("access_token")}, "client_id": {"std"}},
				{"token": {a.str("access_token")}, "client_id": {w.bearer}},
				{"token": {a.str("access_token")}, "client_id": {"std"}, "client_secret": {""}},
			} {
				for _, h := range [][]string{nil, {"Authorization", "Bearer " + a.str("access_token")}, {"Authorization", "Basic c3RkOg=="}} {
					b, err := w.post(w.at("introspection_endpoint"), f, h...)
					if err := all(err, b.is(401, 400)); err != nil {
						return err
					}
					if e := b.refused(b.status, "invalid_client", "invalid_request"); e != nil {
						return e
					}
				}
			}
			return nil
		}},
		{"7662 §2.2", "inactive", "A token of another API, a refresh token, an ID token, a bent one, garbage: {\"active\":false} and nothing else.", func(w *world) error {
			mine, err := w.std().login("scope", "openid read")
			others, err2 := w.std().login("resource", otherAPI)
			if err := all(err, err2); err != nil {
				return err
			}
			at := mine.str("access_token")
			for i, t := range []string{others.str("access_token"), others.str("refresh_token"), mine.str("id_token"), swap(at, len(at)-9), cut(at), "x", "a.b.c", strings.Repeat("a", 5000)} {
				b, err := w.introspect(t, w.assertion(w.api, w.bearer))
				if err := all(err, b.is(200)); err != nil {
					return fmt.Errorf("%d: %w", i, err)
				}
				if len(b.json) != 1 || b.json["active"] != false {
					return wrong("%d: %s", i, b)
				}
			}
			return nil
		}},
		{"7662 §2.2; 7009", "revoked", "A revoked token is inactive at once.", func(w *world) error {
			c := w.std()
			a, err := c.login()
			if err != nil {
				return err
			}
			if b, err := c.revoke(a.str("refresh_token")); err != nil || b.status != 200 {
				return all(err, b.is(200))
			}
			b, err := w.introspect(a.str("access_token"), w.assertion(w.api, w.bearer))
			if err != nil {
				return err
			}
			if compactJSON(b.json) != `{"active":false}` {
				return wrong("%s", b)
			}
			return nil
		}},
		{"7662 §2.1", "missing", "Without token: invalid_request.", func(w *world) error {
			b, err := w.post(w.at("introspection_endpoint"), url.Values{"client_assertion_type": {assertionType}, "client_assertion": {w.assertion(w.api, w.bearer)}})
			return b.refusedBy(err, 400, "invalid_request")
		}},
		{"7523 §3 (7)", "replay", "An assertion is taken once.", func(w *world) error {
			s := w.assertion(w.api, w.bearer)
			b, err := w.introspect("x", s)
			if err := all(err, b.is(200)); err != nil {
				return err
			}
			b, err = w.introspect("x", s)
			return b.refusedBy(err, 401, "invalid_client")
		}},
		{"7523 §3; 7521 §4.2", "type", "Another client_assertion_type, none, or a client_id that is not the assertion's: refused.", func(w *world) error {
			for _, f := range []url.Values{
				{"client_assertion_type": {"urn:ietf:params:oauth:client-assertion-type:saml2-bearer"}},
				{},
				{"client_assertion_type": {assertionType}, "client_id": {otherAPI}},
			} {
				f.Set("token", "x")
				f.Set("client_assertion", w.assertion(w.api, w.bearer))
				b, err := w.post(w.at("introspection_endpoint"), f)
				if err := all(err, b.is(400, 401)); err != nil {
					return err
				}
				if e := b.refused(b.status, "invalid_client", "invalid_request"); e != nil {
					return e
				}
			}
			return nil
		}},
		{"6749 §2.3, §5.2", "two-methods", "An assertion beside a secret or an Authorization header is more than one mechanism: refused.", func(w *world) error {
			for _, more := range [][2]string{{"client_secret", "x"}, {"", "Basic eDp5"}} {
				f := url.Values{"token": {"x"}, "client_assertion_type": {assertionType}, "client_assertion": {w.assertion(w.api, w.bearer)}}
				var header []string
				if more[0] != "" {
					f.Set(more[0], more[1])
				} else {
					header = []string{"Authorization", more[1]}
				}
				b, err := w.post(w.at("introspection_endpoint"), f, header...)
				if err := all(err, b.is(400, 401)); err != nil {
					return err
				}
			}
			return nil
		}},
		{"7662 §2.1", "hint", "token_type_hint of any kind does not hinder.", func(w *world) error {
			a, err := w.std().login()
			if err != nil {
				return err
			}
			for _, hint := range []string{"access_token", "refresh_token", "nonsense"} {
				b, err := w.post(w.at("introspection_endpoint"), url.Values{"token": {a.str("access_token")}, "token_type_hint": {hint}, "client_assertion_type": {assertionType}, "client_assertion": {w.assertion(w.api, w.bearer)}})
				if err := all(err, b.is(200)); err != nil {
					return err
				}
				if b.json["active"] != true {
					return wrong("%s: %s", hint, b)
				}
			}
			return nil
		}},
		{"7523 §3 (3)", "aud-list", "An audience list that has the issuer is taken or refused, never a crash; the endpoint's own URL too.", func(w *world) error {
			for _, aud := range []any{[]string{w.Issuer}, []string{"https://evil.example.test", w.Issuer}, w.at("introspection_endpoint"), w.token()} {
				b, err := w.introspect("x", w.assertion(w.api, w.bearer, func(_, c jose) { c["aud"] = aud }))
				if err := all(err, b.is(200, 401)); err != nil {
					return err
				}
			}
			return nil
		}},
		{"design", "feed", "The revocation feed is for resource servers alone, and for their own audience.", func(w *world) error {
			feed := w.at("keytether_revocation_feed_endpoint")
			for _, f := range []url.Values{{}, {"client_id": {"std"}}, {"client_assertion_type": {assertionType}, "client_assertion": {w.assertion(newKey("ES256"), w.bearer)}}} {
				a, err := w.post(feed, f)
				if err := all(err, a.is(400, 401)); err != nil {
					return err
				}
			}
			a, err := w.do(http.MethodGet, feed+"?"+url.Values{"client_assertion_type": {assertionType}, "client_assertion": {w.assertion(w.api, w.bearer)}}.Encode(), "")
			return all(err, a.is(405))
		}},
	}
	for name, bad := range badAssertions() {
		rows = append(rows, row{"7523 §3; 7515 §10", "assertion-" + name, "An assertion that is wrong in this way is refused: 401 invalid_client.", func(w *world) error {
			b, err := w.introspect("x", bad(w))
			return b.refusedBy(err, 401, "invalid_client")
		}})
	}
	return sorted(rows)
}
