package agent

import (
	"context"
	"net"
	"testing"

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
