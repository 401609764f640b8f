package conformance

import (
	"net/http"
	"net/url"
	"strings"
)

// told makes a row: a request changed in some way is answered to the client with
// one of the errors.
func told(ref, name, what string, codes []string, change ...string) row {
	return row{ref, name, what, func(w *world) error { return w.toldClient(w.std().write(change...).params, codes...) }}
}

// shown makes a row: a request changed in some way is answered to the person, and
// nothing is sent to a client.
func shown(ref, name, what string, change ...string) row {
	return row{ref, name, what, func(w *world) error { return w.toldPerson(w.std().write(change...).params) }}
}

func authorizeRows() []row {
	bad := []string{"invalid_request"}
	return []row{
		{"6749 §3.1", "get", "A good request by GET leads to the sign-in page.", func(w *world) error {
			page, back, err := w.ask(w.std().write().params)
			if err := all(err, page.is(200)); err != nil {
				return err
			}
			if back != nil || !strings.Contains(page.body, "Sign in") {
				return wrong("%v %s", back, page)
			}
			return nil
		}},
		{"OIDC Core §3.1.2.1", "post", "A good request by POST, as a form, is taken too.", func(w *world) error {
			a, err := w.post(w.at("authorization_endpoint"), w.std().write("scope", "openid").params)
			if err != nil {
				return err
			}
			if a.status == http.StatusSeeOther || a.status == http.StatusFound {
				if a, _, err = w.follow(a.header.Get("Location")); err != nil {
					return err
				}
			}
			if a.status != 200 || !strings.Contains(a.body, "Sign in") {
				return wrong("%s", a)
			}
			return nil
		}},
		{"6749 §4.1.2", "response", "The response has code, state unchanged and iss, each once, added to the redirect URI's own query, and no fragment.", func(w *world) error {
			c := w.std()
			c.redirect = app
			s, err := c.code("state", "a b+c&d=e/ü%")
			if err != nil {
				return err
			}
			for k, want := range map[string]string{"state": "a b+c&d=e/ü%", "iss": w.Issuer, "code": s.code, "tenant": "a"} {
				if len(s.back[k]) != 1 || s.back.Get(k) != want {
					return wrong("%s = %q, want %q", k, s.back[k], want)
				}
			}
			if len(s.back) != 4 {
				return wrong("more than code, state and iss: %v", s.back)
			}
			return nil
		}},
		{"6749 §4.1.2", "no-state", "Without state in the request there is none in the response.", func(w *world) error {
			s, err := w.std().code("state", "")
			if err != nil {
				return err
			}
			if s.back.Has("state") {
				return wrong("%v", s.back)
			}
			return nil
		}},
		{"6749 §10.10", "code-entropy", "A code is long, and no two are alike.", func(w *world) error {
			seen := map[string]bool{}
			for range 5 {
				s, err := w.std().code()
				if err != nil {
					return err
				}
				if len(s.code) < 43 || seen[s.code] {
					return wrong("a code of %d characters", len(s.code))
				}
				seen[s.code] = true
			}
			return nil
		}},
		shown("6749 §4.1.2.1", "no-client", "Without client_id the person is told, and nothing is redirected.", "client_id", ""),
		shown("6749 §4.1.2.1", "unknown-client", "An unknown client_id is told to the person, and nothing is redirected.", "client_id", "nobody"),
		shown("6749 §4.1.2.1", "client-nul", "A client_id with NUL or line ends is told to the person.", "client_id", "std\x00\r\nX-Injected: 1"),
		shown("6749 §4.1.2.1", "no-redirect", "Without redirect_uri, where several are registered, the person is told.", "redirect_uri", ""),
		told("6749 §4.1.2.1", "no-response-type", "Without response_type: invalid_request.", bad, "response_type", ""),
		told("6749 §4.1.2.1; 9700 §2.1.2", "implicit", "response_type=token: unsupported_response_type or unauthorized_client, by the query and never a fragment.", []string{"unsupported_response_type", "unauthorized_client"}, "response_type", "token"),
		told("6749 §4.1.2.1", "id-token-type", "response_type=id_token is not supported.", []string{"unsupported_response_type", "unauthorized_client"}, "response_type", "id_token", "nonce", "n"),
		told("6749 §3.1.1", "hybrid", "response_type=code id_token is not supported.", []string{"unsupported_response_type", "unauthorized_client"}, "response_type", "code id_token", "nonce", "n"),
		told("6749 §3.1.1", "none-type", "response_type=none is not supported.", []string{"unsupported_response_type", "unauthorized_client"}, "response_type", "none"),
		told("6749 §3.1.1", "type-case", "response_type is compared by case.", []string{"unsupported_response_type", "unauthorized_client", "invalid_request"}, "response_type", "CODE"),
		told("7636 §4.4.1", "no-challenge", "A public client without code_challenge: invalid_request.", bad, "code_challenge", "", "code_challenge_method", ""),
		told("7636 §4.3; 9700 §2.1.1", "plain", "code_challenge_method=plain: invalid_request.", bad, "code_challenge_method", "plain"),
		told("7636 §4.3", "plain-by-default", "A challenge without a method means plain, and is refused.", bad, "code_challenge_method", ""),
		told("7636 §4.3", "method-case", "The method is compared by case: s256 is none.", bad, "code_challenge_method", "s256"),
		told("7636 §4.2", "short-challenge", "A challenge shorter than 43 characters is no SHA-256.", bad, "code_challenge", "abc"),
		told("7636 §4.2", "padded-challenge", "A challenge with padding is refused.", bad, "code_challenge", hash("x")+"="),
		told("7636 §4.2", "long-challenge", "A challenge of 200 characters is refused.", bad, "code_challenge", strings.Repeat("a", 200)),
		told("7636 §4.2", "odd-challenge", "A challenge of other characters than base64url is refused.", bad, "code_challenge", strings.Repeat("+", 43)),
		told("6749 §3.3, §4.1.2.1", "unknown-scope", "An unknown scope: invalid_scope.", []string{"invalid_scope"}, "scope", "read fly"),
		told("6749 §3.3", "odd-scope", "A scope with quotes, backslashes or control characters: invalid_scope.", []string{"invalid_scope", "invalid_request"}, "scope", "read \"\\\x01"),
		told("6749 §3.3", "scope-case", "Scopes are compared by case.", []string{"invalid_scope"}, "scope", "READ"),
		told("8707 §2", "resource-fragment", "A resource with a fragment: invalid_target.", []string{"invalid_target"}, "resource", otherAPI+"#x"),
		told("8707 §2", "resource-relative", "A resource that is not absolute: invalid_target.", []string{"invalid_target"}, "resource", "/v1"),
		told("8707 §2", "resource-unknown", "A resource that nobody knows: invalid_target.", []string{"invalid_target"}, "resource", "https://evil.example.test"),
		told("8707 §2", "resource-prefix", "A resource that only begins like a known one: invalid_target.", []string{"invalid_target"}, "resource", otherAPI+"/../v2"),
		told("OIDC Core §6.1", "request-object", "A request object: request_not_supported.", []string{"request_not_supported"}, "request", "eyJhbGciOiJub25lIn0.eyJzY29wZSI6ImFkbWluIn0."),
		told("OIDC Core §7.2.1", "registration", "registration: registration_not_supported, or ignored; never used.", []string{"registration_not_supported", "invalid_request"}, "registration", "{}", "prompt", "none login"),
		told("OIDC Core §3.1.2.6", "prompt-none", "prompt=none for somebody who is not signed in: login_required.", []string{"login_required"}, "prompt", "none"),
		told("OIDC Core §3.1.2.1", "prompt-none-and", "prompt=none with another value: invalid_request.", bad, "prompt", "none login"),
		told("OAuth 2.0 Multiple Response Types §2.1", "mode-fragment", "response_mode=fragment is refused: a fragment would carry the code.", []string{"invalid_request", "unsupported_response_mode"}, "response_mode", "fragment"),
		told("OAuth 2.0 Multiple Response Types §2.1", "mode-unknown", "An unknown response_mode is refused.", []string{"invalid_request", "unsupported_response_mode"}, "response_mode", "query.jwt"),
		told("OIDC Core §3.1.2.1", "max-age-odd", "max_age that is no number: invalid_request.", bad, "max_age", "-1x"),
		told("9207 §2", "iss-in-errors", "An error response has iss and state as well.", []string{"invalid_scope"}, "scope", "nope"),
		{"6749 §3.1", "doubles", "A parameter that stands twice is refused, and nothing is redirected where it is client_id or redirect_uri.", func(w *world) error {
			for _, p := range []string{"client_id", "redirect_uri", "response_type", "scope", "state", "code_challenge", "code_challenge_method"} {
				params := w.std().write().params
				params.Add(p, params.Get(p))
				page, back, err := w.ask(params)
				if err != nil {
					return err
				}
				if back == nil && page.status == 400 {
					continue
				}
				if back == nil || p == "client_id" || p == "redirect_uri" || back.Query().Get("error") != "invalid_request" {
					return wrong("%s: %v %s", p, back, page)
				}
			}
			return nil
		}},
		{"6749 §3.1", "form-twice", "A parameter in the query and again in a posted form is not taken from either by chance.", func(w *world) error {
			params := w.std().write().params
			a, err := w.post(w.authorizeURL(params), url.Values{"redirect_uri": {"https://evil.example.test/"}, "client_id": {"std2"}})
			if err := all(err, a.notCrashed()); err != nil {
				return err
			}
			if strings.Contains(a.header.Get("Location"), "evil") {
				return wrong("to %s", a.header.Get("Location"))
			}
			return nil
		}},
		{"9126 §2; OIDC Core §6.2", "request-uri-foreign", "A request_uri that points elsewhere is never fetched and never redirected.", func(w *world) error {
			for _, u := range []string{"https://evil.example.test/r", "http://127.0.0.1:1/x", "file:///etc/passwd", "urn:ietf:params:oauth:request_uri:", "urn:ietf:params:oauth:request_uri:ktu_AAAA", "\x00"} {
				if err := w.toldPersonOrClient(w.std().write("request_uri", u).params); err != nil {
					return err
				}
				if err := w.toldPersonOrClient(url.Values{"client_id": {"std"}, "request_uri": {u}}); err != nil {
					return err
				}
			}
			return nil
		}},
		{"6749 §10.12; 9110 §5.5", "state-injection", "Line ends, quotes, tags and NUL in state come back encoded, and make no header and no markup.", func(w *world) error {
			for _, state := range []string{"a\r\nX-Injected: 1", "\"><script>alert(1)</script>", "a\x00b", "%0d%0aX-Injected:1", "\u2028\u202e"} {
				params := w.std().write("state", state, "scope", "nope").params
				a, back, err := w.ask(params)
				if err != nil {
					return err
				}
				if a.header.Get("X-Injected") != "" || strings.Contains(a.body, "<script>alert") {
					return wrong("%q: %v %s", state, a.header, a)
				}
				if back != nil {
					if err := w.checkBack(a, back, params, "invalid_scope", "invalid_request"); err != nil {
						return err
					}
				}
			}
			return nil
		}},
		{"9700 §2.1.2; OAuth 2.1 §10.1", "no-token-in-url", "No authorization response holds a token.", func(w *world) error {
			s, err := w.std().code("scope", "openid read")
			if err != nil {
				return err
			}
			for _, p := range []string{"access_token", "id_token", "token_type", "refresh_token"} {
				if s.back.Has(p) {
					return wrong("%s in the response", p)
				}
			}
			return nil
		}},
		{"6749 §4.1.2.1", "deny", "Deny: access_denied with state and iss, and no code.", func(w *world) error {
			s := w.std().write()
			back, err := w.deny(s.params)
			if err != nil {
				return err
			}
			return w.checkBack(answer{status: 303}, back, s.params, "access_denied")
		}},
		{"8252 §8.6", "asks-a-person", "A request is never allowed without a person, who allowed the same before and is signed in.", func(w *world) error {
			c := w.std()
			if _, err := c.code(); err != nil {
				return err
			}
			page, err := w.person.Get(ctx(), w.authorizeURL(c.write().params))
			if err != nil {
				return err
			}
			if page.Back != nil {
				return wrong("redirected to %s at once", page.Back)
			}
			page, err = w.person.Get(ctx(), w.authorizeURL(c.write("prompt", "none").params))
			if err != nil {
				return err
			}
			if page.Back == nil || page.Back.Query().Get("code") != "" {
				return wrong("prompt=none: %v %s", page.Back, page.Text)
			}
			if e := page.Back.Query().Get("error"); e != "consent_required" && e != "interaction_required" {
				return wrong("prompt=none: %s", e)
			}
			return nil
		}},
		{"OIDC Core §3.1.2.1", "prompt-login", "prompt=login asks for the password again; so does max_age=0.", func(w *world) error {
			for _, p := range [][]string{{"prompt", "login"}, {"max_age", "0"}} {
				page, err := w.person.Get(ctx(), w.authorizeURL(w.std().write(append(p, "scope", "openid read")...).params))
				if err != nil {
					return err
				}
				asked := false
				for _, f := range page.Forms {
					asked = asked || f.Has("Password")
				}
				if !asked {
					return wrong("%v: no password is asked for: %.300s", p, page.Text)
				}
			}
			return nil
		}},
		{"6749 §3.3", "scope-told", "The person sees client, scopes in words and the API before allowing.", func(w *world) error {
			page, err := w.person.Get(ctx(), w.authorizeURL(w.std().write().params))
			if err != nil {
				return err
			}
			for _, s := range []string{"Standard", "Read reports", "Change reports", "Bearer API", "Allow", "Deny"} {
				if !strings.Contains(page.Text, s) {
					return wrong("the consent page does not say %q", s)
				}
			}
			return nil
		}},
	}
}
