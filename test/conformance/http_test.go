package conformance

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/keytether/keytether/bench/driver"
)

// answer is a whole HTTP response.
type answer struct {
	status int
	header http.Header
	body   string
	json   map[string]any // nil when the body is not a JSON object
}

func (a answer) String() string {
	return fmt.Sprintf("%d %s %.400s", a.status, a.header.Get("Content-Type"), a.body)
}

func (a answer) str(name string) string { s, _ := a.json[name].(string); return s }

// send sends a request as it is, redirects not followed.
func (w *world) send(client *http.Client, r *http.Request) (answer, error) {
	resp, err := client.Do(r)
	if err != nil {
		return answer{}, err
	}
	return readAnswer(resp)
}

func readAnswer(resp *http.Response) (answer, error) {
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	_ = resp.Body.Close()
	a := answer{status: resp.StatusCode, header: resp.Header, body: string(body)}
	_ = json.Unmarshal(body, &a.json)
	return a, err
}

// do sends a body with header pairs: "DPoP", proof, …; the same name twice is two
// header lines.
func (w *world) do(method, to, body string, header ...string) (answer, error) {
	var rd io.Reader
	if body != "" {
		rd = strings.NewReader(body)
	}
	r, err := http.NewRequest(method, to, rd)
	if err != nil {
		return answer{}, err
	}
	for i := 0; i < len(header); i += 2 {
		if header[i] == "Host" {
			r.Host = header[i+1]
			continue
		}
		r.Header[http.CanonicalHeaderKey(header[i])] = append(r.Header[http.CanonicalHeaderKey(header[i])], header[i+1])
	}
	return w.send(w.http, r)
}

const formType = "application/x-www-form-urlencoded"

// post sends a form.
func (w *world) post(to string, form url.Values, header ...string) (answer, error) {
	return w.do(http.MethodPost, to, form.Encode(), append([]string{"Content-Type", formType}, header...)...)
}

func (w *world) get(to string, header ...string) (answer, error) {
	return w.do(http.MethodGet, to, "", header...)
}

// raw writes bytes to the server and reads one response: for what no client
// library would send.
func (w *world) raw(text string) (answer, error) {
	u, err := url.Parse(w.Issuer)
	if err != nil {
		return answer{}, err
	}
	conn, err := net.DialTimeout("tcp", u.Host, 5*time.Second)
	if err != nil {
		return answer{}, err
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.WriteString(conn, strings.ReplaceAll(text, "{host}", u.Host)); err != nil {
		return answer{}, err
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return answer{}, err
	}
	return readAnswer(resp)
}

// refused checks an OAuth error answer whole: RFC 6749 §5.2 with one of the
// codes, JSON, not stored by anybody, no token in it, and words of the allowed
// characters.
func (a answer) refused(status int, codes ...string) error {
	switch {
	case a.status != status:
		return wrong("status %d, want %d: %s", a.status, status, a)
	case !slices.Contains(codes, a.str("error")):
		return wrong("error %q, want %q: %s", a.str("error"), codes, a)
	case !isJSON(a.header.Get("Content-Type")):
		return wrong("an error of type %q", a.header.Get("Content-Type"))
	case !strings.Contains(a.header.Get("Cache-Control"), "no-store"):
		return wrong("an error that caches may store: %v", a.header)
	case strings.Contains(a.body, "_token\""):
		return wrong("a token beside an error: %s", a)
	}
	for _, c := range a.str("error_description") {
		if c < 0x20 || c > 0x7e || c == '"' || c == '\\' {
			return wrong("error_description has %q (6749 §5.2)", c)
		}
	}
	return nil
}

func isJSON(contentType string) bool {
	return contentType == "application/json" || strings.HasPrefix(contentType, "application/json;")
}

// is wants a status, and no server error in any case.
func (a answer) is(statuses ...int) error {
	if !slices.Contains(statuses, a.status) {
		return wrong("status %d, want %d: %s", a.status, statuses, a)
	}
	return nil
}

// notCrashed is what holds for any input whatever.
func (a answer) notCrashed() error {
	if a.status >= 500 || a.status < 200 || a.status == http.StatusTemporaryRedirect {
		return wrong("status %d: %s", a.status, a)
	}
	return nil
}

func (a answer) refusedBy(err error, status int, codes ...string) error {
	if err != nil {
		return err
	}
	return a.refused(status, codes...)
}

func compactJSON(v any) string {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	_ = e.Encode(v)
	return strings.TrimSpace(b.String())
}

// anyForm finds a form of a page.
func (a answer) anyForm(want func(driver.Form) bool) (driver.Form, error) {
	srv := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = io.WriteString(rw, a.body)
	}))
	defer srv.Close()
	p, err := driver.NewPerson("", "", srv.Client())
	if err != nil {
		return driver.Form{}, err
	}
	page, err := p.Get(ctx(), srv.URL)
	if err != nil {
		return driver.Form{}, err
	}
	for _, f := range page.Forms {
		f.Action = strings.Replace(f.Action, srv.URL, "", 1)
		if want(f) {
			return f, nil
		}
	}
	return driver.Form{}, wrong("no such form: %s", a)
}

// form finds the form that posts to an action.
func (a answer) form(action string) (driver.Form, error) {
	return a.anyForm(func(f driver.Form) bool { return f.Action == action })
}
