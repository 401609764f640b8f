package conformance

import (
	"crypto/rand"
	"fmt"
	"net/url"
	"strings"
	"sync"
)

// refusedAndKept makes a row: a token request changed in some way is refused,
// and the same request unchanged still succeeds.
func refusedAndKept(ref, name, what string, status int, codes []string, change func(w *world, f url.Values)) row {
	return row{ref, name, what, func(w *world) error {
		c := w.std()
		s, err := c.code()
		if err != nil {
			return err
		}
		f := c.codeForm(s)
		change(w, f)
		a, err := c.send(w.token(), f)
		if err := a.refusedBy(err, status, codes...); err != nil {
			return err
		}
		a, err = c.send(w.token(), c.codeForm(s))
		if err := all(err, a.is(200)); err != nil {
			return wrong("the refusal used the code up: %v", err)
		}
		return nil
	}}
}

func change(pairs ...string) func(*world, url.Values) {
	return func(_ *world, f url.Values) { set(f, pairs) }
}

func tokenRows() []row {
	bad, grant := []string{"invalid_request"}, []string{"invalid_grant"}
	return []row{
		{"6749 §5.1", "answer", "The answer: JSON, 200, access_token, token_type, expires_in as a number, scope, no-store.", func(w *world) error {
			a, err := w.std().login()
			if err != nil {
				return err
			}
			n, ok := a.json["expires_in"].(float64)
			if !isJSON(a.header.Get("Content-Type")) || !strings.Contains(a.header.Get("Cache-Control"), "no-store") || a.str("access_token") == "" ||
				!strings.EqualFold(a.str("token_type"), "Bearer") || !ok || n <= 0 || n > 900 || a.str("scope") != "read write" || a.str("refresh_token") == "" {
				return wrong("%v %s", a.header, a)
			}
			return nil
		}},
		{"9449 §5", "answer-dpop", "With a proof, token_type is DPoP and the token has cnf.jkt of the proof's key.", func(w *world) error {
			for _, c := range []*tool{w.bound(), {w: w, id: "std", redirect: loop, k: newKey("ES256")}} {
				a, err := c.login()
				if err != nil {
					return err
				}
				_, body, err := claims(a.str("access_token"))
				if err != nil {
					return err
				}
				cnf, _ := body["cnf"].(map[string]any)
				if a.str("token_type") != "DPoP" || cnf["jkt"] != c.k.thumb() {
					return wrong("%s %v", a.str("token_type"), body)
				}
			}
			return nil
		}},
		{"9068 §2", "at+jwt", "The access token is at+jwt with iss, exp, aud, sub, client_id, iat, jti, one audience, scope, and a signature by a key of the JWKS.", func(w *world) error {
			a, err := w.std().login()
			if err != nil {
				return err
			}
			h, c, err := w.verified(a.str("access_token"))
			if err != nil {
				return err
			}
			if h["typ"] != "at+jwt" || c["iss"] != w.Issuer || c["aud"] != w.bearer || c["client_id"] != "std" || c["scope"] != "read write" || c["sub"] == nil || c["jti"] == nil || c["cnf"] != nil {
				return wrong("%v %v", h, c)
			}
			iat, err := num(c["iat"])
			exp, err2 := num(c["exp"])
			if err := all(err, err2); err != nil {
				return err
			}
			if d := exp.Sub(iat).Seconds(); d != a.json["expires_in"] {
				return wrong("lives %v s, and expires_in is %v", d, a.json["expires_in"])
			}
			return nil
		}},
		{"9068 §2.2.3; 8707 §2.2", "audience", "The audience is the resource that was asked for.", func(w *world) error {
			a, err := w.std().login("resource", otherAPI)
			if err != nil {
				return err
			}
			_, c, err := claims(a.str("access_token"))
			if err != nil {
				return err
			}
			if c["aud"] != otherAPI {
				return wrong("aud %v", c["aud"])
			}
			return nil
		}},
		refusedAndKept("6749 §5.2", "no-grant-type", "Without grant_type: invalid_request.", 400, bad, change("grant_type", "")),
		refusedAndKept("6749 §5.2", "unknown-grant-type", "An unknown grant_type: unsupported_grant_type.", 400, []string{"unsupported_grant_type"}, change("grant_type", "magic")),
		refusedAndKept("9700 §2.4", "password", "grant_type=password: unsupported_grant_type.", 400, []string{"unsupported_grant_type"}, change("grant_type", "password", "username", "person@example.test", "password", "correct horse battery staple")),
		refusedAndKept("6749 §4.4", "client-credentials", "grant_type=client_credentials for a public client: refused.", 400, []string{"unsupported_grant_type", "unauthorized_client", "invalid_client"}, change("grant_type", "client_credentials")),
		refusedAndKept("7523 §2.1", "jwt-bearer", "grant_type=jwt-bearer: unsupported_grant_type.", 400, []string{"unsupported_grant_type"}, change("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer", "assertion", "x.y.z")),
		refusedAndKept("8693 §2.1", "exchange", "grant_type=token-exchange: unsupported_grant_type.", 400, []string{"unsupported_grant_type"}, change("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange")),
		refusedAndKept("6749 §5.2", "no-code", "Without code: invalid_request.", 400, bad, change("code", "")),
		refusedAndKept("6749 §5.2", "wrong-code", "A code that was never given: invalid_grant.", 400, grant, change("code", "ktc_"+strings.Repeat("a", 49))),
		refusedAndKept("6749 §5.2", "garbage-code", "Garbage for a code: invalid_grant or invalid_request.", 400, []string{"invalid_grant", "invalid_request"}, change("code", "\x00\xff%00'\"<>")),
		{"6749 §5.2", "bent-code", "A code with a changed, missing or additional character: refused, and the code stays good.", func(w *world) error {
			c := w.std()
			s, err := c.code()
			if err != nil {
				return err
			}
			for _, code := range []string{s.code[:len(s.code)-1], s.code + "0", s.code + " ", strings.ToLower(s.code) + "x", s.code[1:], swap(s.code, 10), swap(s.code, len(s.code)-1)} {
				a, err := c.send(w.token(), c.codeForm(s, "code", code))
				if err := a.refusedBy(err, 400, "invalid_grant", "invalid_request"); err != nil {
					return err
				}
			}
			a, err := c.send(w.token(), c.codeForm(s))
			return all(err, a.is(200))
		}},
		refusedAndKept("7636 §4.5", "no-verifier", "Without code_verifier: refused.", 400, []string{"invalid_grant", "invalid_request"}, change("code_verifier", "")),
		refusedAndKept("7636 §4.6", "wrong-verifier", "A wrong verifier: invalid_grant, and the code stays good.", 400, grant, change("code_verifier", strings.Repeat("a", 43))),
		refusedAndKept("7636 §4.1", "short-verifier", "A verifier of 42 characters: refused.", 400, []string{"invalid_grant", "invalid_request"}, change("code_verifier", strings.Repeat("a", 42))),
		refusedAndKept("7636 §4.1", "long-verifier", "A verifier of 129 characters: refused.", 400, []string{"invalid_grant", "invalid_request"}, change("code_verifier", strings.Repeat("a", 129))),
		refusedAndKept("7636 §4.1", "odd-verifier", "A verifier with other characters: refused.", 400, []string{"invalid_grant", "invalid_request"}, change("code_verifier", strings.Repeat("é", 50))),
		{"7636 §7.2; 9700 §2.1.1", "challenge-as-verifier", "The challenge itself is no verifier: no downgrade to plain.", func(w *world) error {
			c := w.std()
			s, err := c.code()
			if err != nil {
				return err
			}
			a, err := c.send(w.token(), c.codeForm(s, "code_verifier", s.params.Get("code_challenge"), "code_challenge_method", "plain"))
			return a.refusedBy(err, 400, "invalid_grant")
		}},
		refusedAndKept("6749 §5.2", "no-client", "Without client_id: invalid_client or invalid_request.", 400, []string{"invalid_client", "invalid_request"}, change("client_id", "")),
		{"6749 §5.2", "unknown-client", "An unknown client: invalid_client with 400 or 401.", func(w *world) error {
			c := w.std()
			s, err := c.code()
			if err != nil {
				return err
			}
			a, err := c.send(w.token(), c.codeForm(s, "client_id", "nobody"))
			if err != nil {
				return err
			}
			return a.refused(a.status, "invalid_client")
		}},
		{"6749 §5.2", "basic-is-401", "A client that authenticates by header and fails gets 401 with WWW-Authenticate, and 400 where it has no business to.", func(w *world) error {
			c := w.std()
			s, err := c.code()
			if err != nil {
				return err
			}
			a, err := w.post(w.token(), c.codeForm(s), "Authorization", "Basic c3RkOnNlY3JldA==")
			if err := all(err, a.is(400, 401)); err != nil {
				return err
			}
			if a.status == 401 && a.header.Get("WWW-Authenticate") == "" {
				return wrong("401 without WWW-Authenticate")
			}
			return a.refused(a.status, "invalid_client", "invalid_request")
		}},
		refusedAndKept("6749 §2.3.1, §5.2", "secret", "A client secret of a client that has none: refused, 401 invalid_client.", 401, []string{"invalid_client", "invalid_request"}, change("client_secret", "secret")),
		{"6749 §4.1.3, §10.5", "foreign-code", "A code of one client is refused to another, whose request is otherwise right, and stays good.", func(w *world) error {
			c := w.std()
			s, err := c.code()
			if err != nil {
				return err
			}
			a, err := w.two().send(w.token(), c.codeForm(s, "client_id", "std2"))
			if err := a.refusedBy(err, 400, "invalid_grant"); err != nil {
				return err
			}
			a, err = c.send(w.token(), c.codeForm(s))
			return all(err, a.is(200))
		}},
		{"9700 §4.5", "injected-code", "A code of one login does not go with the verifier of another of the same client.", func(w *world) error {
			c := w.std()
			mine, err := c.code()
			stolen, err2 := c.code()
			if err := all(err, err2); err != nil {
				return err
			}
			a, err := c.send(w.token(), c.codeForm(mine, "code", stolen.code))
			return a.refusedBy(err, 400, "invalid_grant")
		}},
		{"6749 §4.1.2, §10.5; OAuth 2.1 §4.1.3", "code-twice", "A code used twice: invalid_grant, and what the first use gave is revoked, the access token at the API too.", func(w *world) error {
			c := w.std()
			s, err := c.code()
			if err != nil {
				return err
			}
			a, err := c.send(w.token(), c.codeForm(s))
			if err := all(err, a.is(200)); err != nil {
				return err
			}
			if ok, err := w.works(a.str("access_token")); err != nil || !ok {
				return all(err, wrong("the token does not work at first"))
			}
			b, err := c.send(w.token(), c.codeForm(s))
			if err := b.refusedBy(err, 400, "invalid_grant"); err != nil {
				return err
			}
			b, err = c.refresh(a.str("refresh_token"))
			if err := b.refusedBy(err, 400, "invalid_grant"); err != nil {
				return err
			}
			return w.diesWithin(a.str("access_token"))
		}},
		{"OAuth 2.1 §4.1.3", "used-code-wrong-verifier", "A used code with a wrong verifier revokes nothing: whoever has only the code cannot end a login.", func(w *world) error {
			c := w.std()
			s, err := c.code()
			if err != nil {
				return err
			}
			a, err := c.send(w.token(), c.codeForm(s))
			if err := all(err, a.is(200)); err != nil {
				return err
			}
			b, err := c.send(w.token(), c.codeForm(s, "code_verifier", strings.Repeat("a", 43)))
			if err := b.refusedBy(err, 400, "invalid_grant"); err != nil {
				return err
			}
			b, err = c.refresh(a.str("refresh_token"))
			return all(err, b.is(200))
		}},
		{"6749 §4.1.2", "code-at-once", "Of twelve that redeem one code at once, at most one succeeds.", func(w *world) error {
			c := w.std()
			s, err := c.code()
			if err != nil {
				return err
			}
			var mu sync.Mutex
			var wg sync.WaitGroup
			var good int
			for range 12 {
				wg.Go(func() {
					a, e := c.send(w.token(), c.codeForm(s))
					mu.Lock()
					defer mu.Unlock()
					if e != nil {
						err = e
					} else if a.status == 200 {
						good++
					} else if e := a.refused(400, "invalid_grant"); e != nil {
						err = e
					}
				})
			}
			wg.Wait()
			if err != nil {
				return err
			}
			if good > 1 {
				return wrong("%d times", good)
			}
			return nil
		}},
		{"8707 §2.2", "resource-at-token", "Another resource at the token endpoint than was consented to: invalid_target, and the code stays good; the same one is taken.", func(w *world) error {
			c := w.std()
			s, err := c.code("resource", w.bearer)
			if err != nil {
				return err
			}
			for _, r := range []string{otherAPI, "https://evil.example.test", w.bearer + "#x", "x"} {
				a, err := c.send(w.token(), c.codeForm(s, "resource", r))
				if err := a.refusedBy(err, 400, "invalid_target"); err != nil {
					return fmt.Errorf("%s: %w", r, err)
				}
			}
			a, err := c.send(w.token(), c.codeForm(s, "resource", w.bearer))
			return all(err, a.is(200))
		}},
		{"8707 §2.2; design", "two-resources", "Two resources at the token endpoint: invalid_target.", func(w *world) error {
			c := w.std()
			s, err := c.code()
			if err != nil {
				return err
			}
			f := c.codeForm(s, "resource", w.bearer)
			f.Add("resource", otherAPI)
			a, err := c.send(w.token(), f)
			return a.refusedBy(err, 400, "invalid_target")
		}},
		{"6749 §3.3", "scope-at-token", "scope at the redemption of a code widens nothing.", func(w *world) error {
			c := w.std()
			s, err := c.code("scope", "read")
			if err != nil {
				return err
			}
			a, err := c.send(w.token(), c.codeForm(s, "scope", "read write"))
			if err := all(err, a.is(200, 400)); err != nil {
				return err
			}
			if a.status == 200 && a.str("scope") != "read" {
				return wrong("%s", a)
			}
			return nil
		}},
		{"6749 §3.3", "client-scope", "A client gets no scope and no resource that it is not registered for.", func(w *world) error {
			c := w.named("narrow")
			if err := w.toldClient(c.write("scope", "read write").params, "invalid_scope"); err != nil {
				return err
			}
			return w.toldClient(c.write("scope", "read", "resource", otherAPI).params, "invalid_target")
		}},
		{"6749 §5.2", "unauthorized-client", "A client that is registered for codes alone gets no refresh token, and unauthorized_client for that grant.", func(w *world) error {
			c := w.named("codes")
			a, err := c.login()
			if err != nil {
				return err
			}
			if a.json["refresh_token"] != nil {
				return wrong("it got a refresh token")
			}
			a, err = c.refresh("ktr_" + strings.Repeat("a", 90))
			return a.refusedBy(err, 400, "unauthorized_client", "invalid_grant")
		}},
		{"9449 §5.2; design", "bearer-refused-by-resource", "A client that may do without a key gets no bearer token for an API that refuses them.", func(w *world) error {
			c := w.std()
			s := c.write("resource", w.Resource)
			page, back, err := w.ask(s.params)
			if err != nil {
				return err
			}
			if back != nil || page.status != 200 {
				return nil // refused at once
			}
			if err := c.allow(s); err != nil {
				return err
			}
			a, err := c.send(w.token(), c.codeForm(s))
			return a.refusedBy(err, 400, "invalid_dpop_proof", "use_dpop_nonce", "invalid_target", "invalid_request")
		}},
		{"6749 §5.2", "same-words", "An unknown code, a used one and another client's are refused in the same words.", func(w *world) error {
			c := w.std()
			s, err := c.code()
			if err != nil {
				return err
			}
			unknown, err := c.send(w.token(), c.codeForm(s, "code", "ktc_"+rand.Text()))
			foreign, err2 := w.two().send(w.token(), c.codeForm(s, "client_id", "std2"))
			if err := all(err, err2, unknown.refused(400, "invalid_grant", "invalid_request"), foreign.refused(400, "invalid_grant")); err != nil {
				return err
			}
			if unknown.str("error") != foreign.str("error") {
				return wrong("%s and %s", unknown, foreign)
			}
			return nil
		}},
	}
}

// swap changes one character.
func swap(s string, i int) string {
	c := byte('A')
	if s[i] == c {
		c = 'B'
	}
	return s[:i] + string(c) + s[i+1:]
}
