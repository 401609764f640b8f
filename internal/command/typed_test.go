//go:build unix

package command

import (
	"strings"
	"testing"
	"time"

	"github.com/creack/pty"

	"github.com/keytether/keytether/internal/testkit"
)

// TestAskForgetsWhatWasTypedAhead types a yes before there is a question, whole and in part, and
// a no after it.
//
// Invariant: DF-13e
func TestAskForgetsWhatWasTypedAhead(t *testing.T) {
	for _, ahead := range []string{"y\n", "y", "yes\nyes\ny"} {
		far, near, err := pty.Open()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = far.Close(); _ = near.Close() })
		if _, err := far.WriteString(ahead); err != nil {
			t.Fatal(err)
		}
		time.Sleep(20 * time.Millisecond) // the terminal has it
		var shown testkit.Buffer
		a := newApp(Program{Stdin: near, Stderr: &shown})
		go func() {
			for !strings.Contains(shown.String(), "Allow it?") {
				time.Sleep(time.Millisecond)
			}
			_, _ = far.WriteString("no\n")
		}()
		if yes, err := a.ask("Allow it? [y/N] "); err != nil || yes {
			t.Errorf("%q typed ahead: %v %v", ahead, yes, err)
		}
	}
}

// TestAskTakesWhatIsTypedThen is the other half: an answer to the question counts.
func TestAskTakesWhatIsTypedThen(t *testing.T) {
	far, near, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = far.Close(); _ = near.Close() })
	var shown testkit.Buffer
	a := newApp(Program{Stdin: near, Stderr: &shown})
	go func() {
		for !strings.Contains(shown.String(), "Allow it?") {
			time.Sleep(time.Millisecond)
		}
		_, _ = far.WriteString("y\n")
	}()
	if yes, err := a.ask("Allow it? [y/N] "); err != nil || !yes {
		t.Errorf("%v %v", yes, err)
	}
}
