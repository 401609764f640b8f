package agentstart

import "github.com/keytether/keytether/internal/peersock"

// ErrNotRunning: no agent listens at the socket.
var ErrNotRunning = peersock.ErrNotRunning

// Socket says where the agent's socket is, by the environment that getenv shows (peersock.Path).
func Socket(getenv func(string) string) (string, error) { return peersock.Path(getenv) }
