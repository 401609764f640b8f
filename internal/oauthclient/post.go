package oauthclient

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/keytether/keytether/internal/oauth"
)

type answer struct {
	status int
	body   []byte
}

// post sends a form to the server, with a proof where the server takes them. If
// the server asks for its nonce the form is sent once more with it (RFC 9449
// §8); a second time is an error like any other.
func (c *Client) post(ctx context.Context, endpoint string, form url.Values) (answer, error) {
	for try := 0; ; try++ {
		a, h, err := c.postOnce(ctx, endpoint, form)
		if err != nil {
			return answer{}, err
		}
		if try == 0 && c.proves() && wantsNonce(a, h) {
			continue
		}
		return a, c.check(a)
	}
}

func (c *Client) postOnce(ctx context.Context, endpoint string, form url.Values) (answer, http.Header, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, endpoint, strings.NewReader(form.Encode()))
	if err != nil {
		return answer{}, nil, fmt.Errorf("%w: an endpoint is not a URL", ErrMetadata)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Accept", "application/json")
	if c.proves() {
		proof, err := c.proof(http.MethodPost, endpoint, "", c.lastNonce())
		if err != nil {
			return answer{}, nil, err
		}
		req.Header.Set("DPoP", proof)
	}
	sent := c.env.Now()
	res, err := c.env.HTTP.Do(req)
	if err != nil {
		return answer{}, nil, unreachable(ctx, err)
	}
	defer res.Body.Close()
	body, err := readAll(res.Body)
	if err != nil {
		return answer{}, nil, unreachable(ctx, err)
	}
	c.learn(res.Header, sent, c.env.Now())
	return answer{res.StatusCode, body}, res.Header, nil
}

func wantsNonce(a answer, h http.Header) bool {
	return (a.status == http.StatusBadRequest || a.status == http.StatusUnauthorized) &&
		nonceOK(h.Get("DPoP-Nonce")) && wireError(a.body).Error == "use_dpop_nonce"
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
	case a.status >= 400:
		return fmt.Errorf("%w: it answers with status %d and no error that OAuth knows", ErrAnswer, a.status)
	}
	return fmt.Errorf("%w: status %d", ErrAnswer, a.status)
}

func wireError(body []byte) oauth.Response {
	var w oauth.Response
	_ = json.Unmarshal(body, &w)
	return w
}

func readAll(r io.Reader) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(r, maxAnswer+1))
	if err == nil && len(b) > maxAnswer {
		err = fmt.Errorf("%w: it is longer than %d bytes", ErrAnswer, maxAnswer)
	}
	return b, err
}

// unreachable wraps what went wrong on the way. A *url.Error is unwrapped, for
// it repeats the URL.
func unreachable(ctx context.Context, err error) error {
	if errors.Is(err, ErrAnswer) {
		return err
	}
	if u, ok := errors.AsType[*url.Error](err); ok {
		err = u.Err
	}
	if ctx.Err() != nil && errors.Is(ctx.Err(), context.Canceled) {
		return context.Cause(ctx)
	}
	return fmt.Errorf("%w: %w", ErrUnreachable, err)
}
