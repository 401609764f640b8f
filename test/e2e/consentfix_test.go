package e2e

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/keytether/keytether/bench/driver"
	"github.com/keytether/keytether/internal/grant"
	"github.com/keytether/keytether/internal/jws"
	"github.com/keytether/keytether/internal/oauth"
	"github.com/keytether/keytether/internal/testkit"
	"github.com/keytether/keytether/internal/testkit/browser"
	"github.com/keytether/keytether/internal/testkit/stage"
)

// attacker starts logins of the built-in client with a key of his own, and has
// others finish them (ConsentFix, 2025). He is at another machine than his
// victim: what the victim's browser sends to loopback never reaches him.
type attacker struct {
	st       *stage.Stage
	tool     *driver.Tool
	bare     *http.Client // without cookies
	cookies  *http.Client // with those that he was given when he looked at the page himself
	verifier string
	redirect string
	uri      string // the request_uri
}

func newAttacker(t *testing.T, st *stage.Stage) *attacker {
	t.Helper()
	server, err := driver.Discover(t.Context(), st.Issuer, st.Client())
	do(t, err)
	tool, err := driver.NewTool(server, "keytether")
	do(t, err)
	addr, err := testkit.FreeLoopback()
	do(t, err)
	a := &attacker{st: st, tool: tool, bare: st.Client(), cookies: st.Client(), verifier: rand.Text() + rand.Text(), redirect: "http://" + addr + "/callback"}
	a.cookies.Jar, err = cookiejar.New(nil)
	do(t, err)
	return a
}

func (a *attacker) parameters(change ...string) url.Values {
	challenge, _ := oauth.Challenge(a.verifier)
	form := url.Values{
		"client_id": {"keytether"}, "response_type": {"code"}, "response_mode": {"form_post"}, "redirect_uri": {a.redirect},
		"scope": {"openid read"}, "resource": {a.st.Resource}, "state": {"a-state-that-he-chose"},
		"code_challenge": {challenge}, "code_challenge_method": {"S256"},
	}
	for i := 0; i < len(change); i += 2 {
		form.Set(change[i], change[i+1])
		if change[i+1] == "" {
			form.Del(change[i])
		}
	}
	return form
}

// push pushes the request and gives the link for the victim.
func (a *attacker) push(t *testing.T, change ...string) (string, error) {
	t.Helper()
	var par oauth.PARResponse
	m := a.tool.Server.Metadata
	if err := a.tool.Post(t.Context(), m.PAREndpoint, a.parameters(change...), &par); err != nil {
		return "", err
	}
	a.uri = par.RequestURI
	link := m.AuthorizationEndpoint + "?" + url.Values{"client_id": {"keytether"}, "request_uri": {a.uri}}.Encode()
	a.get(t, a.cookies, link)
	return link, nil
}

// sign makes what an honest listener would have made of a nonce.
func (a *attacker) sign(t *testing.T, key jws.Signer, nonce string) string {
	t.Helper()
	hash := func(s string) string {
		sum := sha256.Sum256([]byte(s))
		return base64.RawURLEncoding.EncodeToString(sum[:])
	}
	claims, err := json.Marshal(map[string]any{
		"iss": "keytether", "aud": a.st.Issuer, "iat": time.Now().Unix(), "request_uri_hash": hash(a.uri),
		"redirect_uri": a.redirect, "nonce_hash": hash(nonce),
	})
	do(t, err)
	s, err := jws.Sign(key, "keytether-handshake+jwt", claims)
	do(t, err)
	return a.tool.Server.Metadata.HandshakeEndpoint + "?handshake=" + url.QueryEscape(s)
}

// get opens a page and fails the test if it has anything to gain.
func (a *attacker) get(t *testing.T, c *http.Client, u string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, u, nil)
	if err != nil {
		return // a pasted word that is no URL
	}
	resp, err := c.Do(req)
	if err != nil {
		return // the victim's loopback, and nobody is there
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	do(t, err)
	whole := string(body) + resp.Header.Get("Location")
	for _, bad := range []string{"ktc_", `name="code"`, `name="handshake_nonce"`} {
		if strings.Contains(whole, bad) {
			t.Errorf("the attacker was shown %s at %s", bad, resp.Request.URL.Path)
		}
	}
}

// redeem tries a word as the code.
func (a *attacker) redeem(t *testing.T, word string) {
	t.Helper()
	var out oauth.TokenResponse
	err := a.tool.Post(t.Context(), a.tool.Server.Metadata.TokenEndpoint, url.Values{
		"grant_type": {"authorization_code"}, "client_id": {"keytether"}, "code": {word},
		"redirect_uri": {a.redirect}, "code_verifier": {a.verifier},
	}, &out)
	var refused *driver.Error
	if !errors.As(err, &refused) || out.AccessToken != "" {
		t.Errorf("the token endpoint answered the attacker %v, with a token: %t", err, out.AccessToken != "")
	}
}

var words = regexp.MustCompile(`[A-Za-z0-9_~.-]{16,}`)

// exploit tries all that was pasted, in every way that he has, while a nonce
// lives. pressed is when the victim pressed Allow.
func (a *attacker) exploit(t *testing.T, pasted []string, pressed time.Time) {
	t.Helper()
	stranger, err := driver.NewTool(a.tool.Server, "keytether")
	do(t, err)
	found := map[string]bool{"": true}
	for _, p := range pasted {
		found[p] = true
		for _, w := range words.FindAllString(p, -1) {
			found[w] = true
		}
		if u, err := url.Parse(p); err == nil {
			for _, values := range u.Query() {
				found[values[0]] = true
			}
		}
	}
	for word := range found {
		for _, c := range []*http.Client{a.bare, a.cookies} {
			a.get(t, c, word)
			a.get(t, c, a.tool.Server.Metadata.HandshakeEndpoint+"?handshake="+url.QueryEscape(word))
			a.get(t, c, a.sign(t, a.tool.Signer, word))
			a.get(t, c, a.sign(t, stranger.Signer, word))
		}
	}
	if d := time.Since(pressed); d > grant.HandshakeLife {
		t.Errorf("the attacker needed %s: the nonce was dead already, and this shows nothing", d)
	}
	for word := range found {
		a.redeem(t, word)
	}
}

// pasted is all that a very helpful victim can copy out of the browser.
func pasted(t *testing.T, b *browser.Browser) []string {
	t.Helper()
	text, err := b.Text(t.Context())
	do(t, err)
	return append(b.Shown(), text)
}

// TestConsentFix: whoever gets a person to sign in and press Allow for a login
// that was started elsewhere gets neither code nor token, whatever the person
// pastes.
//
// Invariant: HS-2, HS-6
func TestConsentFix(t *testing.T) {
	st := ownStage(t, stage.Options{TLS: true, NoAPI: true})
	b := chromium(t, st, browser.Options{})
	byHand := chromium(t, st, browser.Options{NoScript: true})
	ctx := t.Context()

	deadEnd := func(u *url.URL) bool { return u.Scheme == "chrome-error" || strings.HasPrefix(u.Host, "127.0.0.1") }
	victim := func(t *testing.T, link string) (pressed time.Time) {
		t.Helper()
		do(t, stage.Ask(ctx, b, link))
		pressed = time.Now()
		do(t, b.Click(ctx, "Allow"))
		do(t, b.WaitURL(ctx, deadEnd))
		return pressed
	}

	t.Run("the polite one", func(t *testing.T) {
		a := newAttacker(t, st)
		link, err := a.push(t)
		do(t, err)
		pressed := victim(t, link)
		if !strings.Contains(strings.Join(b.Shown(), " "), a.redirect) {
			t.Errorf("the browser never tried %s", a.redirect)
		}
		a.exploit(t, pasted(t, b), pressed)
	})

	t.Run("the one who leaves the handshake out", func(t *testing.T) {
		a := newAttacker(t, st)
		for _, change := range [][]string{
			{"response_mode", "query"},
			{"response_mode", "fragment"},
			{"redirect_uri", "https://attacker.test/callback"},
		} {
			if _, err := a.push(t, change...); err == nil {
				t.Errorf("%q was accepted", change)
			}
		}
		link, err := a.push(t, "response_mode", "", "handshake", "none", "state", "")
		do(t, err)
		a.exploit(t, pasted(t, b), victim(t, link))
	})

	t.Run("the one who uses plain authorize", func(t *testing.T) {
		a := newAttacker(t, st)
		for _, mode := range []string{"", "query", "form_post"} {
			do(t, b.Open(ctx, a.tool.Server.Metadata.AuthorizationEndpoint+"?"+a.parameters("response_mode", mode).Encode()))
			do(t, b.WaitText(ctx, "pushed"))
			if n, err := b.Count(ctx, "Allow"); err != nil || n != 0 {
				t.Errorf("there are %d buttons Allow (%v)", n, err)
			}
			for _, word := range pasted(t, b) {
				if strings.HasPrefix(word, a.redirect) {
					t.Errorf("the browser was sent to %s", word)
				}
				a.redeem(t, word)
			}
		}
	})

	t.Run("the one who signs by himself, and has the victim carry it", func(t *testing.T) {
		a := newAttacker(t, st)
		link, err := a.push(t)
		do(t, err)
		victim(t, link)
		do(t, b.Open(ctx, a.sign(t, a.tool.Signer, "a nonce that he made up, in 43 characters or more")))
		n, err := b.Count(ctx, "Continue")
		if text, _ := b.Text(ctx); err != nil || n != 0 || strings.Contains(text, "Allowed") {
			t.Errorf("%d buttons Continue (%v) on a page that says %q", n, err, text)
		}
		a.exploit(t, pasted(t, b), time.Now())
	})

	// More than any person would paste: the nonce itself, out of the page's source.
	t.Run("the one who was told the nonce", func(t *testing.T) {
		a := newAttacker(t, st)
		link, err := a.push(t)
		do(t, err)
		do(t, stage.Ask(ctx, byHand, link))
		pressed := time.Now()
		do(t, byHand.Click(ctx, "Allow"))
		do(t, byHand.WaitText(ctx, "One moment"))
		nonce := eval(t, byHand, `document.querySelector("input[name=handshake_nonce]").value`)
		if len(nonce) < 43 {
			t.Fatalf("the nonce has %d characters", len(nonce))
		}
		a.exploit(t, append(pasted(t, byHand), nonce), pressed)
	})

	for _, v := range []*browser.Browser{b, byHand} {
		do(t, v.Open(ctx, st.Issuer+"/me"))
		do(t, v.WaitText(ctx, "No tool can act for you at the moment"))
	}
	onlyOne(t, st, b)
}

// onlyOne logs in honestly, by the same registration, and finds in the audit
// log that this was the only code, grant and token there ever was.
func onlyOne(t *testing.T, st *stage.Stage, b *browser.Browser) {
	t.Helper()
	m := machine(t, st)
	done := logIn(t, m, b, "--resource", st.Issuer+"/api/v1", "--scope", "admin")
	log := filepath.Join(m.Home.Dir, "audit.ndjson")
	keytether(t, m, 0, "audit", "export", "--out", log)
	keytether(t, m, 0, "audit", "verify", log)
	seen := map[string][]string{}
	for line := range strings.Lines(keytether(t, m, 0, "audit", "show", log, "--json").Stdout) {
		var r struct{ Event string }
		do(t, json.Unmarshal([]byte(line), &r))
		seen[r.Event] = append(seen[r.Event], line)
	}
	for _, name := range []string{"code.issued", "code.redeemed", "grant.created", "token.issued"} {
		if n := len(seen[name]); n != 1 {
			t.Errorf("%s stands in the audit log %d times, want once: %q", name, n, seen[name])
		}
	}
	if !strings.Contains(strings.Join(seen["grant.created"], ""), done.GrantID) {
		t.Errorf("the grant is not the honest one: %s", seen["grant.created"])
	}
	if n := len(seen["request.approved"]); n != 5 {
		t.Errorf("%d requests were approved, want the victims' four and the honest one", n)
	}
}
