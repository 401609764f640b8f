package conformance

import (
	"net/url"
	"strings"
)

// pushed makes a row: a pushed request changed in some way is refused.
func pushed(ref, name, what string, codes []string, change ...string) row {
	return row{ref, name, what, func(w *world) error {
		c := w.std()
		a, err := c.send(w.par(), c.write(change...).params)
		return a.refusedBy(err, 400, codes...)
	}}
}

func parRows() []row {
	bad := []string{"invalid_request"}
	return []row{
		{"9126 §2.2", "created", "A good request: 201, JSON, `request_uri` with the IETF's URN and a whole number of seconds, not stored.", func(w *world) error {
			c := w.std()
			a, err := c.send(w.par(), c.write().params)
			if err := all(err, a.is(201)); err != nil {
				return err
			}
			n, _ := a.json["expires_in"].(float64)
			if !strings.HasPrefix(a.str("request_uri"), "urn:ietf:params:oauth:request_uri:") || len(a.str("request_uri")) < 34+43 || n <= 0 || n != float64(int(n)) || n > 3600 || !isJSON(a.header.Get("Content-Type")) || !strings.Contains(a.header.Get("Cache-Control"), "no-store") {
				return wrong("%v %s", a.header, a)
			}
			return nil
		}},
		pushed("9126 §2.1", "request-uri", "request_uri in a pushed request is refused.", bad, "request_uri", "urn:ietf:params:oauth:request_uri:x"),
		pushed("9126 §3; OIDC Core §6.1", "request-object", "A request object, which is not supported, is refused.", []string{"invalid_request", "request_not_supported", "invalid_request_object"}, "request", "eyJhbGciOiJub25lIn0.e30."),
		{"9126 §2.1, §2.3", "no-client", "Without client_id, or with an unknown one: refused.", func(w *world) error {
			for _, id := range []string{"", "nobody", "STD", "std\x00", "std ", "../std"} {
				a, err := w.post(w.par(), w.std().write("client_id", id).params)
				if err := all(err, a.is(400, 401)); err != nil {
					return err
				}
				if e := a.str("error"); e != "invalid_client" && e != "invalid_request" && e != "unauthorized_client" {
					return wrong("%q: %s", id, a)
				}
			}
			return nil
		}},
		pushed("9126 §2.3", "no-response-type", "Without response_type: invalid_request.", bad, "response_type", ""),
		pushed("9126 §2.3", "token-type", "response_type=token: unsupported_response_type.", []string{"unsupported_response_type", "unauthorized_client", "invalid_request"}, "response_type", "token"),
		pushed("9126 §2.3", "no-redirect", "Without redirect_uri: invalid_request.", bad, "redirect_uri", ""),
		pushed("9126 §2.3; 7636 §4.4.1", "no-challenge", "Without a challenge: invalid_request.", bad, "code_challenge", ""),
		pushed("9126 §2.3; 7636 §4.3", "plain", "With method plain: invalid_request.", bad, "code_challenge_method", "plain"),
		pushed("9126 §2.3", "scope", "An unknown scope: invalid_scope.", []string{"invalid_scope"}, "scope", "nope"),
		pushed("8707 §2", "resource", "An unknown resource: invalid_target.", []string{"invalid_target"}, "resource", "https://evil.example.test"),
		pushed("8707 §2", "resource-fragment", "A resource with a fragment: invalid_target.", []string{"invalid_target"}, "resource", otherAPI+"#"),
		{"8707 §2; design", "two-resources", "Two resources: invalid_target, since a token has one audience.", func(w *world) error {
			c := w.std()
			p := c.write("resource", w.bearer).params
			p.Add("resource", otherAPI)
			a, err := c.send(w.par(), p)
			return a.refusedBy(err, 400, "invalid_target")
		}},
		{"9126 §4", "other-client", "A request_uri of one client is refused with the client_id of another, and remains good for its own.", func(w *world) error {
			c := w.std()
			a, err := c.send(w.par(), c.write().params)
			if err := all(err, a.is(201)); err != nil {
				return err
			}
			u := a.str("request_uri")
			for _, id := range []string{"std2", "nobody", ""} {
				if err := w.toldPerson(url.Values{"client_id": {id}, "request_uri": {u}}); err != nil {
					return err
				}
			}
			if err := w.toldPerson(url.Values{"request_uri": {u}}); err != nil {
				return err
			}
			page, _, err := w.ask(url.Values{"client_id": {c.id}, "request_uri": {u}})
			return all(err, page.is(200))
		}},
		{"9126 §4, §7.3", "once", "A request_uri gives one response: after Allow or Deny it is used up.", func(w *world) error {
			for _, denied := range []bool{false, true} {
				c := w.std()
				a, err := c.send(w.par(), c.write().params)
				if err := all(err, a.is(201)); err != nil {
					return err
				}
				q := url.Values{"client_id": {c.id}, "request_uri": {a.str("request_uri")}}
				if denied {
					_, err = w.deny(q)
				} else {
					_, err = w.person.Allow(ctx(), w.authorizeURL(q))
				}
				if err != nil {
					return err
				}
				page, err := w.person.Get(ctx(), w.authorizeURL(q))
				if err != nil {
					return err
				}
				if page.Back != nil || page.Status < 400 {
					return wrong("opened again: %d %v", page.Status, page.Back)
				}
			}
			return nil
		}},
		{"9126 §4; 9101 §5", "params-beside", "Parameters beside a request_uri change nothing of what was pushed.", func(w *world) error {
			c := w.std()
			s := c.write("scope", "read")
			a, err := c.send(w.par(), s.params)
			if err := all(err, a.is(201)); err != nil {
				return err
			}
			q := url.Values{
				"client_id": {c.id}, "request_uri": {a.str("request_uri")}, "scope": {"read write"}, "redirect_uri": {"https://evil.example.test/"},
				"state": {"evil"}, "code_challenge": {hash("evil")}, "resource": {otherAPI},
			}
			page, back, err := w.ask(q)
			if err != nil {
				return err
			}
			if back != nil {
				return wrong("redirected to %s", back)
			}
			if page.status >= 400 {
				return nil
			}
			got, err := w.person.Allow(ctx(), w.authorizeURL(q))
			if err != nil {
				return err
			}
			if !strings.HasPrefix(got.String(), loop+"?") || got.Query().Get("state") != s.params.Get("state") {
				return wrong("to %s", got)
			}
			s.code = got.Query().Get("code")
			b, err := c.send(w.token(), c.codeForm(s))
			if err := all(err, b.is(200)); err != nil {
				return err
			}
			if b.str("scope") != "read" {
				return wrong("scope %q", b.str("scope"))
			}
			return nil
		}},
		{"9126 §5, §6", "required", "A client that must push gets nothing from a plain authorization request.", func(w *world) error {
			page, back, err := w.ask(w.named("pushed").write().params)
			if err != nil {
				return err
			}
			if back == nil {
				return pageNotRedirect(page, nil, nil)
			}
			if back.Query().Get("error") == "" {
				return wrong("to %s", back)
			}
			return nil
		}},
		{"design", "handshake-needs-par", "A client with handshake gets nothing by a plain request, nor by a pushed one with another response mode, nor without a proof.", func(w *world) error {
			c := w.named("example-cli")
			page, back, err := w.ask(c.write("scope", "read").params)
			if err != nil {
				return err
			}
			if back == nil && page.status == 200 || back != nil && back.Query().Get("error") == "" {
				return wrong("%v %s", back, page)
			}
			a, err := c.send(w.par(), c.write("scope", "read", "response_mode", "form_post").params)
			if err := a.refusedBy(err, 400, "invalid_dpop_proof", "use_dpop_nonce", "invalid_request"); err != nil {
				return err
			}
			c.k = newKey("ES256")
			a, err = c.send(w.par(), c.write("scope", "read", "response_mode", "query").params)
			if err := a.refusedBy(err, 400, "invalid_request", "unsupported_response_mode"); err != nil {
				return err
			}
			a, err = c.send(w.par(), c.write("scope", "read", "response_mode", "form_post").params)
			return all(err, a.is(201))
		}},
		{"9449 §10.1", "jkt-mismatch", "dpop_jkt that is not the proof's key is refused; the same key is taken.", func(w *world) error {
			c := w.bound()
			a, err := c.send(w.par(), c.write("dpop_jkt", newKey("ES256").thumb()).params)
			if err := a.refusedBy(err, 400, "invalid_dpop_proof", "invalid_request"); err != nil {
				return err
			}
			a, err = c.send(w.par(), c.write("dpop_jkt", c.k.thumb()).params)
			return all(err, a.is(201))
		}},
		{"9126 §2", "authorization-header", "Credentials of a client that has none are refused, or change nothing.", func(w *world) error {
			c := w.std()
			a, err := w.post(w.par(), c.write().params, "Authorization", "Basic c3RkMjpzZWNyZXQ=")
			return all(err, a.is(400, 401))
		}},
		{"9126 §2; 7523 §2.2", "assertion", "A client assertion of a public client is refused, not ignored as if it held.", func(w *world) error {
			c := w.std()
			p := c.write("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer", "client_assertion", newKey("ES256").sign(jose{"alg": "ES256"}, jose{"iss": "std", "sub": "std", "aud": w.Issuer}))
			a, err := c.send(w.par(), p.params)
			return all(err, a.is(400, 401))
		}},
	}
}
