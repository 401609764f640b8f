package conformance

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/keytether/keytether/internal/testkit/stage"
)

// oddRows are tricks between endpoints.
func oddRows() []row {
	return []row{
		{"OIDC Core §3.1.2.1", "prompt-login-not-borrowed", "A request with prompt=login is not allowed by the consent form of another request of the same browser.", func(w *world) error {
			b, c := w.signedIn(), w.std()
			fresh := c.write("scope", "openid read", "prompt", "login")
			a, err := c.send(w.par(), fresh.params)
			if err := all(err, a.is(201)); err != nil {
				return err
			}
			u := a.str("request_uri")
			if a, err = b.get(w.authorizeURL(url.Values{"client_id": {c.id}, "request_uri": {u}})); err != nil || !a.asksPassword() {
				return all(err, wrong("%s", a))
			}
			page, err := b.consent(c.write("scope", "openid read").params)
			if err != nil {
				return err
			}
			f, err := page.formWith("Allow")
			if err != nil {
				return err
			}
			v := values(f, "Allow")
			if !v.Has("request_uri") {
				return fmt.Errorf("the form names its request otherwise: %v", v)
			}
			v.Set("request_uri", u)
			if a, err = b.submit(f.Action, v); err != nil {
				return err
			}
			return a.noCode()
		}},
		{"OIDC Core §3.1.2.1, §2", "prompt-login-satisfied", "After prompt=login and the password the login goes on, and auth_time is of now.", func(w *world) error { return w.signsInAnew("prompt", "login") }},
		{"OIDC Core §3.1.2.1, §2", "max-age-zero-satisfied", "The same with max_age=0, which is to be satisfied by one sign-in.", func(w *world) error { return w.signsInAnew("max_age", "0") }},
		{"OIDC Core §3.1.2.1", "max-age-slow-person", "A person who signed in for a request with max_age and is slow to press Allow is not asked again without end.", func(w *world) error {
			b := w.browser()
			s := w.std().write("scope", "openid read", "max_age", "1")
			page, err := b.consent(s.params)
			if err != nil {
				return err
			}
			f, err := page.formWith("Allow")
			if err != nil {
				return err
			}
			time.Sleep(2200 * time.Millisecond)
			a, err := b.submit(f.Action, values(f, "Allow"))
			if err != nil {
				return err
			}
			if !strings.Contains(a.header.Get("Location"), "code=") {
				return wrong("%d to %s: %s", a.status, a.header.Get("Location"), a)
			}
			return nil
		}},
		{"9700 §4.7; HTML", "allow-at-once", "Eight times Allow at once give one code at most; Allow and Deny at once give one answer.", func(w *world) error {
			for _, buttons := range [][]string{{"Allow"}, {"Allow", "Deny"}} {
				b := w.signedIn()
				page, err := b.consent(w.std().write().params)
				if err != nil {
					return err
				}
				var mu sync.Mutex
				var wg sync.WaitGroup
				answers := map[string]bool{}
				for i := range 8 {
					button := buttons[i%len(buttons)]
					f, err := page.formWith(button)
					if err != nil {
						return err
					}
					wg.Go(func() {
						a, e := b.submit(f.Action, values(f, button))
						mu.Lock()
						defer mu.Unlock()
						if e == nil {
							e = a.notCrashed()
						}
						if e != nil {
							err = e
						}
						if strings.HasPrefix(a.header.Get("Location"), loop) {
							answers[a.header.Get("Location")] = true
						}
					})
				}
				wg.Wait()
				if err != nil {
					return err
				}
				if len(answers) != 1 {
					return wrong("%v: %d answers", buttons, len(answers))
				}
			}
			return nil
		}},
		{"9449 §4.3", "host-for-htu", "htu is compared with the issuer's own URL, not with the Host or a forwarded header that came along.", func(w *world) error {
			for _, h := range []string{"Host", "X-Forwarded-Host", "Forwarded"} {
				c := w.bound()
				to := strings.Replace(w.par(), w.Issuer, "http://evil.example.test", 1)
				v := "evil.example.test"
				if h == "Forwarded" {
					v = "host=evil.example.test"
				}
				a, err := w.post(w.par(), c.write().params, "DPoP", c.k.proof("POST", to, w.freshNonce()), h, v)
				if err := all(err, a.is(400, 403, 404, 421)); err != nil {
					return fmt.Errorf("%s: %w", h, err)
				}
			}
			return nil
		}},
		{"7523 §3 (7)", "assertion-elsewhere", "An assertion that opened the feed does not open introspection as well.", func(w *world) error {
			s := w.assertion(w.api, w.bearer)
			f := url.Values{"client_assertion_type": {assertionType}, "client_assertion": {s}}
			a, err := w.stream(w.at("keytether_revocation_feed_endpoint"), f, 300*time.Millisecond)
			if err := all(err, a.is(200)); err != nil {
				return err
			}
			b, err := w.introspect("x", s)
			return b.refusedBy(err, 401, "invalid_client")
		}},
		{"design", "feed-apart", "The feed of one API does not tell of grants for another.", func(w *world) error {
			c := w.std()
			l, err := c.login()
			if err != nil {
				return err
			}
			_, body, err := claims(l.str("access_token"))
			if err != nil {
				return err
			}
			sid := body["sid"].(string)
			read := func(k *key, id string) (bool, error) {
				a, err := w.stream(w.at("keytether_revocation_feed_endpoint"), url.Values{"client_assertion_type": {assertionType}, "client_assertion": {w.assertion(k, id)}}, 500*time.Millisecond)
				return strings.Contains(a.body, sid), all(err, a.is(200))
			}
			if a, err := c.revoke(l.str("refresh_token")); err != nil || a.status != 200 {
				return all(err, a.is(200))
			}
			mine, err := read(w.api, w.bearer)
			others, err2 := read(w.other, otherAPI)
			if err := all(err, err2); err != nil {
				return err
			}
			if !mine || others {
				return wrong("the API of the grant hears of it: %v; another: %v", mine, others)
			}
			return nil
		}},
		{"OWASP ASVS 2.1; design", "long-password", "A password of 200 kB is refused without being hashed for long.", func(w *world) error {
			start := time.Now()
			a, err := w.try("long@example.test", strings.Repeat("a", 200<<10))
			if err := all(err, a.is(400, 401, 403, 413, 422, 429)); err != nil {
				return err
			}
			if d := time.Since(start); d > 3*time.Second {
				return wrong("%v", d)
			}
			return nil
		}},
		{"9112 §3; 9110 §7", "request-lines", "Old, odd and absolute request lines do no harm.", func(w *world) error {
			for _, text := range []string{
				"GET /.well-known/oauth-authorization-server HTTP/1.0\r\n\r\n", "OPTIONS * HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n",
				"GET http://evil.example.test/.well-known/oauth-authorization-server HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n",
				"GET /me HTTP/1.1\r\nConnection: close\r\n\r\n", "GET /me HTTP/1.1\r\nHost: a\r\nHost: b\r\nConnection: close\r\n\r\n",
				"GET /me HTTP/1.1\r\nHost: {host}\r\nX: a\x00b\r\nConnection: close\r\n\r\n", "GET /me HTTP/1.1\r\nHost: {host}\r\n X: folded\r\nConnection: close\r\n\r\n",
				"CONNECT evil.example.test:443 HTTP/1.1\r\nHost: evil.example.test:443\r\nConnection: close\r\n\r\n",
			} {
				a, err := w.raw(text)
				if err != nil {
					return fmt.Errorf("%.40q: %w", text, err)
				}
				if a.status >= 500 && a.status != 501 && a.status != 505 || strings.Contains(a.body, "evil.example.test") || a.status == 307 {
					return wrong("%.40q: %s", text, a)
				}
			}
			return nil
		}},
		{"6749 §3.3; OIDC Core §3.1.2.1", "scopes-alone", "scope openid alone, and none at all, give a login whose answer says the scope.", func(w *world) error {
			for _, scope := range []string{"openid", ""} {
				a, err := w.std().login("scope", scope)
				if err != nil {
					return wrong("%q: %v", scope, err)
				}
				if a.str("scope") == "" || scope == "openid" && a.str("id_token") == "" {
					return wrong("%q: %s", scope, a)
				}
			}
			return nil
		}},
		{"6749 §3.2; 8707 §2.2", "refresh-doubles", "At refresh a token twice is invalid_request and two resources are invalid_target; the token stays good.", func(w *world) error {
			c := w.std()
			l, err := c.login()
			if err != nil {
				return err
			}
			f := url.Values{"grant_type": {"refresh_token"}, "client_id": {c.id}, "refresh_token": {l.str("refresh_token"), l.str("refresh_token")}}
			a, err := c.send(w.token(), f)
			if err := a.refusedBy(err, 400, "invalid_request"); err != nil {
				return err
			}
			f = url.Values{"grant_type": {"refresh_token"}, "client_id": {c.id}, "refresh_token": {l.str("refresh_token")}, "resource": {w.bearer, otherAPI}}
			a, err = c.send(w.token(), f)
			if err := a.refusedBy(err, 400, "invalid_target"); err != nil {
				return err
			}
			a, err = c.refresh(l.str("refresh_token"))
			return all(err, a.is(200))
		}},
		{"9207 §2; Form Post Response Mode §2", "handshake-deny", "Deny of a handshake login posts access_denied, state and iss; no nonce, no code; and the request is over.", func(w *world) error {
			c := w.named("example-cli")
			c.k = newKey("ES256")
			s := c.write("scope", "read", "response_mode", "form_post")
			a, err := c.send(w.par(), s.params)
			if err := all(err, a.is(201)); err != nil {
				return err
			}
			q := url.Values{"client_id": {c.id}, "request_uri": {a.str("request_uri")}}
			b := w.signedIn()
			page, err := b.consent(q)
			if err != nil {
				return err
			}
			f, err := page.formWith("Deny")
			if err != nil {
				return err
			}
			if a, err = b.submit(f.Action, values(f, "Deny")); err == nil && a.status/100 == 3 {
				a, err = b.get(a.header.Get("Location"))
			}
			if err != nil {
				return err
			}
			g, err := a.form(loop)
			if err != nil {
				return err
			}
			if g.Hidden.Get("error") != "access_denied" || g.Hidden.Get("state") != s.params.Get("state") || g.Hidden.Get("iss") != w.Issuer || g.Hidden.Has("code") || g.Hidden.Has("handshake_nonce") {
				return wrong("%v", g.Hidden)
			}
			if f, err := page.formWith("Allow"); err == nil {
				a, err := b.submit(f.Action, values(f, "Allow"))
				if err != nil {
					return err
				}
				if strings.Contains(a.body, "handshake_nonce") {
					return wrong("allowed after Deny")
				}
			}
			return nil
		}},
		{"9110 §9.2.1; design", "handshake-head", "HEAD with the right answer, as a scanner of links would send it, does not use the answer up.", func(w *world) error {
			h, err := w.toNonce()
			if err != nil {
				return err
			}
			j := h.answer()
			r, err := http.NewRequest(http.MethodHead, w.at("keytether_handshake_endpoint")+"?"+url.Values{"handshake": {j}}.Encode(), nil)
			if err != nil {
				return err
			}
			for _, c := range []*http.Client{h.b.c, w.http} {
				if a, err := w.send(c, r); err != nil || a.notCrashed() != nil {
					return all(err, a.notCrashed())
				}
			}
			return h.end()
		}},
		{"design; ADR 2", "handshake-reload", "Loading the authorization URL again between nonce and code gives no code and does not break the login for good.", func(w *world) error {
			h, err := w.toNonce()
			if err != nil {
				return err
			}
			a, err := h.b.get(w.authorizeURL(url.Values{"client_id": {h.c.id}, "request_uri": {h.requestURI}}))
			if err := all(err, a.noCode()); err != nil {
				return err
			}
			return h.end()
		}},
		{"9700 §4.7", "cookie-of-consent", "After a login the browser keeps no cookie but its session's.", func(w *world) error {
			b := w.browser()
			c := w.named("example-cli")
			c.k = newKey("ES256")
			a, err := c.send(w.par(), c.write("scope", "read", "response_mode", "form_post").params)
			if err := all(err, a.is(201)); err != nil {
				return err
			}
			page, err := b.consent(url.Values{"client_id": {c.id}, "request_uri": {a.str("request_uri")}})
			if err != nil {
				return err
			}
			f, err := page.formWith("Allow")
			if err != nil {
				return err
			}
			if a, err = b.submit(f.Action, values(f, "Allow")); err != nil {
				return err
			}
			return all(a.is(200, 303), cookiesIfAny(a))
		}},
		{"OIDC Core §3.1.2.3", "login-as-typed", "The address is compared as people type it, in any case; the password exactly.", func(w *world) error {
			x, err := w.another(stage.Options{LogLevel: "warn"})
			if err != nil {
				return err
			}
			defer func() { _ = x.end() }()
			a, err := x.try(strings.ToUpper(stage.Email), stage.Password)
			if err := all(err, a.is(303)); err != nil {
				return err
			}
			for _, p := range []string{strings.ToUpper(stage.Password), stage.Password + " ", " " + stage.Password, stage.Password + "\x00", ""} {
				if a, err = x.try(stage.Email, p); err != nil || a.status/100 == 3 {
					return all(err, wrong("%q signs in", p))
				}
			}
			return nil
		}},
	}
}

// signsInAnew logs a person in who is signed in already and must sign in again.
func (w *world) signsInAnew(how ...string) error {
	p, err := w.signIn(ctx())
	if err != nil {
		return err
	}
	time.Sleep(1100 * time.Millisecond)
	c := w.std()
	before := time.Now().Truncate(time.Second)
	s := c.write(append(how, "scope", "openid read")...)
	back, err := p.Allow(ctx(), w.authorizeURL(s.params))
	if err != nil {
		return wrong("%v", err)
	}
	s.code = back.Query().Get("code")
	a, err := c.send(w.token(), c.codeForm(s))
	if err := all(err, a.is(200)); err != nil {
		return err
	}
	_, body, err := claims(a.str("id_token"))
	if err != nil {
		return err
	}
	at, err := num(body["auth_time"])
	if err != nil {
		return err
	}
	if at.Before(before) {
		return wrong("auth_time %v, before %v", at, before)
	}
	return nil
}

// cookiesIfAny checks the cookies of an answer that may set none.
func cookiesIfAny(a answer) error {
	if len(a.header["Set-Cookie"]) == 0 {
		return nil
	}
	return cookiesAre(a, false)
}

// stream reads an endless answer for a while.
func (w *world) stream(to string, form url.Values, d time.Duration) (answer, error) {
	c, cancel := context.WithTimeout(context.Background(), d)
	defer cancel()
	r, err := http.NewRequestWithContext(c, http.MethodPost, to, strings.NewReader(form.Encode()))
	if err != nil {
		return answer{}, err
	}
	r.Header.Set("Content-Type", formType)
	resp, err := w.http.Do(r)
	if err != nil {
		return answer{}, err
	}
	a, err := readAnswer(resp)
	if c.Err() != nil {
		err = nil // it was we who ended it
	}
	return a, err
}
