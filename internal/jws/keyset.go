package jws

import (
	"errors"
	"fmt"
)

// KeySet finds the key that a header's kid names. A kid is compared, never
// interpreted. Implementations are safe for concurrent use.
type KeySet interface {
	Key(kid string) (*PublicKey, bool)
}

// Set is an immutable key set: the document behind jwks_uri (RFC 7517 §5).
type Set struct {
	keys []namedKey
}

// Entry is one key of a set with its name.
type Entry struct {
	KeyID string
	Key   *PublicKey
}

// NewSet makes a set; its document lists the keys in this order. A kid that
// stands twice is ErrMalformed.
func NewSet(entries ...Entry) (*Set, error) {
	s := &Set{}
	for _, e := range entries {
		if e.Key == nil || len(e.KeyID) > maxKeyID || !ValidString(e.KeyID) {
			return nil, fmt.Errorf("%w: entry without key or with an unusable kid", ErrKey)
		}
		if err := s.add(namedKey{key: e.Key, kid: e.KeyID}); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// ParseSet reads a JWKS document. Keys of kinds, curves or uses that we do not
// know are passed over, as RFC 7517 §5 asks; private members are ErrPrivateKey,
// because whoever publishes those has lost the key.
func ParseSet(raw []byte) (*Set, error) {
	if len(raw) > MaxJWKS {
		return nil, fmt.Errorf("%w: JWKS longer than %d bytes", ErrMalformed, MaxJWKS)
	}
	s, found := &Set{}, false
	err := EachMember(raw, func(name string, v Value) error {
		if name != "keys" {
			return nil
		}
		found = true
		return EachElement(v, func(v Value) error {
			k, err := parseJWK(v)
			if errors.Is(err, ErrKey) && !errors.Is(err, ErrPrivateKey) {
				return nil
			}
			if err != nil {
				return err
			}
			return s.add(k)
		})
	})
	if err == nil && !found {
		err = fmt.Errorf("%w: no keys member", ErrMalformed)
	}
	if err != nil {
		return nil, err
	}
	return s, nil
}

func (s *Set) add(k namedKey) error {
	if len(s.keys) == maxKeys {
		return fmt.Errorf("%w: more than %d keys", ErrMalformed, maxKeys)
	}
	if _, ok := s.Key(k.kid); ok {
		return fmt.Errorf("%w: a kid stands twice", ErrMalformed)
	}
	s.keys = append(s.keys, k)
	return nil
}

// Key finds a key by its exact name.
func (s *Set) Key(kid string) (*PublicKey, bool) {
	for i := range s.keys {
		if s.keys[i].kid == kid {
			return s.keys[i].key, true
		}
	}
	return nil, false
}

// Entries are the set's keys in order.
func (s *Set) Entries() []Entry {
	out := make([]Entry, len(s.keys))
	for i, k := range s.keys {
		out[i] = Entry{KeyID: k.kid, Key: k.key}
	}
	return out
}

// MarshalJSON is the JWKS document, with kid, use and alg for each key.
func (s *Set) MarshalJSON() ([]byte, error) {
	out := append([]byte(nil), `{"keys":[`...)
	for i, k := range s.keys {
		if i > 0 {
			out = append(out, ',')
		}
		out = k.key.AppendJWK(out)
		out = append(out[:len(out)-1], `,"alg":"`...)
		out = append(out, k.key.alg...)
		out = append(out, `","use":"sig"`...)
		if k.kid != "" {
			out = append(out, `,"kid":`...)
			out = AppendString(out, k.kid)
		}
		out = append(out, '}')
	}
	return append(out, `]}`...), nil
}
