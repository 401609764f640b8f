package conformance

import (
	"fmt"
	"net/url"
	"strings"
	"sync"
	"time"
)

// shake is a login of a client with the handshake, as far as the nonce.
type shake struct {
	c          *tool
	s          *started
	b          *browser
	requestURI string
	nonce      string
	page       answer
}

// toNonce pushes a request, consents, and reads the page with the nonce.
func (w *world) toNonce() (*shake, error) {
	h := &shake{c: w.named("example-cli"), b: w.signedIn()}
	h.c.k = newKey("ES256")
	h.s = h.c.write("scope", "read", "response_mode", "form_post")
	a, err := h.c.send(w.par(), h.s.params)
	if err := all(err, a.is(201)); err != nil {
		return nil, err
	}
	h.requestURI = a.str("request_uri")
	h.page, err = w.allowRaw(url.Values{"client_id": {h.c.id}, "request_uri": {h.requestURI}})
	if err != nil {
		return nil, err
	}
	f, err := h.page.form(loop)
	if err != nil {
		return nil, err
	}
	if h.nonce = f.Hidden.Get("handshake_nonce"); len(h.nonce) < 43 || f.Hidden.Get("state") != h.s.params.Get("state") || f.Hidden.Get("iss") != w.Issuer || f.Hidden.Has("code") {
		return nil, wrong("the form has %v", f.Hidden)
	}
	return h, nil
}

// answer signs what the listener would.
func (h *shake) answer(bend ...func(header, claims jose)) string {
	header := jose{"typ": "keytether-handshake+jwt", "alg": "ES256"}
	body := jose{
		"iss": h.c.id, "aud": h.c.w.Issuer, "iat": time.Now().Unix(), "request_uri_hash": hash(h.requestURI),
		"redirect_uri": h.s.params.Get("redirect_uri"), "nonce_hash": hash(h.nonce),
	}
	for _, f := range bend {
		f(header, body)
	}
	return h.c.k.sign(header, body)
}

func (h *shake) bring(b *browser, jws string) (answer, error) {
	return b.get(h.c.w.at("keytether_handshake_endpoint") + "?" + url.Values{"handshake": {jws}}.Encode())
}

// end brings the right answer and redeems the code.
func (h *shake) end() error {
	a, err := h.bring(h.b, h.answer())
	if err := all(err, a.is(200)); err != nil {
		return err
	}
	f, err := a.form(loop)
	if err != nil {
		return err
	}
	if h.s.code = f.Hidden.Get("code"); h.s.code == "" || len(f.Hidden) != 3 {
		return wrong("%v", f.Hidden)
	}
	if err := a.safePage(); err != nil {
		return err
	}
	t, err := h.c.send(h.c.w.token(), h.c.codeForm(h.s))
	return all(err, t.is(200))
}

func (a answer) noCode() error {
	if strings.Contains(a.body, "ktc_") || strings.Contains(a.header.Get("Location"), "code=") {
		return wrong("a code: %s", a)
	}
	return a.notCrashed()
}

func badAnswers() map[string]func(h *shake) string {
	claim := func(name string, v any) func(*shake) string {
		return func(h *shake) string {
			return h.answer(func(_, c jose) {
				if c[name] = v; v == nil {
					delete(c, name)
				}
			})
		}
	}
	out := map[string]func(*shake) string{
		"other-key": func(h *shake) string { x := *h.c; y := *h; x.k = newKey("ES256"); y.c = &x; return y.answer() },
		"embedded-key": func(h *shake) string {
			k := newKey("ES256")
			x := *h.c
			y := *h
			x.k = k
			y.c = &x
			return y.answer(func(hd, _ jose) { hd["jwk"] = k.jwk() })
		},
		"alg-none":      func(h *shake) string { return cut(h.answer(func(hd, _ jose) { hd["alg"] = "none" })) },
		"typ-proof":     func(h *shake) string { return h.answer(func(hd, _ jose) { hd["typ"] = "dpop+jwt" }) },
		"typ-missing":   func(h *shake) string { return h.answer(func(hd, _ jose) { delete(hd, "typ") }) },
		"no-signature":  func(h *shake) string { return cut(h.answer()) },
		"other-nonce":   claim("nonce_hash", hash("x")),
		"plain-nonce":   func(h *shake) string { return h.answer(func(_, c jose) { c["nonce_hash"] = h.nonce }) },
		"other-request": claim("request_uri_hash", hash("x")),
		"other-port":    claim("redirect_uri", "http://127.0.0.1:53683/callback"),
		"other-client":  claim("iss", "keytether"),
		"other-issuer":  claim("aud", "https://evil.example.test"),
		"aud-list":      claim("aud", []string{"https://evil.example.test", "x"}),
		"a-dpop-proof":  func(h *shake) string { return h.c.k.proof("GET", h.c.w.at("keytether_handshake_endpoint"), "") },
	}
	for _, name := range []string{"iss", "aud", "request_uri_hash", "redirect_uri", "nonce_hash"} {
		out["no-"+strings.ReplaceAll(name, "_", "-")] = claim(name, nil)
	}
	return out
}

func handshakeRows() []row {
	rows := []row{
		{"design; ADR 2", "whole", "Nonce page, answer, code page, token: each page cannot be framed, is not stored, lets only its origin out, and no URL holds nonce or code.", func(w *world) error {
			h, err := w.toNonce()
			if err != nil {
				return err
			}
			if err := h.page.safePage(); err != nil {
				return err
			}
			if h.page.header.Get("Referrer-Policy") != "origin" || !strings.Contains(h.page.header.Get("Content-Security-Policy"), "form-action 'self' http://127.0.0.1:53682") {
				return wrong("%v", h.page.header)
			}
			return h.end()
		}},
		{"design; ADR 2", "once", "An answer counts once: brought again it gives no code.", func(w *world) error {
			h, err := w.toNonce()
			if err != nil {
				return err
			}
			j := h.answer()
			a, err := h.bring(h.b, j)
			if err := all(err, a.is(200)); err != nil {
				return err
			}
			first, err := a.form(loop)
			if err != nil {
				return err
			}
			a, err = h.bring(h.b, j)
			if err != nil {
				return err
			}
			if f, err := a.form(loop); err == nil && f.Hidden.Get("code") != "" && f.Hidden.Get("code") != first.Hidden.Get("code") {
				return wrong("a second code")
			}
			return a.noCode()
		}},
		{"design; ADR 2", "at-once", "Of eight answers brought at once one gives a code.", func(w *world) error {
			h, err := w.toNonce()
			if err != nil {
				return err
			}
			var mu sync.Mutex
			var wg sync.WaitGroup
			codes := 0
			for range 8 {
				wg.Go(func() {
					a, e := h.bring(h.b, h.answer())
					mu.Lock()
					defer mu.Unlock()
					if e != nil {
						err = e
					}
					if strings.Contains(a.body, "ktc_") {
						codes++
					}
				})
			}
			wg.Wait()
			if err != nil {
				return err
			}
			if codes != 1 {
				return wrong("%d codes", codes)
			}
			return nil
		}},
		{"design; ADR 2", "other-browser", "The right answer in another browser, signed in or not, gives no code.", func(w *world) error {
			h, err := w.toNonce()
			if err != nil {
				return err
			}
			p, err := w.signIn(ctx())
			if err != nil {
				return err
			}
			for _, b := range []*browser{w.browser(), {w, p.HTTP}} {
				a, err := h.bring(b, h.answer())
				if err := all(err, a.noCode()); err != nil {
					return err
				}
				if a.status < 400 {
					return wrong("%s", a)
				}
			}
			return nil
		}},
		{"design; ADR 2", "too-late", "After three seconds there is no code but a page with Try again, whose form from another site does nothing, and which begins anew with another nonce.", func(w *world) error {
			h, err := w.toNonce()
			if err != nil {
				return err
			}
			time.Sleep(3200 * time.Millisecond)
			a, err := h.bring(h.b, h.answer())
			if err := all(err, a.noCode(), a.safePage()); err != nil {
				return err
			}
			f, err := a.formWith("Try again")
			if err != nil {
				return err
			}
			for what, header := range foreign() {
				x, err := h.b.submit(f.Action, values(f, "Try again"), header...)
				if err := all(err, x.is(400, 403)); err != nil {
					return fmt.Errorf("%s: %w", what, err)
				}
			}
			x, err := h.b.submit(f.Action, values(f, "Try again"))
			if err == nil && x.status/100 == 3 {
				x, err = h.b.get(x.header.Get("Location"))
			}
			if err != nil {
				return err
			}
			nf, err := x.form(loop)
			if err != nil {
				return err
			}
			old := h.nonce
			if h.nonce = nf.Hidden.Get("handshake_nonce"); h.nonce == "" || h.nonce == old {
				return wrong("%v", nf.Hidden)
			}
			return h.end()
		}},
		{"design; ADR 2", "code-bound", "The code of a handshake is refused to another key and stays good.", func(w *world) error {
			h, err := w.toNonce()
			if err != nil {
				return err
			}
			a, err := h.bring(h.b, h.answer())
			if err := all(err, a.is(200)); err != nil {
				return err
			}
			f, err := a.form(loop)
			if err != nil {
				return err
			}
			h.s.code = f.Hidden.Get("code")
			thief := &tool{w: w, id: h.c.id, redirect: loop, k: newKey("ES256")}
			t, err := thief.send(w.token(), h.c.codeForm(h.s))
			if err := t.refusedBy(err, 400, "invalid_grant", "invalid_dpop_proof"); err != nil {
				return err
			}
			t, err = h.c.send(w.token(), h.c.codeForm(h.s))
			return all(err, t.is(200))
		}},
	}
	for name, bad := range badAnswers() {
		rows = append(rows, row{"design; ADR 2", "answer-" + name, "An answer that is wrong in this way gives no code.", func(w *world) error {
			h, err := w.toNonce()
			if err != nil {
				return err
			}
			a, err := h.bring(h.b, bad(h))
			if err := all(err, a.noCode()); err != nil {
				return err
			}
			if a.status < 400 {
				return wrong("%s", a)
			}
			return nil
		}})
	}
	return sorted(rows)
}
