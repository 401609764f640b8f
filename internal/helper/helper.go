// Package helper speaks the protocols by which other programs ask for a password: git's
// credential helpers, docker's credential helpers, kubectl's exec plugins, the AWS SDKs'
// credential_process, and the keyring command that pip and uv run. It reads a question and
// writes an answer; whose token it is, and whether there is one, is for others to say.
//
// Those programs cannot prove a key, so what they get is a token that is bound to none, minutes
// long, and only where the server allows that. None of them is ever given anything to keep: what
// they ask to have stored is refused or dropped.
package helper

import (
	"errors"
	"net/url"
	"path"
	"strings"
	"time"

	"github.com/keytether/keytether/internal/secret"
)

// Username is what stands beside a token where a protocol wants a user name: Basic has no other
// place for a token (RFC 7617), and servers that take one there look at the password alone.
const Username = "keytether"

// maxQuestion bounds what is read of another program, in bytes.
const maxQuestion = 64 << 10

// ErrQuestion is a question that is not of its protocol. It repeats none of it.
var ErrQuestion = errors.New("helper: the question is not of this protocol")

// Token is what is handed out.
type Token struct {
	Value     secret.Value
	ExpiresAt time.Time
}

// Covers says whether a URL lies under a resource: the same scheme, host and port, and the
// resource's path or one below it (RFC 8707). A target without a scheme is of the resource's, as docker names registries.
func Covers(resource, target string) bool {
	r, err := url.Parse(resource)
	if err != nil || r.Host == "" {
		return false
	}
	if !strings.Contains(target, "://") {
		target = r.Scheme + "://" + target
	}
	u, err := url.Parse(target)
	if err != nil || origin(u) != origin(r) {
		return false
	}
	base, at := strings.TrimSuffix(r.Path, "/"), "/"+strings.TrimPrefix(u.Path, "/")
	if base == "" {
		return true
	}
	// As it is asked for, and as a server reads it that cleans a path first.
	return inside(base, at) && inside(base, path.Clean(strings.ReplaceAll(at, `\`, "/")))
}

func inside(base, p string) bool { return p == base || strings.HasPrefix(p, base+"/") }

// origin is scheme, host and port, the scheme's own port left out.
func origin(u *url.URL) string {
	scheme, port := strings.ToLower(u.Scheme), u.Port()
	if scheme == "https" && port == "443" || scheme == "http" && port == "80" {
		port = ""
	}
	return scheme + "://" + strings.ToLower(u.Hostname()) + ":" + port
}
