package agentstart

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"

	"github.com/keytether/keytether/internal/agentwire"
	"github.com/keytether/keytether/internal/peersock"
)

// StateDir is the agent's folder for its log and its list of stores, by the caller's environment;
// empty where nothing says where that is. As with the socket (peersock.Path), a folder of another
// user's, as one inherits it through su without "-", does not count.
func StateDir(getenv func(string) string) string {
	for _, c := range []struct{ name, below string }{{"XDG_STATE_HOME", ""}, {"LOCALAPPDATA", ""}, {"HOME", ".local/state"}} {
		if dir := getenv(c.name); filepath.IsAbs(dir) && !peersock.Others(dir) {
			return filepath.Join(dir, c.below, "keytether")
		}
	}
	return ""
}

// Kept says that a store which outlives the agent holds a login, as the last agent left word: an
// agent that is started now finds it.
func Kept(env []string) bool {
	dir := StateDir(func(name string) string { return lookup(env, name) })
	if dir == "" {
		return false
	}
	_, err := os.Stat(filepath.Join(dir, agentwire.StoresFile))
	return err == nil
}

// Wake is Find, but starts the agent if none runs and one would find a login.
func Wake(ctx context.Context, o Options) (*agentwire.Client, Notice, error) {
	c, notice, err := Find(ctx, o)
	if errors.Is(err, ErrNotRunning) && Kept(o.Env) {
		return Ensure(ctx, o)
	}
	return c, notice, err
}

// Dial connects to the agent's socket, and starts the agent first if none runs and one would find
// a login; else it fails with an error that wraps ErrNotRunning.
func Dial(ctx context.Context, o Options) (net.Conn, error) {
	conn, err := peersock.Dial(ctx, o.Socket)
	if !errors.Is(err, ErrNotRunning) || !Kept(o.Env) {
		return conn, err
	}
	c, _, err := Ensure(ctx, o)
	if err != nil {
		return nil, err
	}
	c.Close()
	return peersock.Dial(ctx, o.Socket)
}
