package stage

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os/exec"
	"strings"

	"github.com/keytether/keytether/internal/testkit/browser"
)

// Event is one line of `keytether login --json`.
type Event struct {
	Event   string `json:"event"`
	URL     string `json:"url"`
	GrantID string `json:"grant_id"`
	Subject string `json:"subject"`
	Code    string `json:"code"`
	Raw     string `json:"-"`

	UserCode        string `json:"user_code"`
	VerificationURI string `json:"verification_uri"`
}

// LoginResult is how a login ended.
type LoginResult struct {
	Events []Event
	Stderr string
	Code   int
}

// Last is the login's last event.
func (r LoginResult) Last() Event {
	if len(r.Events) == 0 {
		return Event{}
	}
	return r.Events[len(r.Events)-1]
}

var errGaveUp = errors.New("stage: whoever opened the link gave up")

// Login runs `keytether login` without a browser of its own and calls open with
// the link that it prints. It returns when the command has ended; an error of
// open is returned after the command was stopped.
func (m *Machine) Login(ctx context.Context, open func(url string) error, args ...string) (LoginResult, error) {
	return m.login(ctx, "browser", "browser", func(e Event) error { return open(e.URL) }, args)
}

// LoginDevice is Login by a device code: typed is given the event that has it.
func (m *Machine) LoginDevice(ctx context.Context, typed func(Event) error, args ...string) (LoginResult, error) {
	return m.login(ctx, "device", "device_code", typed, args)
}

func (m *Machine) login(ctx context.Context, flow, begins string, open func(Event) error, args []string) (LoginResult, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	c := m.Command(ctx, append([]string{"login", "--json", "--no-browser", "--flow", flow, "--issuer", m.issuer}, args...)...)
	var stderr bytes.Buffer
	c.Stderr = &stderr
	out, err := c.StdoutPipe()
	if err != nil {
		return LoginResult{}, err
	}
	if err := c.Start(); err != nil {
		return LoginResult{}, err
	}
	var res LoginResult
	opened := make(chan error, 1)
	started := false
	sc := bufio.NewScanner(out)
	for sc.Scan() {
		e := Event{Raw: sc.Text()}
		if err := json.Unmarshal(sc.Bytes(), &e); err != nil {
			cancel()
			_ = c.Wait()
			return res, fmt.Errorf("stage: login printed %q: %w", sc.Text(), err)
		}
		res.Events = append(res.Events, e)
		if e.Event == begins && !started {
			started = true
			go func() {
				err := errGaveUp // a failed test ends this goroutine in open
				defer func() {
					if err != nil {
						cancel()
					}
					opened <- err
				}()
				err = open(e)
			}()
		}
	}
	err = c.Wait()
	res.Stderr, res.Code = stderr.String(), c.ProcessState.ExitCode()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		err = nil
	}
	if started {
		err = errors.Join(<-opened, err)
	}
	return res, err
}

// SignIn fills the sign-in page in, if it is shown.
func SignIn(ctx context.Context, b *browser.Browser) error {
	if err := b.Fill(ctx, "Email", Email); err != nil {
		return err
	}
	if err := b.Fill(ctx, "Password", Password); err != nil {
		return err
	}
	return b.Click(ctx, "Sign in")
}

// Ask opens the link in b and signs in when asked to. It returns when the
// consent page is shown.
func Ask(ctx context.Context, b *browser.Browser, url string) error {
	if err := b.Open(ctx, url); err != nil {
		return err
	}
	n, err := b.Count(ctx, "Sign in")
	if err == nil && n > 0 {
		err = SignIn(ctx, b)
	}
	if err != nil {
		return err
	}
	return b.WaitText(ctx, "Did you not start this login yourself")
}

// Allow opens the link in b, signs in when asked to, and presses Allow. It
// returns when the listener's last page is shown.
func Allow(ctx context.Context, b *browser.Browser, url string) error {
	if err := Ask(ctx, b, url); err != nil {
		return err
	}
	return Decide(ctx, b, "Allow")
}

// Decide presses Allow or Deny, and Try again if this machine was too slow for
// the handshake. It returns when the listener's last page is shown.
func Decide(ctx context.Context, b *browser.Browser, button string) error {
	if err := b.Click(ctx, button); err != nil {
		return err
	}
	return b.WaitURL(ctx, func(u *url.URL) bool {
		if strings.HasSuffix(u.Path, "/oauth/handshake") {
			if n, err := b.Count(ctx, "Try again"); err == nil && n > 0 {
				_ = b.Click(ctx, "Try again")
			}
		}
		return Done(u)
	})
}

// Done reports whether a URL is the clean page that a login ends on.
func Done(u *url.URL) bool { return strings.HasPrefix(u.Path, "/done") }
