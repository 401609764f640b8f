// Package scan finds credentials that lie about: secrets that Keytether minted, access and ID
// tokens of known issuers, and codes in the callback URLs of loopback logins. It reads files,
// folders, git histories and streams, and never shows what it found: a finding names the place
// and a fingerprint.
//
//	scan.go     what was found, and the judgement of a piece of text (pure)
//	stream.go   a stream, chunk by chunk
//	walk.go     files and folders        places.go  where they lie on a person's machine
//	git.go      a repository's history, and what is staged
//	sarif.go    the report for CI        burn.go    revoking at the issuer
package scan

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/keytether/keytether/internal/redact"
	"github.com/keytether/keytether/internal/secret"
)

// Kind is what was found: the word of reports, stable.
type Kind string

// The kinds.
const (
	RefreshToken      Kind = "refresh_token"
	AuthorizationCode Kind = "authorization_code"
	DeviceCode        Kind = "device_code"
	RequestURI        Kind = "request_uri"
	SessionCookie     Kind = "session_cookie"
	InitialToken      Kind = "initial_access_token"
	ProxySecret       Kind = "proxy_secret"
	AccessToken       Kind = "access_token" // a JWT of a known issuer (RFC 9068)
	IDToken           Kind = "id_token"     // another JWT of a known issuer
	CallbackCode      Kind = "callback_code"
)

// minted is the kind of a minted secret by its own.
var minted = map[secret.Kind]Kind{
	secret.Refresh: RefreshToken, secret.Code: AuthorizationCode, secret.Device: DeviceCode,
	secret.RequestURI: RequestURI, secret.Session: SessionCookie, secret.Initial: InitialToken, secret.Proxy: ProxySecret,
}

// About says what a kind of credential is worth to whoever finds it.
func (k Kind) About() string {
	switch k {
	case RefreshToken:
		return "a refresh token: with its key it renews a login"
	case AuthorizationCode, CallbackCode:
		return "an authorization code: good for half a minute, once"
	case DeviceCode:
		return "a device code: with its key it becomes a login"
	case RequestURI:
		return "the handle of a login that was begun"
	case SessionCookie:
		return "a browser session's cookie: whoever has it is signed in"
	case InitialToken:
		return "an initial access token: whoever has it registers clients"
	case ProxySecret:
		return "the secret of one run of keytether proxy: good on its machine, until it ends"
	case AccessToken:
		return "an access token: good until it expires, alone or with its key"
	}
	return "an ID token: it names a person, and opens nothing at a careful API"
}

// Finding is a credential and its place. Its value is for burning only.
type Finding struct {
	Kind        Kind         `json:"kind"`
	Source      string       `json:"source"`           // path, "-" for standard input
	Commit      string       `json:"commit,omitempty"` // of a git history
	Line        int64        `json:"line"`             // from 1
	Column      int          `json:"column"`           // in bytes, from 1
	Fingerprint string       `json:"fingerprint"`      // first half of its SHA-256, hex
	Issuer      string       `json:"issuer,omitempty"` // of a JWT
	ExpiresAt   time.Time    `json:"expires_at,omitzero"`
	Value       secret.Value `json:"-"`
}

// Expired says that a token's time is over, by its own word.
func (f Finding) Expired(now time.Time) bool {
	return !f.ExpiresAt.IsZero() && !now.Before(f.ExpiresAt)
}

// Rules say what counts.
type Rules struct {
	Issuers []string            // whose JWTs are looked for
	Ignore  map[string]struct{} // fingerprints that are no finding: decoys
}

// piece is a credential at text[start:end].
type piece struct {
	Finding
	start, end int
}

// pieces gives the credentials in text from pos on that begin before limit.
func (r Rules) pieces(text []byte, pos, limit int) []piece {
	var out []piece
	for span := range redact.Find(text, pos) {
		if span.Start >= limit {
			break
		}
		f, start, end := r.judge(text, span)
		if f.Kind == "" {
			continue
		}
		f.Value = secret.New(string(text[start:end]))
		f.Fingerprint = Fingerprint(f.Value)
		if _, known := r.Ignore[f.Fingerprint]; !known {
			out = append(out, piece{f, start, end})
		}
	}
	return out
}

// judge says what a span of text is, and exactly where; without a kind it is no finding.
func (r Rules) judge(text []byte, span redact.Span) (f Finding, start, end int) {
	start, end = span.Start, span.End
	switch span.Kind {
	case redact.Minted:
		f.Kind = minted[secret.Kind(text[start:start+4])]
	case redact.JWS:
		end = start + len(compact(text[start:end]))
		f.Kind, f.Issuer, f.ExpiresAt = r.token(text[start:end])
	case redact.Parameter:
		name := bytes.IndexByte(text[start:], '=') + 1
		for inner := range redact.Find(text[:end], start+name) {
			return r.judge(text, inner)
		}
		if string(text[start:start+name]) == "code=" && callback(text, start) {
			f.Kind, start = CallbackCode, start+name
			if i := bytes.IndexAny(text[start:end], "%"); i < 0 {
				end = start + len(bytes.TrimRight(text[start:end], ".:!*"))
			}
		}
	}
	return f, start, end
}

// compact is the JWS that b begins with: three parts of base64url and two dots.
func compact(b []byte) []byte {
	dots := 0
	for i, c := range b {
		switch {
		case c == '.':
			if dots++; dots > 2 {
				return b[:i]
			}
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '-', c == '_':
		default:
			return b[:i]
		}
	}
	return b
}

// year10000 is when times end that JSON can hold (RFC 3339), in seconds since 1970.
const year10000 = 253402300800

// token says whether a compact JWS is a token of a known issuer. What was cut off before the end
// of its claims is none: nobody can use it.
func (r Rules) token(jwt []byte) (Kind, string, time.Time) {
	parts := bytes.Split(jwt, []byte("."))
	if len(parts) != 3 || len(parts[2]) == 0 {
		return "", "", time.Time{}
	}
	var header struct {
		Type string `json:"typ"`
	}
	var claims struct {
		Issuer  string  `json:"iss"`
		Expires float64 `json:"exp"` // whole or not (RFC 7519 section 2)
	}
	if decode(parts[0], &header) != nil || decode(parts[1], &claims) != nil || !slices.Contains(r.Issuers, claims.Issuer) {
		return "", "", time.Time{}
	}
	var expires time.Time
	if claims.Expires > 0 && claims.Expires < year10000 {
		expires = time.Unix(int64(claims.Expires), 0).UTC()
	}
	if t := strings.ToLower(header.Type); t == "at+jwt" || t == "application/at+jwt" {
		return AccessToken, claims.Issuer, expires
	}
	return IDToken, claims.Issuer, expires
}

func decode(part []byte, v any) error {
	b := make([]byte, base64.RawURLEncoding.DecodedLen(len(part)))
	n, err := base64.RawURLEncoding.Decode(b, part)
	if err != nil {
		return err
	}
	return json.Unmarshal(b[:n], v)
}

// maxURL is how far before "code=" the beginning of its URL is looked for, in bytes.
const maxURL = 2048

// callback says whether the parameter at start stands in the query of a loopback URL, where the
// answer of a login comes (RFC 8252 section 7.3).
func callback(text []byte, start int) bool {
	from := max(0, start-maxURL)
	before := text[from:start]
	before = before[bytes.LastIndexAny(before, " \t\r\n\"'`<>")+1:]
	// A value in its query may begin with http as well, such as that of iss (RFC 9207).
	for i := len(before); ; {
		if i = bytes.LastIndex(before[:i], []byte("http")); i < 0 {
			return false
		}
		if loopbackQuery(string(before[i:])) {
			return true
		}
	}
}

// loopbackQuery says whether s is a loopback URL with a query.
func loopbackQuery(s string) bool {
	u, err := url.Parse(s)
	if err != nil || u.RawQuery == "" && !strings.HasSuffix(s, "?") {
		return false
	}
	if u.Hostname() == "localhost" {
		return true
	}
	addr, err := netip.ParseAddr(u.Hostname())
	return err == nil && addr.IsLoopback()
}

// Fingerprint names a credential without giving it away: its 256 bits of chance cannot be had
// back from half a hash.
func Fingerprint(v secret.Value) string {
	sum := sha256.Sum256([]byte(v.Reveal()))
	return hex.EncodeToString(sum[:16])
}
