package edgetest

import (
	"html"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/keytether/keytether/internal/oauth"
)

// Browser is a browser without a screen: it keeps cookies, follows redirects
// within the issuer, and sends what a real one sends along with a form.
type Browser struct {
	Page    *Response // what it shows
	URL     string    // of the page
	Outside string    // the URL outside of the issuer that it was sent to; empty: none
	Header  http.Header
	s       *Server
	jar     *cookiejar.Jar
}

// NewBrowser starts without cookies.
func (s *Server) NewBrowser() *Browser {
	jar, err := cookiejar.New(nil)
	must(s.t, err)
	return &Browser{s: s, jar: jar, Header: make(http.Header)}
}

// Open types a URL, or follows a link or redirect from elsewhere.
func (b *Browser) Open(target string) *Response {
	b.s.t.Helper()
	return b.request(http.MethodGet, target, nil, "none")
}

// Post sends a form from a page of the origin site: "same-origin", "same-site"
// or "cross-site".
func (b *Browser) Post(target string, form url.Values, site string) *Response {
	b.s.t.Helper()
	return b.request(http.MethodPost, target, form, site)
}

func (b *Browser) request(method, target string, form url.Values, site string) *Response {
	b.s.t.Helper()
	b.Outside = ""
	for range 5 {
		if oauth.Origin(target) != oauth.Origin(b.s.Issuer) {
			b.Outside = target
			return b.Page
		}
		res := b.once(method, target, form, site)
		b.Page, b.URL = res, target
		if res.Status != http.StatusSeeOther {
			return res
		}
		method, form, target = http.MethodGet, nil, res.Header.Get("Location")
	}
	b.s.t.Fatal("too many redirects")
	return nil
}

func (b *Browser) once(method, target string, form url.Values, site string) *Response {
	b.s.t.Helper()
	var body io.Reader
	if form != nil {
		body = strings.NewReader(form.Encode())
	}
	r, err := http.NewRequestWithContext(b.s.t.Context(), method, target, body)
	must(b.s.t, err)
	for k, v := range b.Header {
		r.Header[k] = v
	}
	r.Header.Set("Sec-Fetch-Site", site)
	if form != nil {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set("Origin", "null") // our pages send no referrer
	}
	for _, c := range b.jar.Cookies(r.URL) {
		r.AddCookie(c)
	}
	res := b.s.Do(r)
	b.jar.SetCookies(r.URL, (&http.Response{Header: res.Header}).Cookies())
	return res
}

// Cookies are those that the issuer would be sent.
func (b *Browser) Cookies() []*http.Cookie {
	u, err := url.Parse(b.s.Issuer)
	must(b.s.t, err)
	return b.jar.Cookies(u)
}

// SetCookie overwrites a cookie.
func (b *Browser) SetCookie(name, value string) {
	u, err := url.Parse(b.s.Issuer)
	must(b.s.t, err)
	b.jar.SetCookies(u, []*http.Cookie{{Name: name, Value: value, Path: "/", Secure: u.Scheme == "https"}})
}

// Form is a form on a page.
type Form struct {
	Action  string
	Fields  url.Values // hidden ones, and the button's own
	Buttons []string
}

var (
	formTag   = regexp.MustCompile(`(?s)<form[^>]*? action="([^"]*)"[^>]*>(.*?)</form>`)
	inputTag  = regexp.MustCompile(`<input type="hidden" name="([^"]*)" value="([^"]*)">`)
	buttonTag = regexp.MustCompile(`(?s)<button([^>]*)>(.*?)</button>`)
	nameAttr  = regexp.MustCompile(` name="([^"]*)" value="([^"]*)"`)
)

// Forms are the forms on the page.
func (b *Browser) Forms() []Form {
	var out []Form
	for _, m := range formTag.FindAllStringSubmatch(b.Page.Body, -1) {
		f := Form{Action: html.UnescapeString(m[1]), Fields: url.Values{}}
		for _, in := range inputTag.FindAllStringSubmatch(m[2], -1) {
			f.Fields.Add(html.UnescapeString(in[1]), html.UnescapeString(in[2]))
		}
		for _, bt := range buttonTag.FindAllStringSubmatch(m[2], -1) {
			f.Buttons = append(f.Buttons, html.UnescapeString(strings.TrimSpace(bt[2])))
		}
		out = append(out, f)
	}
	return out
}

// Form gives the first form with a button of that name, with what pressing the
// button would send; the test fails if there is none.
func (b *Browser) Form(button string) Form {
	b.s.t.Helper()
	for i, m := range formTag.FindAllStringSubmatch(b.Page.Body, -1) {
		f := b.Forms()[i]
		for _, bt := range buttonTag.FindAllStringSubmatch(m[2], -1) {
			if html.UnescapeString(strings.TrimSpace(bt[2])) != button {
				continue
			}
			if nv := nameAttr.FindStringSubmatch(bt[1]); nv != nil {
				f.Fields.Set(nv[1], nv[2])
			}
			base, err := url.Parse(b.URL)
			must(b.s.t, err)
			target, err := base.Parse(f.Action)
			must(b.s.t, err)
			f.Action = target.String()
			return f
		}
	}
	b.s.t.Fatalf("no button %q on the page (status %d):\n%s", button, b.Page.Status, b.Page.Body)
	return Form{}
}

// Press presses a button after filling in fields (name, value, …). A form that
// goes outside of the issuer is not sent: Outside says where it would have gone.
func (b *Browser) Press(button string, fields ...string) *Response {
	b.s.t.Helper()
	f := b.Form(button)
	for i := 0; i+1 < len(fields); i += 2 {
		f.Fields.Set(fields[i], fields[i+1])
	}
	return b.Post(f.Action, f.Fields, "same-origin")
}

// SignIn fills in the sign-in page.
func (b *Browser) SignIn(email, password string) *Response {
	b.s.t.Helper()
	return b.Press("Sign in", "email", email, "password", password)
}

// Has fails the test unless the page has the text.
func (b *Browser) Has(t testing.TB, status int, text string) {
	t.Helper()
	if b.Page.Status != status || !strings.Contains(html.UnescapeString(b.Page.Body), text) {
		t.Fatalf("status %d, want %d with %q:\n%s", b.Page.Status, status, text, b.Page.Body)
	}
}
