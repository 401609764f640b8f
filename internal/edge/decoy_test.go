package edge_test

import (
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/keytether/keytether/internal/edge/edgetest"
	"github.com/keytether/keytether/internal/event"
	"github.com/keytether/keytether/internal/id"
	"github.com/keytether/keytether/internal/oauth"
	"github.com/keytether/keytether/internal/redact"
	"github.com/keytether/keytether/internal/secret"
)

// baited is a laptop with two logins, one of them for the server's own API, and
// another computer of the same person.
type baited struct {
	*edgetest.Server
	api, tool, phone *edgetest.Tool
}

func newBaited(t *testing.T) baited {
	t.Helper()
	s := edgetest.NewServer(t, edgetest.Options{})
	b := baited{Server: s, api: s.NewTool(edgetest.Handshake)}
	b.api.Resource, b.api.Scope = s.Issuer+oauth.PathAPI, "account"
	b.api.Extra = url.Values{"keytether_host": {"mara-laptop"}}
	b.api.Login()
	b.tool = s.NewTool(edgetest.Handshake)
	b.tool.Key, b.tool.Browser, b.tool.Extra = b.api.Key, b.api.Browser, b.api.Extra
	b.tool.Login()
	b.phone = trusted(t, s)
	return b
}

type planted struct {
	ID, Installation, Decoy string
	Locked                  bool
	Fired                   string `json:"fired_from"`
	Ending                  string `json:"ends_with"`
}

func (b baited) plant(t *testing.T) planted {
	t.Helper()
	res := b.api.Send("/api/v1/decoys/plant", map[string]string{"kind": "env"})
	var p planted
	if err := json.Unmarshal([]byte(res.Body), &p); err != nil || res.Status != http.StatusOK {
		t.Fatalf("%d %s", res.Status, res.Body)
	}
	return p
}

// unknown looks like a refresh token as much as a decoy does.
func unknown(t *testing.T) string {
	t.Helper()
	raw, err := id.Parse(id.Grant, id.New(id.Grant, time.Unix(1e9, 0), [10]byte{1}))
	if err != nil {
		t.Fatal(err)
	}
	return secret.SealRefresh(secret.Key{}, "default", secret.RefreshHandle{Grant: raw}, [32]byte{2}).Reveal()
}

func (b baited) present(text string) *edgetest.Response {
	thief := b.NewTool(edgetest.Handshake)
	return thief.Post(oauth.PathToken, url.Values{
		"grant_type": {"refresh_token"}, "client_id": {edgetest.Handshake}, "refresh_token": {text},
	})
}

// liveAPI asks the server's own API.
func liveAPI(tool *edgetest.Tool) bool {
	return tool.Call(http.MethodGet, "/api/v1/whoami").Status == http.StatusOK
}

// TestDecoyLocks: a decoy is used. That installation's tokens end, at the feed as
// well, and it gets no new ones, still after a restart; another installation goes on
// and is told. The person unlocks, having signed in anew, and everything goes on
// with the same refresh tokens; the tokens of before stay dead.
//
// Invariant: DC-1, DC-2, DC-4, DC-6
func TestDecoyLocks(t *testing.T) {
	b := newBaited(t)
	n := b.Size()
	p := b.plant(t)
	b.Expect(n, event.DecoyPlanted)
	before := b.tool.Token.AccessToken
	b.Clock.Advance(time.Minute)
	n = b.Size()
	refused(t, b.present(p.Decoy), oauth.RefreshUnknown)
	got := b.Since(n)
	if len(got) != 1 || got[0].Name != event.DecoyFired || got[0].Installation != p.Installation || got[0].Detail != "token" || got[0].Subject == "" {
		t.Fatalf("recorded %+v", got)
	}
	_, snap := b.Auth.Listen(edgetest.API)
	if len(snap.Grants) != 1 || snap.Grants[0].ID != b.tool.Token.GrantID || snap.Grants[0].Before.IsZero() {
		t.Errorf("the feed has %+v", snap)
	}
	closed := func() {
		t.Helper()
		refused(t, b.tool.Post(oauth.PathToken, b.tool.RefreshParams()), oauth.InstallationLocked)
		refused(t, b.api.Post(oauth.PathToken, b.api.RefreshParams()), oauth.InstallationLocked)
		if live(b.Server, before) || liveAPI(b.api) {
			t.Error("a token of the installation is still good")
		}
	}
	closed()
	b.Restart()
	closed()
	if !liveAPI(b.phone) {
		t.Error("another installation is locked too")
	}
	renew(b.phone)
	if l := b.phone.Token.Notices; len(l) != 1 || l[0].Kind != oauth.NoticeLocked || l[0].Host != "mara-laptop" || l[0].Address != "127.0.0.1" {
		t.Errorf("the other installation is told %+v", l)
	}

	b.tool.Browser.Open(b.Issuer + "/me")
	b.tool.Browser.Has(t, http.StatusOK, "mara-laptop is locked")
	b.Clock.Advance(time.Second)
	n = b.Size()
	b.tool.Browser.Press("Unlock") // signed in before the decoy was used
	b.tool.Browser.Has(t, http.StatusOK, "Password")
	b.Expect(n)
	b.tool.Browser.SignIn(edgetest.Email, edgetest.Password)
	n = b.Size()
	b.tool.Browser.Press("Unlock")
	b.tool.Browser.Has(t, http.StatusOK, "Unlocked.")
	if got := b.Since(n); len(got) != 1 || got[0].Name != event.InstallationUnlocked || got[0].Session == "" || got[0].Installation != p.Installation {
		t.Errorf("recorded %+v", got)
	}
	opened := func() {
		t.Helper()
		renew(b.tool)
		if !live(b.Server, b.tool.Token.AccessToken) || live(b.Server, before) {
			t.Error("after the unlock: the new token is dead, or the old one is good")
		}
	}
	opened()
	b.Restart()
	opened()
	n = b.Size()
	refused(t, b.present(p.Decoy), oauth.RefreshUnknown) // spent: it locks nobody again
	b.Expect(n)
	opened()
}

// TestDecoyLooksUnknown presents a decoy at every endpoint, rightly and badly. The
// answer is that to a string which was never anything, and takes as long; it is
// recorded once, with the endpoint.
//
// Invariant: DC-1, DC-3
func TestDecoyLooksUnknown(t *testing.T) {
	form := func(s baited, path string, more ...string) *edgetest.Response {
		f := url.Values{"client_id": {edgetest.Bound}}
		for i := 0; i < len(more); i += 2 {
			f.Set(more[i], more[i+1])
		}
		return s.Do(s.FormRequest(path, f))
	}
	for name, c := range map[string]struct {
		where string
		send  func(baited, string) *edgetest.Response
	}{
		"refresh": {"token", func(b baited, x string) *edgetest.Response { return b.present(x) }},
		"without a proof": {"token", func(b baited, x string) *edgetest.Response {
			return form(b, oauth.PathToken, "grant_type", "refresh_token", "refresh_token", x)
		}},
		"unknown client": {"token", func(b baited, x string) *edgetest.Response {
			return form(b, oauth.PathToken, "grant_type", "refresh_token", "refresh_token", x, "client_id", "x")
		}},
		"another grant type": {"token", func(b baited, x string) *edgetest.Response {
			return form(b, oauth.PathToken, "grant_type", "password", "refresh_token", x)
		}},
		"revocation": {"revoke", func(b baited, x string) *edgetest.Response { return form(b, oauth.PathRevoke, "token", x) }},
		"introspection": {"introspect", func(b baited, x string) *edgetest.Response {
			return b.Do(b.FormRequest(oauth.PathIntrospect, b.ResourceForm(oauth.PathIntrospect, "token", x)))
		}},
		"nobody's introspection": {"introspect", func(b baited, x string) *edgetest.Response { return form(b, oauth.PathIntrospect, "token", x) }},
		"tripwire":               {"tripwire", func(b baited, x string) *edgetest.Response { return report(b.Server, x, "bearer") }},
		"burn":                   {"burn", func(b baited, x string) *edgetest.Response { return form(b, oauth.PathBurn, "token", x) }},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBaited(t)
			p := b.plant(t)
			n := b.Size()
			began := time.Now()
			none := c.send(b, unknown(t))
			slow := time.Since(began)
			b.Expect(n)
			began = time.Now()
			res := c.send(b, p.Decoy)
			if d := time.Since(began); d < 25*time.Millisecond || slow < 25*time.Millisecond {
				t.Errorf("the decoy took %s, a string that is nothing %s", d, slow)
			}
			if res.Status != none.Status || res.Body != none.Body {
				t.Errorf("answered %d %s\nnot %d %s", res.Status, res.Body, none.Status, none.Body)
			}
			for k := range res.Header {
				if none.Header.Get(k) == "" {
					t.Errorf("a header more: %s", k)
				}
			}
			if got := b.Since(n); len(got) != 1 || got[0].Name != event.DecoyFired || got[0].Detail != c.where {
				t.Errorf("recorded %+v", got)
			}
			c.send(b, p.Decoy)
			if b.Size() != n+1 {
				t.Error("recorded twice")
			}
			refused(t, b.tool.Post(oauth.PathToken, b.tool.RefreshParams()), oauth.InstallationLocked)
		})
	}
}

// TestNotADecoy: nothing but the very string fires.
//
// Invariant: DC-3
func TestNotADecoy(t *testing.T) {
	b := newBaited(t)
	p := b.plant(t)
	n := b.Size()
	for _, text := range []string{unknown(t), p.ID, p.Installation, p.Ending, p.Decoy[:len(p.Decoy)-1], p.Decoy + "x", strings.ToLower(p.Decoy), flip(p.Decoy)} {
		b.present(text)
	}
	nonceless := b.NewTool(edgetest.Handshake) // is asked to come again, and would fire then
	nonceless.PostOnce(oauth.PathToken, url.Values{"grant_type": {"refresh_token"}, "client_id": {edgetest.Handshake}, "refresh_token": {p.Decoy}})
	b.Expect(n)
	renew(b.tool)
}

// flip changes a character and mends the checksum, as a forger would.
func flip(s string) string {
	body, err := secret.Parse(secret.Refresh, s)
	if err != nil {
		return ""
	}
	var h secret.RefreshHandle
	copy(h.Grant[:], body)
	return secret.SealRefresh(secret.Key{}, "default", h, [32]byte(body[20:52])).Reveal()
}

// TestDecoyLooksReal: by its form nobody tells a decoy from a token in use.
//
// Invariant: DC-3
func TestDecoyLooksReal(t *testing.T) {
	b := newBaited(t)
	seen := map[string]bool{}
	for range 5 {
		p := b.plant(t)
		if len(p.Decoy) != len(b.tool.Token.RefreshToken) || !strings.HasSuffix(p.Decoy, p.Ending) || seen[p.Decoy] {
			t.Errorf("%d characters, ends with %s", len(p.Decoy), p.Ending)
		}
		if _, err := secret.Parse(secret.Refresh, p.Decoy); err != nil {
			t.Error(err)
		}
		if redact.String(p.Decoy) == p.Decoy {
			t.Error("our own redaction leaves it")
		}
		seen[p.Decoy] = true
	}
	for d := range seen {
		if strings.Contains(b.Log.String(), d) {
			t.Error("a decoy stands in the log")
		}
	}
}

// TestDecoysAreBounded: planting has an end, for each installation, and a form of
// its own; none is taken away for it.
//
// Invariant: DC-5
func TestDecoysAreBounded(t *testing.T) {
	b := newBaited(t)
	var wg sync.WaitGroup
	codes := make(chan int, 30)
	first := b.plant(t)
	b.api.Call(http.MethodGet, "/api/v1/whoami") // the nonce
	for range 30 {
		b.Clock.Advance(4 * time.Second)
		codes <- b.api.Send("/api/v1/decoys/plant", map[string]string{"kind": "token"}).Status
	}
	wg.Wait()
	close(codes)
	ok := 1
	for c := range codes {
		switch c {
		case http.StatusOK:
			ok++
		case http.StatusForbidden:
		default:
			t.Errorf("status %d", c)
		}
	}
	if ok != 20 {
		t.Errorf("%d were planted", ok)
	}
	b.Clock.Advance(2 * time.Hour)
	b.api.Take(b.api.Post(oauth.PathToken, b.api.RefreshParams()))
	refused(t, b.api.Send("/api/v1/decoys/plant", map[string]string{"kind": "token"}), oauth.DecoysFull)
	refused(t, b.api.Send("/api/v1/decoys/plant", map[string]string{"kind": "free text"}), oauth.BadRequest)
	n := b.Size()
	b.present(first.Decoy)
	b.Expect(n, event.DecoyFired)
}

// TestUnlockFrom: another installation that the person trusts unlocks; the locked
// one, one of a phisher's, another person or an unknown id do not.
//
// Invariant: DC-4
func TestUnlockFrom(t *testing.T) {
	b := newBaited(t)
	p, second := b.plant(t), b.plant(t)
	path := "/api/v1/installations/" + p.Installation + "/unlock"
	res := b.phone.Send(path, map[string]string{})
	refused(t, res, oauth.NotFound) // it is not locked
	other := b.NewTool(edgetest.Handshake)
	other.Resource, other.Scope = b.Issuer+oauth.PathAPI, "account"
	other.Push()
	other.Browser.Open(other.AuthorizeURL())
	other.Browser.SignIn(edgetest.Other, edgetest.Password)
	other.Allow()
	other.Take(other.Post(oauth.PathToken, other.RedeemParams()))
	phisher := startDeviceAt(t, b.Server, edgetest.Handshake, "account", b.Issuer+oauth.PathAPI)
	phisher.decide(t, b.NewBrowser(), phisher.UserCode, "Allow")
	if got := phisher.poll(t); got != "" {
		t.Fatal(got)
	}
	b.present(p.Decoy)
	b.present(second.Decoy)
	n := b.Size()
	refused(t, other.Send(path, map[string]string{}), oauth.NotFound)
	refused(t, phisher.tool.Send(path, map[string]string{}), oauth.UnlockerUnfit)
	refused(t, b.phone.Send("/api/v1/installations/ins_x/unlock", map[string]string{}), oauth.NotFound)
	if res := b.api.Send(path, map[string]string{}); res.Status != http.StatusUnauthorized {
		t.Errorf("the locked one itself: %d %s", res.Status, res.Body)
	}
	b.Expect(n)
	refused(t, b.tool.Post(oauth.PathToken, b.tool.RefreshParams()), oauth.InstallationLocked)
	if res := b.phone.Send(path, map[string]string{}); res.Status != http.StatusOK {
		t.Fatalf("%d %s", res.Status, res.Body)
	}
	got := b.Since(n)
	if len(got) != 2 || got[0].Name != event.InstallationUnlocked || !strings.HasPrefix(got[0].Detail, "ins_") || got[0].Detail == p.Installation {
		t.Errorf("recorded %+v", got)
	}
	renew(b.tool)
	res = b.phone.Call(http.MethodGet, "/api/v1/decoys")
	var list struct{ Decoys []planted }
	if err := json.Unmarshal([]byte(res.Body), &list); err != nil || len(list.Decoys) != 2 || strings.Contains(res.Body, "ktr_") ||
		list.Decoys[1].Fired != "127.0.0.1" || list.Decoys[1].Locked || list.Decoys[1].Decoy != "" {
		t.Errorf("%d %s", res.Status, res.Body)
	}
}

// TestRevokeAllOfLocked: the person ends what was locked instead; nothing asks any
// more.
//
// Invariant: DC-4
func TestRevokeAllOfLocked(t *testing.T) {
	b := newBaited(t)
	p := b.plant(t)
	b.present(p.Decoy)
	n := b.Size()
	b.tool.Browser.Open(b.Issuer + "/me")
	b.tool.Browser.Press("Revoke all")
	b.tool.Browser.Has(t, http.StatusOK, "has ended")
	if got := b.Events(n); !slices.Equal(got, []event.Name{event.GrantRevoked, event.GrantRevoked, event.InstallationUnlocked}) {
		t.Errorf("recorded %v", got)
	}
	if strings.Contains(b.tool.Browser.Page.Body, "is locked") {
		t.Error("it still asks")
	}
	refused(t, b.tool.Post(oauth.PathToken, b.tool.RefreshParams()), oauth.GrantEnded)
	_, snap := b.Auth.Listen(edgetest.API)
	if len(snap.Grants) != 1 || !snap.Grants[0].Before.IsZero() {
		t.Errorf("the feed has %+v", snap)
	}
}

// TestLockedLogin: while it is locked, neither a code nor a device code of a new
// login at that installation is worth anything, and neither is lost for it.
//
// Invariant: DC-2
func TestLockedLogin(t *testing.T) {
	b := newBaited(t)
	p := b.plant(t)
	again := b.NewTool(edgetest.Handshake)
	again.Key, again.Browser = b.tool.Key, b.tool.Browser
	again.Consented()
	again.Allow()
	d := startDeviceBy(t, b.Server, again, "read")
	d.decide(t, b.NewBrowser(), d.UserCode, "Allow")
	b.present(p.Decoy)
	n := b.Size()
	refused(t, again.Post(oauth.PathToken, again.RedeemParams()), oauth.InstallationLocked)
	if got := d.poll(t); got != "access_denied" {
		t.Errorf("the device login got %q", got)
	}
	b.Expect(n)
	if res := b.phone.Send("/api/v1/installations/"+p.Installation+"/unlock", map[string]string{}); res.Status != http.StatusOK {
		t.Fatalf("%d %s", res.Status, res.Body)
	}
	again.Take(again.Post(oauth.PathToken, again.RedeemParams()))
	b.Clock.Advance(10 * time.Second)
	if got := d.poll(t); got != "" {
		t.Errorf("after the unlock: %q", got)
	}
}
