package conformance

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/keytether/keytether/bench/driver"
	"github.com/keytether/keytether/internal/testkit"
	"github.com/keytether/keytether/internal/testkit/stage"
)

const second = "second@example.test"

// persons is a server with two accounts, that believes a proxy on loopback.
func newPersons() (*world, error) {
	addr, err := testkit.FreeLoopback()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp(binDir, "persons")
	if err != nil {
		return nil, err
	}
	text := "issuer: http://" + addr + "\nlisten: " + addr + "\ndata: ./data\ntrusted_proxies: [127.0.0.1/32]\naccounts:\n" +
		"  - {email: " + stage.Email + ", password_file: pw}\n  - {email: " + second + ", password_file: pw}\n" +
		"resources:\n  - {id: \"https://api.example.test\", name: API, scopes: {read: Read}, bearer: allowed}\n" +
		"clients:\n  - {id: std, name: Standard, redirect_uris: [\"http://127.0.0.1/callback\"], dpop: allowed, handshake: none}\n"
	for name, t := range map[string]string{"c.yaml": text, "pw": stage.Password + "\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(t), 0o600); err != nil {
			return nil, err
		}
	}
	p, err := testkit.StartProcess(testkit.Command{
		Path: filepath.Join(binDir, "keytether-server"), Args: []string{"serve", "--config", filepath.Join(dir, "c.yaml"), "--log-level", "warn"}, Dir: dir,
	})
	if err != nil {
		return nil, err
	}
	x := &world{Stage: &stage.Stage{Dir: dir, Issuer: "http://" + addr, Server: p}}
	x.http = x.Stage.Client()
	x.atEnd(func() error { p.Kill(); return nil })
	c, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if err := p.WaitReady(c, nil, x.Issuer+"/readyz"); err != nil {
		return nil, err
	}
	a, err := x.get(x.Issuer + "/.well-known/oauth-authorization-server")
	x.meta = a.json
	return x, err
}

// as signs an account in and gives its browser.
func (w *world) as(email string) (*browser, error) {
	b := w.browser()
	page, err := b.get(w.Issuer + "/me")
	if err != nil {
		return nil, err
	}
	a, err := b.signIn(page, email, stage.Password)
	if err == nil && a.status >= 400 {
		err = fmt.Errorf("sign-in: %s", a)
	}
	return b, err
}

// loginAs logs in as an account and gives the token answer.
func (w *world) loginAs(email string) (answer, *browser, error) {
	b, err := w.as(email)
	if err != nil {
		return answer{}, nil, err
	}
	x := &world{Stage: w.Stage, http: w.http, meta: w.meta, person: &driver.Person{Email: email, Password: stage.Password, HTTP: b.c}}
	a, err := (&tool{w: x, id: "std", redirect: loop}).login("scope", "openid read")
	return a, b, err
}

func personRows() []row {
	with := func(f func(x *world) error) func(*world) error {
		return func(*world) error {
			x, err := newPersons()
			if err != nil {
				return err
			}
			defer func() { _ = x.close[0]() }()
			return f(x)
		}
	}
	return []row{
		{"OWASP IDOR; design", "grants-apart", "Nobody sees or revokes another's grant, whatever id the form is given; sub differs.", with(func(x *world) error {
			mine, _, err := x.loginAs(stage.Email)
			yours, yourBrowser, err2 := x.loginAs(second)
			if err := all(err, err2); err != nil {
				return err
			}
			_, m, err := claims(mine.str("access_token"))
			_, y, err2 := claims(yours.str("access_token"))
			if err := all(err, err2); err != nil {
				return err
			}
			if m["sub"] == y["sub"] {
				return wrong("one sub for two")
			}
			page, err := yourBrowser.get(x.Issuer + "/me")
			if err != nil {
				return err
			}
			my, your := m["sid"].(string), y["sid"].(string)
			if strings.Contains(page.body, my) || !strings.Contains(page.body, your) {
				return wrong("/me shows the wrong grants")
			}
			f, err := page.anyForm(func(f driver.Form) bool { return f.HasButton("Revoke") })
			if err != nil {
				return err
			}
			v := url.Values{}
			for k, list := range values(f, "Revoke") {
				for _, s := range list {
					v.Add(k, strings.ReplaceAll(s, your, my))
				}
			}
			if a, err := yourBrowser.submit(strings.ReplaceAll(f.Action, your, my), v); err != nil || a.notCrashed() != nil {
				return all(err, a.notCrashed())
			}
			a, err := (&tool{w: x, id: "std"}).refresh(mine.str("refresh_token"))
			return all(err, a.is(200))
		})},
		{"9126 §4; 6749 §10.12; design", "request-apart", "A request that one person has opened is not allowed by another who was sent its link.", with(func(x *world) error {
			mine, err := x.as(stage.Email)
			yours, err2 := x.as(second)
			if err := all(err, err2); err != nil {
				return err
			}
			c := &tool{w: x, id: "std", redirect: loop}
			a, err := c.send(x.par(), c.write("scope", "read").params)
			if err := all(err, a.is(201)); err != nil {
				return err
			}
			q := url.Values{"client_id": {"std"}, "request_uri": {a.str("request_uri")}}
			page, err := mine.get(x.authorizeURL(q))
			if err != nil {
				return err
			}
			f, err := page.formWith("Allow")
			if err != nil {
				return err
			}
			if a, err = yours.submit(f.Action, values(f, "Allow")); err != nil || a.status < 400 {
				return all(err, wrong("%s", a))
			}
			// Allowed by the first, it is nothing to the second.
			if a, err = mine.submit(f.Action, values(f, "Allow")); err != nil || a.status/100 != 3 {
				return all(err, wrong("%s", a))
			}
			a, err = yours.get(x.authorizeURL(q))
			if err != nil {
				return err
			}
			if _, err := a.formWith("Allow"); err == nil || a.status < 400 {
				return wrong("%s", a)
			}
			return nil
		})},
		{"OWASP ASVS 2.2.1", "many-addresses", "Guesses at one account from many addresses are stopped as well.", with(func(x *world) error {
			for i := range 150 {
				b := x.browser()
				page, err := b.get(x.Issuer + "/me")
				if err != nil {
					return err
				}
				f, err := page.formWith("Password")
				if err != nil {
					return err
				}
				a, err := b.submit(f.Action, values(f, "Sign in", "Email", second, "Password", "wrong"), "X-Forwarded-For", fmt.Sprintf("198.51.100.%d", i))
				if err := all(err, a.notCrashed()); err != nil {
					return err
				}
				if a.status == 429 {
					return nil
				}
			}
			return wrong("no end to it")
		})},
		{"9700 §4.7", "second-sign-in", "Who signs in anew in a browser gets a new session, and the old one is over.", with(func(x *world) error {
			b, err := x.as(stage.Email)
			if err != nil {
				return err
			}
			old := b.cookies()
			page, err := b.get(x.authorizeURL((&tool{w: x, id: "std", redirect: loop}).write("scope", "openid read", "prompt", "login").params))
			if err != nil {
				return err
			}
			a, err := b.signIn(page, second, stage.Password)
			if err != nil {
				return err
			}
			if a.status >= 400 {
				return nil // another person's sign-in is refused there
			}
			if b.cookies() == old {
				return wrong("the cookie is the same")
			}
			if a, err = x.get(x.Issuer+"/me", "Cookie", old); err != nil {
				return err
			}
			if strings.Contains(a.body, second) {
				return wrong("the old cookie is the second person")
			}
			return nil
		})},
	}
}
