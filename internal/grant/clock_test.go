package grant

import (
	"errors"
	"testing"
	"time"
)

// TestHandshakeWithTheClockSetBack: an answer that is dated before its nonce is
// not in time, however long the clock takes to catch up.
func TestHandshakeWithTheClockSetBack(t *testing.T) {
	now := time.Date(2026, 3, 14, 9, 26, 53, 0, time.UTC)
	r := Request{
		Status: Approved, Handshake: true, Session: "ses_1", Binding: h("cookie"), Client: "cli", RedirectURI: "http://127.0.0.1:7/callback",
		HandleHash: h("uri"), NonceHash: h("nonce"), NonceAt: now, Thumbprint: "K", ExpiresAt: now.Add(SignInLife),
	}
	e := Answer{
		Session: r.Session, Binding: r.Binding, Client: r.Client, RedirectURI: r.RedirectURI, Handle: r.HandleHash,
		Nonce: r.NonceHash, Thumbprint: r.Thumbprint, Code: h("code"),
	}
	for at, want := range map[time.Duration]error{
		-time.Hour: ErrHandshakeLate, -time.Microsecond: ErrHandshakeLate, 0: nil, HandshakeLife: nil,
		HandshakeLife + time.Microsecond: ErrHandshakeLate,
	} {
		if _, _, err := StepRequest(r, e, Env{Now: now.Add(at)}); !errors.Is(err, want) {
			t.Errorf("%s after the nonce: %v, want %v", at, err, want)
		}
	}
}
