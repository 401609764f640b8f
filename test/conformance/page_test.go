package conformance

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/keytether/keytether/bench/driver"
	"github.com/keytether/keytether/internal/testkit/stage"
)

// safePage checks what every page must say of itself.
func (a answer) safePage() error {
	csp := a.header.Get("Content-Security-Policy")
	for _, want := range []string{"frame-ancestors 'none'", "default-src 'none'", "base-uri 'none'", "form-action "} {
		if !strings.Contains(csp, want) {
			return wrong("CSP without %s: %q", want, csp)
		}
	}
	if strings.Contains(csp, "unsafe-") || strings.Contains(csp, "*") {
		return wrong("CSP %q", csp)
	}
	for h, want := range map[string]string{"X-Frame-Options": "DENY", "X-Content-Type-Options": "nosniff", "Cross-Origin-Opener-Policy": "same-origin"} {
		if a.header.Get(h) != want {
			return wrong("%s: %q", h, a.header.Get(h))
		}
	}
	if !strings.Contains(a.header.Get("Cache-Control"), "no-store") || !strings.HasPrefix(a.header.Get("Content-Type"), "text/html; charset=utf-8") {
		return wrong("%v", a.header)
	}
	return nil
}

func (a answer) asksPassword() bool { _, err := a.formWith("Password"); return err == nil }

// foreign are headers of a form that another site sent, or nobody knows who.
func foreign() map[string][]string {
	return map[string][]string{
		"another origin": {"Origin", "https://evil.example.test", "Sec-Fetch-Site", "cross-site"},
		"null":           {"Origin", "null", "Sec-Fetch-Site", "cross-site"},
		"same host":      {"Origin", "http://127.0.0.1:1", "Sec-Fetch-Site", "same-site"},
	}
}

// formRow makes a row about a form of a page: a forged copy of it does nothing.
func formRow(name, what, button string, open func(w *world, b *browser) (answer, error), alive func(w *world, b *browser) error) row {
	return row{"9700 §4.7; 6749 §10.12", "csrf-" + name, what, func(w *world) error {
		b := w.signedIn()
		page, err := open(w, b)
		if err != nil {
			return err
		}
		f, err := page.formWith(button)
		if err != nil {
			return err
		}
		good := values(f, button)
		for what, h := range foreign() {
			a, err := b.submit(f.Action, good, h...)
			if err := all(err, a.is(400, 403)); err != nil {
				return fmt.Errorf("%s: %w", what, err)
			}
		}
		for k := range f.Hidden {
			for _, v := range []string{"", "x", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"} {
				bad := values(f, button)
				bad.Set(k, v)
				a, err := b.submit(f.Action, bad)
				if err := all(err, a.is(400, 403, 404, 401, 410)); err != nil {
					return fmt.Errorf("%s=%q: %w", k, v, err)
				}
			}
		}
		// Another browser's token is none here.
		x := w.browser()
		if p, err := x.get(w.Issuer + "/me"); err == nil {
			if other, err := p.formWith("Password"); err == nil {
				for k := range other.Hidden {
					if f.Hidden.Has(k) && strings.Contains(k, "csrf") {
						bad := values(f, button)
						bad.Set(k, other.Hidden.Get(k))
						a, err := b.submit(f.Action, bad)
						if err := all(err, a.is(400, 403)); err != nil {
							return fmt.Errorf("another session's token: %w", err)
						}
					}
				}
			}
		}
		// Without the cookie.
		a, err := w.browser().submit(f.Action, good)
		if err := all(err, a.notCrashed()); err != nil {
			return err
		}
		if a.status == 200 && !a.asksPassword() || a.header.Get("Location") != "" && !strings.HasPrefix(a.header.Get("Location"), w.Issuer) {
			return wrong("without a cookie: %s", a)
		}
		// By GET.
		a, err = b.get(strings.TrimSuffix(abs(w, f.Action), "?") + "?" + good.Encode())
		if err := all(err, a.notCrashed()); err != nil {
			return err
		}
		return alive(w, b)
	}}
}

func abs(w *world, action string) string {
	if strings.HasPrefix(action, "/") {
		return w.Issuer + action
	}
	return action
}

func pageRows() []row {
	return []row{
		{"9700 §4.16; CSP", "every-page", "Every page, error pages and the one that posts the code too, cannot be framed, runs nothing of others, is not stored.", func(w *world) error {
			b := w.signedIn()
			x := w.browser()
			for what, get := range map[string]func() (answer, error){
				"sign-in":   func() (answer, error) { return x.get(w.authorizeURL(w.std().write().params)) },
				"consent":   func() (answer, error) { return b.consent(w.std().write().params) },
				"me":        func() (answer, error) { return b.get(w.Issuer + "/me") },
				"me-nobody": func() (answer, error) { return x.get(w.Issuer + "/me") },
				"error":     func() (answer, error) { return x.get(w.Issuer + "/oauth/authorize") },
				"missing":   func() (answer, error) { return x.get(w.Issuer + "/nothing-here") },
				"handshake": func() (answer, error) { return x.get(w.Issuer + "/oauth/handshake") },
				"form-post": func() (answer, error) { return w.allowRaw(w.std().write("response_mode", "form_post").params) },
				"denied": func() (answer, error) {
					return x.get(w.authorizeURL(w.std().write("response_mode", "form_post", "scope", "nope").params))
				},
			} {
				a, err := get()
				if err := all(err, a.safePage()); err != nil {
					return fmt.Errorf("%s: %w", what, err)
				}
			}
			return nil
		}},
		{"6265 §4.1.2; 9700 §4.7", "cookie-attributes", "Cookies are HttpOnly and SameSite, have no Domain and end with the browser or soon.", func(w *world) error {
			a, err := w.get(w.Issuer + "/me")
			if err != nil {
				return err
			}
			return cookiesAre(a, false)
		}},
		{"9700 §4.7; OWASP session fixation", "fixation", "The session of before sign-in is not the one after: a planted cookie opens nothing.", func(w *world) error {
			b := w.browser()
			page, err := b.get(w.Issuer + "/me")
			if err != nil {
				return err
			}
			planted := b.cookies()
			if planted == "" {
				return wrong("no cookie at first: %v", page.header)
			}
			if a, err := b.signIn(page, stage.Email, stage.Password); err != nil || a.status >= 400 {
				return all(err, wrong("%s", a))
			}
			if b.cookies() == planted {
				return wrong("the cookie is the same")
			}
			a, err := w.get(w.Issuer+"/me", "Cookie", planted)
			if err != nil {
				return err
			}
			if !a.asksPassword() {
				return wrong("the planted cookie is signed in: %s", a)
			}
			return nil
		}},
		{"9700 §4.7", "chosen-cookie", "A cookie that an attacker chose is not taken as a session, nor crashes anything.", func(w *world) error {
			a, err := w.get(w.Issuer + "/me")
			if err != nil {
				return err
			}
			name := (&http.Response{Header: a.header}).Cookies()[0].Name
			for _, v := range []string{"x", "kts_" + strings.Repeat("A", 49), strings.Repeat("x", 7000), "%00", "\"a\""} {
				a, err := w.get(w.Issuer+"/me", "Cookie", name+"="+v)
				if err := all(err, a.notCrashed()); err != nil {
					return err
				}
				if !a.asksPassword() {
					return wrong("%q: %s", v, a)
				}
				for _, c := range (&http.Response{Header: a.header}).Cookies() {
					if c.Value == v {
						return wrong("the server took the cookie over")
					}
				}
			}
			return nil
		}},
		{"9700 §4.7", "login-csrf", "A sign-in form from another site, or without this browser's token, signs nobody in.", func(w *world) error {
			for what, h := range foreign() {
				b := w.browser()
				page, err := b.get(w.Issuer + "/me")
				if err != nil {
					return err
				}
				f, err := page.formWith("Password")
				if err != nil {
					return err
				}
				a, err := b.submit(f.Action, values(f, "Sign in", "Email", stage.Email, "Password", stage.Password), h...)
				if err := all(err, a.is(400, 403)); err != nil {
					return fmt.Errorf("%s: %w", what, err)
				}
			}
			b, mine := w.browser(), w.browser()
			page, err := mine.get(w.Issuer + "/me")
			if err != nil {
				return err
			}
			f, err := page.formWith("Password")
			if err != nil {
				return err
			}
			if _, err := b.get(w.Issuer + "/me"); err != nil {
				return err
			}
			a, err := b.submit(f.Action, values(f, "Sign in", "Email", stage.Email, "Password", stage.Password))
			return all(err, a.is(400, 403))
		}},
		formRow("consent", "A forged Allow does nothing, and the person's own still counts.", "Allow",
			func(w *world, b *browser) (answer, error) { return b.consent(w.std().write().params) },
			func(w *world, _ *browser) error { _, err := w.std().code(); return err }),
		formRow("me", "A forged Revoke at /me revokes nothing.", "Revoke",
			func(w *world, b *browser) (answer, error) {
				if _, err := w.std().login(); err != nil {
					return answer{}, err
				}
				return b.get(w.Issuer + "/me")
			},
			func(w *world, b *browser) error {
				a, err := b.get(w.Issuer + "/me")
				if err != nil {
					return err
				}
				_, err = a.formWith("Revoke")
				return err
			}),
		formRow("signout", "A forged sign-out signs nobody out.", "Sign out",
			func(w *world, b *browser) (answer, error) { return b.get(w.Issuer + "/me") },
			func(w *world, b *browser) error {
				a, err := b.get(w.Issuer + "/me")
				if err != nil {
					return err
				}
				if a.asksPassword() {
					return wrong("signed out")
				}
				return nil
			}),
		{"9700 §4.7", "signout", "Sign out ends the session at the server: the old cookie opens nothing.", func(w *world) error {
			b := w.browser()
			page, err := b.get(w.Issuer + "/me")
			if err != nil {
				return err
			}
			if _, err := b.signIn(page, stage.Email, stage.Password); err != nil {
				return err
			}
			if page, err = b.get(w.Issuer + "/me"); err != nil {
				return err
			}
			old := b.cookies()
			f, err := page.formWith("Sign out")
			if err != nil {
				return err
			}
			a, err := b.submit(f.Action, values(f, "Sign out"))
			if err := all(err, a.is(200, 302, 303)); err != nil {
				return err
			}
			a, err = w.get(w.Issuer+"/me", "Cookie", old)
			if err != nil {
				return err
			}
			if !a.asksPassword() {
				return wrong("the old cookie is good still")
			}
			return nil
		}},
		{"OWASP CSRF; HTML", "revoke-at-me", "Revoke at /me kills the grant: the access token within two seconds, the refresh token at once.", func(w *world) error {
			c := w.std()
			l, err := c.login()
			if err != nil {
				return err
			}
			_, body, err := claims(l.str("access_token"))
			if err != nil {
				return err
			}
			sid, _ := body["sid"].(string)
			b := w.signedIn()
			page, err := b.get(w.Issuer + "/me")
			if err != nil {
				return err
			}
			f, err := page.anyForm(func(f driver.Form) bool {
				return f.HasButton("Revoke") && (strings.Contains(f.Action, sid) || strings.Contains(f.Hidden.Encode(), sid))
			})
			if err != nil {
				return err
			}
			a, err := b.submit(f.Action, values(f, "Revoke"))
			if err := all(err, a.is(200, 302, 303)); err != nil {
				return err
			}
			if err := w.diesWithin(l.str("access_token")); err != nil {
				return err
			}
			r, err := c.refresh(l.str("refresh_token"))
			return r.refusedBy(err, 400, "invalid_grant")
		}},
		{"9700 §2.1; design", "consent-of-another-browser", "The request that one browser opened is not allowed by another's form.", func(w *world) error {
			s := w.std().write()
			page, err := w.signedIn().consent(s.params)
			if err != nil {
				return err
			}
			f, err := page.formWith("Allow")
			if err != nil {
				return err
			}
			other, err := w.signIn(ctx())
			if err != nil {
				return err
			}
			a, err := (&browser{w, other.HTTP}).submit(f.Action, values(f, "Allow"))
			return all(err, a.is(400, 403))
		}},
		{"9700 §4.7; HTML", "allow-twice", "Allow pressed twice gives one code at most.", func(w *world) error {
			b := w.signedIn()
			page, err := b.consent(w.std().write().params)
			if err != nil {
				return err
			}
			f, err := page.formWith("Allow")
			if err != nil {
				return err
			}
			a, err := b.submit(f.Action, values(f, "Allow"))
			if err := all(err, a.is(302, 303)); err != nil {
				return err
			}
			x, err := b.submit(f.Action, values(f, "Allow"))
			if err := all(err, x.notCrashed()); err != nil {
				return err
			}
			u, _ := url.Parse(x.header.Get("Location"))
			if u != nil && u.Query().Get("code") != "" {
				return wrong("a second code")
			}
			return nil
		}},
		{"9700 §4.12", "signin-303", "After a sign-in the answer is a 303, so that no browser sends the password on.", func(w *world) error {
			b := w.browser()
			page, err := b.get(w.authorizeURL(w.std().write().params))
			if err != nil {
				return err
			}
			a, err := b.signIn(page, stage.Email, stage.Password)
			if err != nil {
				return err
			}
			if a.status != http.StatusSeeOther || !strings.HasPrefix(a.header.Get("Location"), w.Issuer+"/") && !strings.HasPrefix(a.header.Get("Location"), "/") {
				return wrong("%d to %s", a.status, a.header.Get("Location"))
			}
			return nil
		}},
		{"OWASP XSS", "escaped", "What a client says of its machine, and what a person types, is shown as text.", func(w *world) error {
			c := w.named("example-cli")
			c.k = newKey("ES256")
			x := `"><script>alert(1)</script>`
			a, err := c.send(w.par(), c.write("scope", "read", "response_mode", "form_post", "keytether_host", x, "keytether_os_user", x, "keytether_platform", x, "keytether_agent_version", x).params)
			if err := all(err, a.is(201, 400)); err != nil {
				return err
			}
			if a.status == 201 {
				page, err := w.signedIn().consent(url.Values{"client_id": {c.id}, "request_uri": {a.str("request_uri")}})
				if err := all(err, page.is(200)); err != nil {
					return err
				}
				if strings.Contains(page.body, "<script>alert") {
					return wrong("markup")
				}
			}
			b := w.browser()
			page, err := b.get(w.Issuer + "/me")
			if err != nil {
				return err
			}
			page, err = b.signIn(page, x, "x")
			if err := all(err, page.notCrashed()); err != nil {
				return err
			}
			if strings.Contains(page.body, "<script>alert") {
				return wrong("markup")
			}
			return nil
		}},
		{"design", "handshake-alone", "The handshake endpoint gives nothing for a forged, empty or stale answer, nor without the cookie, by GET or HEAD.", func(w *world) error {
			k := newKey("ES256")
			for _, h := range []string{"", "x", "a.b.c", k.sign(jose{"typ": "keytether-handshake+jwt", "alg": "ES256"}, jose{"iss": "example-cli", "aud": w.Issuer, "request_uri_hash": hash("x"), "redirect_uri": loop, "nonce_hash": hash("x"), "iat": 1}), strings.Repeat("a", 20000)} {
				for _, m := range []string{"GET", "HEAD", "POST"} {
					a, err := w.do(m, w.at("keytether_handshake_endpoint")+"?handshake="+url.QueryEscape(h), "")
					if err := all(err, a.notCrashed()); err != nil {
						return err
					}
					if a.status < 400 || strings.Contains(a.body, "ktc_") {
						return wrong("%s: %s", m, a)
					}
				}
			}
			return nil
		}},
	}
}

// cookiesAre checks the attributes of every cookie that is set.
func cookiesAre(a answer, https bool) error {
	cookies := (&http.Response{Header: a.header}).Cookies()
	if len(cookies) == 0 {
		return wrong("no cookie: %v", a.header)
	}
	for _, c := range cookies {
		if !c.HttpOnly || c.Domain != "" || c.SameSite != http.SameSiteLaxMode && c.SameSite != http.SameSiteStrictMode || c.Secure != https || c.MaxAge > 86400 {
			return wrong("%s", c.Raw)
		}
		if https && (!strings.HasPrefix(c.Name, "__Host-") || c.Path != "/") {
			return wrong("%s", c.Raw)
		}
	}
	return nil
}
