package oauthclient

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/keytether/keytether/internal/jws"
)

// handshakeType is the typ of the JWS that answers a nonce: none of our other
// signatures has it, so that none can be passed off as another.
const handshakeType = "keytether-handshake+jwt"

// handshakeURL signs issuer, client, request, redirect URI and nonce with the
// proof key that PAR proved, and gives where the browser goes with it: the
// endpoint of the metadata, whatever the post said.
func handshakeURL(endpoint string, key jws.Signer, clientID, issuer, redirectURI, requestURI, nonce string, now time.Time) (string, error) {
	payload, err := json.Marshal(struct {
		Iss         string `json:"iss"`
		Aud         string `json:"aud"`
		Iat         int64  `json:"iat"`
		Request     string `json:"request_uri_hash"`
		RedirectURI string `json:"redirect_uri"`
		Nonce       string `json:"nonce_hash"`
	}{clientID, issuer, now.Unix(), hash(requestURI), redirectURI, hash(nonce)})
	if err != nil {
		return "", fmt.Errorf("oauthclient: handshake: %w", err)
	}
	signed, err := jws.Sign(key, handshakeType, payload)
	if err != nil {
		return "", fmt.Errorf("oauthclient: handshake: %w", err)
	}
	return withQuery(endpoint, url.Values{"handshake": {signed}}), nil
}

func hash(s string) string {
	sum := sha256.Sum256([]byte(s))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// withQuery adds to an endpoint, which may have a query of its own (RFC 6749
// §3.1).
func withQuery(endpoint string, q url.Values) string {
	sep := "?"
	if strings.Contains(endpoint, "?") {
		sep = "&"
	}
	return endpoint + sep + q.Encode()
}
