package oauthclient

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"
	"unsafe"

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
		tok, err := c.decode(body, now, anyType)
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

// shift moves the monotonic reading of a time alone, as sleep and the setting of
// clocks do and no function of package time does.
func shift(t time.Time, d time.Duration) time.Time {
	(*struct {
		wall uint64
		ext  int64
	})(unsafe.Pointer(&t)).ext += int64(d)
	return t
}

func TestLeftTakesTheWorseOfTwoClocks(t *testing.T) {
	now := time.Now() // with a monotonic reading
	expires := now.Add(5 * time.Minute)
	if d := shift(now, time.Second).Sub(now); d != time.Second {
		t.Fatalf("package time has changed inside: shifted by %v", d)
	}
	for name, tt := range map[string]struct {
		now  time.Time
		want time.Duration
	}{
		"awake":                          {now.Add(4 * time.Minute), time.Minute},
		"slept an hour, monotonic stood": {shift(now.Add(time.Hour), -time.Hour), 5*time.Minute - time.Hour},
		"wall set back an hour":          {shift(now.Add(-time.Hour), time.Hour+4*time.Minute), time.Minute},
		"no monotonic reading":           {now.Round(0).Add(time.Minute), 4 * time.Minute},
	} {
		if left := Left(expires, tt.now); left != tt.want {
			t.Errorf("%s: %v, want %v", name, left, tt.want)
		}
	}
}

// The signature says exactly what the handshake is about, and can be taken for
// nothing else.
func TestHandshakeSignature(t *testing.T) {
	c := testClient(t)
	const redirect, uri = "http://127.0.0.1:49152/callback", "urn:ietf:params:oauth:request_uri:x"
	at, err := handshakeURL(testIssuer+"/oauth/handshake", c.key, "cli", testIssuer, redirect, uri, testNonce, time.Unix(1_700_000_000, 5))
	if err != nil {
		t.Fatal(err)
	}
	u, err := url.Parse(at)
	if err != nil || u.Scheme+"://"+u.Host != testIssuer || u.Path != "/oauth/handshake" || len(u.Query()) != 1 {
		t.Fatalf("%s: %v", at, err)
	}
	m, err := jws.Parse(u.Query().Get("handshake"))
	if err != nil {
		t.Fatal(err)
	}
	if m.Header.Type != "keytether-handshake+jwt" || m.Header.Algorithm != jws.ES256 || m.Header.Key != nil || m.Verify(c.key.Public()) != nil {
		t.Errorf("header %+v", m.Header)
	}
	want := `{"iss":"cli","aud":"` + testIssuer + `","iat":1700000000,"request_uri_hash":"` + hash(uri) +
		`","redirect_uri":"` + redirect + `","nonce_hash":"` + hash(testNonce) + `"}`
	if string(m.Payload) != want {
		t.Errorf("payload %s, want %s", m.Payload, want)
	}
	if hash("abc") != "ungWv48Bz-pBQUDeXa4iI7ADYaOWF3qctBD_YfIAFa0" {
		t.Error("the hash is not SHA-256 in base64url")
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
