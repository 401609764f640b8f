package authserver

import (
	"cmp"

	"github.com/keytether/keytether/internal/jws"
	"github.com/keytether/keytether/internal/oauth"
	"github.com/keytether/keytether/internal/secret"
)

// Authentication is how a client proves who it is. The zero value is a public
// client's, which cannot.
type Authentication struct {
	Method string      // oauth.AuthNone and so on; empty means none
	Secret secret.Hash // of client_secret_basic and client_secret_post
	Keys   *jws.Set    // of private_key_jwt
}

func (a Authentication) method() string { return cmp.Or(a.Method, oauth.AuthNone) }

// client finds and authenticates who calls (RFC 6749 §2.3, §3.2.1): by exactly
// one method, and by the one that the client is registered for. A public client
// names itself, and is refused when it brings any credential.
func (s *Server) client(c Call) (*Client, error) {
	method, err := c.method()
	if err != nil {
		return nil, err
	}
	switch method {
	case oauth.AuthBasic:
		name, given, err := oauth.ParseBasic(c.Authorization[0])
		if err != nil {
			return nil, err
		}
		if other := c.Params.Get("client_id"); other != "" && other != name {
			return nil, oauth.FailParam(oauth.ClientAuthentication, "client_id")
		}
		return s.bySecret(name, method, secret.New(given))
	case oauth.AuthPost:
		name, err := c.Params.Need("client_id")
		if err != nil {
			return nil, err
		}
		return s.bySecret(name, method, secret.New(c.Params.Get("client_secret")))
	case oauth.AuthPrivateKeyJWT:
		return s.byAssertion(c)
	}
	name, err := c.Params.Need("client_id")
	if err != nil {
		return nil, err
	}
	client, err := s.Registry().Client(name)
	if err != nil {
		return nil, err
	}
	if client.Authentication.method() != oauth.AuthNone {
		return nil, oauth.Fail(oauth.ClientAuthentication)
	}
	return client, nil
}

// method says by which method a call authenticates. More than one is refused
// (RFC 6749 §2.3, §5.2). A parameter without a value counts as left out.
func (c Call) method() (string, error) {
	method, n := oauth.AuthNone, len(c.Authorization)
	if n > 0 {
		method = oauth.AuthBasic
	}
	if c.Params.Get("client_secret") != "" {
		method, n = oauth.AuthPost, n+1
	}
	if c.Params.Get("client_assertion") != "" || c.Params.Get("client_assertion_type") != "" {
		method, n = oauth.AuthPrivateKeyJWT, n+1
	}
	if n > 1 {
		return "", oauth.Fail(oauth.SeveralAuthentications)
	}
	return method, nil
}

func (s *Server) bySecret(name, method string, given secret.Value) (*Client, error) {
	client, err := s.Registry().Client(name)
	if err != nil {
		return nil, err
	}
	if client.Authentication.method() != method || !client.Authentication.Secret.Equal(given.Hash()) {
		return nil, oauth.Fail(oauth.ClientAuthentication)
	}
	return client, nil
}

// byAssertion authenticates by private_key_jwt. Besides what any assertion may be
// meant for, it may be meant for the token endpoint, wherever it is sent (RFC
// 9126 §2).
func (s *Server) byAssertion(c Call) (*Client, error) {
	var client *Client
	err := s.assertion(c, func(name string) *jws.Set {
		found, err := s.Registry().Client(name)
		if err != nil || found.Authentication.method() != oauth.AuthPrivateKeyJWT {
			return nil
		}
		client = found
		return found.Authentication.Keys
	}, s.issuer+oauth.PathToken)
	if err != nil {
		return nil, err
	}
	return client, nil
}
