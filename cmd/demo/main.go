// Command demo plays the story of one login with the real programs: a server, a
// sample API, a person with a browser, and somebody with a copied token. Each
// step says what it shows and checks it; the first that does not hold ends the
// demo with exit code 1. It leaves nothing running, and nothing behind but the
// screenshots.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/keytether/keytether/internal/testkit"
	"github.com/keytether/keytether/internal/testkit/stage"
)

// limit is how long the story may take; a person's own browser gets longer.
const limit = 2 * time.Minute

func main() {
	own := flag.Bool("own", os.Getenv("BROWSER") == "own", "use your own browser instead of a headless Chromium")
	shots := flag.String("shots", "demo-out", "`DIR` for the screenshots")
	verbose := flag.Bool("v", false, "show what the programs log")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	t := limit
	if *own {
		t = 20 * time.Minute
	}
	ctx, cancel := context.WithTimeout(ctx, t)
	defer cancel()
	if err := run(ctx, *own, *shots, *verbose); err != nil {
		fmt.Fprintf(os.Stderr, "\n✗ %v\n", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, own bool, shots string, verbose bool) (err error) {
	begun := time.Now()
	bin, err := testkit.ShortDir()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(bin)) }()
	say("Building the programs")
	if err := stage.Binaries(ctx, bin); err != nil {
		return err
	}
	if err := os.MkdirAll(shots, 0o755); err != nil {
		return err
	}
	opt := stage.Options{LogLevel: "info", Clients: demoClient}
	if verbose {
		opt.Log = io.Writer(os.Stderr)
	}
	say("Starting the server (embedded store), and a sample API that package verify guards")
	st, err := stage.New(ctx, bin, opt)
	if err != nil {
		return err
	}
	// What was started ends even when the story was cut short.
	defer func() {
		end, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
		defer cancel()
		err = errors.Join(err, st.Close(end))
		if err == nil {
			fmt.Printf("\n✓ Everything held, in %.0f s. Nothing is left running. Screenshots are in %s.\n", time.Since(begun).Seconds(), filepath.Clean(shots))
		}
	}()
	p := &play{stage: st, shots: shots}
	if own {
		p.person = &ownBrowser{}
	} else {
		say("Starting a headless Chromium with an empty profile")
		b, err := newChromium(ctx, st)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, b.Close()) }()
		p.person = b
	}
	return p.all(ctx)
}

// demoClient is the built-in client with access tokens that are renewed every
// few seconds, so that the demo can show a renewal.
const demoClient = `- id: keytether
  name: Keytether
  redirect_uris: ["http://127.0.0.1/callback", "http://[::1]/callback"]
  grants: [authorization_code, refresh_token]
  dpop: required
  handshake: required
  lifetimes: {access: 35s}
`

func say(format string, args ...any) { fmt.Printf("\n• "+format+"\n", args...) }

func show(format string, args ...any) { fmt.Printf("    "+format+"\n", args...) }
