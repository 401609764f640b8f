package outbound

import (
	"bytes"
	"context"
	"io"
	"net/http"
)

// Stream sends one request whose answer never ends of itself, such as
// Server-Sent Events, and gives it with its body open: neither the timeout nor
// the size limit of the client holds, so the caller bounds both, by the request's
// context and by what it reads. An answer other than 200 is read whole, at most
// MaxBody bytes, and its body is a copy. A redirect is ErrRedirect.
func (c *Client) Stream(req *http.Request) (*http.Response, error) {
	res, err := c.http.Do(req)
	if err != nil {
		return nil, explain(req.Context(), req.URL, c.via.choose(req.URL), err)
	}
	if res.StatusCode == http.StatusOK {
		return res, nil
	}
	defer res.Body.Close()
	if to := location(&Response{Status: res.StatusCode, Header: res.Header}); to != "" {
		return nil, redirected(req.URL, to, "a request that carries data is never sent on")
	}
	ctx, cancel := context.WithTimeoutCause(req.Context(), c.timeout, errTimeout)
	defer cancel()
	defer context.AfterFunc(ctx, func() { _ = res.Body.Close() })()
	body, err := io.ReadAll(io.LimitReader(res.Body, c.maxBody))
	if err != nil {
		return nil, explain(ctx, req.URL, c.via.choose(req.URL), err)
	}
	res.Body = io.NopCloser(bytes.NewReader(body))
	return res, nil
}
