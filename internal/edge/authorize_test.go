package edge_test

import (
	"html"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/keytether/keytether/internal/edge/edgetest"
	"github.com/keytether/keytether/internal/event"
	"github.com/keytether/keytether/internal/grant"
	"github.com/keytether/keytether/internal/oauth"
)

// shows fails the test unless a page shows a code of the catalogue, and says
// what to do.
func shows(t *testing.T, res *edgetest.Response, code oauth.Code) {
	t.Helper()
	p, _ := oauth.ProblemOf(oauth.Fail(code))
	status := p.Status
	if status == http.StatusUnauthorized {
		status = http.StatusForbidden
	}
	text := html.UnescapeString(res.Body)
	if res.Status != status || !strings.Contains(text, ">"+string(code)+"<") || !strings.Contains(text, p.What) || !strings.Contains(text, p.Do) {
		t.Errorf("status %d, want %d and a page about %s:\n%s", res.Status, status, code, res.Body)
	}
}

// TestAuthorizeShows sends plain authorization requests after which it is not
// certain whose redirect URI it is: the person is told, and nobody else.
func TestAuthorizeShows(t *testing.T) {
	s := edgetest.NewServer(t, edgetest.Options{})
	for _, c := range []struct {
		name   string
		client string
		change func(url.Values)
		code   oauth.Code
	}{
		{"no client", edgetest.Plain, func(q url.Values) { q.Del("client_id") }, oauth.MissingParameter},
		{"unknown client", edgetest.Plain, func(q url.Values) { q.Set("client_id", "x") }, oauth.UnknownClient},
		{"no redirect_uri", edgetest.Plain, func(q url.Values) { q.Del("redirect_uri") }, oauth.RedirectMismatch},
		{"other redirect_uri", edgetest.Plain, func(q url.Values) { q.Set("redirect_uri", "https://evil.test/callback") }, oauth.RedirectMismatch},
		{"doubled", edgetest.Plain, func(q url.Values) { q.Add("state", "x") }, oauth.DuplicateParameter},
		{"oversized", edgetest.Plain, func(q url.Values) { q.Set("x", strings.Repeat("x", oauth.MaxParam+1)) }, oauth.TooLarge},
		{"unknown request_uri", edgetest.Plain, func(q url.Values) { q.Set("request_uri", "urn:ietf:params:oauth:request_uri:x") }, oauth.RequestURIUnknown},
		{"request_uri elsewhere", edgetest.Plain, func(q url.Values) { q.Set("request_uri", "https://evil.test/request.jwt") }, oauth.RequestURIUnknown},
		{"client with the handshake", edgetest.Handshake, func(url.Values) {}, oauth.PARRequired},
		{"and query", edgetest.Handshake, func(q url.Values) { q.Set("response_mode", "query") }, oauth.PARRequired},
	} {
		t.Run(c.name, func(t *testing.T) {
			tool := s.NewTool(c.client)
			q := tool.Params()
			c.change(q)
			n := s.Size()
			for _, res := range []*edgetest.Response{
				tool.Browser.Open(s.Issuer + oauth.PathAuthorize + "?" + q.Encode()),
				tool.Browser.Post(s.Issuer+oauth.PathAuthorize, q, "cross-site"),
			} {
				shows(t, res, c.code)
				if res.Header.Get("Location") != "" {
					t.Error("redirected")
				}
			}
			s.Expect(n)
		})
	}
}

// TestAuthorizeAnswers sends plain authorization requests that are wrong in what
// the client itself is told, with state and iss.
//
// Invariant: CF-3a, CF-7a, CF-5a
func TestAuthorizeAnswers(t *testing.T) {
	s := edgetest.NewServer(t, edgetest.Options{})
	for _, c := range []struct {
		name, key, value, err string
	}{
		{"no response_type", "response_type", "", "invalid_request"},
		{"token", "response_type", "token", "unsupported_response_type"},
		{"fragment", "response_mode", "fragment", "invalid_request"},
		{"no challenge", "code_challenge", "", "invalid_request"},
		{"plain", "code_challenge_method", "plain", "invalid_request"},
		{"no method", "code_challenge_method", "", "invalid_request"},
		{"scope", "scope", "rule", "invalid_scope"},
		{"resource", "resource", "https://nowhere.test", "invalid_target"},
		{"prompt", "prompt", "x", "invalid_request"},
		{"max_age", "max_age", "x", "invalid_request"},
		{"request object", "request", "x", "request_not_supported"},
	} {
		for _, mode := range []string{"query", "form_post"} {
			t.Run(c.name+" "+mode, func(t *testing.T) {
				tool := s.NewTool(edgetest.Plain)
				tool.Mode = mode
				q := tool.Params()
				q.Set(c.key, c.value)
				n := s.Size()
				res := tool.Browser.Open(s.Issuer + oauth.PathAuthorize + "?" + q.Encode())
				if mode == "form_post" && tool.Browser.Outside == "" && res.Status != http.StatusOK {
					t.Fatalf("%d %s", res.Status, res.Body)
				}
				got := tool.Answer()
				if got.Get("error") != c.err || got.Get("iss") != s.Issuer || got.Get("state") != tool.State || got.Get("code") != "" {
					t.Errorf("the client was told %v", got)
				}
				s.Expect(n)
			})
		}
	}
}

// TestAuthorizePost sends the request by POST, as OIDC Core §3.1.2.1 allows.
func TestAuthorizePost(t *testing.T) {
	s := edgetest.NewServer(t, edgetest.Options{})
	tool := s.NewTool(edgetest.Plain)
	n := s.Size()
	tool.Browser.Post(s.Issuer+oauth.PathAuthorize, tool.Params(), "cross-site")
	tool.Browser.Has(t, http.StatusOK, "Sign in")
	s.Expect(n)
	if u, _ := url.Parse(tool.Browser.URL); len(u.Query()) != 2 || !u.Query().Has("client_id") || !u.Query().Has("request_uri") {
		t.Errorf("the address bar shows %s", tool.Browser.URL)
	}
	pushed := s.NewTool(edgetest.Handshake)
	pushed.Push()
	pushed.Browser.Post(s.Issuer+oauth.PathAuthorize, url.Values{"client_id": {pushed.Client}, "request_uri": {pushed.RequestURI}}, "cross-site")
	pushed.Browser.Has(t, http.StatusOK, "Sign in")
	r := s.FormRequest(oauth.PathAuthorize, tool.Params())
	r.Header.Set("Content-Type", "text/plain")
	shows(t, s.Do(r), oauth.BadContentType)
}

// TestPromptNone asks without a person: never a code.
//
// Invariant: CF-7a, CF-11
func TestPromptNone(t *testing.T) {
	s := edgetest.NewServer(t, edgetest.Options{})
	tool := s.NewTool(edgetest.Plain)
	tool.Extra.Set("prompt", "none")
	tool.Browser.Open(tool.AuthorizeURL())
	if got := tool.Answer(); got.Get("error") != "login_required" || got.Get("iss") != s.Issuer || got.Get("code") != "" {
		t.Errorf("signed out: %v", got)
	}
	first := s.NewTool(edgetest.Plain)
	first.Login()
	tool.Browser = first.Browser
	n := s.Size()
	tool.Browser.Open(tool.AuthorizeURL())
	if got := tool.Answer(); got.Get("error") != "consent_required" || got.Get("iss") != s.Issuer || got.Get("code") != "" {
		t.Errorf("signed in, and allowed before: %v", got)
	}
	s.Expect(n)
}

// TestRequestURI shows that a request works for its own client, until it is
// decided, and until it is too old.
//
// Invariant: CF-8b
func TestRequestURI(t *testing.T) {
	s := edgetest.NewServer(t, edgetest.Options{})
	tool := s.NewTool(edgetest.Handshake)
	tool.Push()
	n := s.Size()
	other := url.Values{"client_id": {edgetest.Plain}, "request_uri": {tool.RequestURI}}
	shows(t, tool.Browser.Open(s.Issuer+oauth.PathAuthorize+"?"+other.Encode()), oauth.RequestURIUnknown)
	s.Expect(n)

	late := s.NewTool(edgetest.Handshake)
	late.Push()
	tool.Consented()
	tool.Allow()
	n = s.Size()
	shows(t, tool.Browser.Open(tool.AuthorizeURL()), oauth.RequestDecided)
	s.Expect(n)
	s.Clock.Advance(grant.RequestURILife + grant.RequestURIGrace)
	shows(t, late.Browser.Open(late.AuthorizeURL()), oauth.RequestURIUnknown)
	s.Expect(n)
}

// TestSignIn signs in wrongly and rightly, and looks at the cookies.
func TestSignIn(t *testing.T) {
	s := edgetest.NewServer(t, edgetest.Options{HTTPS: true})
	tool := s.NewTool(edgetest.Handshake)
	tool.Push()
	b := tool.Browser
	res := b.Open(tool.AuthorizeURL())
	cookie := func(res *edgetest.Response, prefix string) string {
		for _, c := range res.Header.Values("Set-Cookie") {
			if strings.HasPrefix(c, prefix) {
				return c
			}
		}
		return ""
	}
	before := cookie(res, "__Host-kt-default-session=kts_")
	if !strings.HasSuffix(before, "; Path=/; HttpOnly; Secure; SameSite=Lax") {
		t.Errorf("session cookie %q", before)
	}
	n := s.Size()
	res = b.SignIn(edgetest.Email, "wrong password")
	b.Has(t, http.StatusForbidden, "Email or password is wrong")
	s.Expect(n, event.SignInFailed, event.RequestOpened)
	binding := cookie(res, "__Host-kt-default-r-")
	if !strings.HasSuffix(binding, "; Path=/; Max-Age=900; HttpOnly; Secure; SameSite=Lax") {
		t.Errorf("request cookie %q", binding)
	}
	if cookie(res, "__Host-kt-default-session=") != "" {
		t.Error("a failed sign-in changed the session")
	}
	if got := b.Form("Sign in").Fields; got.Has("password") {
		t.Error("the password came back")
	}
	n = s.Size()
	b.SignIn("nobody@example.test", edgetest.Password)
	b.Has(t, http.StatusForbidden, "Email or password is wrong")
	s.Expect(n, event.SignInFailed)

	form := b.Form("Sign in")
	form.Fields.Set("email", edgetest.Email)
	form.Fields.Set("password", edgetest.Password)
	r := s.FormRequest("/oauth/signin", form.Fields)
	for _, c := range b.Cookies() {
		r.AddCookie(c)
	}
	n = s.Size()
	res = s.Do(r)
	if res.Status != http.StatusSeeOther || res.Header.Get("Location") != tool.AuthorizeURL() {
		t.Errorf("signed in: %d to %s", res.Status, res.Header.Get("Location"))
	}
	s.Expect(n, event.SignInSucceeded)
	after := cookie(res, "__Host-kt-default-session=kts_")
	if !strings.HasSuffix(after, "; Path=/; Max-Age=28800; HttpOnly; Secure; SameSite=Lax") || after[:70] == before[:70] {
		t.Errorf("session cookie after sign-in %q", after)
	}
	for _, want := range []string{edgetest.Password, "wrong password", edgetest.Email} {
		if strings.Contains(s.Log.String(), want) {
			t.Errorf("the log holds %q", want)
		}
	}
}

// TestSignInWithOldCookie types a wrong password in a browser whose cookie is of
// a session that is over, and then the right one.
func TestSignInWithOldCookie(t *testing.T) {
	s := edgetest.NewServer(t, edgetest.Options{})
	b := s.NewBrowser()
	b.Open(s.Issuer + "/me")
	b.SignIn(edgetest.Email, "wrong password")
	s.Clock.Advance(grant.SessionLife)
	b.Open(s.Issuer + "/me")
	b.SignIn(edgetest.Email, "wrong password")
	b.Has(t, http.StatusForbidden, "Email or password is wrong")
	b.SignIn(edgetest.Email, edgetest.Password)
	b.Has(t, http.StatusOK, "Your tools")
}

// TestSignInLimited guesses passwords until the server makes it wait.
func TestSignInLimited(t *testing.T) {
	s := edgetest.NewServer(t, edgetest.Options{})
	b := s.NewBrowser()
	b.Open(s.Issuer + "/me")
	for range 8 {
		if b.SignIn(edgetest.Email, "wrong password").Status == http.StatusTooManyRequests {
			break
		}
	}
	if b.Page.Status != http.StatusTooManyRequests || b.Page.Header.Get("Retry-After") == "" {
		t.Fatalf("%d, Retry-After %q", b.Page.Status, b.Page.Header.Get("Retry-After"))
	}
	b.Has(t, http.StatusTooManyRequests, "Too many attempts to sign in")
	n := s.Size()
	b.SignIn(edgetest.Email, edgetest.Password)
	b.Has(t, http.StatusTooManyRequests, "Sign in")
	s.Expect(n)
	s.Clock.Advance(10 * time.Minute)
	b.SignIn(edgetest.Email, edgetest.Password)
	b.Has(t, http.StatusOK, "Your tools")
}

// TestConsentPage looks at what the page says.
func TestConsentPage(t *testing.T) {
	s := edgetest.NewServer(t, edgetest.Options{})
	tool := s.NewTool(edgetest.Handshake)
	tool.Scope = "read write email"
	tool.Extra = url.Values{
		"keytether_host": {"mara's <b>laptop</b>"}, "keytether_os_user": {"mara"}, "keytether_platform": {"linux/amd64\u202egnp"},
	}
	tool.Push()
	s.Clock.Advance(3 * time.Minute)
	tool.Browser.Open(tool.AuthorizeURL())
	tool.Browser.SignIn(edgetest.Email, edgetest.Password)
	for _, want := range []string{
		"Keytether", "keytether", edgetest.Email, "Read reports", "Change reports", "See your email address",
		"Example API", edgetest.API, "24 hours", "mara's <b>laptop</b>", "linux/amd64gnp", "127.0.0.1", "3 minutes ago",
		"reported by the tool", "press Deny",
	} {
		tool.Browser.Has(t, http.StatusOK, want)
	}
	if strings.Contains(tool.Browser.Page.Body, "<b>laptop") {
		t.Error("a reported fact is markup")
	}
	form := tool.Browser.Form("Allow")
	if got := strings.Join(form.Buttons, " "); got != "Deny Allow" {
		t.Errorf("buttons %s", got)
	}
	if n := strings.Count(tool.Browser.Page.Body, `<button name="decision" value=`); n != 2 || strings.Contains(tool.Browser.Page.Body, "autofocus") {
		t.Error("the two buttons differ, or one has the focus")
	}
}

// TestDeny denies: the client is told so with iss, and gets nothing.
//
// Invariant: CF-7a
func TestDeny(t *testing.T) {
	s := edgetest.NewServer(t, edgetest.Options{})
	for _, client := range []string{edgetest.Handshake, edgetest.Plain} {
		tool := s.NewTool(client)
		tool.Consented()
		n := s.Size()
		tool.Browser.Press("Deny")
		got := tool.Answer()
		if got.Get("error") != "access_denied" || got.Get("iss") != s.Issuer || got.Get("state") != tool.State || len(got) != 4 {
			t.Errorf("%s: the client was told %v", client, got)
		}
		s.Expect(n, event.RequestDenied)
	}
}

// TestLackingRole asks a person for a scope whose role they do not have.
func TestLackingRole(t *testing.T) {
	s := edgetest.NewServer(t, edgetest.Options{})
	tool := s.NewTool(edgetest.Handshake)
	tool.Resource, tool.Scope = s.Issuer+oauth.PathAPI, "admin"
	tool.Push()
	tool.Browser.Open(tool.AuthorizeURL())
	tool.Browser.SignIn(edgetest.Other, edgetest.Password)
	tool.Browser.Has(t, http.StatusOK, "does not have the role")
	form := tool.Browser.Form("Deny")
	if strings.Join(form.Buttons, " ") != "Deny" {
		t.Errorf("buttons %v", form.Buttons)
	}
	n := s.Size()
	form.Fields.Set("decision", "allow")
	shows(t, tool.Browser.Post(form.Action, form.Fields, "same-origin"), oauth.ScopeUnknown)
	s.Expect(n)
}

// TestRedirectKeepsQuery answers a client whose redirect URI has a query of its
// own (RFC 6749 §3.1.2), by 303.
//
// Invariant: CF-2c
func TestRedirectKeepsQuery(t *testing.T) {
	s := edgetest.NewServer(t, edgetest.Options{})
	tool := s.NewTool(edgetest.Bound)
	tool.Redirect, tool.State = "http://127.0.0.1:43210/callback?tool=1", "a b&c=d#e"
	tool.Consented()
	form := tool.Browser.Form("Allow")
	r := s.FormRequest("/oauth/consent", form.Fields)
	for _, c := range tool.Browser.Cookies() {
		r.AddCookie(c)
	}
	res := s.Do(r)
	u, err := url.Parse(res.Header.Get("Location"))
	if res.Status != http.StatusSeeOther || err != nil {
		t.Fatalf("%d to %q", res.Status, res.Header.Get("Location"))
	}
	q := u.Query()
	if u.Host != "127.0.0.1:43210" || u.Path != "/callback" || u.Fragment != "" || q.Get("tool") != "1" ||
		q.Get("state") != tool.State || q.Get("iss") != s.Issuer || !strings.HasPrefix(q.Get("code"), "ktc_") {
		t.Errorf("sent to %s", u)
	}
}
