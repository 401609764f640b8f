package oauth

import (
	"encoding/base64"
	"net/url"
	"strings"
)

// How a client authenticates at a direct endpoint, as RFC 7591 §2 and OIDC Core
// §9 name it.
const (
	AuthNone          = "none"
	AuthBasic         = "client_secret_basic"
	AuthPost          = "client_secret_post"
	AuthPrivateKeyJWT = "private_key_jwt"
)

// ParseBasic reads a client's id and secret from an Authorization header of the
// Basic scheme (RFC 6749 §2.3.1, RFC 7617 §2). Both are form-urlencoded in it,
// so that either may have a colon, and a plus stands for a space. Anything else
// is ClientAuthentication.
func ParseBasic(header string) (id, clientSecret string, err error) {
	refused := Fail(ClientAuthentication)
	scheme, text, _ := strings.Cut(header, " ")
	text = strings.TrimLeft(text, " ")
	if !strings.EqualFold(scheme, "Basic") || len(text) > MaxParam || strings.ContainsAny(text, "\r\n") {
		return "", "", refused
	}
	pair, err := base64.StdEncoding.Strict().DecodeString(text)
	if err != nil {
		return "", "", refused
	}
	id, clientSecret, ok := strings.Cut(string(pair), ":")
	if !ok {
		return "", "", refused
	}
	if id, err = url.QueryUnescape(id); err != nil || id == "" {
		return "", "", refused
	}
	if clientSecret, err = url.QueryUnescape(clientSecret); err != nil {
		return "", "", refused
	}
	if strings.ContainsRune(id, 0) || strings.ContainsRune(clientSecret, 0) {
		return "", "", refused
	}
	return id, clientSecret, nil
}
