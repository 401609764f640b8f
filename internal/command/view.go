package command

import (
	"context"
	"fmt"
	"io"
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
	final     bool   // "done" or "error" was written as JSON

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
	what, d := "Waiting for the browser  %d:%02d  (Ctrl-C cancels)", time.Since(v.started)
	if left := v.typeBy.Sub(v.a.Now()); left > 0 {
		what, d = "Enter the code within %d:%02d  (Ctrl-C cancels)", left
	}
	_, _ = fmt.Fprintf(v.a.Stderr, "\r\x1b[K%s", paint(fmt.Sprintf(what, int(d.Minutes()), int(d.Seconds())%60), dim, v.a.colour(v.a.Stderr)))
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
