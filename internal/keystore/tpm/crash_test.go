//go:build unix

package tpm

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-tpm/tpm2"

	"github.com/keytether/keytether/internal/keystore"
	"github.com/keytether/keytether/internal/secret"
	"github.com/keytether/keytether/internal/testkit/swtpm"
)

const crashEnv = "KEYTETHER_TPM_CRASH" // device and folder of the child of TestCrash

// TestMain is also the program that TestCrash kills: it writes for ever, and says what it has
// written once the store has said so.
func TestMain(m *testing.M) {
	device, dir, child := strings.Cut(os.Getenv(crashEnv), " ")
	if !child {
		os.Exit(m.Run())
	}
	s := &Store{chip: newChip(device), path: dir + "/" + FileName}
	for n := 1; ; n++ {
		err := s.Put(context.Background(), "a", keystore.Entry{Key: "a", RefreshToken: secret.New(token + strconv.Itoa(n))})
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		fmt.Println(n)
	}
}

// TestCrash kills a process that writes, again and again: the file is always whole, and holds
// what was last said to be written, or the one after.
//
// Invariant: TP-8
func TestCrash(t *testing.T) {
	chip := swtpm.Start(t)
	o := options(t, chip)
	s := open(t, o)
	k := login(t, s, "a")
	_ = s.Close()
	for round := range 8 {
		cmd := exec.Command(os.Args[0])
		cmd.Env = []string{crashEnv + "=" + o.Device + " " + o.Folder}
		cmd.Stderr = os.Stderr
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		last := 0
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			n, err := strconv.Atoi(lines.Text())
			if err != nil {
				t.Fatal(err)
			}
			if last = n; n == 3 {
				go func() {
					time.Sleep(time.Duration(round) * 7 * time.Millisecond)
					_ = cmd.Process.Kill()
				}()
			}
		}
		_ = cmd.Wait()
		if last < 3 {
			t.Fatalf("the child has written %d times", last)
		}
		flush(t, chip.Socket)
		s := &Store{chip: newChip(o.Device), path: s.path}
		e, err := s.Get(t.Context(), "a")
		if got := e.RefreshToken.Reveal(); err != nil || got != token+strconv.Itoa(last) && got != token+strconv.Itoa(last+1) {
			t.Errorf("round %d: the last that was said is %d; %v", round, last, err)
		}
		if found, err := s.Key(t.Context(), "a"); err != nil || !found.Public().Equal(k.Public()) {
			t.Errorf("round %d: the key: %v", round, err)
		}
		_ = s.Close()
	}
}

// flush does what the kernel's resource manager does when a process ends: it unloads what that
// had loaded.
func flush(t *testing.T, socket string) {
	t.Helper()
	dev, _, err := openDevice(socket)
	if err != nil {
		t.Fatal(err)
	}
	for _, first := range []tpm2.TPMHandle{transient, sessions} {
		for i := range 8 {
			_, _ = tpm2.FlushContext{FlushHandle: first + tpm2.TPMHandle(i)}.Execute(dev)
		}
		if n := handles(t, socket, first); n != 0 {
			t.Fatalf("%d handles are left", n)
		}
	}
}
