package audit

import (
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// MaxCheckpoint is the longest signed checkpoint, in bytes.
const MaxCheckpoint = 8 << 10

// Origin names a tenant's log: the issuer's host, a slash and the tenant, e.g.
// "127.0.0.1:8430/default". It is the checkpoint's first line and the name of
// the log's keys.
func Origin(issuer, tenant string) (string, error) {
	u, err := url.Parse(issuer)
	if err != nil || u.Host == "" || tenant == "" {
		return "", fmt.Errorf("%w: no origin from this issuer and tenant", ErrFormat)
	}
	origin := strings.ToLower(u.Host) + "/" + tenant
	if !validOrigin(origin) {
		return "", fmt.Errorf("%w: origin %q", ErrFormat, origin)
	}
	return origin, nil
}

func validOrigin(s string) bool {
	if s == "" || len(s) > 512 {
		return false
	}
	for i := range len(s) {
		if s[i] <= ' ' || s[i] > '~' || s[i] == '+' {
			return false
		}
	}
	return true
}

// Checkpoint is the head of a log at one moment.
type Checkpoint struct {
	Origin string
	Size   int64 // leaves
	Root   Hash
	Time   time.Time // when it was signed; UTC, whole microseconds
}

// Text is the body that is signed: C2SP tlog-checkpoint with one extension
// line, "time " and RFC 3339 in UTC.
func (c Checkpoint) Text() (string, error) {
	if !validOrigin(c.Origin) || c.Size < 0 || c.Time.IsZero() || c.Time.Year() > 9999 {
		return "", fmt.Errorf("%w: checkpoint", ErrFormat)
	}
	return c.Origin + "\n" + strconv.FormatInt(c.Size, 10) + "\n" +
		base64.StdEncoding.EncodeToString(c.Root[:]) + "\n" +
		"time " + c.Time.UTC().Format(timeLayout) + "\n", nil
}

// ParseCheckpoint reads the body of a checkpoint and proves nothing.
func ParseCheckpoint(text string) (Checkpoint, error) {
	bad := fmt.Errorf("%w: checkpoint", ErrFormat)
	lines := strings.Split(text, "\n")
	if len(lines) != 5 || lines[4] != "" {
		return Checkpoint{}, bad
	}
	c := Checkpoint{Origin: lines[0]}
	var err error
	if c.Size, err = strconv.ParseInt(lines[1], 10, 64); err != nil {
		return Checkpoint{}, bad
	}
	if c.Root, err = tlog.ParseHash(lines[2]); err != nil {
		return Checkpoint{}, bad
	}
	if c.Time, err = time.Parse("time "+timeLayout, lines[3]); err != nil {
		return Checkpoint{}, bad
	}
	if again, err := c.Text(); err != nil || again != text {
		return Checkpoint{}, bad
	}
	return c, nil
}

// SignCheckpoint signs c as a C2SP signed note.
func SignCheckpoint(c Checkpoint, signers ...note.Signer) ([]byte, error) {
	text, err := c.Text()
	if err != nil {
		return nil, err
	}
	return note.Sign(&note.Note{Text: text}, signers...)
}

// OpenCheckpoint verifies a signed checkpoint of the log named origin. Errors:
// ErrFormat; ErrKey (no signature by a known key, or another log's);
// ErrSignature.
func OpenCheckpoint(msg []byte, origin string, known note.Verifiers) (Checkpoint, error) {
	if len(msg) > MaxCheckpoint {
		return Checkpoint{}, fmt.Errorf("%w: checkpoint of %d bytes", ErrFormat, len(msg))
	}
	n, err := note.Open(msg, known)
	if err != nil {
		var unverified *note.UnverifiedNoteError
		var invalid *note.InvalidSignatureError
		switch {
		case errors.As(err, &unverified):
			return Checkpoint{}, fmt.Errorf("%w: the checkpoint is signed by none of the given keys", ErrKey)
		case errors.As(err, &invalid):
			return Checkpoint{}, fmt.Errorf("%w: of the checkpoint, by key %q", ErrSignature, invalid.Name)
		}
		return Checkpoint{}, fmt.Errorf("%w: signed note: %s", ErrFormat, err.Error())
	}
	c, err := ParseCheckpoint(n.Text)
	if err != nil {
		return Checkpoint{}, err
	}
	if c.Origin != origin {
		return Checkpoint{}, fmt.Errorf("%w: the checkpoint is of log %q, not %q", ErrKey, c.Origin, origin)
	}
	for _, s := range n.Sigs {
		if s.Name == origin {
			return c, nil
		}
	}
	return Checkpoint{}, fmt.Errorf("%w: no signature by a key of log %q", ErrKey, origin)
}

// NewSigner makes the signer of a log from its Ed25519 seed (32 random bytes,
// sealed at rest by the caller), and its verifier key as a text that may be
// published: origin+hash+key (C2SP signed-note).
func NewSigner(origin string, seed [32]byte) (note.Signer, string, error) {
	if !validOrigin(origin) {
		return nil, "", fmt.Errorf("%w: origin %q", ErrFormat, origin)
	}
	priv := ed25519.NewKeyFromSeed(seed[:])
	vkey, err := note.NewEd25519VerifierKey(origin, priv.Public().(ed25519.PublicKey))
	if err != nil {
		return nil, "", fmt.Errorf("%w: %s", ErrFormat, err.Error())
	}
	v, err := note.NewVerifier(vkey)
	if err != nil {
		return nil, "", fmt.Errorf("%w: %s", ErrFormat, err.Error())
	}
	return ed25519Signer{name: origin, hash: v.KeyHash(), priv: priv}, vkey, nil
}

type ed25519Signer struct {
	name string
	hash uint32
	priv ed25519.PrivateKey
}

func (s ed25519Signer) Name() string    { return s.name }
func (s ed25519Signer) KeyHash() uint32 { return s.hash }
func (s ed25519Signer) Sign(msg []byte) ([]byte, error) {
	return ed25519.Sign(s.priv, msg), nil
}

// String redacts the key.
func (s ed25519Signer) String() string { return "audit signer " + s.name }

// GoString redacts the key.
func (s ed25519Signer) GoString() string { return s.String() }

// Verifiers reads verifier keys. Otherwise ErrKey.
func Verifiers(vkeys ...string) (note.Verifiers, error) {
	list := make([]note.Verifier, 0, len(vkeys))
	seen := make(map[string]bool, len(vkeys))
	for _, k := range vkeys {
		if seen[k] {
			continue
		}
		seen[k] = true
		v, err := note.NewVerifier(strings.TrimSpace(k))
		if err != nil {
			return nil, fmt.Errorf("%w: not a verifier key: %q", ErrKey, k)
		}
		list = append(list, v)
	}
	return note.VerifierList(list...), nil
}
