//go:build linux

package scan

import (
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/creack/pty"

	"github.com/keytether/keytether/internal/secret"
)

// TestHistoriesOfRealShells types a credential into each and lets it write its history as it
// does: zsh and fish escape what they write. Each is one of the histories that are looked at.
func TestHistoriesOfRealShells(t *testing.T) {
	code := mint(secret.Code)
	for _, tt := range []struct {
		name       string
		args       []string
		line, quit string
	}{
		{"bash", []string{"bash", "--norc", "-i"}, "echo '" + code + "'", "exit"},
		{"zsh", []string{"zsh", "-i"}, "echo 'ü " + code + "'", "exit"},
		{"fish", []string{"fish"}, "echo 'ü " + code + "'", "exit"},
		{"python", []string{"/usr/bin/python3", "-q"}, "x = '" + code + "'", "exit()"},
		{"node", []string{"node"}, "x = '" + code + "'", ".exit"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			path, err := exec.LookPath(tt.args[0])
			if err != nil {
				t.Fatalf("%s is not installed: run scripts/setup", tt.args[0])
			}
			home := t.TempDir()
			write(t, filepath.Join(home, ".zshrc"), []byte("HISTFILE=~/.zsh_history HISTSIZE=100 SAVEHIST=100\nsetopt extended_history\n"))
			c := exec.Command(path, tt.args[1:]...)
			c.Env = []string{"HOME=" + home, "TERM=dumb", "PATH=" + os.Getenv("PATH"), "LANG=C.UTF-8"}
			c.Dir = home
			screen, err := pty.Start(c)
			if err != nil {
				t.Fatal(err)
			}
			defer screen.Close()
			stop := time.AfterFunc(40*time.Second, func() { _ = c.Process.Kill() })
			defer stop.Stop()
			quiet := watch(screen)
			for _, line := range []string{tt.line, tt.quit} {
				quiet() // they take keys only once they have set the terminal, and may drop what comes before
				if _, err := io.WriteString(screen, line+"\r"); err != nil {
					t.Fatal(err)
				}
			}
			quiet()
			_ = c.Wait()
			s := New(Rules{})
			if err := s.Walk(t.Context(), []string{home}); err != nil {
				t.Fatal(err)
			}
			for _, f := range s.Report().Findings {
				rel, err := filepath.Rel(home, f.Source)
				if err == nil && slices.Contains(histories, rel) && f.Value.Reveal() == code {
					return
				}
			}
			t.Errorf("it is in no history: %+v", s.Report())
		})
	}
}

// watch reads a screen to its end. The function that it gives waits until something was shown
// and nothing more comes for a while.
func watch(screen io.Reader) (quiet func()) {
	shown := make(chan struct{}, 1000)
	go func() {
		defer close(shown)
		b := make([]byte, 4096)
		for {
			if _, err := screen.Read(b); err != nil {
				return
			}
			shown <- struct{}{}
		}
	}()
	return func() {
		if _, more := <-shown; !more {
			return
		}
		for {
			select {
			case _, more := <-shown:
				if !more {
					return
				}
			case <-time.After(500 * time.Millisecond):
				return
			}
		}
	}
}
