package tpm

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/keytether/keytether/internal/keystore"
	"github.com/keytether/keytether/internal/secret"
)

const (
	version = 1
	maxFile = 4 << 20 // bytes
	maxBlob = 1 << 10 // bytes of one part of what the chip wrapped
)

var (
	errDamaged = errors.New("tpm: what is stored is damaged")
	errNewer   = errors.New("tpm: the file was written by a newer Keytether")
)

// contents are what the file holds, as JSON. It is read and written as a whole; there is one per
// user, with a handful of logins.
type contents struct {
	Version int              `json:"version"`
	Keys    map[string]blob  `json:"keys"`    // by the key's name
	Entries map[string]entry `json:"entries"` // by the entry's name
}

type entry struct {
	Key string `json:"key"`
	Box box    `json:"box"`
}

func empty() *contents {
	return &contents{Version: version, Keys: map[string]blob{}, Entries: map[string]entry{}}
}

// parse reads a file. What it gives is whole: every entry's key is there.
func parse(raw []byte) (*contents, error) {
	var head struct {
		Version int `json:"version"`
	}
	if err := json.Unmarshal(raw, &head); err != nil {
		return nil, fmt.Errorf("%w: not JSON", errDamaged)
	}
	if head.Version > version {
		return nil, errNewer
	}
	c := empty()
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	if err := d.Decode(c); err != nil {
		return nil, fmt.Errorf("%w: an unknown or wrong member", errDamaged)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) || head.Version != version || c.Keys == nil || c.Entries == nil {
		return nil, fmt.Errorf("%w: not the file of version %d", errDamaged, version)
	}
	for name, b := range c.Keys {
		if keystore.CheckName(name) != nil || !b.sound() {
			return nil, fmt.Errorf("%w: a key", errDamaged)
		}
	}
	for name, e := range c.Entries {
		if _, ok := c.Keys[e.Key]; !ok || keystore.CheckName(name) != nil || !e.Box.Key.sound() {
			return nil, fmt.Errorf("%w: an entry", errDamaged)
		}
	}
	return c, nil
}

func (b blob) sound() bool {
	for _, part := range [][]byte{b.SRK, b.Pub, b.Priv} {
		if len(part) == 0 || len(part) > maxBlob {
			return false
		}
	}
	return true
}

func (c *contents) encode() ([]byte, error) {
	raw, err := json.MarshalIndent(c, "", " ")
	return append(raw, '\n'), err
}

// about is what an entry's box is bound to: it opens under this name and for this key alone.
func about(name, key string) []byte {
	return fmt.Appendf(nil, "keytether tpm entry %d\x00%s\x00%s", version, name, key)
}

// plain is what an entry's box holds: the length of the token in four bytes, big-endian, the
// token, the metadata.
func plain(e keystore.Entry) []byte {
	token := e.RefreshToken.Reveal()
	out := make([]byte, 0, 4+len(token)+len(e.Metadata))
	out = binary.BigEndian.AppendUint32(out, uint32(len(token)))
	out = append(out, token...)
	return append(out, e.Metadata...)
}

func fromPlain(key string, p []byte) (keystore.Entry, error) {
	if len(p) < 4 {
		return keystore.Entry{}, errDamaged
	}
	n, rest := binary.BigEndian.Uint32(p), p[4:]
	if uint64(n) > uint64(len(rest)) {
		return keystore.Entry{}, errDamaged
	}
	return keystore.Entry{Key: key, RefreshToken: secret.New(string(rest[:n])), Metadata: bytes.Clone(rest[n:])}, nil
}
