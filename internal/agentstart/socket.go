package agentstart

import (
	"context"
	"net"

	"github.com/keytether/keytether/internal/agentwire"
	"github.com/keytether/keytether/internal/peersock"
)

// ErrNotRunning: no agent listens at the socket.
var ErrNotRunning = peersock.ErrNotRunning

// Socket says where the agent's socket is, by the environment that getenv shows (peersock.Path).
func Socket(getenv func(string) string) (string, error) { return peersock.Path(getenv) }

// Once gives a client of whatever agent listens at the socket, which neither connects nor asks for
// its version yet and keeps no connection: for the one call of a short program, of a kind that
// every protocol has. Its calls connect as Dial does.
func Once(o Options) *agentwire.Client {
	return agentwire.NewOnce(func(ctx context.Context) (net.Conn, error) { return Dial(ctx, o) })
}
