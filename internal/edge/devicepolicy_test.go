package edge_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/keytether/keytether/internal/edge/edgetest"
	"github.com/keytether/keytether/internal/event"
	"github.com/keytether/keytether/internal/oauth"
	"github.com/keytether/keytether/internal/policy"
)

// typedFrom types the code in a browser at an address, and signs in.
func (d *started) typedFrom(t *testing.T, address string) *edgetest.Browser {
	t.Helper()
	b := d.s.NewBrowser()
	b.Header.Set("X-Forwarded-For", address)
	b.Open(d.VerificationURI)
	b.Press("Continue", "user_code", d.UserCode)
	b.SignIn(edgetest.Email, edgetest.Password)
	b.Has(t, http.StatusOK, "wants to act for you")
	return b
}

const elsewhere = "203.0.113.50" // the tools here are at 127.0.0.1

// TestDeviceElsewhere: when the browser is on another network than the device,
// the page says so, one Allow is not enough, and Deny is as prominent as Allow
// on both steps.
//
// Invariant: DF-13a
func TestDeviceElsewhere(t *testing.T) {
	s := edgetest.NewServer(t, behindProxy)
	d := startDevice(t, s, edgetest.Bound)
	b := d.typedFrom(t, elsewhere)
	b.Has(t, http.StatusOK, "This browser is on another network: <b>"+elsewhere)
	both := func() {
		t.Helper()
		for _, want := range []string{`<button name="decision" value="deny">Deny</button>`, `<button name="decision" value="allow">Allow</button>`} {
			if strings.Count(b.Page.Body, want) != 1 {
				t.Errorf("no %s", want)
			}
		}
	}
	both()
	n := s.Size()
	b.Press("Allow")
	b.Has(t, http.StatusOK, "Look again.")
	b.Has(t, http.StatusOK, "it asks from <b>127.0.0.1</b>, and you are at <b>"+elsewhere)
	both()
	s.Expect(n)
	if got := d.poll(t); got != "authorization_pending" {
		t.Fatalf("after one step: %s", got)
	}
	second := b.Form("Allow")
	first := second
	b.Open(b.URL)
	b.Open(s.Issuer + "/device?device=" + second.Fields.Get("device"))
	first = b.Form("Allow")
	first.Fields.Set("confirm", "yes") // the first page's form does not do for the second step
	b.Post(s.Issuer+"/device/decide", first.Fields, "same-origin")
	b.Has(t, http.StatusForbidden, "too old")
	s.Expect(n)
	b.Post(second.Action, second.Fields, "same-origin")
	b.Has(t, http.StatusOK, "Allowed")
	s.Expect(n, event.DeviceApproved)
	s.Clock.Advance(5 * time.Second)
	if got := d.poll(t); got != "" {
		t.Error(got)
	}

	for _, step := range []int{1, 2} {
		d := startDevice(t, s, edgetest.Bound)
		b := d.typedFrom(t, elsewhere)
		if step == 2 {
			b.Press("Allow")
		}
		b.Press("Deny")
		b.Has(t, http.StatusOK, "Denied")
		if got := d.poll(t); got != "access_denied" {
			t.Errorf("Deny at step %d: %s", step, got)
		}
	}

	d = startDevice(t, s, edgetest.Bound)
	b = d.typedFrom(t, "127.0.0.1") // on the device's own network one step suffices
	if strings.Contains(b.Page.Body, "another network") {
		t.Error("a warning without a reason")
	}
	b.Press("Allow")
	b.Has(t, http.StatusOK, "Allowed")
}

// TestDevicePolicy: what the config says of another network holds on the page and
// for the form.
//
// Invariant: DF-13c
func TestDevicePolicy(t *testing.T) {
	start := func(t *testing.T, rules policy.DeviceRules) (*edgetest.Server, *started, *edgetest.Browser) {
		o := behindProxy
		o.Device = rules
		s := edgetest.NewServer(t, o)
		d := startDevice(t, s, edgetest.Bound)
		return s, d, d.typedFrom(t, elsewhere)
	}
	for action, words := range map[policy.Action]string{policy.Trusted: "keytether approve", policy.Refuse: "Nobody can allow it here"} {
		t.Run(string(action), func(t *testing.T) {
			s, d, b := start(t, policy.DeviceRules{OtherNetwork: action})
			b.Has(t, http.StatusOK, words)
			if strings.Contains(b.Page.Body, "Allow</button>") {
				t.Error("there is an Allow")
			}
			n := s.Size()
			form := b.Form("Deny")
			form.Fields.Set("decision", "allow")
			b.Post(form.Action, form.Fields, "same-origin")
			b.Has(t, http.StatusForbidden, "does not allow a login that was started in this way")
			s.Expect(n)
			if got := d.poll(t); got != "authorization_pending" {
				t.Error(got)
			}
		})
	}
	t.Run("sign in again", func(t *testing.T) {
		s, _, b := start(t, policy.DeviceRules{OtherNetwork: policy.SignInAgain})
		b.Press("Allow") // signed in since the code was typed
		b.Has(t, http.StatusOK, "Look again.")
		b.Press("Deny")

		d := startDevice(t, s, edgetest.Bound)
		s.Clock.Advance(time.Minute)
		b.Open(d.VerificationURI)
		b.Press("Continue", "user_code", d.UserCode)
		b.Has(t, http.StatusOK, "asked to sign in again")
		n := s.Size()
		b.Press("Allow")
		b.Has(t, http.StatusOK, "Password")
		s.Expect(n)
		s.Clock.Advance(time.Second)
		b.SignIn(edgetest.Email, edgetest.Password)
		b.Press("Allow")
		b.Has(t, http.StatusOK, "Look again.")
		b.Press("Allow")
		b.Has(t, http.StatusOK, "Allowed")
		s.Expect(n, event.SignInSucceeded, event.DeviceApproved)
		if got := d.poll(t); got != "" {
			t.Error(got)
		}
	})
	t.Run("narrow, and short", func(t *testing.T) {
		o := behindProxy
		o.Device = policy.DeviceRules{OtherNetwork: policy.Narrow, NarrowTo: []string{"read"}, Grant: time.Hour}
		s := edgetest.NewServer(t, o)
		d := startDeviceFor(t, s, edgetest.Bound, "openid read write")
		b := d.typedFrom(t, elsewhere)
		b.Has(t, http.StatusOK, "no more is given")
		b.Has(t, http.StatusOK, "at most 60 minutes")
		if strings.Contains(b.Page.Body, "Change reports") {
			t.Error("the page shows what is not given")
		}
		b.Press("Allow")
		b.Press("Allow")
		if got := d.poll(t); got != "" {
			t.Fatal(got)
		}
		tok := d.tool.Token
		if tok.Scope != "openid read" || tok.GrantExpires != s.Clock.Now().Add(time.Hour).Unix() {
			t.Errorf("scope %s, ends in %d s", tok.Scope, tok.GrantExpires-s.Clock.Now().Unix())
		}
		s.Clock.Advance(time.Hour)
		if got := rfcError(t, d.tool.Post("/oauth/token", d.tool.RefreshParams())); got != "invalid_grant" {
			t.Errorf("after an hour: %s", got)
		}
	})
}

// TestDeviceShown: what is granted is what the page showed, or `keytether approve`,
// though policy would give more by the time that the person presses Allow: their
// browser is on the device's network then.
//
// Invariant: DF-13g
func TestDeviceShown(t *testing.T) {
	o := behindProxy
	o.Device = policy.DeviceRules{OtherNetwork: policy.Narrow, NarrowTo: []string{"read"}}
	s := edgetest.NewServer(t, o)
	d := startDeviceFor(t, s, edgetest.Bound, "read write")
	b := d.typedFrom(t, elsewhere)
	b.Has(t, http.StatusOK, "Read reports")
	if strings.Contains(b.Page.Body, "Change reports") {
		t.Fatal("the page shows what policy does not give")
	}
	form := b.Form("Allow")
	more := b.Form("Allow")
	more.Fields.Set("scope", "read write")
	b.Header.Set("X-Forwarded-For", "127.0.0.1")
	b.Post(more.Action, more.Fields, "same-origin")
	b.Has(t, http.StatusForbidden, "too old")
	b.Post(form.Action, form.Fields, "same-origin")
	b.Has(t, http.StatusOK, "Allowed")
	if got := d.poll(t); got != "" || d.tool.Token.Scope != "read" {
		t.Errorf("%s: %q", got, d.tool.Token.Scope)
	}

	mine := trusted(t, s)
	mine.From = elsewhere
	d = startDeviceFor(t, s, edgetest.Bound, "read write")
	doc, _ := view(t, mine, d.UserCode)
	if scopes := doc["scopes"].([]any); len(scopes) != 1 {
		t.Fatalf("%v", doc)
	}
	mine.From = "127.0.0.1"
	res := mine.Send("/api/v1/device/decide", map[string]string{
		"user_code": d.UserCode, "decision": "allow",
		"approval": approval(t, s, mine.Key, approvalType, nil, doc["device_id"].(string), d.UserCode, "allow"),
	})
	if res.Status != http.StatusOK {
		t.Fatalf("%d %s", res.Status, res.Body)
	}
	if got := d.poll(t); got != "" || d.tool.Token.Scope != "read" {
		t.Errorf("approved: %s: %q", got, d.tool.Token.Scope)
	}
}

// TestDeviceBehindProxy: where a proxy that is not trusted stands in front,
// everybody has its address. Nobody is taken for a neighbour of the device then: the
// page says that it cannot tell, and Allow takes the second step.
//
// Invariant: DF-13a
func TestDeviceBehindProxy(t *testing.T) {
	s := edgetest.NewServer(t, edgetest.Options{HTTPS: true})
	plain := httptest.NewServer(s.Handler) // as behind a proxy that does the TLS
	defer plain.Close()
	through := func(r *http.Request) *http.Response {
		t.Helper()
		r.URL.Scheme, r.URL.Host = "http", strings.TrimPrefix(plain.URL, "http://")
		res, err := plain.Client().Do(r)
		if err != nil {
			t.Fatal(err)
		}
		return res
	}
	tool := s.NewTool(edgetest.Plain)
	res := through(s.FormRequest(oauth.PathDevice, url.Values{"client_id": {tool.Client}, "scope": {"read"}}))
	defer res.Body.Close()
	var doc oauth.DeviceResponse
	if err := json.NewDecoder(res.Body).Decode(&doc); err != nil {
		t.Fatal(err)
	}
	b := s.NewBrowser()
	b.Open(doc.VerificationURI)
	b.Press("Continue", "user_code", doc.UserCode)
	b.SignIn(edgetest.Email, edgetest.Password)
	b.Has(t, http.StatusOK, "wants to act for you")
	b.Press("Allow")
	b.Has(t, http.StatusOK, "Look again.")
	n := s.Size() - 1
	if r := s.Since(n); len(r) != 1 || r[0].Name == event.DeviceApproved {
		t.Errorf("%+v", r)
	}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, b.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.URL.Path, r.URL.RawQuery = "/device", "device="+b.Form("Allow").Fields.Get("device")
	for _, c := range b.Cookies() {
		r.AddCookie(c)
	}
	page := through(r)
	defer page.Body.Close()
	text, err := io.ReadAll(page.Body)
	if err != nil || !strings.Contains(string(text), "this server cannot tell") || strings.Contains(string(text), "127.0.0.1") {
		t.Errorf("%d %v:\n%s", page.StatusCode, err, text)
	}
}
