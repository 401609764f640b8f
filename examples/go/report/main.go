// Command report is a small tool that calls the API of examples/go/api as the
// person who is logged in: copy it and put your own requests in.
//
//	report                                  # after keytether login --resource …
//	report -issuer http://127.0.0.1:8430    # logs in itself when nobody is
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"

	"github.com/keytether/keytether/login"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "report:", err)
		os.Exit(1)
	}
}

func run() error {
	issuer := flag.String("issuer", "", "log in at this server when nobody is logged in")
	resource := flag.String("resource", "http://127.0.0.1:8431", "the API's URL")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()

	c, err := login.New(login.Options{Resource: *resource})
	if err != nil {
		return err
	}
	if *issuer != "" {
		if err := ensure(ctx, c, *issuer); err != nil {
			return err
		}
	}
	api := &http.Client{Transport: c.RoundTripper(nil)}
	res, err := api.Get(*resource + "/reports")
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(res.Body, 64<<10))
		return fmt.Errorf("%s: %s", res.Status, text)
	}
	_, err = io.Copy(os.Stdout, res.Body)
	return err
}

// ensure logs the person in when nobody is.
func ensure(ctx context.Context, c *login.Client, issuer string) error {
	_, err := c.Whoami(ctx)
	if !errors.Is(err, login.ErrNotLoggedIn) {
		return err
	}
	_, err = c.Login(ctx, login.LoginOptions{Issuer: issuer}, func(e login.Event) {
		switch e.Kind {
		case login.EventBrowser:
			fmt.Fprintf(os.Stderr, "To sign in, open this link in a browser on this computer:\n\n  %s\n\n", e.URL)
		case login.EventDeviceCode: // no browser can be opened here, over SSH for instance
			fmt.Fprintf(os.Stderr, "To sign in, open %s on any device and enter %s\n", e.URL, e.UserCode)
		}
	})
	return err
}
