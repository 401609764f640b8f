//go:build linux

package chaos

import (
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/keytether/keytether/internal/event"
	"github.com/keytether/keytether/internal/oauth"
)

// TestReload: SIGHUP with a broken file changes nothing, and the log names the
// line; without a client it ends that client's grants, and says so in the audit
// log; naming it again brings the client back and its grants not.
//
// Invariant: GR-12
func TestReload(t *testing.T) {
	s := newStage(t, "info")
	p := meet(t, s)
	tool, out := p.login(t)
	good, err := os.ReadFile(s.Config())
	if err != nil {
		t.Fatal(err)
	}
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(s.Config(), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		signal(t, s, syscall.SIGHUP)
	}
	api := newAPI(t, s)

	without, _, found := strings.Cut(string(good), "  - id: "+client+"\n")
	if !found {
		t.Fatalf("the config does not name the client:\n%s", good)
	}
	write(without + "colour: blue\n")
	waitSaid(t, s, "reading the config again failed", 1)
	if said, line := tail(s.Server.Stderr(), 3), fmt.Sprint(strings.Count(without, "\n")+1); !strings.Contains(said, "line "+line) && !strings.Contains(said, ":"+line) {
		t.Errorf("the server does not name line %s: %s", line, said)
	}
	if out, err = refresh(t.Context(), tool, out.RefreshToken); err != nil {
		t.Fatalf("a broken config changed something: %v", err)
	}

	write(without)
	waitSaid(t, s, "config read again", 1)
	_, err = refresh(t.Context(), tool, out.RefreshToken)
	wantRefused(t, "a refresh of a client that is gone", err, oauth.UnknownClient)
	if api.active(t, out.AccessToken) {
		t.Error("an access token of a client that is gone is still good")
	}

	write(string(good))
	waitSaid(t, s, "config read again", 2)
	_, err = refresh(t.Context(), tool, out.RefreshToken)
	wantRefused(t, "a refresh of a grant that was revoked with its client", err, oauth.GrantEnded)
	p.login(t)

	stop(t, s)
	log := readLog(t, s.Data(), s.Issuer)
	log.checkFamilies(t)
	if log.about(out.GrantID, event.GrantRevoked, event.ReasonClientGone) != 1 {
		t.Error("the grant's end is not recorded")
	}
	if n := log.count(func(r event.Record) bool { return r.Name == event.ClientDisabled && r.Client == client }); n != 1 {
		t.Errorf("the client was disabled %d times", n)
	}
}

// TestWrongClock: a machine whose clock is wrong by an hour logs in and refreshes,
// for its proofs are as old as the server's nonce in them.
//
// Invariant: DP-17f
func TestWrongClock(t *testing.T) {
	s := newStage(t, "warn")
	for _, off := range []time.Duration{time.Hour, -time.Hour} {
		t.Run(off.String(), func(t *testing.T) {
			p := meet(t, s)
			tool := p.tool(t)
			tool.Clock = func() time.Time { return time.Now().Add(off) }
			out, err := tool.Login(t.Context(), p.person, redirect, "read", resource)
			if err != nil {
				t.Fatalf("login: %v", err)
			}
			if out, err = refresh(t.Context(), tool, out.RefreshToken); err != nil {
				t.Fatalf("refresh: %v", err)
			}
			s.Server.Kill() // the nonces of before are worth nothing now
			start(t, s)
			if _, err = refresh(t.Context(), tool, out.RefreshToken); err != nil {
				t.Errorf("refresh after a restart: %v", err)
			}
		})
	}
}
