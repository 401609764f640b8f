package oauthclient

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/keytether/keytether/internal/oauth"
	"github.com/keytether/keytether/internal/secret"
)

// Token types (RFC 6750, RFC 9449 §5).
const (
	TypeDPoP   = "DPoP"
	TypeBearer = "Bearer"
)

// Tokens is what the token endpoint gave.
type Tokens struct {
	Access    secret.Value
	Type      string        // TypeDPoP or TypeBearer
	ExpiresAt time.Time     // on our clock, counted from before the request was sent
	Life      time.Duration // the whole of it
	Refresh   secret.Value  // zero: none was given; at a refresh keep the old one (RFC 6749 §6)
	Scope     string        // what was granted
	Resource  string        // what it is for; empty where nobody said

	GrantID      string    // our servers say it
	GrantExpires time.Time // on our clock; zero where the server does not say
	Notices      []Notice  // of a refresh; our servers say it

	idToken string
}

// Notice tells of a device login of the same person at another installation.
type Notice = oauth.Notice

// maxNotices bounds what of one answer is looked at.
const maxNotices = 20

// notices bounds what the server tells.
func notices(list []Notice) []Notice {
	var out []Notice
	for _, n := range list[:min(len(list), maxNotices)] {
		n.Kind, n.GrantID = words(n.Kind, 32), words(n.GrantID, 128)
		if n.GrantID != "" || n.Kind == oauth.NoticeLocked {
			n.Client, n.Host, n.Address = bounded(n.Client), bounded(n.Host), bounded(n.Address)
			out = append(out, n)
		}
	}
	return out
}

// bounded cuts a name that somebody else chose.
func bounded(s string) string { return strings.ToValidUTF8(s[:min(len(s), 256)], "") }

// Left is how long a token is still good: the lesser of what the wall clock and
// the monotonic one say. The first may be set back, the second stands still
// while a laptop sleeps.
func Left(expires, now time.Time) time.Duration {
	return min(expires.Sub(now), expires.Round(0).Sub(now.Round(0)))
}

// RefreshRequest asks for another access token (RFC 6749 §6). Scope may narrow,
// never widen; empty means the grant's. Resource is RFC 8707's.
type RefreshRequest struct {
	Token    secret.Value
	Scope    string
	Resource string
	Unbound  bool // an access token bound to no key is asked for, which only our servers know how to give
}

// Refresh renews. ErrInvalidGrant: the login is over. ErrUnreachable and
// ErrAnswer: the answer may be lost, and the same token may be sent again.
func (c *Client) Refresh(ctx context.Context, r RefreshRequest) (Tokens, error) {
	form := url.Values{
		"grant_type":    {oauth.GrantRefreshToken},
		"refresh_token": {r.Token.Reveal()},
		"client_id":     {c.id},
	}
	set(form, "scope", r.Scope)
	set(form, "resource", r.Resource)
	want := anyType
	if r.Unbound {
		form.Set(oauth.ParamTokenType, TypeBearer)
		want = TypeBearer
	}
	t, err := c.tokens(ctx, form, want)
	if err != nil {
		return Tokens{}, err
	}
	if t.Scope == "" {
		t.Scope = r.Scope
	}
	if t.Resource == "" {
		t.Resource = r.Resource
	}
	return t, nil
}

// Revoke ends a token at the server (RFC 7009). A server without a revocation
// endpoint is ErrNoRevocation.
func (c *Client) Revoke(ctx context.Context, token secret.Value, hint string) error {
	if c.meta.RevocationEndpoint == "" {
		return fmt.Errorf("%w: %w: %s has no revocation endpoint", ErrNoRevocation, ErrMetadata, c.meta.Issuer)
	}
	form := url.Values{"token": {token.Reveal()}, "client_id": {c.id}}
	set(form, "token_type_hint", hint)
	_, err := c.post(ctx, c.meta.RevocationEndpoint, form)
	return err
}

func set(form url.Values, name, value string) {
	if value != "" {
		form.Set(name, value)
	}
}

// anyType leaves the type of token to the server, which must not talk us down.
const anyType = ""

// tokens posts to the token endpoint and reads the answer.
func (c *Client) tokens(ctx context.Context, form url.Values, want string) (Tokens, error) {
	sent := c.env.Now()
	a, err := c.post(ctx, c.meta.TokenEndpoint, form)
	if err != nil {
		return Tokens{}, err
	}
	t, err := c.decode(a.body, sent, want)
	if err != nil {
		return Tokens{}, fmt.Errorf("%w: %w", ErrAnswer, err)
	}
	return t, nil
}

// opaque says whether a string of the server's is of a size and of characters
// that can be sent back.
func opaque(v string) bool {
	return len(v) <= maxToken && !strings.ContainsFunc(v, func(r rune) bool { return r <= 0x20 || r >= 0x7f })
}

// decode reads RFC 6749 §5.1's document. No error repeats what stood there.
func (c *Client) decode(body []byte, sent time.Time, want string) (Tokens, error) {
	var w oauth.TokenResponse
	if json.Unmarshal(body, &w) != nil {
		return Tokens{}, fmt.Errorf("it is not the JSON of a token response")
	}
	for _, v := range []string{w.AccessToken, w.RefreshToken, w.IDToken} {
		if !opaque(v) {
			return Tokens{}, fmt.Errorf("a token in it is longer than %d bytes or not printable", maxToken)
		}
	}
	if w.AccessToken == "" {
		return Tokens{}, fmt.Errorf("it holds no access token")
	}
	t := Tokens{
		Access: secret.New(w.AccessToken), Refresh: secret.New(w.RefreshToken),
		Scope: words(w.Scope, oauth.MaxScope), Resource: words(w.Resource, oauth.MaxURI),
		GrantID: words(w.GrantID, 128), idToken: w.IDToken, Life: defaultLife,
	}
	if c.Ours() {
		t.Notices = notices(w.Notices)
	}
	switch {
	case strings.EqualFold(w.TokenType, TypeDPoP):
		if !c.proves() {
			return Tokens{}, fmt.Errorf("it is bound to a key that we did not prove")
		}
		t.Type = TypeDPoP
	case strings.EqualFold(w.TokenType, TypeBearer):
		// Who promised a bound token and gives a bearer token was talked down.
		if c.handshakes() && want != TypeBearer {
			return Tokens{}, fmt.Errorf("the token is not bound to this machine's key, though the server can")
		}
		t.Type = TypeBearer
	default:
		return Tokens{}, fmt.Errorf("its token_type is neither DPoP nor Bearer")
	}
	if w.ExpiresIn > 0 {
		t.Life = lifetime(w.ExpiresIn)
	}
	t.ExpiresAt = sent.Add(t.Life)
	if w.GrantExpires > 0 && w.GrantExpires < 1<<40 {
		t.GrantExpires = c.fromServer(time.Unix(w.GrantExpires, 0))
	}
	return t, nil
}
