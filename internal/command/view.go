package command

import (
	"context"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/keytether/keytether/internal/agentwire"
)

// view shows a login in progress: on stderr in words, or with --json on stdout one event a line.
type view struct {
	a         *app
	issuer    string
	noBrowser string // why none is opened; empty: one is
	auto      bool   // the flow was the agent's to choose
	askCode   func(ctx context.Context, login string) error
	final     bool // "done" or "error" was written as JSON

	mu      sync.Mutex
	started time.Time // of the waiting line; zero: there is none
	typeBy  time.Time // until when a user code can be typed; zero: there is none
}

func (a *app) newView() *view { return &view{a: a} }

// follow runs a login and shows its events until it has ended.
func (v *view) follow(ctx context.Context, login func(on func(agentwire.Event) error) error) (agentwire.Whoami, error) {
	var who agentwire.Whoami
	ctx, cancel := context.WithCancel(ctx)
	var background sync.WaitGroup
	opened := false
	err := login(func(e agentwire.Event) error {
		if v.a.json {
			v.final = v.final || e.Final()
			if err := v.a.printJSON(e); err != nil {
				return err
			}
		}
		switch e.Event {
		case agentwire.EventBrowser:
			if opened {
				return nil
			}
			opened = true
			v.link(e)
			background.Go(func() { v.open(ctx, e.URL) })
			if v.presses(e) {
				v.line("Press Enter for a code that you can type elsewhere instead.")
				background.Go(func() { v.codeOnEnter(ctx, e.Login) })
			}
			background.Go(func() { v.wait(ctx) })
		case agentwire.EventDeviceCode:
			v.deviceCode(e, opened)
			if !opened {
				opened = true
				background.Go(func() { v.wait(ctx) })
			}
		case agentwire.EventDone:
			who = *e.Done
			if e.Warning != "" {
				v.line("keytether: " + clean(e.Warning))
			}
		}
		return nil
	})
	cancel()
	background.Wait()
	v.clear()
	return who, err
}

// link says what will happen, and the link where the person has to open it.
func (v *view) link(e agentwire.Event) {
	if v.a.json {
		return
	}
	if v.noBrowser == "" {
		why := ""
		if v.auto && e.Reason != "" {
			why = " (" + clean(e.Reason) + ")"
		}
		v.line("Opening your browser to sign in at " + clean(v.issuer) + why)
		return
	}
	v.line("No browser is opened (" + v.noBrowser + "). To sign in at " + clean(v.issuer) + ", open this link in a\nbrowser on this computer:\n\n  " + clean(e.URL) + "\n")
}

// open opens the link. If that fails, the person can do it, and the login goes on.
func (v *view) open(ctx context.Context, url string) {
	if v.noBrowser != "" {
		return
	}
	err := v.a.open(ctx, url)
	if err == nil || ctx.Err() != nil {
		return
	}
	v.line("The browser could not be opened: " + clean(err.Error()) + "\nOpen this link in a browser on this computer:\n\n  " + clean(url) + "\n")
}

// presses says whether a person is there who can press a key for a device code.
func (v *view) presses(e agentwire.Event) bool {
	f, ok := v.a.Stdin.(*os.File)
	return ok && e.Login != "" && !v.a.json && isTerminal(f) && v.a.smart(v.a.Stderr) && ours(int(f.Fd()))
}

// codeOnEnter asks for a device code once, when the person presses Enter. The browser can still
// finish the login.
func (v *view) codeOnEnter(ctx context.Context, login string) {
	if !awaitEnter(ctx, v.a.Stdin.(*os.File)) {
		return
	}
	v.mu.Lock()
	if !v.started.IsZero() {
		_, _ = io.WriteString(v.a.Stderr, "\x1b[A\r\x1b[K") // the echo of the key went below the waiting line
		v.draw()
	}
	v.mu.Unlock()
	if err := v.askCode(ctx, login); err != nil && ctx.Err() == nil {
		v.line("keytether: " + clean(describe(err).Error()))
	}
}

// wait keeps one line alive that shows how long the person has been away.
func (v *view) wait(ctx context.Context) {
	if v.a.json || !v.a.smart(v.a.Stderr) {
		return
	}
	v.mu.Lock()
	v.started = time.Now()
	v.draw()
	v.mu.Unlock()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			v.mu.Lock()
			v.draw()
			v.mu.Unlock()
		}
	}
}

func (v *view) draw() {
	if v.started.IsZero() {
		return
	}
	what, d := "Waiting for the browser  %d:%02d", time.Since(v.started)
	if left := v.typeBy.Sub(v.a.Now()); left > 0 {
		what, d = "Enter the code within %d:%02d", left
	}
	text, columns := fmt.Sprintf(what, int(d.Minutes()), int(d.Seconds())%60), v.columns()
	if hint := "  (Ctrl-C cancels)"; len(text)+len(hint) < columns {
		text += hint
	}
	text = text[:min(len(text), max(0, columns-1))] // a line that wraps cannot be drawn over
	_, _ = fmt.Fprintf(v.a.Stderr, "\r\x1b[K%s", paint(text, dim, v.a.colour(v.a.Stderr)))
}

// line writes whole lines above the waiting line.
func (v *view) line(s string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if !v.started.IsZero() {
		_, _ = io.WriteString(v.a.Stderr, "\r\x1b[K")
	}
	_, _ = io.WriteString(v.a.Stderr, s+"\n")
	v.draw()
}

// clear takes the waiting line away.
func (v *view) clear() {
	v.mu.Lock()
	defer v.mu.Unlock()
	if !v.started.IsZero() {
		_, _ = io.WriteString(v.a.Stderr, "\r\x1b[K")
	}
	v.started = time.Time{}
}
