package config

import (
	"slices"
	"strings"

	"github.com/keytether/keytether/internal/secret"
)

// Registration lets programs register themselves as public native clients (RFC
// 7591), with an initial access token.
type Registration struct {
	Tokens    []InitialToken
	Resources []string // that such clients may ask for; the first is their default
	Disabled  []string // client ids that were registered and are so no longer
	Device    Device   // their rules for device logins
}

// InitialToken is an initial access token: its name, and the hash by which it is
// known.
type InitialToken struct {
	Name string
	Hash secret.Hash
}

// registration reads registration, after the resources.
func (c *Config) registration(top object) {
	m, ok := top.members["registration"]
	if !ok {
		return
	}
	r := top.r
	o, ok := r.object(m.value, m.at, keys["registration"]...)
	if !ok {
		return
	}
	var own []string
	for _, res := range c.Resources {
		if !res.BuiltIn {
			own = append(own, res.ID)
		}
	}
	if len(own) == 0 {
		r.fail(m.at, "there is no resource that such clients could ask for; the server's own API is not for them. Name one in resources")
		return
	}
	reg := &Registration{Resources: o.choices("resources", own, own...), Device: defaultDevice()}
	reg.Disabled, _ = o.texts("disabled")
	if path := o.need("tokens_file", "It names the file with the initial access tokens' hashes; keytether-server registration-token makes one"); path != "" {
		reg.tokens(r, o.place("tokens_file"), r.path(path, ""))
	}
	c.Registration = reg
}

// tokens reads a file of lines NAME HASH. A file without any is fine: removing
// the last line must take its clients away.
func (reg *Registration) tokens(r *reader, at place, path string) {
	data, ok := r.read(at, path)
	if !ok {
		return
	}
	r.warnReadable(at, path)
	n := 0
	for line := range strings.Lines(string(data)) {
		n++
		f := strings.Fields(line)
		if len(f) == 0 || strings.HasPrefix(f[0], "#") {
			continue
		}
		if slices.ContainsFunc(f, func(s string) bool { return strings.HasPrefix(s, string(secret.Initial)) }) {
			r.fail(at, "%s, line %d: this is an initial access token itself. Only its hash belongs here; replace that token", path, n)
			continue
		}
		if len(f) != 2 || !CheckTokenName(f[0]) {
			r.fail(at, "%s, line %d: a line is NAME HASH, as keytether-server registration-token prints it", path, n)
			continue
		}
		hash, err := secret.ParseHash(f[1])
		switch {
		case err != nil:
			r.fail(at, "%s, line %d: the second word is no hash. Make the line with keytether-server registration-token", path, n)
		case slices.ContainsFunc(reg.Tokens, func(t InitialToken) bool { return t.Name == f[0] || t.Hash == hash }):
			r.fail(at, "%s, line %d: this name or hash stands here already. Remove one of the two", path, n)
		}
		reg.Tokens = append(reg.Tokens, InitialToken{Name: f[0], Hash: hash})
	}
	if len(reg.Tokens) == 0 {
		r.warn(at, "%s has no initial access token, so that nobody can register a client, and those who were registered are disabled", path)
	}
}

// CheckTokenName reports whether a name can be an initial access token's: up to
// 64 letters, digits, dots, dashes and underscores.
func CheckTokenName(s string) bool {
	return s != "" && len(s) <= 64 && !strings.HasPrefix(s, string(secret.Initial)) && !strings.ContainsFunc(s, func(c rune) bool {
		return (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '.' && c != '-' && c != '_'
	})
}
