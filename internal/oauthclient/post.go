package oauthclient

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/keytether/keytether/internal/oauth"
	"github.com/keytether/keytether/internal/outbound"
)

type answer struct {
	status int
	body   []byte
	header http.Header
}

// post sends a form to the server, with a proof where the server takes them. If
// the server asks for its nonce, the form is sent once more with it (RFC 9449
// §8), and so it is when its answer showed that our clock has gone wrong since. A
// server checks the proof before it does anything (§5), so nothing is done twice.
// A second time is an error like any other.
func (c *Client) post(ctx context.Context, endpoint string, form url.Values) (answer, error) {
	return c.postPreferring(ctx, endpoint, form, "")
}

// postPreferring is post with a Prefer header (RFC 7240), unless that is empty.
func (c *Client) postPreferring(ctx context.Context, endpoint string, form url.Values, prefer string) (answer, error) {
	for try := 0; ; try++ {
		before := c.Offset()
		a, err := c.postOnce(ctx, endpoint, form, prefer)
		if err != nil {
			return answer{}, err
		}
		if try == 0 && c.proves() && (wantsNonce(a) || c.moved(a, before)) {
			continue
		}
		return a, c.check(a)
	}
}

func (c *Client) postOnce(ctx context.Context, endpoint string, form url.Values, prefer string) (answer, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, endpoint, strings.NewReader(form.Encode()))
	if err != nil {
		return answer{}, fmt.Errorf("%w: an endpoint is not a URL", ErrMetadata)
	}
	if prefer != "" {
		req.Header.Set("Prefer", prefer)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Accept", "application/json")
	if c.proves() {
		proof, err := c.proof(http.MethodPost, endpoint, "", c.lastNonce())
		if err != nil {
			return answer{}, err
		}
		req.Header.Set("DPoP", proof)
	}
	sent := c.env.Now()
	res, err := c.env.HTTP.Do(req)
	if err != nil {
		return answer{}, unreachable(ctx, err)
	}
	if res.Status == http.StatusOK { // a refusal may be a page of the server's own
		if err := outbound.Page(req.URL, res); err != nil {
			return answer{}, unreachable(ctx, err)
		}
	}
	c.learn(res.Header, sent, c.env.Now())
	c.mu.Lock()
	c.answered = true
	c.mu.Unlock()
	return answer{res.Status, res.Body, res.Header}, nil
}

func wantsNonce(a answer) bool {
	return (a.status == http.StatusBadRequest || a.status == http.StatusUnauthorized) &&
		nonceOK(a.header.Get("DPoP-Nonce")) && wireError(a.body).Error == "use_dpop_nonce"
}

// moved: the proof was refused, and the answer's Date says that it was misdated.
func (c *Client) moved(a answer, before time.Duration) bool {
	return wireError(a.body).Error == "invalid_dpop_proof" && (c.Offset()-before).Abs() >= minOffset
}

// check turns an answer that is no success into an error. A 5xx or 429 says
// nothing about the request: it may be sent again.
func (c *Client) check(a answer) error {
	if a.status == http.StatusOK || a.status == http.StatusCreated {
		return nil
	}
	w := wireError(a.body)
	switch {
	case a.status >= 500 || a.status == http.StatusTooManyRequests:
		return fmt.Errorf("%w: it answers with status %d", ErrUnreachable, a.status)
	case w.Error == "invalid_dpop_proof" && c.clockWrong():
		return fmt.Errorf("%w: it is more than %s from the server's (%w)", ErrClock, maxOffset, refusal(w.Error, w.Description, w.Code))
	case w.Error != "":
		return refusal(w.Error, w.Description, w.Code)
	}
	return fmt.Errorf("%w: it answers with status %d and %w", ErrAnswer, a.status, errNoOAuth)
}

// errNoOAuth: nothing that the token endpoint of a server says.
var errNoOAuth = errors.New("no error that OAuth knows")

func wireError(body []byte) oauth.Response {
	var w oauth.Response
	_ = json.Unmarshal(body, &w)
	return w
}
