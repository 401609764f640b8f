package authserver

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"

	"github.com/keytether/keytether/internal/grant"
	"github.com/keytether/keytether/internal/jws"
	"github.com/keytether/keytether/internal/oauth"
	"github.com/keytether/keytether/internal/secret"
)

// HandshakeType is the `typ` of the listener's signed answer.
const HandshakeType = "keytether-handshake+jwt"

// HandshakeAnswer is the listener's answer as it was read: nothing in it has
// been verified.
type HandshakeAnswer struct {
	Client      string `json:"iss"`
	Issuer      string `json:"aud"`
	IssuedAt    int64  `json:"iat"` // the client's clock; the nonce's age is what counts
	URIHash     string `json:"request_uri_hash"`
	RedirectURI string `json:"redirect_uri"`
	NonceHash   string `json:"nonce_hash"`

	msg    jws.Message
	handle grant.Hash
	nonce  grant.Hash
}

// BindingName is the name of the cookie that must have come along.
func (a HandshakeAnswer) BindingName() string { return bindingName(a.handle) }

// ReadHandshake reads the listener's answer.
func ReadHandshake(compact string) (HandshakeAnswer, error) {
	var a HandshakeAnswer
	msg, err := jws.Parse(compact)
	if err != nil || !jws.TypeIs(msg.Header.Type, HandshakeType) {
		return a, oauth.Fail(oauth.HandshakeFailed).Because(err)
	}
	if err := json.Unmarshal(msg.Payload, &a); err != nil {
		return a, oauth.Fail(oauth.HandshakeFailed).Because(err)
	}
	var ok1, ok2 bool
	a.handle, ok1 = readHash(a.URIHash)
	a.nonce, ok2 = readHash(a.NonceHash)
	if !ok1 || !ok2 {
		return a, oauth.Fail(oauth.HandshakeFailed)
	}
	a.msg = msg
	return a, nil
}

func readHash(s string) (h grant.Hash, ok bool) {
	b, err := base64.RawURLEncoding.Strict().DecodeString(s)
	if err != nil || len(b) != len(h) {
		return h, false
	}
	return grant.Hash(b), true
}

func newNonce(random [32]byte) secret.Value {
	return secret.New(base64.RawURLEncoding.EncodeToString(random[:]))
}

func nonceHash(nonce string) grant.Hash { return sha256.Sum256([]byte(nonce)) }

// Handshake takes the listener's answer, brought by the browser that consented,
// and issues the code. HandshakeLate means that the person may try again.
func (s *Server) Handshake(ctx context.Context, a HandshakeAnswer, b Browser) (Response, error) {
	return retry(func() (Response, error) {
		r, err := s.requestByHandle(ctx, a.handle)
		if err != nil {
			return Response{}, err
		}
		key, err := jws.ParseJWK([]byte(r.Value.JWK))
		if err != nil {
			return Response{}, oauth.Fail(oauth.HandshakeFailed)
		}
		if err := a.msg.Verify(key); err != nil || a.Issuer != s.issuer {
			return Response{}, oauth.Fail(oauth.HandshakeFailed).Because(err)
		}
		if err := s.stillHere(ctx, r.Value.Subject); err != nil {
			return Response{}, err
		}
		sess, err := s.session(ctx, b)
		if err != nil {
			return Response{}, err
		}
		code := secret.Mint(secret.Code, s.draw32())
		t := s.turn(r, b)
		t.step(grant.Answer{
			Session: sess.Value.ID, Binding: t.hash, Client: a.Client, RedirectURI: a.RedirectURI,
			Handle: a.handle, Nonce: a.nonce, Thumbprint: key.Thumbprint(), Code: grant.Hash(code.Hash()),
		})
		if err := t.commit(ctx); err != nil {
			return Response{}, err
		}
		return s.response(t.request, Param{"code", code}), nil
	})
}

// RetryToken names a request on the page that offers "Try again". It is no
// secret.
func (a HandshakeAnswer) RetryToken() string { return a.URIHash }

// TryAgain sends a new nonce, for a person whose browser was slow.
func (s *Server) TryAgain(ctx context.Context, retryToken string, b Browser) (Response, error) {
	handle, ok := readHash(retryToken)
	if !ok {
		return Response{}, oauth.Fail(oauth.RequestURIUnknown)
	}
	return retry(func() (Response, error) {
		r, err := s.requestByHandle(ctx, handle)
		if err != nil {
			return Response{}, err
		}
		if r.Value.Status != grant.Approved || !r.Value.Handshake {
			return Response{}, oauth.Fail(oauth.RequestDecided)
		}
		if err := s.stillHere(ctx, r.Value.Subject); err != nil {
			return Response{}, err
		}
		sess, err := s.session(ctx, b)
		if err != nil {
			return Response{}, err
		}
		t := s.turn(r, b)
		answer := t.offer(s, sess.Value.ID)
		if err := t.commit(ctx); err != nil {
			return Response{}, err
		}
		out := s.response(t.request, answer)
		out.Handshake = true
		return out, nil
	})
}

// RetryBindingName is the cookie that must come with TryAgain.
func RetryBindingName(retryToken string) string {
	h, _ := readHash(retryToken)
	return bindingName(h)
}
