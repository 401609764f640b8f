package oauthclient

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"

	"github.com/keytether/keytether/internal/oauth"
)

// push makes a pushed authorization request (RFC 9126 §2.1), proved by our key,
// which the server keeps (RFC 9449 §10.1), and gives the request_uri.
func (c *Client) push(ctx context.Context, form url.Values) (string, error) {
	a, err := c.post(ctx, c.meta.PAREndpoint, form)
	if err != nil {
		return "", err
	}
	var w oauth.PARResponse
	if json.Unmarshal(a.body, &w) != nil || w.RequestURI == "" || len(w.RequestURI) > oauth.MaxURI {
		return "", fmt.Errorf("%w: the pushed request was answered without a request_uri", ErrAnswer)
	}
	return w.RequestURI, nil
}
