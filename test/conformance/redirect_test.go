package conformance

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
)

// badRedirects are URIs that are not the registered ones, though somebody's
// parser might think so.
func badRedirects() map[string]string {
	return map[string]string{
		"other-host":       "https://evil.example.test/cb?tenant=a",
		"other-path":       "https://app.example.test/cb/x?tenant=a",
		"no-query":         "https://app.example.test/cb",
		"more-query":       "https://app.example.test/cb?tenant=a&x=1",
		"other-query":      "https://app.example.test/cb?tenant=b",
		"fragment":         "https://app.example.test/cb?tenant=a#x",
		"empty-fragment":   "https://app.example.test/cb?tenant=a#",
		"http":             "http://app.example.test/cb?tenant=a",
		"port":             "https://app.example.test:443/cb?tenant=a",
		"other-port":       "https://app.example.test:8443/cb?tenant=a",
		"empty-port":       "https://app.example.test:/cb?tenant=a",
		"userinfo":         "https://app.example.test@evil.example.test/cb?tenant=a",
		"userinfo-same":    "https://u:p@app.example.test/cb?tenant=a",
		"empty-userinfo":   "https://@app.example.test/cb?tenant=a",
		"backslash":        "https://evil.example.test\\@app.example.test/cb?tenant=a",
		"backslash-path":   "https://app.example.test\\.evil.example.test/cb?tenant=a",
		"upper-host":       "https://APP.example.test/cb?tenant=a",
		"upper-scheme":     "HTTPS://app.example.test/cb?tenant=a",
		"trailing-dot":     "https://app.example.test./cb?tenant=a",
		"suffix":           "https://app.example.test.evil.test/cb?tenant=a",
		"traversal":        "https://app.example.test/x/../cb?tenant=a",
		"dot-segment":      "https://app.example.test/./cb?tenant=a",
		"percent-path":     "https://app.example.test/%63b?tenant=a",
		"percent-slash":    "https://app.example.test/cb%2f?tenant=a",
		"percent-dots":     "https://app.example.test/cb/%2e%2e/cb?tenant=a",
		"double-slash":     "https://app.example.test//cb?tenant=a",
		"trailing-slash":   "https://app.example.test/cb/?tenant=a",
		"space":            "https://app.example.test/cb?tenant=a ",
		"leading-space":    " https://app.example.test/cb?tenant=a",
		"tab":              "https://app.example.test/cb\t?tenant=a",
		"crlf":             "https://app.example.test/cb?tenant=a\r\nX-Injected: 1",
		"nul":              "https://app.example.test/cb?tenant=a\x00",
		"unicode-dot":      "https://app.example\u3002test/cb?tenant=a",
		"scheme-relative":  "//app.example.test/cb?tenant=a",
		"relative":         "/cb?tenant=a",
		"javascript":       "javascript:alert(1)",
		"data":             "data:text/html,x",
		"wildcard":         "https://*.example.test/cb?tenant=a",
		"two-clients":      "https://two.example.test/cb",
		"loop-localhost":   "http://localhost:53682/callback",
		"loop-https":       "https://127.0.0.1:53682/callback",
		"loop-other-ip":    "http://127.0.0.2:53682/callback",
		"loop-short-ip":    "http://127.1:53682/callback",
		"loop-decimal":     "http://2130706433:53682/callback",
		"loop-octal":       "http://0177.0.0.1:53682/callback",
		"loop-hex":         "http://0x7f.0.0.1:53682/callback",
		"loop-zero":        "http://0.0.0.0:53682/callback",
		"loop-path":        "http://127.0.0.1:53682/callback/x",
		"loop-query":       "http://127.0.0.1:53682/callback?x=1",
		"loop-empty-query": "http://127.0.0.1:53682/callback?",
		"loop-fragment":    "http://127.0.0.1:53682/callback#x",
		"loop-case":        "http://127.0.0.1:53682/Callback",
		"loop-userinfo":    "http://127.0.0.1:53682@evil.example.test/callback",
		"loop-userinfo2":   "http://x@127.0.0.1:53682/callback",
		"loop-suffix":      "http://127.0.0.1.evil.example.test:53682/callback",
		"loop-traversal":   "http://127.0.0.1:53682/x/../callback",
		"loop-percent":     "http://127.0.0.1:53682/%63allback",
		"loop-port-zero":   "http://127.0.0.1:0/callback",
		"loop-port-big":    "http://127.0.0.1:65536/callback",
		"loop-port-huge":   "http://127.0.0.1:99999999999999999999/callback",
		"loop-port-sign":   "http://127.0.0.1:+80/callback",
		"loop-port-minus":  "http://127.0.0.1:-1/callback",
		"loop-port-letter": "http://127.0.0.1:80a/callback",
		"loop-port-empty":  "http://127.0.0.1:/callback",
		"loop-dot":         "http://127.0.0.1.:53682/callback",
		"loop-v6-zone":     "http://[::1%25lo]:53682/callback",
		"loop-v6-long":     "http://[0:0:0:0:0:0:0:1]:53682/callback",
		"loop-v6-mapped":   "http://[::ffff:127.0.0.1]:53682/callback",
		"loop-v6-any":      "http://[::]:53682/callback",
	}
}

func redirectRows() []row {
	rows := []row{
		{"8252 §7.3", "any-port", "A loopback redirect URI is taken with any port, or none, on both address families.", func(w *world) error {
			for _, u := range []string{"http://127.0.0.1:1/callback", "http://127.0.0.1:65535/callback", "http://127.0.0.1/callback", "http://[::1]:53682/callback", "http://[::1]/callback"} {
				page, back, err := w.ask(w.std().write("redirect_uri", u).params)
				if err := all(err, page.is(200)); err != nil || back != nil {
					return all(err, wrong("%s: %v", u, back))
				}
			}
			return nil
		}},
		{"6749 §4.1.3", "exact-at-token", "The token request must name the redirect URI of the authorization request, its port too.", func(w *world) error {
			for _, u := range []string{"http://127.0.0.1:53683/callback", "http://127.0.0.1/callback", "http://[::1]:53682/callback", loop + "/", strings.ToUpper(loop), ""} {
				c := w.std()
				s, err := c.code()
				if err != nil {
					return err
				}
				a, err := c.send(w.token(), c.codeForm(s, "redirect_uri", u))
				if err := a.refusedBy(err, 400, "invalid_grant", "invalid_request"); err != nil {
					return fmt.Errorf("%q: %w", u, err)
				}
				a, err = c.send(w.token(), c.codeForm(s))
				if err := all(err, a.is(200)); err != nil {
					return wrong("a wrong redirect_uri used the code up: %v", err)
				}
			}
			return nil
		}},
		{"9700 §4.1", "of-another-client", "A redirect URI of another client is not this one's.", func(w *world) error {
			return w.toldPerson(w.two().write("redirect_uri", app).params)
		}},
		{"OAuth 2.0 Form Post Response Mode §2", "form-post", "response_mode=form_post: 200, a page that posts code, state and iss to the redirect URI, not stored, nothing in a URL.", func(w *world) error {
			for _, redirect := range []string{loop, app} {
				c := w.std()
				s := c.write("response_mode", "form_post", "redirect_uri", redirect, "state", `"><script>alert(1)</script>`)
				a, err := w.allowRaw(s.params)
				if err != nil {
					return err
				}
				f, err := a.form(redirect)
				if err != nil {
					return err
				}
				if f.Hidden.Get("code") == "" || f.Hidden.Get("state") != s.params.Get("state") || f.Hidden.Get("iss") != w.Issuer || len(f.Hidden) != 3 {
					return wrong("the form has %v", f.Hidden)
				}
				if a.status != 200 || !strings.Contains(a.header.Get("Cache-Control"), "no-store") || strings.Contains(a.body, "<script>alert") {
					return wrong("%v %s", a.header, a)
				}
				s.code = f.Hidden.Get("code")
				b, err := c.send(w.token(), c.codeForm(s))
				if err := all(err, b.is(200)); err != nil {
					return err
				}
			}
			return nil
		}},
		{"OAuth 2.0 Form Post Response Mode §2", "form-post-errors", "With form_post errors come by a form as well.", func(w *world) error {
			s := w.std().write("response_mode", "form_post", "scope", "nope")
			page, back, err := w.ask(s.params)
			if err != nil {
				return err
			}
			if back != nil {
				return wrong("redirected to %s", back)
			}
			f, err := page.form(loop)
			if err != nil {
				return err
			}
			if f.Hidden.Get("error") != "invalid_scope" || f.Hidden.Get("state") != s.params.Get("state") || f.Hidden.Get("iss") != w.Issuer {
				return wrong("%v", f.Hidden)
			}
			return nil
		}},
		{"CSP §6.4.1", "form-post-csp", "The page that posts a code may post to that one origin and run that one script.", func(w *world) error {
			a, err := w.allowRaw(w.std().write("response_mode", "form_post").params)
			if err != nil {
				return err
			}
			csp := a.header.Get("Content-Security-Policy")
			if !strings.Contains(csp, "http://127.0.0.1:53682") || strings.Contains(csp, "unsafe-") || strings.Contains(csp, "*") || !strings.Contains(csp, "frame-ancestors 'none'") || !strings.Contains(csp, "default-src 'none'") {
				return wrong("%s", csp)
			}
			return nil
		}},
		{"design", "mode-registered", "A response mode that a client is not registered for is refused.", func(w *world) error {
			p := w.named("narrow").write("scope", "read", "response_mode", "form_post").params
			page, back, err := w.ask(p)
			if err != nil {
				return err
			}
			if back == nil && page.status == 400 {
				return nil
			}
			if q := query(back); q.Get("error") == "" || q.Has("code") {
				return wrong("%v %s", back, page)
			}
			return nil
		}},
		{"6749 §4.1.2; 9700 §4.12", "redirect-303", "After Allow the redirect is a 303 or 302.", func(w *world) error {
			a, err := w.allowRaw(w.std().write().params)
			if err != nil {
				return err
			}
			return a.is(http.StatusSeeOther, http.StatusFound)
		}},
		{"6749 §3.1.2.4; 9700 §4.11", "no-open-redirect", "Sign-in, sign-out and handshake redirect nowhere but to this server, whatever a parameter says.", func(w *world) error {
			for _, p := range []string{"next", "return_to", "redirect_uri", "redirect", "url", "continue", "return", "post_logout_redirect_uri", "RelayState"} {
				for _, path := range []string{"/me", "/oauth/signin", "/oauth/signout", "/signout", "/logout", "/oauth/handshake", "/oauth/authorize", "/"} {
					for _, target := range []string{"https://evil.example.test/", "//evil.example.test/", "/\\evil.example.test/"} {
						a, err := w.get(w.Issuer + path + "?" + url.Values{p: {target}}.Encode())
						if err != nil {
							return err
						}
						if strings.Contains(a.header.Get("Location"), "evil.example.test") && !strings.HasPrefix(a.header.Get("Location"), w.Issuer+"/") || strings.Contains(a.body, "href=\"https://evil") {
							return wrong("%s?%s: %s", path, p, a.header.Get("Location"))
						}
					}
				}
			}
			return nil
		}},
	}
	for name, u := range badRedirects() {
		rows = append(rows, row{"6749 §3.1.2.4; 9700 §2.1, §4.1.3", "uri-" + name, "Not redirected, though it looks like a registered URI: `" + fmt.Sprintf("%.60q", u) + "`.", func(w *world) error {
			if err := w.toldPerson(w.std().write("redirect_uri", u).params); err != nil {
				return err
			}
			a, err := w.std().send(w.par(), w.std().write("redirect_uri", u).params)
			return a.refusedBy(err, 400, "invalid_request", "invalid_redirect_uri")
		}})
	}
	return sorted(rows)
}
