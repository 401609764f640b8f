package agentwire

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

func TestSecretIsSilentEverywhereButOnTheWire(t *testing.T) {
	s := NewSecret("hunter2")
	at := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	tok := TokenResponse{AccessToken: s, TokenType: "DPoP", ExpiresAt: at}
	aut := AuthorizeResponse{Authorization: s, DPoP: s, TokenType: "DPoP", ExpiresAt: at}
	var log bytes.Buffer
	for _, l := range []*slog.Logger{slog.New(slog.NewJSONHandler(&log, nil)), slog.New(slog.NewTextHandler(&log, nil))} {
		l.Info("x", "s", s, "tok", tok, "aut", aut,
			"env", Env{"HTTPS_PROXY": "http://u:hunter2@proxy"},
			"req", AuthorizeRequest{Method: "GET", URL: "https://a.test/?key=hunter2", Nonce: "hunter2"})
	}
	out := log.String() + fmt.Sprint(s, &s, tok, aut, []Secret{s})
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		out += fmt.Sprintf(verb, s) + fmt.Sprintf(verb, tok) + fmt.Sprintf(verb, &aut)
	}
	out += s.String()
	if strings.Contains(out, "hunter2") || strings.Contains(out, fmt.Sprintf("%x", "hunter2")) {
		t.Errorf("a secret got out: %s", out)
	}
	b, err := json.Marshal(tok)
	if err != nil || !strings.Contains(string(b), `"access_token":"hunter2"`) {
		t.Errorf("the wire must carry the value: %s %v", b, err)
	}
	if s.Reveal() != "hunter2" || !s.Equal(NewSecret("hunter2")) || s.Equal(NewSecret("x")) {
		t.Error("Reveal or Equal is wrong")
	}
	err = json.Unmarshal([]byte(`{"access_token":["hunter2"]}`), &tok)
	if err == nil || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("want an error without the value, got %v", err)
	}
}

func TestErrorsDoNotRepeatTheBody(t *testing.T) {
	for _, body := range []string{`{"scope": hunter2}`, `{"scope": ["hunter2"]}`, `hunter2`, `{"hunter2"`} {
		var r TokenRequest
		err := Decode(strings.NewReader(body), MaxBody, &r)
		if !errors.Is(err, ErrMalformed) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v", body, err)
		}
	}
}

func TestDecodeLimit(t *testing.T) {
	body := `{"scope":"read"}`
	var r TokenRequest
	if err := Decode(strings.NewReader(body), int64(len(body)), &r); err != nil || r.Scope != "read" {
		t.Errorf("exactly at the limit: %v", err)
	}
	if err := Decode(strings.NewReader(body+" "), int64(len(body)), &r); !errors.Is(err, ErrTooLarge) {
		t.Errorf("one byte more: %v", err)
	}
}

func TestErrorMatchesItsCodeOnly(t *testing.T) {
	cause := errors.New("cause")
	err := fmt.Errorf("outer: %w", NewError(NotLoggedIn, "a", "b", "c", cause))
	if !errors.Is(err, NotLoggedIn) || errors.Is(err, Denied) || !errors.Is(err, cause) {
		t.Error("errors.Is is wrong")
	}
	if got := AsError(err, "x"); got.Code != NotLoggedIn || got.Error() != "a: b. c" {
		t.Errorf("AsError gives %v", got)
	}
	if got := AsError(cause, "x"); got.Code != Failed || got.Error() != "x: cause" {
		t.Errorf("AsError gives %v", got)
	}
}

func TestReadRequest(t *testing.T) {
	long := strings.Repeat("a", 3000)
	tests := []struct {
		name string
		body string
		into any
		ok   bool
	}{
		{"no body is an empty object", "", new(LockRequest), true},
		{"space is no body", " \n", new(LockRequest), true},
		{"login defaults", "{}", new(LoginRequest), true},
		{"unknown flow", `{"flow":"carrier-pigeon"}`, new(LoginRequest), false},
		{"port too high", `{"callback_port":65536}`, new(LoginRequest), false},
		{"port negative", `{"callback_port":-1}`, new(LoginRequest), false},
		{"line break in a fact", `{"facts":{"host":"a\nb"}}`, new(LoginRequest), false},
		{"escape in a hint", `{"login_hint":"\u001b[2J"}`, new(LoginRequest), false},
		{"long scope", `{"scope":"` + long + `"}`, new(TokenRequest), false},
		{"profile and all", `{"profile":"a","all":true}`, new(LogoutRequest), false},
		{"all", `{"all":true}`, new(LogoutRequest), true},
		{"authorize", `{"method":"GET","url":"https://a.test/x?y"}`, new(AuthorizeRequest), true},
		{"no method", `{"url":"https://a.test/"}`, new(AuthorizeRequest), false},
		{"method with a space", `{"method":"GET /","url":"https://a.test/"}`, new(AuthorizeRequest), false},
		{"relative url", `{"method":"GET","url":"/x"}`, new(AuthorizeRequest), false},
		{"other scheme", `{"method":"GET","url":"file:///etc/passwd"}`, new(AuthorizeRequest), false},
		{"user in url", `{"method":"GET","url":"https://a.test@b.test/"}`, new(AuthorizeRequest), false},
		{"too large", `{"scope":"` + strings.Repeat("a", MaxBody) + `"}`, new(TokenRequest), false},
		{"an array", `[]`, new(TokenRequest), false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := ReadRequest(httptest.NewRequest(http.MethodPost, "/", strings.NewReader(tt.body)), tt.into)
			if tt.ok && err != nil {
				t.Fatal(err)
			}
			if !tt.ok && !errors.Is(err, Usage) {
				t.Fatalf("want usage, got %v", err)
			}
		})
	}
}

func TestLoginRequestDropsVariablesThatAreNotOnTheList(t *testing.T) {
	var r LoginRequest
	body := `{"env":{"CI":"1","LD_PRELOAD":"/x.so","GITHUB_TOKEN":"no"}}`
	if err := ReadRequest(httptest.NewRequest(http.MethodPost, "/", strings.NewReader(body)), &r); err != nil {
		t.Fatal(err)
	}
	if len(r.Env) != 1 || r.Env["CI"] != "1" {
		t.Errorf("got %v", map[string]string(r.Env))
	}
}

func TestWriteErrorKeepsUnknownWordsBack(t *testing.T) {
	w := httptest.NewRecorder()
	if err := WriteError(w, errors.New("ktr_secret")); err != nil {
		t.Fatal(err)
	}
	if w.Code != 500 || strings.Contains(w.Body.String(), "ktr_secret") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	w = httptest.NewRecorder()
	_ = WriteError(w, fmt.Errorf("x: %w", NewError(Locked, "the agent is locked", "", "Unlock it", errors.New("cause"))))
	if w.Code != http.StatusLocked || strings.TrimSpace(w.Body.String()) != `{"code":"locked","what":"the agent is locked","do":"Unlock it"}` {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if w.Header().Get("Cache-Control") != "no-store" {
		t.Error("answers must not be stored")
	}
}

func TestEventNeedsItsFields(t *testing.T) {
	for _, e := range []Event{{Event: EventDone}, {Event: EventError}} {
		if b, err := json.Marshal(e); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s written as %s", e.Event, b)
		}
	}
}

func TestMomentIsWholeSecondsInUTC(t *testing.T) {
	b, _ := json.Marshal(Moment(time.Date(2026, 3, 1, 9, 0, 0, 999, time.FixedZone("x", 3600))))
	if string(b) != `"2026-03-01T08:00:00Z"` {
		t.Errorf("got %s", b)
	}
}

// Whatever is decoded can be written, and reads back as the same.
func FuzzDecode(f *testing.F) {
	var vs vectorFile
	vectors(f, "messages.json", &vs)
	for _, v := range vs.Vectors {
		f.Add([]byte(v.JSON))
	}
	vectors(f, "refused.json", &vs)
	for _, v := range vs.Vectors {
		f.Add([]byte(v.Body))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		for _, m := range messages() {
			if err := Decode(bytes.NewReader(in), 4096, m); err != nil {
				continue
			}
			one, err := json.Marshal(m)
			if err != nil {
				t.Fatalf("%T read and not written: %v", m, err)
			}
			if err := Decode(bytes.NewReader(one), MaxBody, m); err != nil {
				t.Fatalf("%T written and not read: %v", m, err)
			}
			two, _ := json.Marshal(m)
			if !bytes.Equal(one, two) {
				t.Fatalf("%T: %s became %s", m, one, two)
			}
		}
	})
}

func FuzzCallerEnv(f *testing.F) {
	f.Add("CI=1\x00HOME=/x")
	f.Add("CI")
	f.Fuzz(func(t *testing.T, in string) {
		for k, v := range CallerEnv(strings.Split(in, "\x00")) {
			if !callerName(k) || v == "" {
				t.Fatalf("%q=%q got through", k, v)
			}
		}
	})
}
