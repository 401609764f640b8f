package edge_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/keytether/keytether/internal/edge/edgetest"
	"github.com/keytether/keytether/internal/event"
	"github.com/keytether/keytether/internal/oauth"
	"github.com/keytether/keytether/internal/secret"
)

// sendBurn posts strings to /burn.
func sendBurn(s *edgetest.Server, texts ...string) *edgetest.Response {
	return s.Do(s.FormRequest(oauth.PathBurn, url.Values{"token": texts}))
}

// TestBurn: each kind of secret of ours ends what it is of, old generations too;
// it is recorded as burned, with no more said to who asks than to a guess, and the
// person reads of it, still after a restart.
//
// Invariant: BN-1, BN-3
func TestBurn(t *testing.T) {
	s := edgetest.NewServer(t, edgetest.Options{})
	none := sendBurn(s, "nonsense")
	if none.Status != http.StatusOK {
		t.Fatalf("%d %s", none.Status, none.Body)
	}
	burns := func(text string, want event.Name) {
		t.Helper()
		s.Clock.Advance(2 * time.Second)
		n := s.Size()
		if res := sendBurn(s, text); res.Status != none.Status || res.Body != none.Body {
			t.Errorf("answered %d %s", res.Status, res.Body)
		}
		got := s.Since(n)
		if len(got) != 1 || got[0].Name != want || got[0].Reason != event.ReasonBurned {
			t.Errorf("recorded %+v", got)
		}
		sendBurn(s, text)
		s.Expect(n, want)
		if strings.Contains(s.Log.String(), text) {
			t.Error("the string stands in the log")
		}
	}
	for name, pick := range map[string]func(*edgetest.Tool) string{
		"refresh token":    func(tool *edgetest.Tool) string { return tool.Token.RefreshToken },
		"access token":     func(tool *edgetest.Tool) string { return tool.Token.AccessToken },
		"with white space": func(tool *edgetest.Tool) string { return " " + tool.Token.RefreshToken + "\n" },
		"an old generation": func(tool *edgetest.Tool) string {
			old := tool.Token.RefreshToken
			renew(tool)
			renew(tool)
			return old
		},
	} {
		t.Run(name, func(t *testing.T) {
			tool := s.NewTool(edgetest.Handshake)
			tool.Login()
			burns(pick(tool), event.GrantRevoked)
			refused(t, tool.Post(oauth.PathToken, tool.RefreshParams()), oauth.GrantEnded)
			if live(s, tool.Token.AccessToken) {
				t.Error("its access token is still good")
			}
			tool.Browser.Open(s.Issuer + "/me")
			tool.Browser.Has(t, http.StatusOK, "Somebody who held a copy of a token of Keytether said so at this server's page for leaked tokens, from 127.0.0.1. The login was ended")
		})
	}
	t.Run("code", func(t *testing.T) {
		tool := codeFor(s, edgetest.Plain, s.NewBrowser())
		burns(tool.Code, event.RequestRefused)
		refused(t, tool.Post(oauth.PathToken, tool.RedeemParams()), oauth.CodeUnknown)
	})
	t.Run("opened request_uri", func(t *testing.T) {
		tool := s.NewTool(edgetest.Bound)
		tool.Consented()
		burns(strings.TrimPrefix(tool.RequestURI, secret.RequestURIPrefix), event.RequestRefused)
		tool.Browser.Press("Allow")
		tool.Browser.Has(t, http.StatusBadRequest, "already decided")
	})
	t.Run("device code", func(t *testing.T) {
		d := startDevice(t, s, edgetest.Bound)
		burns(d.DeviceCode, event.DeviceDenied)
		if got := d.poll(t); got != "access_denied" {
			t.Errorf("the tool: %s", got)
		}
		allowed := startDevice(t, s, edgetest.Bound)
		allowed.decide(t, s.NewBrowser(), allowed.UserCode, "Allow")
		burns(allowed.DeviceCode, event.DeviceDenied)
		if got := allowed.poll(t); got != "access_denied" {
			t.Errorf("the tool after Allow: %s", got)
		}
	})
	t.Run("unopened request_uri", func(t *testing.T) {
		tool := s.NewTool(edgetest.Handshake)
		tool.Push()
		n := s.Size()
		sendBurn(s, tool.RequestURI)
		s.Expect(n)
		tool.Browser.Open(tool.AuthorizeURL())
		tool.Browser.Has(t, http.StatusBadRequest, "not known")
	})
	s.Restart()
	b := s.NewBrowser()
	b.Open(s.Issuer + "/me")
	b.SignIn(edgetest.Email, edgetest.Password)
	b.Has(t, http.StatusOK, "Somebody who held a copy")
}

// TestBurnIsNoWeapon: a forged string, an id, what is not ours, what has expired
// and a code that was redeemed end nothing; nor does a GET, or a query.
//
// Invariant: BN-2, BN-3
func TestBurnIsNoWeapon(t *testing.T) {
	s, tool := tripping(t, "")
	redeemed := codeFor(s, edgetest.Plain, tool.Browser)
	redeemed.Take(redeemed.Post(oauth.PathToken, redeemed.RedeemParams()))
	old := tool.Token.AccessToken
	s.Clock.Advance(6 * time.Minute)
	renew(tool)
	access, refresh := tool.Token.AccessToken, tool.Token.RefreshToken
	n := s.Size()
	for name, text := range map[string]string{
		"expired access token": old, "grant id": tool.Token.GrantID, "forged": access[:len(access)-4] + "AAAA",
		"no signature": access[:strings.LastIndexByte(access, '.')+1], "forged refresh token": flip(refresh), "cut": refresh[:len(refresh)-1],
		"redeemed code": redeemed.Code, "its own form": unknown(t), "nothing like it": "\x00\xff", "long": strings.Repeat("x", 9000),
		"assertion": s.Assertion(oauth.PathIntrospect), "urn": "urn:ietf:params:oauth:request_uri:ktu_x", "device": "ktd_x",
	} {
		s.Clock.Advance(2 * time.Second)
		began := time.Now()
		if res := sendBurn(s, text); res.Status != http.StatusOK {
			t.Errorf("%s: %d %s", name, res.Status, res.Body)
		}
		if d := time.Since(began); d < 25*time.Millisecond {
			t.Errorf("%s: answered after %s", name, d)
		}
	}
	if res := s.Do(get(t, s, "/burn?token="+refresh)); res.Status != http.StatusOK || !strings.Contains(res.Body, "Burn</button>") {
		t.Errorf("GET: %d %s", res.Status, res.Body)
	}
	r := s.FormRequest(oauth.PathBurn+"?token="+refresh, url.Values{"token": {"x"}})
	if res := s.Do(r); res.Status != http.StatusOK {
		t.Errorf("POST with a query: %d", res.Status)
	}
	s.Expect(n)
	renew(tool)
	renew(redeemed)
}

// TestBurnBounds: many strings in one form, but not more than a hundred or 256 KiB,
// in no other form than a form; and nobody tries them without end.
//
// Invariant: BN-4
func TestBurnBounds(t *testing.T) {
	s, tool := tripping(t, "")
	var many []string
	for range 99 {
		many = append(many, strings.Repeat("x", 1200))
	}
	n := s.Size()
	for name, c := range map[string]struct {
		body, kind string
		want       int
	}{
		"nothing":     {"", "application/x-www-form-urlencoded", http.StatusBadRequest},
		"empty":       {"token=", "application/x-www-form-urlencoded", http.StatusBadRequest},
		"too many":    {strings.Repeat("token=x&", 101), "application/x-www-form-urlencoded", http.StatusRequestEntityTooLarge},
		"too large":   {"token=" + strings.Repeat("x", 256<<10), "application/x-www-form-urlencoded", http.StatusRequestEntityTooLarge},
		"broken":      {"token=%zz", "application/x-www-form-urlencoded", http.StatusBadRequest},
		"JSON":        {`{"token":"x"}`, "application/json", http.StatusUnsupportedMediaType},
		"a whole lot": {url.Values{"token": append(many, tool.Token.RefreshToken)}.Encode(), "application/x-www-form-urlencoded", http.StatusOK},
	} {
		r := s.FormRequest(oauth.PathBurn, nil)
		r.Body, r.ContentLength = body(c.body), int64(len(c.body))
		r.Header.Set("Content-Type", c.kind)
		if res := s.Do(r); res.Status != c.want {
			t.Errorf("%s: %d %s", name, res.Status, res.Body)
		}
	}
	s.Expect(n, event.GrantRevoked)
	limited := false
	for range 40 {
		res := sendBurn(s, "x")
		limited = limited || res.Status == http.StatusTooManyRequests && res.Header.Get("Retry-After") != ""
	}
	if !limited {
		t.Error("nobody stops it")
	}
}

// TestBurnPage presses the page's own button, as a browser without a script and a
// session would.
//
// Invariant: BN-1
func TestBurnPage(t *testing.T) {
	s, tool := tripping(t, "")
	b := s.NewBrowser()
	b.Open(s.Issuer + "/burn")
	b.Press("Burn", "token", tool.Token.RefreshToken)
	b.Has(t, http.StatusOK, "works no more")
	if strings.Contains(b.Page.Body, tool.Token.RefreshToken) {
		t.Error("the page shows it again")
	}
	refused(t, tool.Post(oauth.PathToken, tool.RefreshParams()), oauth.GrantEnded)
}
