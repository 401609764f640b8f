package agent

import (
	"context"
	"errors"
	"net"
	"testing"

	"github.com/keytether/keytether/internal/agentwire"
	"github.com/keytether/keytether/internal/oauthclient/oauthclienttest"
	"github.com/keytether/keytether/internal/peersock"
)

// Over a forwarded socket a remote host gets tokens and proofs of the profiles
// that were named, and can do nothing else; ended, it gets nothing.
//
// Invariant: AG-7
func TestForwardIsRestricted(t *testing.T) {
	r := newRig(t, oauthclienttest.Keytether())
	for _, name := range []string{"default", "work"} {
		if _, err := r.logIn(agentwire.LoginRequest{Profile: name, Scope: "read"}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := r.Forward(t.Context(), agentwire.ForwardRequest{Host: "b", Profiles: []string{"none"}}); !errors.Is(err, agentwire.NotLoggedIn) {
		t.Errorf("a profile that is not logged in: %v", err)
	}
	for _, host := range []string{"", "../x", "a/b", ".hidden", "-x", "a b"} {
		if _, err := r.Forward(t.Context(), agentwire.ForwardRequest{Host: host}); !errors.Is(err, agentwire.Usage) {
			t.Errorf("host %q: %v", host, err)
		}
	}
	f, err := r.Forward(t.Context(), agentwire.ForwardRequest{Host: "build7", Profiles: []string{"work"}})
	if err != nil {
		t.Fatal(err)
	}
	remote := agentwire.NewClient(func(ctx context.Context) (net.Conn, error) { return peersock.Dial(ctx, f.Socket) })
	for _, profile := range []string{"", "default", "work"} { // the far side's default is the one that was forwarded
		if tok, err := remote.Token(t.Context(), agentwire.TokenRequest{Profile: profile}); err != nil || tok.AccessToken.Reveal() == "" {
			t.Errorf("profile %q: %v", profile, err)
		}
	}
	if _, err := remote.Authorize(t.Context(), agentwire.AuthorizeRequest{Method: "GET", URL: f.Resources[0] + "/x"}); err != nil {
		t.Errorf("authorize: %v", err)
	}
	if _, err := remote.Authorize(t.Context(), agentwire.AuthorizeRequest{Method: "GET", URL: "https://elsewhere.example.test/"}); !errors.Is(err, agentwire.ResourceNotAllowed) {
		t.Errorf("a URL elsewhere: %v", err)
	}
	refused := map[string]error{}
	_, refused["another profile"] = remote.Token(t.Context(), agentwire.TokenRequest{Profile: "other"})
	_, refused["another resource"] = remote.Token(t.Context(), agentwire.TokenRequest{Resource: "https://elsewhere.example.test"})
	_, refused["whoami"] = remote.Whoami(t.Context(), "work")
	_, refused["status"] = remote.Status(t.Context())
	_, refused["logout"] = remote.Logout(t.Context(), agentwire.LogoutRequest{All: true})
	_, refused["forward"] = remote.Forward(t.Context(), agentwire.ForwardRequest{Host: "c"})
	refused["login"] = remote.Login(t.Context(), agentwire.LoginRequest{Issuer: r.server.Issuer}, func(agentwire.Event) error { return nil })
	refused["lock"] = remote.Lock(t.Context(), agentwire.LockRequest{})
	refused["stop"] = remote.Stop(t.Context(), agentwire.StopRequest{})
	for what, err := range refused {
		if !errors.Is(err, agentwire.Unsupported) && !errors.Is(err, agentwire.ResourceNotAllowed) {
			t.Errorf("%s over the forwarded socket: %v", what, err)
		}
	}
	if v, err := remote.Version(t.Context()); err != nil || v.Grants != 0 || v.PID != 0 {
		t.Errorf("version tells more than it should: %+v, %v", v, err)
	}
	st, err := r.Status(t.Context())
	if err != nil || len(st.Forwards) != 1 || st.Forwards[0].Host != "build7" || st.Forwards[0].Calls == 0 {
		t.Fatalf("status: %+v, %v", st.Forwards, err)
	}
	if err := r.EndForward(t.Context(), agentwire.ForwardEndRequest{Host: "build7"}); err != nil {
		t.Fatal(err)
	}
	if _, err := remote.Token(t.Context(), agentwire.TokenRequest{}); err == nil {
		t.Error("a token after the end")
	}
	if err := r.EndForward(t.Context(), agentwire.ForwardEndRequest{Host: "build7"}); err == nil {
		t.Error("ended twice")
	}
}
