package login_test

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"sync"

	"github.com/keytether/keytether/internal/agentwire"
	"github.com/keytether/keytether/internal/peersock"
)

// fakeAgent answers the agent's wire on a socket of its own.
type fakeAgent struct {
	Socket string

	mu        sync.Mutex
	asked     []agentwire.AuthorizeRequest
	tokens    int // how many authorizations were given
	token     string
	fail      *agentwire.Error // answered to everything, if set
	renew     bool             // give another token each time
	events    []agentwire.Event
	loginSeen agentwire.LoginRequest

	srv *http.Server
	dir string
}

func startFake() (*fakeAgent, error) {
	dir, err := os.MkdirTemp("", "kt")
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(dir, 0o700); err != nil {
		return nil, err
	}
	f := &fakeAgent{Socket: filepath.Join(dir, "agent.sock"), token: "made-up-token", dir: dir}
	l, err := peersock.Listen(f.Socket)
	if err != nil {
		return nil, err
	}
	f.srv = &http.Server{Handler: f, ConnContext: peersock.ConnContext}
	go func() { _ = f.srv.Serve(l) }()
	return f, nil
}

func (f *fakeAgent) Close() {
	_ = f.srv.Close()
	_ = os.RemoveAll(f.dir)
}

func (f *fakeAgent) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.fail != nil && r.URL.Path != agentwire.PathVersion {
		_ = agentwire.WriteError(w, f.fail)
		return
	}
	who := agentwire.Whoami{
		Profile: "default", Issuer: "https://auth.example.test", Subject: "acc_1", Username: "person@example.test",
		ClientID: "keytether", Scope: "read", Flow: agentwire.FlowBrowser,
	}
	switch r.URL.Path {
	case agentwire.PathVersion:
		_ = agentwire.WriteResponse(w, agentwire.Version{Version: "fake", Protocol: agentwire.Protocol, PID: os.Getpid()})
	case agentwire.PathWhoami:
		_ = agentwire.WriteResponse(w, who)
	case agentwire.PathToken:
		_ = agentwire.WriteResponse(w, agentwire.TokenResponse{AccessToken: agentwire.NewSecret(f.token), TokenType: "DPoP", Scope: "read"})
	case agentwire.PathAuthorize:
		var q agentwire.AuthorizeRequest
		if err := agentwire.ReadRequest(r, &q); err != nil {
			_ = agentwire.WriteError(w, err)
			return
		}
		f.asked = append(f.asked, q)
		f.tokens++
		token := f.token
		if f.renew {
			token = fmt.Sprintf("%s-%d", f.token, f.tokens)
		}
		_ = agentwire.WriteResponse(w, agentwire.AuthorizeResponse{
			Authorization: agentwire.NewSecret("DPoP " + token),
			DPoP:          agentwire.NewSecret(fmt.Sprintf("proof-%d %s %s nonce=%s", f.tokens, q.Method, q.URL, q.Nonce)),
			TokenType:     "DPoP",
		})
	case agentwire.PathLogin:
		if err := agentwire.ReadRequest(r, &f.loginSeen); err != nil {
			_ = agentwire.WriteError(w, err)
			return
		}
		s := agentwire.NewEventWriter(w)
		for _, e := range f.events {
			if s.Write(e) != nil {
				return
			}
		}
	case agentwire.PathLogout:
		_ = agentwire.WriteResponse(w, agentwire.LogoutResponse{Profiles: []string{"default"}, Wiped: true, Warning: "the server does not answer"})
	default:
		_ = agentwire.WriteError(w, agentwire.NewError(agentwire.Unsupported, "not here", "", "", nil))
	}
}

func (f *fakeAgent) requests() []agentwire.AuthorizeRequest {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]agentwire.AuthorizeRequest(nil), f.asked...)
}
