package main

import (
	"context"
	"fmt"
	"path/filepath"

	"github.com/cli/browser"

	chromium "github.com/keytether/keytether/internal/testkit/browser"
	"github.com/keytether/keytether/internal/testkit/stage"
)

// person is who sits before the browser.
type person interface {
	// allow opens a login's link, signs in if asked, and allows.
	allow(ctx context.Context, url, shots, name string) error
	// disown opens /me and presses "This wasn't me" for the only installation.
	disown(ctx context.Context, url, shots string) error
}

// chrome is a person made of chromedp.
type chrome struct{ b *chromium.Browser }

func newChromium(ctx context.Context, st *stage.Stage) (*chrome, error) {
	b, err := st.Browser(ctx, chromium.Options{Width: 660, Height: 1040})
	return &chrome{b}, err
}

func (c *chrome) Close() error { return c.b.Close() }

func (c *chrome) shot(ctx context.Context, dir, name string) error {
	if err := c.b.Screenshot(ctx, filepath.Join(dir, name+".png"), 0, 0); err != nil {
		return fmt.Errorf("screenshot of %s: %w", name, err)
	}
	return nil
}

func (c *chrome) allow(ctx context.Context, url, shots, name string) error {
	if err := c.b.Open(ctx, url); err != nil {
		return err
	}
	n, err := c.b.Count(ctx, "Sign in")
	if err != nil {
		return err
	}
	if n > 0 {
		if err := c.shot(ctx, shots, "sign-in"); err != nil {
			return err
		}
		if err := stage.SignIn(ctx, c.b); err != nil {
			return err
		}
		if err := c.b.WaitText(ctx, "Deny"); err != nil {
			return err
		}
	}
	if err := c.shot(ctx, shots, name); err != nil {
		return err
	}
	if err := c.b.Click(ctx, "Allow"); err != nil {
		return err
	}
	if err := c.b.WaitURL(ctx, stage.Done); err != nil {
		return err
	}
	return c.shot(ctx, shots, "done")
}

func (c *chrome) disown(ctx context.Context, url, shots string) error {
	if err := c.b.Open(ctx, url); err != nil {
		return err
	}
	if err := c.b.WaitText(ctx, "This wasn't me"); err != nil {
		return err
	}
	if err := c.shot(ctx, shots, "me"); err != nil {
		return err
	}
	return c.b.Click(ctx, "This wasn't me")
}

// ownBrowser is the person who runs the demo.
type ownBrowser struct{}

func (ownBrowser) allow(_ context.Context, url, _, _ string) error {
	show("Sign in as %s with the password: %s", stage.Email, stage.Password)
	show("Your browser opens %s", url)
	return openOwn(url)
}

func (ownBrowser) disown(_ context.Context, url, _ string) error {
	show("Press “This wasn't me” on the page that your browser opens now: %s", url)
	return openOwn(url)
}

func openOwn(url string) error {
	if err := browser.OpenURL(url); err != nil {
		show("It could not be opened (%v). Open the link by hand.", err)
	}
	return nil
}
