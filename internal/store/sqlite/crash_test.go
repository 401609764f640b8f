package sqlite

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/keytether/keytether/internal/audit"
	"github.com/keytether/keytether/internal/store"
)

const (
	crashEnv     = "KEYTETHER_TEST_COMMIT_UNTIL_KILLED"
	crashCallers = 12
	crashGrants  = 60
)

// commitUntilKilled is the child of TestKilledAtAnyMoment: it commits as fast
// as it can, and says on stdout what was acknowledged.
func commitUntilKilled(path string) {
	fail := func(err error) {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	s, err := Open(context.Background(), Options{Path: path})
	if err != nil {
		fail(err)
	}
	list, err := s.GrantsOf(context.Background(), store.DefaultTenant, store.GrantQuery{})
	if err != nil {
		fail(err)
	}
	for c := range crashCallers {
		go func() {
			for i := c; ; i += crashCallers { // each caller has grants of its own
				g := list[i%len(list)]
				if err := refreshLike(context.Background(), s, g.Value.ID); err != nil {
					fail(err)
				}
				now, err := s.Grant(context.Background(), store.DefaultTenant, g.Value.ID)
				if err != nil {
					fail(err)
				}
				fmt.Printf("%s %d\n", g.Value.ID, now.Value.Generation) // one write
			}
		}()
	}
	select {}
}

// TestKilledAtAnyMoment: after kill -9 everything that was acknowledged is
// there, with its record; the log is dense; nothing is half there.
//
// Invariant: AU-1, ST-3
func TestKilledAtAnyMoment(t *testing.T) {
	path := filepath.Join(t.TempDir(), "data", "keytether.db")
	s := openAt(t, path)
	ids := seedGrants(t, s, crashGrants)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	acknowledged := map[string]uint32{}
	busy := 0
	for round := range 25 {
		n := killAfter(t, path, time.Duration(rand.IntN(60_000))*time.Microsecond, acknowledged)
		if n > 0 {
			busy++
		}
		s, err := Open(t.Context(), Options{Path: path})
		if err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		checkAfterCrash(t, s, ids, acknowledged)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if t.Failed() {
			t.Fatalf("in round %d, after %d acknowledgements", round, n)
		}
	}
	if busy < 20 {
		t.Errorf("only %d of 25 kills came while commits were made", busy)
	}
}

// killAfter runs the child, kills it some time after its first acknowledgement,
// and returns the number of those that were heard.
func killAfter(t *testing.T, path string, after time.Duration, acknowledged map[string]uint32) int {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), crashEnv+"="+path)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines, n := bufio.NewScanner(out), 0
	for lines.Scan() {
		var id string
		var generation uint32
		if _, err := fmt.Sscanf(lines.Text(), "%s %d", &id, &generation); err != nil {
			break // cut off by the kill
		}
		acknowledged[id] = max(acknowledged[id], generation)
		if n++; n == 1 {
			time.AfterFunc(after, func() { _ = cmd.Process.Kill() })
		}
	}
	if err := cmd.Wait(); err == nil || n == 0 {
		t.Fatalf("the child ended by itself: %v", err)
	}
	return n
}

func checkAfterCrash(t *testing.T, s *Store, ids []string, acknowledged map[string]uint32) {
	t.Helper()
	size, err := s.Size(t.Context(), store.DefaultTenant)
	if err != nil {
		t.Fatal(err)
	}
	inLog, next := map[string]uint32{}, int64(0)
	if err := s.Leaves(t.Context(), store.DefaultTenant, 0, size, func(l store.Leaf) error {
		d, err := audit.DecodeLeaf(l.Data)
		if err != nil {
			return err
		}
		if l.Index != next {
			t.Errorf("leaf %d came where %d was due", l.Index, next)
		}
		next++
		if d.Record.Generation != inLog[d.Record.Grant]+1 {
			t.Errorf("leaf %d: generation %d of %s follows %d", l.Index, d.Record.Generation, d.Record.Grant, inLog[d.Record.Grant])
		}
		inLog[d.Record.Grant] = d.Record.Generation
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	for _, id := range ids {
		g, err := s.Grant(t.Context(), store.DefaultTenant, id)
		if err != nil {
			t.Fatal(err)
		}
		if g.Value.Generation < acknowledged[id] {
			t.Errorf("%s: generation %d was acknowledged, %d is there", id, acknowledged[id], g.Value.Generation)
		}
		if g.Value.Generation != inLog[id] {
			t.Errorf("%s: generation %d, the log says %d", id, g.Value.Generation, inLog[id])
		}
	}
}
