package scan

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/keytether/keytether/internal/edge/edgetest"
	"github.com/keytether/keytether/internal/event"
	"github.com/keytether/keytether/internal/outbound"
	"github.com/keytether/keytether/internal/secret"
)

func burner(t *testing.T, issuers ...string) *Burner {
	t.Helper()
	c, err := outbound.New(outbound.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return &Burner{HTTP: c, Issuers: issuers}
}

func finding(value, issuer string) Finding {
	v := secret.New(value)
	return Finding{Kind: RefreshToken, Fingerprint: Fingerprint(v), Value: v, Issuer: issuer}
}

// TestBurnAtOurServer: what was found is revoked there, whatever it is, in one request.
func TestBurnAtOurServer(t *testing.T) {
	s := edgetest.NewServer(t, edgetest.Options{})
	tool := s.NewTool(edgetest.Handshake)
	tool.Login()
	other := s.NewTool(edgetest.Bound)
	other.Browser = tool.Browser
	other.Login()
	n := s.Size()
	failed := burner(t, s.Issuer).Burn(t.Context(), []Finding{
		finding(tool.Token.RefreshToken, ""), finding(other.Token.AccessToken, s.Issuer), finding(refresh(), ""),
	})
	if len(failed) != 0 {
		t.Fatalf("%v", failed)
	}
	ended := 0
	for _, name := range s.Events(n) {
		if name == event.GrantRevoked {
			ended++
		}
	}
	if ended != 2 {
		t.Errorf("%d grants were revoked: %v", ended, s.Events(n))
	}
}

// foreign is a server that is not ours, with RFC 7009 alone or with nothing.
type foreign struct {
	*httptest.Server
	issuer  string // what it calls itself
	revokes bool
	status  int

	mu  sync.Mutex
	got []url.Values
}

func newForeign(t *testing.T, revokes bool, status int) *foreign {
	t.Helper()
	f := &foreign{revokes: revokes, status: status}
	f.Server = httptest.NewServer(f)
	f.issuer = f.URL
	t.Cleanup(f.Close)
	return f
}

func (f *foreign) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch {
	case strings.HasPrefix(r.URL.Path, "/.well-known/"):
		doc := map[string]string{"issuer": f.issuer}
		if f.revokes {
			doc["revocation_endpoint"] = f.URL + "/revoke"
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(doc)
	case r.URL.Path == "/revoke" && r.URL.RawQuery == "" && r.ParseForm() == nil:
		f.mu.Lock()
		f.got = append(f.got, r.PostForm)
		f.mu.Unlock()
		w.WriteHeader(f.status)
	default:
		w.WriteHeader(http.StatusNotFound)
	}
}

// TestBurnElsewhere: a token goes to its own issuer alone, once, and by RFC 7009 where there is no
// burn endpoint; what could not be burned is said.
//
// Invariant: HY-3
func TestBurnElsewhere(t *testing.T) {
	a, b, mute := newForeign(t, true, 200), newForeign(t, true, 503), newForeign(t, false, 0)
	claims := base64.RawURLEncoding.EncodeToString(fmt.Appendf(nil, `{"iss":%q,"client_id":"cli"}`, a.URL))
	jwt := "eyJhbGciOiJFUzI1NiJ9." + claims + ".c2ln"
	failed := burner(t, a.URL, b.URL).Burn(t.Context(), []Finding{finding(jwt, a.URL), finding(jwt, a.URL)})
	if len(failed) != 0 || len(a.got) != 1 || a.got[0].Get("token") != jwt || a.got[0].Get("client_id") != "cli" || len(b.got) != 0 {
		t.Errorf("%v, %v, %v", failed, a.got, b.got)
	}
	failed = burner(t).Burn(t.Context(), []Finding{finding(jwt, b.URL), finding(jwt+"x", mute.URL)})
	if !errors.Is(failed[b.URL], ErrBurn) || !errors.Is(failed[mute.URL], ErrNoBurn) {
		t.Errorf("%v", failed)
	}
	// An opaque credential names no client, so RFC 7009 can do nothing for it.
	if failed = burner(t, a.URL).Burn(t.Context(), []Finding{finding(refresh(), "")}); !errors.Is(failed[a.URL], ErrNoBurn) {
		t.Errorf("%v", failed)
	}
	if failed = burner(t).Burn(t.Context(), []Finding{finding(refresh(), "")}); !errors.Is(failed[""], ErrNoIssuer) {
		t.Errorf("%v", failed)
	}
	for _, err := range failed {
		if strings.Contains(err.Error(), refresh()) {
			t.Errorf("%v", err)
		}
	}
	if slices.ContainsFunc(a.got, func(v url.Values) bool { return v.Get("token") == refresh() }) {
		t.Error("an opaque credential was shown to a server that could do nothing with it")
	}
}

// TestBurnInClear: nothing is sent to a server that has no https address, a loopback one apart,
// not even where its metadata are in order; an issuer that ends in a slash is found.
func TestBurnInClear(t *testing.T) {
	jwt := func(iss string) string {
		return "eyJhbGciOiJFUzI1NiJ9." + base64.RawURLEncoding.EncodeToString(fmt.Appendf(nil, `{"iss":%q,"client_id":"cli"}`, iss)) + ".c2ln"
	}
	f := newForeign(t, true, 200)
	f.issuer = strings.Replace(f.URL, "127.0.0.1", "localhost", 1)
	if failed := burner(t).Burn(t.Context(), []Finding{finding(jwt(f.issuer), f.issuer)}); !errors.Is(failed[f.issuer], ErrNoBurn) || len(f.got) != 0 {
		t.Errorf("%v, it was sent %d", failed, len(f.got))
	}
	f.issuer = f.URL + "/"
	if failed := burner(t).Burn(t.Context(), []Finding{finding(jwt(f.issuer), f.issuer)}); len(failed) != 0 || len(f.got) != 1 {
		t.Errorf("%v, it was sent %d", failed, len(f.got))
	}
}
