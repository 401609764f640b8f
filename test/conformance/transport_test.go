package conformance

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"net/http"
	"net/url"
	"strings"
)

// posts are the endpoints that take forms from programs.
func (w *world) posts() []string {
	return []string{w.token(), w.par(), w.at("revocation_endpoint"), w.at("introspection_endpoint")}
}

// each runs a check on every endpoint that takes forms.
func (w *world) each(f func(to string) error) error {
	for _, to := range w.posts() {
		if err := f(to); err != nil {
			return fmt.Errorf("%s: %w", to, err)
		}
	}
	return nil
}

// something is a form that every endpoint understands, for a client that exists.
func something() url.Values {
	return url.Values{"client_id": {"std"}, "token": {"x"}, "grant_type": {"refresh_token"}, "refresh_token": {"x"}, "response_type": {"code"}}
}

func transportRows() []row {
	return []row{
		{"6749 §3.2; 7009 §2.1; 7662 §2.1; 9126 §2.1", "post-only", "Endpoints for programs take POST alone; others get 405 with Allow, and no TRACE is echoed.", func(w *world) error {
			return w.each(func(to string) error {
				for _, m := range []string{"GET", "HEAD", "PUT", "DELETE", "PATCH", "TRACE", "get", "BREW"} {
					a, err := w.do(m, to+"?"+something().Encode(), "", "X-Probe", "echoed")
					if err := all(err, a.is(405, 501, 400)); err != nil {
						return fmt.Errorf("%s: %w", m, err)
					}
					if a.status == 405 && a.header.Get("Allow") == "" || strings.Contains(a.body, "echoed") {
						return wrong("%s: %v %s", m, a.header, a)
					}
				}
				return nil
			})
		}},
		{"6749 §2.3.1, §3.2", "nothing-in-query", "Parameters in the query of an endpoint for programs are not looked at.", func(w *world) error {
			c := w.std()
			s, err := c.code()
			if err != nil {
				return err
			}
			a, err := w.do("POST", w.token()+"?"+c.codeForm(s).Encode(), "", "Content-Type", formType)
			if err := a.refusedBy(err, 400, "invalid_request"); err != nil {
				return err
			}
			a, err = c.send(w.token()+"?grant_type=refresh_token&client_id=std2&code=x", c.codeForm(s))
			if err != nil {
				return err
			}
			return a.is(200, 400)
		}},
		{"6749 §3.2, App. B", "form-only", "A body of another type is refused: JSON, multipart, text, none.", func(w *world) error {
			return w.each(func(to string) error {
				for _, b := range [][2]string{
					{"application/json", `{"client_id":"std","grant_type":"refresh_token","refresh_token":"x","token":"x"}`},
					{"multipart/form-data; boundary=b", "--b\r\nContent-Disposition: form-data; name=\"client_id\"\r\n\r\nstd\r\n--b--\r\n"},
					{"text/plain", something().Encode()},
					{"", something().Encode()},
					{"application/xml", "<x/>"},
					{"application/x-www-form-urlencoded-not", something().Encode()},
					{"/", something().Encode()},
				} {
					a, err := w.do("POST", to, b[1], "Content-Type", b[0])
					if err := all(err, a.is(400, 401, 415)); err != nil {
						return fmt.Errorf("%q: %w", b[0], err)
					}
					if a.str("error") != "invalid_request" {
						return wrong("%q: %s", b[0], a)
					}
				}
				return nil
			})
		}},
		{"6749 App. B", "form-type-with-charset", "The form's type with a charset, in any case, is the form's type.", func(w *world) error {
			for _, ct := range []string{formType + "; charset=UTF-8", "Application/X-WWW-Form-Urlencoded", formType + ";charset=\"utf-8\""} {
				c := w.std()
				s, err := c.code()
				if err != nil {
					return err
				}
				a, err := w.do("POST", w.token(), c.codeForm(s).Encode(), "Content-Type", ct)
				if err := all(err, a.is(200)); err != nil {
					return fmt.Errorf("%q: %w", ct, err)
				}
			}
			return nil
		}},
		{"6749 §3.2", "no-doubles", "A parameter that stands twice is invalid_request, the same value twice too.", func(w *world) error {
			for _, p := range []string{"grant_type", "client_id", "code", "redirect_uri", "code_verifier"} {
				c := w.std()
				s, err := c.code()
				if err != nil {
					return err
				}
				f := c.codeForm(s)
				f.Add(p, f.Get(p))
				a, err := c.send(w.token(), f)
				if err := a.refusedBy(err, 400, "invalid_request"); err != nil {
					return fmt.Errorf("%s: %w", p, err)
				}
				a, err = c.send(w.token(), c.codeForm(s))
				if err := all(err, a.is(200)); err != nil {
					return wrong("the refusal used the code up: %v", err)
				}
			}
			f := something()
			f.Add("token", "x")
			a, err := w.post(w.at("revocation_endpoint"), f)
			return a.refusedBy(err, 400, "invalid_request")
		}},
		{"6749 §3.2", "empty-is-absent", "A parameter without a value counts as left out.", func(w *world) error {
			c := w.std()
			s, err := c.code()
			if err != nil {
				return err
			}
			f := c.codeForm(s)
			f.Set("scope", "")
			f.Set("resource", "")
			f.Set("unheard_of", "")
			a, err := c.send(w.token(), f)
			return all(err, a.is(200))
		}},
		{"6749 §2.3.1, §3.2", "empty-secret", "client_secret without a value, and client_assertion without one, count as left out: a public client that sends them so is served.", func(w *world) error {
			for _, p := range []string{"client_secret", "client_assertion", "client_assertion_type"} {
				c := w.std()
				s, err := c.code()
				if err != nil {
					return err
				}
				f := c.codeForm(s)
				f.Set(p, "")
				a, err := c.send(w.token(), f)
				if err := all(err, a.is(200)); err != nil {
					return fmt.Errorf("%s: %w", p, err)
				}
			}
			return nil
		}},
		{"6749 §3.2", "unknown-ignored", "A parameter that nobody knows is ignored.", func(w *world) error {
			c := w.std()
			s, err := c.code("x-unheard-of", "1")
			if err != nil {
				return err
			}
			a, err := c.send(w.token(), c.codeForm(s, "unheard_of", "1"))
			return all(err, a.is(200))
		}},
		{"design", "sizes", "An oversized body, parameter, URL or header is refused with a 4xx, and the server lives on.", func(w *world) error {
			long := strings.Repeat("a", 64<<10)
			for _, to := range w.posts() {
				f := something()
				f.Set("token", long)
				f.Set("state", long)
				f.Set("refresh_token", long)
				a, err := w.post(to, f)
				if err := all(err, a.is(400, 401, 413)); err != nil {
					return err
				}
				a, err = w.do("POST", to, strings.Repeat("a=b&", 1<<18), "Content-Type", formType)
				if err == nil { // the server may hang up
					if err := a.is(400, 401, 413); err != nil {
						return err
					}
				}
			}
			p := w.std().write("state", long)
			a, err := w.get(w.authorizeURL(p.params))
			if err := all(err, a.is(400, 414, 431, 302, 303)); err != nil {
				return err
			}
			a, err = w.post(w.token(), something(), "DPoP", long)
			if err := all(err, a.is(400, 431)); err != nil {
				return err
			}
			a, err = w.post(w.token(), something(), "X-Long", strings.Repeat("a", 2<<20))
			if err == nil {
				if err := a.is(400, 431); err != nil {
					return err
				}
			}
			a, err = w.get(w.Issuer + "/healthz")
			return all(err, a.is(200))
		}},
		{"9112 §7.1", "chunked", "A chunked body is a body.", func(w *world) error {
			c := w.std()
			s, err := c.code()
			if err != nil {
				return err
			}
			body := c.codeForm(s).Encode()
			u, _ := url.Parse(w.token())
			a, err := w.raw("POST " + u.Path + " HTTP/1.1\r\nHost: {host}\r\nContent-Type: " + formType + "\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n" +
				fmt.Sprintf("%x\r\n%s\r\n%x\r\n%s\r\n0\r\n\r\n", 10, body[:10], len(body)-10, body[10:]))
			return all(err, a.is(200))
		}},
		{"9112 §6.1, §6.3", "smuggling", "A body with both length and chunks, or with two lengths, is not answered as two requests.", func(w *world) error {
			u, _ := url.Parse(w.token())
			for _, h := range []string{"Content-Length: 4\r\nContent-Length: 5\r\n", "Transfer-Encoding: xchunked\r\n", "Content-Length: -1\r\n", "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n"} {
				a, err := w.raw("POST " + u.Path + " HTTP/1.1\r\nHost: {host}\r\nContent-Type: " + formType + "\r\nConnection: close\r\n" + h + "\r\na=b&c\r\n")
				if err := all(err, a.is(400, 501)); err != nil {
					return fmt.Errorf("%q: %w", h, err)
				}
			}
			return nil
		}},
		{"9110 §8.4", "gzip", "A coded body is refused, not read as something else.", func(w *world) error {
			var b bytes.Buffer
			z := gzip.NewWriter(&b)
			_, _ = z.Write([]byte(something().Encode()))
			_ = z.Close()
			return w.each(func(to string) error {
				a, err := w.do("POST", to, b.String(), "Content-Type", formType, "Content-Encoding", "gzip")
				return all(err, a.is(400, 401, 415))
			})
		}},
		{"6749 App. B; 9110 §5.5", "odd-bytes", "NUL, broken percent signs, invalid UTF-8, semicolons and line ends in parameters are refused, and nothing breaks.", func(w *world) error {
			return w.each(func(to string) error {
				for _, body := range []string{
					"client_id=std&token=%00&grant_type=refresh_token&refresh_token=%00", "client_id=std&token=%zz&grant_type=%", "client_id=std%ff&token=x&grant_type=refresh_token",
					"client_id=std;token=x;grant_type=refresh_token", "client_id=std%0d%0aX-Injected:%201&token=x&grant_type=refresh_token%0d%0a", "=&=&&&", "%", "\x00", "client_id=std\u202e&token=x",
				} {
					a, err := w.do("POST", to, body, "Content-Type", formType)
					if err := all(err, a.is(400, 401)); err != nil {
						return fmt.Errorf("%q: %w", body, err)
					}
					if a.header.Get("X-Injected") != "" {
						return wrong("header injected by %q", body)
					}
				}
				return nil
			})
		}},
		{"9110 §5.3", "two-content-types", "Two Content-Type lines, or two Authorization lines, are refused.", func(w *world) error {
			return w.each(func(to string) error {
				a, err := w.do("POST", to, something().Encode(), "Content-Type", formType, "Content-Type", "application/json")
				if err := all(err, a.is(400, 401, 415)); err != nil {
					return err
				}
				a, err = w.post(to, something(), "Authorization", "Bearer a", "Authorization", "Basic c3RkOg==")
				return all(err, a.is(400, 401))
			})
		}},
		{"Fetch §3.3; 9700 §2.6", "cors-none", "Authorization endpoint, pages and endpoints with cookies answer no CORS, in a preflight or otherwise.", func(w *world) error {
			for _, to := range []string{w.at("authorization_endpoint"), w.at("keytether_handshake_endpoint"), w.Issuer + "/me", w.Issuer + "/oauth/signin", w.at("introspection_endpoint"), w.at("keytether_revocation_feed_endpoint")} {
				for _, m := range []string{"OPTIONS", "GET", "HEAD", "POST"} {
					a, err := w.do(m, to, "", "Origin", "https://evil.example.test", "Access-Control-Request-Method", "POST", "Access-Control-Request-Headers", "dpop,content-type")
					if err := all(err, a.notCrashed()); err != nil {
						return fmt.Errorf("%s %s: %w", m, to, err)
					}
					for h := range a.header {
						if strings.HasPrefix(h, "Access-Control-Allow") {
							return wrong("%s %s: %s: %s", m, to, h, a.header.Get(h))
						}
					}
				}
			}
			return nil
		}},
		{"Fetch §3.3", "cors-no-credentials", "Nowhere is a foreign origin allowed with credentials.", func(w *world) error {
			for _, to := range append(w.posts(), w.at("jwks_uri"), w.Issuer+"/.well-known/oauth-authorization-server", w.Issuer+"/.well-known/openid-configuration") {
				for _, m := range []string{"OPTIONS", "GET", "POST"} {
					a, err := w.do(m, to, "", "Origin", "https://evil.example.test", "Access-Control-Request-Method", "POST", "Access-Control-Request-Headers", "dpop")
					if err := all(err, a.notCrashed()); err != nil {
						return fmt.Errorf("%s %s: %w", m, to, err)
					}
					if a.header.Get("Access-Control-Allow-Credentials") != "" || strings.Contains(a.header.Get("Access-Control-Allow-Origin"), "evil") {
						return wrong("%s %s: %v", m, to, a.header)
					}
				}
			}
			return nil
		}},
		{"9110 §9.3.2", "head", "HEAD on a document answers as GET does, without a body, and changes nothing.", func(w *world) error {
			for _, to := range []string{w.at("jwks_uri"), w.Issuer + "/.well-known/oauth-authorization-server", w.Issuer + "/healthz"} {
				a, err := w.do(http.MethodHead, to, "")
				if err := all(err, a.is(200)); err != nil {
					return err
				}
				if a.body != "" {
					return wrong("a body: %s", a)
				}
			}
			return nil
		}},
		{"9110 §9.3.2; 9126 §4", "head-authorize", "HEAD, prefetch and reload of the authorization URL use nothing up.", func(w *world) error {
			c := w.std()
			s := c.write()
			a, err := c.send(w.par(), s.params)
			if err := all(err, a.is(201)); err != nil {
				return err
			}
			u := w.authorizeURL(url.Values{"client_id": {c.id}, "request_uri": {a.str("request_uri")}})
			for _, m := range []string{"HEAD", "GET", "GET"} {
				a, err := w.do(m, u, "", "Purpose", "prefetch", "Sec-Purpose", "prefetch")
				if err := all(err, a.is(200, 204, 405, 503)); err != nil {
					return err
				}
			}
			page, _, err := w.follow(u)
			if err := all(err, page.is(200)); err != nil {
				return err
			}
			if !strings.Contains(page.body, "Sign in") {
				return wrong("%s", page)
			}
			return nil
		}},
		{"9700 §4.12", "no-307", "No path, clean or not, is answered with 307 or 308, which would repeat a form with a password elsewhere.", func(w *world) error {
			for _, p := range []string{"/", "//", "/oauth//token", "/oauth/../oauth/signin", "/oauth/signin/", "/oauth/token/", "/api/v1", "/api/v1/", "/me/", "/./me", "//evil.example.test/", "/oauth/authorize/", "/%2e%2e/me", "/.well-known", "/static", "/static/"} {
				for _, m := range []string{"GET", "POST"} {
					a, err := w.raw(m + " " + p + " HTTP/1.1\r\nHost: {host}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
					if err != nil {
						return fmt.Errorf("%s %s: %w", m, p, err)
					}
					if a.status == 307 || a.status == 308 {
						return wrong("%s %s: %d to %s", m, p, a.status, a.header.Get("Location"))
					}
				}
			}
			return nil
		}},
		{"9110 §15.4", "no-circle", "No page redirects to itself.", func(w *world) error {
			for _, p := range []string{"/", "/me"} {
				if _, _, err := w.follow(w.Issuer + p); err != nil {
					return err
				}
			}
			return nil
		}},
		{"6749 §5.1; 6750 §5.3", "no-store", "Answers that hold, or might hold, something secret are not stored: `Cache-Control: no-store`.", func(w *world) error {
			for _, to := range append(w.posts(), w.at("authorization_endpoint"), w.Issuer+"/me") {
				for _, m := range []string{"GET", "POST"} {
					a, err := w.do(m, to, "")
					if err := all(err, a.notCrashed()); err != nil {
						return err
					}
					if !strings.Contains(a.header.Get("Cache-Control"), "no-store") {
						return wrong("%s %s: %v", m, to, a.header)
					}
				}
			}
			return nil
		}},
		{"9700 §4.2.4; HTML", "nosniff-referrer", "Every answer says nosniff, and no page lets its URL out as a referrer.", func(w *world) error {
			for _, p := range []string{"/oauth/token", "/oauth/par", "/oauth/jwks", "/oauth/authorize", "/me", "/nothing-here", "/oauth/revoke", "/oauth/introspect", "/.well-known/openid-configuration", "/"} {
				a, err := w.get(w.Issuer + p)
				if err != nil {
					return err
				}
				if a.header.Get("X-Content-Type-Options") != "nosniff" || a.header.Get("Referrer-Policy") != "no-referrer" {
					return wrong("%s: %v", p, a.header)
				}
			}
			return nil
		}},
		{"9110 §10.2.4", "no-version", "No answer names software and version.", func(w *world) error {
			a, err := w.get(w.Issuer + "/oauth/authorize")
			if err != nil {
				return err
			}
			if a.header.Get("Server") != "" || a.header.Get("X-Powered-By") != "" {
				return wrong("%v", a.header)
			}
			return nil
		}},
	}
}
