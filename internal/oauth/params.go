// Package oauth is the wire: parameters and their bounds, the metadata
// documents, response documents, redirect and resource rules, and the error
// catalogue. It decides nothing about grants.
package oauth

import (
	"net/url"
	"strings"
)

// Bounds of what is read from a request, in bytes.
const (
	MaxBody      = 32 << 10
	MaxParam     = 8 << 10
	MaxParams    = 64
	MaxState     = 1 << 10
	MaxScope     = 2 << 10
	MaxURI       = 2 << 10
	MaxFact      = 128 // a reported host name, user name, …
	MinVerifier  = 43  // RFC 7636 §4.1
	MaxVerifier  = 128
	challengeLen = 43 // base64url of a SHA-256
)

// ParamTokenType is ours: with the value Bearer a client whose refresh token is
// bound asks for an access token that is not, for a tool that cannot prove a key.
// RFC 9449 §5 lets the server choose; ours gives one where the config allows it.
const ParamTokenType = "keytether_token_type"

// Params are the parameters of a request. Each stands at most once but
// `resource` (RFC 8707 §2 allows several). An empty value counts as absent
// (RFC 6749 §3.1).
type Params struct {
	values    map[string]string
	resources []string
}

// ParseParams reads application/x-www-form-urlencoded text, of a body or a
// query. It fails with TooLarge, BadRequest or DuplicateParameter.
func ParseParams(text string) (Params, error) {
	p := Params{values: make(map[string]string, 8)}
	if len(text) > MaxBody {
		return p, Fail(TooLarge)
	}
	n := 0
	for text != "" {
		var pair string
		pair, text, _ = strings.Cut(text, "&")
		if pair == "" {
			continue
		}
		if n++; n > MaxParams {
			return p, Fail(TooLarge)
		}
		key, value, _ := strings.Cut(pair, "=")
		key, err := unescape(key)
		if err != nil {
			return p, err
		}
		value, err = unescape(value)
		if err != nil {
			return p, err
		}
		if err := p.add(key, value); err != nil {
			return p, err
		}
	}
	return p, nil
}

func unescape(s string) (string, error) {
	if !strings.ContainsAny(s, "%+") {
		return s, nil
	}
	out, err := url.QueryUnescape(s)
	if err != nil {
		return "", Fail(BadRequest)
	}
	return out, nil
}

func (p *Params) add(key, value string) error {
	if len(value) > MaxParam || len(key) > MaxParam {
		return FailParam(TooLarge, printable(key))
	}
	if strings.ContainsRune(value, 0) || key == "" {
		return FailParam(BadRequest, printable(key))
	}
	if key == "resource" {
		if value != "" {
			p.resources = append(p.resources, value)
		}
		return nil
	}
	if _, doubled := p.values[key]; doubled {
		return FailParam(DuplicateParameter, printable(key))
	}
	p.values[key] = value
	return nil
}

// printable makes a name from outside fit for an error_description: it is cut,
// and what RFC 6749 §5.2 does not allow there is dropped.
func printable(s string) string {
	var b strings.Builder
	for i := 0; i < len(s) && b.Len() < 40; i++ {
		if c := s[i]; c > 0x20 && c < 0x7f && c != '"' && c != '\\' {
			b.WriteByte(c)
		}
	}
	return b.String()
}

// Get gives a parameter's value; empty when it is absent.
func (p Params) Get(name string) string { return p.values[name] }

// Need gives a parameter's value, or MissingParameter.
func (p Params) Need(name string) (string, error) {
	if v := p.values[name]; v != "" {
		return v, nil
	}
	return "", FailParam(MissingParameter, name)
}

// Resource gives the one resource asked for, empty when none is. Several are
// ResourceSeveral: a token has exactly one audience.
func (p Params) Resource() (string, error) {
	switch len(p.resources) {
	case 0:
		return "", nil
	case 1:
		return p.resources[0], CheckResource(p.resources[0])
	}
	return "", Fail(ResourceSeveral)
}

// CheckResource refuses what RFC 8707 §2 does: a resource is an absolute URI
// without a fragment.
func CheckResource(s string) error {
	u, err := url.Parse(s)
	if err != nil || len(s) > MaxURI || !u.IsAbs() || (u.Host == "" && u.Opaque == "") || strings.Contains(s, "#") {
		return Fail(ResourceUnknown)
	}
	return nil
}

// ParseScope splits a scope parameter (RFC 6749 §3.3): tokens of printable
// characters divided by single spaces. Doubled tokens are dropped.
func ParseScope(s string) ([]string, error) {
	if s == "" {
		return nil, nil
	}
	if len(s) > MaxScope {
		return nil, FailParam(TooLarge, "scope")
	}
	var out []string
next:
	for tok := range strings.SplitSeq(s, " ") {
		if !scopeToken(tok) {
			return nil, Fail(ScopeUnknown)
		}
		for _, have := range out {
			if have == tok {
				continue next
			}
		}
		out = append(out, tok)
	}
	return out, nil
}

func scopeToken(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < 0x21 || c > 0x7e || c == '"' || c == '\\' {
			return false
		}
	}
	return s != ""
}
