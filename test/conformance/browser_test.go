package conformance

import (
	"fmt"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
	"time"

	"github.com/keytether/keytether/bench/driver"
	"github.com/keytether/keytether/internal/testkit/stage"
)

// browser is a browser whose headers can be seen and forged.
type browser struct {
	w *world
	c *http.Client
}

func (w *world) browser() *browser {
	jar, err := cookiejar.New(nil)
	if err != nil {
		panic(err)
	}
	c := *w.http
	c.Jar = jar
	return &browser{w, &c}
}

// signedIn shares the cookies of the person who is signed in.
func (w *world) signedIn() *browser { return &browser{w, w.person.HTTP} }

// cookies are what the browser would send.
func (b *browser) cookies() string {
	u, _ := url.Parse(b.w.Issuer)
	var out []string
	for _, c := range b.c.Jar.Cookies(u) {
		out = append(out, c.Name+"="+c.Value)
	}
	return strings.Join(out, "; ")
}

func (b *browser) get(to string) (answer, error) {
	for range 6 {
		r, err := http.NewRequest(http.MethodGet, to, nil)
		if err != nil {
			return answer{}, err
		}
		a, err := b.w.send(b.c, r)
		if err != nil || a.status/100 != 3 || !strings.HasPrefix(a.header.Get("Location"), b.w.Issuer+"/") && !strings.HasPrefix(a.header.Get("Location"), "/") {
			return a, err
		}
		to = a.header.Get("Location")
		if strings.HasPrefix(to, "/") {
			to = b.w.Issuer + to
		}
	}
	return answer{}, wrong("redirects in a circle at %s", to)
}

// submit sends a form as a browser of another site or this would.
func (b *browser) submit(action string, form url.Values, header ...string) (answer, error) {
	if strings.HasPrefix(action, "/") {
		action = b.w.Issuer + action
	}
	r, err := http.NewRequest(http.MethodPost, action, strings.NewReader(form.Encode()))
	if err != nil {
		return answer{}, err
	}
	r.Header.Set("Content-Type", formType)
	r.Header.Set("Origin", b.w.Issuer)
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	for i := 0; i < len(header); i += 2 {
		if header[i+1] == "" {
			r.Header.Del(header[i])
			continue
		}
		r.Header.Set(header[i], header[i+1])
	}
	return b.w.send(b.c, r)
}

// values are a form's own, with a button pressed and fields filled in.
func values(f driver.Form, button string, fields ...string) url.Values {
	v := url.Values{}
	for k, x := range f.Hidden {
		v[k] = x
	}
	for i := 0; i < len(fields); i += 2 {
		v.Set(f.Fields[fields[i]], fields[i+1])
	}
	if b := f.Buttons[button]; b[0] != "" {
		v.Set(b[0], b[1])
	}
	return v
}

// formWith finds the form that has a button or a field.
func (a answer) formWith(name string) (driver.Form, error) {
	f, err := a.anyForm(func(f driver.Form) bool { return f.HasButton(name) || f.Has(name) })
	if err != nil {
		return f, fmt.Errorf("%s: %w", name, err)
	}
	return f, nil
}

// signIn fills the sign-in page in and gives the answer.
func (b *browser) signIn(page answer, email, password string) (answer, error) {
	f, err := page.formWith("Password")
	if err != nil {
		return answer{}, err
	}
	return b.submit(f.Action, values(f, "Sign in", "Email", email, "Password", password))
}

// consent goes to the consent page and gives it.
func (b *browser) consent(params url.Values) (answer, error) {
	a, err := b.get(b.w.authorizeURL(params))
	if err != nil {
		return a, err
	}
	if _, err := a.formWith("Password"); err == nil {
		a, err = b.signIn(a, stage.Email, stage.Password)
		if err != nil {
			return a, err
		}
		if a.status/100 == 3 {
			a, err = b.get(a.header.Get("Location"))
		}
		return a, err
	}
	return a, nil
}

// allowRaw gives the answer to Allow itself.
func (w *world) allowRaw(params url.Values) (answer, error) {
	b := w.signedIn()
	page, err := b.consent(params)
	if err != nil {
		return page, err
	}
	f, err := page.formWith("Allow")
	if err != nil {
		return page, err
	}
	a, err := b.submit(f.Action, values(f, "Allow"))
	if err == nil && a.status/100 == 3 && strings.HasPrefix(a.header.Get("Location"), w.Issuer+"/") {
		return b.get(a.header.Get("Location"))
	}
	return a, err
}

// median of the time that f takes.
func median(n int, f func() error) (time.Duration, error) {
	var all []time.Duration
	for range n {
		t := time.Now()
		if err := f(); err != nil {
			return 0, err
		}
		all = append(all, time.Since(t))
	}
	for i := range all {
		for j := i; j > 0 && all[j] < all[j-1]; j-- {
			all[j], all[j-1] = all[j-1], all[j]
		}
	}
	return all[n/2], nil
}
