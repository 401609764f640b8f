package config

import (
	"errors"
	"io/fs"
	"os"
	"runtime"
	"strings"

	"github.com/keytether/keytether/internal/jws"
	"github.com/keytether/keytether/internal/secret"
)

// read reads a file that the config names.
func (r *reader) read(p place, path string) ([]byte, bool) {
	data, err := readRegular(path, maxSecret)
	if err != nil {
		var pe *fs.PathError
		if errors.As(err, &pe) {
			r.fail(p, "%s cannot be read: %s", path, pe.Err)
		} else {
			r.fail(p, "%s", err)
		}
		return nil, false
	}
	return data, true
}

// secretFile reads a secret; white space around it is an editor's.
func (r *reader) secretFile(p place, path string) (secret.Value, bool) {
	data, ok := r.read(p, path)
	if !ok {
		return secret.Value{}, false
	}
	r.warnReadable(p, path)
	return secret.New(strings.TrimSpace(string(data))), true
}

// warnReadable warns of a secret's file that others can read.
func (r *reader) warnReadable(p place, path string) {
	if runtime.GOOS == "windows" {
		return // its file modes say nothing about access
	}
	if fi, err := os.Stat(path); err == nil && fi.Mode().Perm()&0o077 != 0 {
		r.warn(p, "%s has mode %04o, so that others on this machine can get at it. Run chmod 600 on it", path, fi.Mode().Perm())
	}
}

// jwks reads public keys.
func (r *reader) jwks(p place, path string) *jws.Set {
	data, ok := r.read(p, path)
	if !ok {
		return nil
	}
	set, err := jws.ParseSet(data)
	switch {
	case errors.Is(err, jws.ErrPrivateKey):
		r.fail(p, "%s holds a private key. Only the public part belongs here; that key must be replaced", path)
	case err != nil:
		r.fail(p, "%s is no JSON Web Key Set (RFC 7517 §5): %s", path, plainWords(err))
	case len(set.Entries()) == 0:
		r.fail(p, "%s holds no key that can be used: P-256, RSA of 2048 to 4096 bits, or Ed25519", path)
	}
	return set
}

// plainWords takes the package's name off an error's text.
func plainWords(err error) string {
	s := err.Error()
	if i := strings.Index(s, ": "); i > 0 && !strings.Contains(s[:i], " ") {
		return s[i+2:]
	}
	return s
}
