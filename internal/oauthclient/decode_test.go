package oauthclient

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/keytether/keytether/internal/jws"
	"github.com/keytether/keytether/internal/oauth"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func testClient(t testing.TB) *Client {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	s, err := jws.NewES256Signer("", key, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return &Client{env: Env{Now: time.Now, Random: rand.Reader, Log: slog.New(slog.DiscardHandler)}, meta: oauth.MetadataFor(testIssuer, nil), id: "c", key: s}
}

// Whatever a token endpoint answers: no panic, and what is accepted can stand in
// a header, lives a while and is of a type that we asked for.
func FuzzTokenResponse(f *testing.F) {
	f.Add([]byte(`{"access_token":"a","token_type":"DPoP","expires_in":300,"refresh_token":"r","scope":"read","grant_expires":1}`))
	f.Add([]byte(`{"access_token":"a","token_type":"Bearer"}`))
	f.Add([]byte(`{"access_token":"a","token_type":"DPoP","expires_in":-1,"grant_expires":-9223372036854775808}`))
	f.Add([]byte(`[]`))
	c := testClient(f)
	now := time.Unix(1_700_000_000, 0)
	f.Fuzz(func(t *testing.T, body []byte) {
		tok, err := c.decode(body, now)
		if err != nil {
			if strings.Contains(err.Error(), "secret") {
				t.Fatal("the error repeats the answer")
			}
			return
		}
		if tok.Type != TypeDPoP || tok.Access.IsZero() || tok.Life <= 0 || tok.Life > maxLife || !tok.ExpiresAt.Equal(now.Add(tok.Life)) {
			t.Fatalf("accepted %+v", tok)
		}
		if strings.ContainsAny(tok.Access.Reveal()+tok.Refresh.Reveal(), " \r\n\x00") {
			t.Fatal("a token that no header can hold")
		}
	})
}

// Whatever is posted to the listener without the state: answered with an error,
// and the login waits on.
func FuzzCallback(f *testing.F) {
	f.Add("POST", "application/x-www-form-urlencoded", "state=x&code=y&iss="+testIssuer, testIssuer)
	f.Add("GET", "", "", "")
	f.Add("POST", "application/x-www-form-urlencoded; charset=utf-8", "state=&error=access_denied", "null")
	c := testClient(f)
	f.Fuzz(func(t *testing.T, method, contentType, body, origin string) {
		l := &Login{c: c, answer: make(chan decision, 1), ready: make(chan struct{}), bound: bound{host: loopback4, port: 1}, flow: ours(), done: "/done/x", start: "/start/x"}
		r := httptest.NewRequest(http.MethodPost, "/callback", strings.NewReader(body))
		r.Method, r.Host = method, "127.0.0.1:1"
		r.Header.Set("Content-Type", contentType)
		r.Header.Set("Origin", origin)
		w := httptest.NewRecorder()
		l.handle(w, r)
		if strings.Contains(body, testState) {
			return
		}
		if w.Code < 400 || w.Header().Get("Location") != "" || l.flow.ended || len(l.answer) != 0 || len(l.flow.nonces) != 0 {
			t.Fatalf("%d, location %q, ended %v", w.Code, w.Header().Get("Location"), l.flow.ended)
		}
	})
}

func TestLeftTakesTheWorseOfTwoClocks(t *testing.T) {
	now := time.Now() // with a monotonic reading
	expires := now.Add(5 * time.Minute)
	if left := Left(expires, now.Add(4*time.Minute)); left != time.Minute {
		t.Errorf("awake: %v", left)
	}
	// A laptop slept for an hour: its monotonic clock stood still, the wall went on.
	// The wall reading alone is what Round(0) leaves.
	if left := Left(expires, now.Round(0).Add(time.Hour)); left != 5*time.Minute-time.Hour {
		t.Errorf("after a sleep: %v", left)
	}
}

func TestOffsetOf(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	for d, want := range map[time.Duration]time.Duration{
		0: 0, 4 * time.Second: 0, -4 * time.Second: 0,
		time.Hour: time.Hour, -time.Hour: -time.Hour, 119 * time.Minute: 119 * time.Minute,
		3 * time.Hour: 0, -100 * 24 * time.Hour: 0,
	} {
		got, skewed, known := offsetOf(now.Add(d).UTC().Format(http.TimeFormat), now, now.Add(time.Second))
		if !known || (got-want).Abs() > time.Second || skewed != (d.Abs() > maxOffset) {
			t.Errorf("%v: %v, skewed %v", d, got, skewed)
		}
	}
	if _, _, known := offsetOf("yesterday", now, now); known {
		t.Error("no date is no offset")
	}
}

func TestCheckAccount(t *testing.T) {
	who := Identity{Subject: "acc_1", Email: "Person@example.test"}
	for asked, ok := range map[string]bool{
		"": true, "acc_1": true, "person@EXAMPLE.test": true, "acc_2": false, "other@example.test": false, "person@example.te\u017ft": false,
	} {
		if err := checkAccount(asked, who); (err == nil) != ok {
			t.Errorf("%q: %v", asked, err)
		}
	}
	if checkAccount("acc_1", Identity{}) == nil {
		t.Error("nobody was named, and it was accepted")
	}
}
