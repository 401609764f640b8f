package agent

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"testing"
	"time"

	"github.com/keytether/keytether/internal/agentwire"
	"github.com/keytether/keytether/internal/oauthclient/oauthclienttest"
	"github.com/keytether/keytether/internal/peersock"
)

// BenchmarkAuthorize is one request's headers over a connection that is kept, as a tool has it.
func BenchmarkAuthorize(b *testing.B) {
	r := newRig(b, oauthclienttest.Keytether())
	r.mustLogIn()
	for b.Loop() {
		if _, err := r.Authorize(b.Context(), agentwire.AuthorizeRequest{Method: "GET", URL: resource}); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkConnect is a token over a connection of its own, as the command has it.
func BenchmarkConnect(b *testing.B) {
	r := newRig(b, oauthclienttest.Keytether())
	r.mustLogIn()
	for b.Loop() {
		c := agentwire.NewClient(func(ctx context.Context) (net.Conn, error) { return peersock.Dial(ctx, r.socket) })
		if _, err := c.Token(b.Context(), agentwire.TokenRequest{}); err != nil {
			b.Fatal(err)
		}
		c.Close()
	}
}

// BenchmarkJudge is what it costs to know the caller of one call, with a list that names it.
func BenchmarkJudge(b *testing.B) {
	self, err := os.Executable()
	if err != nil {
		b.Fatal(err)
	}
	rules := Rules{Allow: []Allow{{Executable: "/usr/bin/env"}, {Executable: self}}}
	a := newAgent(b.Context(), Options{
		Clock: time.Now, Log: slog.New(slog.DiscardHandler), Rules: func(string) (Rules, error) { return rules, nil },
	})
	defer a.end(errStopped)
	c, who := caller{Program: peersock.Program{Executable: self}}, agentwire.Whoami{Profile: "default", Resource: resource}
	for _, with := range []struct {
		name  string
		allow []Allow
	}{{"none", nil}, {"list", rules.Allow}} {
		b.Run(with.name, func(b *testing.B) {
			rules.Allow = with.allow
			for b.Loop() {
				p, _, _, err := a.enter("default", c)
				if errors.Is(err, agentwire.Busy) { // no program asks so often
					p = a.gate.doors["default"].programs[c.key()]
				}
				if err := a.judge(b.Context(), p, c, who, ""); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
