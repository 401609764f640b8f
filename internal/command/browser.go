package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"time"

	"github.com/cli/browser"
)

// openURL opens the desktop's browser. What it prints is thrown away: standard output is ours.
func openURL(url string) error {
	browser.Stdout, browser.Stderr = io.Discard, io.Discard
	return browser.OpenURL(url)
}

// settle is how long a browser that was started may take to fail. Many stay in the foreground
// for as long as their window is open, so one that lives this long counts as open.
const settle = 3 * time.Second

var errNoBrowser = errors.New("no browser was found")

// open opens url in the person's browser: with the commands of BROWSER, the first that works,
// else with the desktop's. It returns when the browser is open or has failed.
func (a *app) open(ctx context.Context, url string) error {
	commands := splitBrowsers(a.getenv("BROWSER"))
	if len(commands) == 0 {
		return within(ctx, func() error { return a.OpenURL(url) })
	}
	var failed []error
	for _, c := range commands {
		argv := browserArgs(c, url)
		if len(argv) == 0 {
			continue
		}
		err := a.run(ctx, argv)
		if err == nil {
			return nil
		}
		failed = append(failed, err)
	}
	if len(failed) == 0 {
		return errNoBrowser
	}
	return errors.Join(failed...)
}

// run starts a browser without a shell. It outlives us, so ctx does not end it.
func (a *app) run(ctx context.Context, argv []string) error {
	c := exec.Command(argv[0], argv[1:]...)
	c.Env = a.Environ
	c.Stdin = nil
	if err := c.Start(); err != nil {
		if errors.Is(err, exec.ErrNotFound) {
			return fmt.Errorf("%s is not installed", argv[0])
		}
		return fmt.Errorf("%s could not be started: %w", argv[0], cause(err))
	}
	return within(ctx, func() error {
		if err := c.Wait(); err != nil {
			return fmt.Errorf("%s failed: %w", argv[0], err)
		}
		return nil
	})
}

// within gives what f returns, or nil when it has not returned soon.
func within(ctx context.Context, f func() error) error {
	done := make(chan error, 1)
	go func() { done <- f() }()
	t := time.NewTimer(settle)
	defer t.Stop()
	select {
	case err := <-done:
		return err
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// splitBrowsers splits BROWSER as xdg-open does: commands separated by the system's list
// separator, to be tried in turn.
func splitBrowsers(s string) []string {
	var out []string
	for _, c := range strings.Split(s, string(os.PathListSeparator)) {
		if c = strings.TrimSpace(c); c != "" {
			out = append(out, c)
		}
	}
	return out
}

// browserArgs splits a command into words, of which quotes may hold several, and puts the URL
// where %s stands, else at the end. %% is a percent sign. No shell sees it, so the URL cannot
// become anything but one argument.
func browserArgs(command, url string) []string {
	words := splitWords(command)
	if len(words) == 0 {
		return nil
	}
	placed := false
	for i, w := range words {
		var b strings.Builder
		for j := 0; j < len(w); j++ {
			if w[j] == '%' && j+1 < len(w) && (w[j+1] == 's' || w[j+1] == '%') {
				j++
				if w[j] == '%' {
					b.WriteByte('%')
					continue
				}
				placed = true
				b.WriteString(url)
				continue
			}
			b.WriteByte(w[j])
		}
		words[i] = b.String()
	}
	if !placed {
		words = append(words, url)
	}
	return words
}

func splitWords(s string) []string {
	var words []string
	var b strings.Builder
	var quoted byte
	in := false
	for i := range len(s) {
		switch c := s[i]; {
		case quoted != 0 && c == quoted:
			quoted = 0
		case quoted == 0 && (c == '"' || c == '\''):
			quoted, in = c, true
		case quoted == 0 && (c == ' ' || c == '\t'):
			if in {
				words = append(words, b.String())
				b.Reset()
			}
			in = false
		default:
			b.WriteByte(c)
			in = true
		}
	}
	if in {
		words = append(words, b.String())
	}
	return words
}

// noBrowserHere says why no browser can be opened here, or nothing if one probably can.
func (a *app) noBrowserHere() string {
	switch {
	case a.getenv("KEYTETHER_NO_BROWSER") != "":
		return "KEYTETHER_NO_BROWSER is set"
	case a.inCI():
		return "this is a CI job"
	case a.getenv("BROWSER") != "":
		return ""
	case a.getenv("SSH_CONNECTION") != "":
		return "this is an SSH session"
	case a.getenv("container") != "" || a.getenv("KUBERNETES_SERVICE_HOST") != "":
		return "this is a container"
	case runtime.GOOS == "linux" && a.getenv("WSL_DISTRO_NAME") == "" && a.getenv("DISPLAY") == "" && a.getenv("WAYLAND_DISPLAY") == "":
		return "there is no display"
	}
	return ""
}

func (a *app) inCI() bool {
	switch strings.ToLower(a.getenv("CI")) {
	case "", "0", "false":
		return false
	}
	return true
}
