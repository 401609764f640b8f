package oauthclient

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/keytether/keytether/internal/jws"
	"github.com/keytether/keytether/internal/token"
)

// Identity is who signed in, by the ID token. It is empty where the server
// speaks no OpenID Connect.
type Identity struct {
	Subject string
	Email   string
}

// Name is what a person calls the account.
func (i Identity) Name() string {
	if i.Email != "" {
		return i.Email
	}
	return i.Subject
}

// identify verifies the ID token: signature by the server's keys, issuer,
// audience, nonce and time (OpenID Connect Core §3.1.3.7).
func (c *Client) identify(ctx context.Context, idToken, nonce string) (Identity, error) {
	if idToken == "" {
		return Identity{}, nil
	}
	if c.meta.JWKSURI == "" {
		return Identity{}, fmt.Errorf("%w: there is an ID token and no jwks_uri", ErrIdentity)
	}
	body, err := c.get(ctx, c.meta.JWKSURI)
	if err != nil {
		return Identity{}, err
	}
	keys, err := jws.ParseSet(body)
	if err != nil {
		return Identity{}, fmt.Errorf("%w: the server's key set: %w", ErrIdentity, err)
	}
	claims, err := token.VerifyID(idToken, keys, nonce, token.Expectations{
		Issuer: c.meta.Issuer, Audience: c.id, Now: c.serverNow(), Leeway: idLeeway,
	})
	switch {
	case err != nil && c.clockWrong() && (errors.Is(err, token.ErrExpired) || errors.Is(err, token.ErrNotYet)):
		return Identity{}, fmt.Errorf("%w: it is more than %s from the server's", ErrClock, maxOffset)
	case err != nil:
		return Identity{}, fmt.Errorf("%w: %w", ErrIdentity, err)
	}
	if graphic(claims.Subject) == "" {
		return Identity{}, fmt.Errorf("%w: its subject cannot be shown", ErrIdentity)
	}
	return Identity{Subject: graphic(claims.Subject), Email: graphic(claims.Email)}, nil
}

// checkAccount refuses another account than the one asked for, by subject or
// mail address: the reverse attack signs a person in as somebody else (RFC 8628
// §5.1 has it for devices; a browser that kept a session does the same).
func checkAccount(asked string, who Identity) error {
	switch {
	case asked == "" || who.Subject != "" && asked == who.Subject:
		return nil
	case who.Email != "" && foldASCII(asked) == foldASCII(who.Email):
		return nil
	case who.Subject == "":
		return fmt.Errorf("%w: %s was asked for, and the server did not say who signed in", ErrAccount, words(asked, 200))
	}
	return fmt.Errorf("%w: %s was asked for, and %s signed in", ErrAccount, words(asked, 200), who.Name())
}

// foldASCII lowers A to Z alone: Unicode has letters that fold to ours and are
// another account.
func foldASCII(s string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'A' && r <= 'Z' {
			return r + 'a' - 'A'
		}
		return r
	}, s)
}

// graphic gives a name fit for a terminal and a page. One that holds anything
// else than visible characters is no name: dropping some would make another.
func graphic(s string) string {
	if len(s) > 256 || !utf8.ValidString(s) || strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsGraphic(r) }) {
		return ""
	}
	return s
}
