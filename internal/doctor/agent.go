package doctor

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/keytether/keytether/internal/peersock"
)

// Agent is what the running agent says.
type Agent struct {
	Version string
	PID     int
	Notice  string // what a person should know, such as that it is older than this program
	Locked  bool
}

func checkAgent(ctx context.Context, o *Options) []Finding {
	if o.SocketErr != nil {
		return []Finding{{"socket", Problem, "no place for it", o.SocketErr.Error(), "Set HOME or KEYTETHER_SOCKET"}, none("agent", "no socket")}
	}
	if o.Agent == nil {
		return one(none("agent", "not asked"))
	}
	a, err := o.Agent(ctx)
	file := look(o.Socket)
	return judgeAgent(o, a, err, !file.missing && o.UID >= 0)
}

// judgeAgent tells of the socket and of who answers at it. there: something is at its path.
func judgeAgent(o *Options, a Agent, err error, there bool) []Finding {
	socket := ok("socket", o.Socket)
	switch {
	case errors.Is(err, peersock.ErrInsecurePath):
		return []Finding{{"socket", Problem, o.Socket + " is not safe to use", err.Error(), "Do as it says, then run `keytether doctor` again"}, none("agent", "not asked")}
	case errors.Is(err, peersock.ErrPeerUID):
		return []Finding{{"socket", Problem, "another user's process answers at " + o.Socket, err.Error(), "Set KEYTETHER_SOCKET to a path in a folder of your own, and tell who runs this machine"}, none("agent", "not asked")}
	case errors.Is(err, peersock.ErrNotRunning) && there:
		socket = Finding{"socket", Warning, o.Socket + " is stale", "nobody listens at it: an agent was killed", "Nothing: the next login starts an agent, which replaces it"}
		return []Finding{socket, ok("agent", "none runs; a login starts one")}
	case errors.Is(err, peersock.ErrNotRunning):
		return []Finding{ok("socket", o.Socket+" (not there yet)"), ok("agent", "none runs; a login starts one")}
	case errors.Is(err, context.DeadlineExceeded):
		return []Finding{socket, {"agent", Problem, "it does not answer", "something listens at the socket and says nothing", "End that process (fuser " + o.Socket + "), then run `keytether login`"}}
	case err != nil:
		return []Finding{socket, {"agent", Problem, "it cannot be used", err.Error(), "Run `keytether agent stop`, which ends logins that are in memory alone, then `keytether login`"}}
	}
	found := fmt.Sprintf("version %s, process %d", a.Version, a.PID)
	switch {
	case a.Notice != "":
		return []Finding{socket, {"agent", Warning, found + "; this program is " + o.Version, a.Notice, "Run `keytether agent stop` when you can log in again"}}
	case a.Locked:
		return []Finding{socket, {"agent", Warning, found + ", locked", "it gives nothing out", "Run `keytether agent unlock`"}}
	}
	return []Finding{socket, ok("agent", found)}
}

// Store is what came of opening a credential store.
type Store struct {
	Name   string
	Life   string // what it outlives: process (nothing), session or machine
	Passed string // why it is not tried here; empty: it is
	Why    string // why it cannot be used; empty: it can
	Mend   string
	Chosen bool // the config names it
}

func checkStores(ctx context.Context, o *Options) []Finding {
	if o.Stores == nil {
		return one(none("stores", "not asked"))
	}
	return judgeStores(o.Stores(ctx))
}

// judgeStores: a store that cannot be used matters when none that comes after it outlives the
// agent, or when the config names it.
func judgeStores(all []Store) []Finding {
	first := -1
	for i, s := range all {
		if s.Passed == "" && s.Why == "" {
			first = i
			break
		}
	}
	lasting := first >= 0 && all[first].Life != "process"
	mend := "Choose another store"
	var out []Finding
	for i, s := range all {
		name := "store-" + s.Name
		switch {
		case s.Passed != "":
			out = append(out, none(name, s.Passed))
		case s.Why != "" && s.Chosen:
			out = append(out, Finding{name, Problem, "cannot be used, and the config names it", s.Why, or(s.Mend, "Name another store, or none, in the config")})
		case s.Why != "" && lasting:
			out = append(out, Finding{name, None, "cannot be used: " + s.Why, "", s.Mend})
		case s.Why != "":
			out = append(out, Finding{name, Warning, "cannot be used", s.Why, or(s.Mend, mend)})
		case i == first && s.Life == "process" && !s.Chosen && failed(all):
			out = append(out, Finding{name, Warning, "logins are kept here", "they are gone when the agent ends: no store that lasts longer can be used", "Mend one of the stores above"})
		case i == first:
			out = append(out, ok(name, "logins are kept here"+outlives(s.Life)))
		default:
			out = append(out, ok(name, "can be used"))
		}
	}
	if first < 0 && len(all) > 0 && !strings.Contains(fmt.Sprint(out), string(Problem)) {
		out[len(out)-1].State = Problem
	}
	return out
}

func failed(all []Store) bool {
	for _, s := range all {
		if s.Why != "" && s.Passed == "" {
			return true
		}
	}
	return false
}

func outlives(life string) string {
	switch life {
	case "machine":
		return ", until they are wiped"
	case "session":
		return ", until the session ends or the machine restarts"
	}
	return ", until the agent ends"
}

func or(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}
