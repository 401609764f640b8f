package records

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/keytether/keytether/internal/keystore"
	"github.com/keytether/keytether/internal/keystore/softkey"
	"github.com/keytether/keytether/internal/secret"
)

// Errors of a record that cannot be read. Both are keystore.ErrUnusable.
var (
	ErrDamaged = fmt.Errorf("%w: a record is damaged", keystore.ErrUnusable)
	ErrNewer   = fmt.Errorf("%w: a record was written by a newer Keytether", keystore.ErrUnusable)
)

// MaxToken is the longest refresh token in bytes.
const MaxToken = 1<<16 - 1

var errToken = errors.New("keystore: the refresh token is too long")

// A record is one of these, all integers big-endian:
//
//	key    version(1) 'K' generation(16) scalar(32)
//	entry  version(1) 'E' generation(16) len(1) key name  len(2) refresh token  metadata
//
// The generation is drawn with the key; an entry has that of the key it is bound to.
const (
	version  = 1
	sizeHead = 2 + 16
)

type keyRecord struct {
	generation [16]byte
	scalar     []byte // part of the record
}

type entryRecord struct {
	generation [16]byte
	key        string
	token      []byte // part of the record
	metadata   []byte // part of the record
}

func (e entryRecord) entry() keystore.Entry {
	return keystore.Entry{Key: e.key, RefreshToken: secret.New(string(e.token)), Metadata: bytes.Clone(e.metadata)}
}

func head(raw []byte, kind byte) (generation [16]byte, body []byte, err error) {
	switch {
	case len(raw) > 0 && raw[0] > version:
		return generation, nil, ErrNewer
	case len(raw) < sizeHead || raw[0] != version || raw[1] != kind:
		return generation, nil, ErrDamaged
	}
	return [16]byte(raw[2:sizeHead]), raw[sizeHead:], nil
}

func parseKey(raw []byte) (keyRecord, error) {
	generation, body, err := head(raw, 'K')
	if err != nil {
		return keyRecord{}, err
	}
	if len(body) != softkey.Size {
		return keyRecord{}, ErrDamaged
	}
	return keyRecord{generation, body}, nil
}

func appendKey(generation [16]byte, k *softkey.Key) ([]byte, error) {
	raw := make([]byte, 0, sizeHead+softkey.Size)
	raw = append(raw, version, 'K')
	raw = append(raw, generation[:]...)
	return k.AppendScalar(raw)
}

func parseEntry(raw []byte) (entryRecord, error) {
	generation, body, err := head(raw, 'E')
	if err != nil {
		return entryRecord{}, err
	}
	if len(body) < 1 || len(body) < 1+int(body[0])+2 {
		return entryRecord{}, ErrDamaged
	}
	e := entryRecord{generation: generation, key: string(body[1 : 1+body[0]])}
	body = body[1+int(body[0]):]
	n := int(binary.BigEndian.Uint16(body))
	if body = body[2:]; len(body) < n || keystore.CheckName(e.key) != nil {
		return entryRecord{}, ErrDamaged
	}
	e.token, e.metadata = body[:n:n], body[n:]
	return e, nil
}

func appendEntry(generation [16]byte, e keystore.Entry) ([]byte, error) {
	token := e.RefreshToken.Reveal()
	if len(token) > MaxToken {
		return nil, fmt.Errorf("%w: %w", keystore.ErrUnusable, errToken)
	}
	raw := make([]byte, 0, sizeHead+1+len(e.Key)+2+len(token)+len(e.Metadata))
	raw = append(raw, version, 'E')
	raw = append(raw, generation[:]...)
	raw = append(raw, byte(len(e.Key)))
	raw = append(raw, e.Key...)
	raw = binary.BigEndian.AppendUint16(raw, uint16(len(token)))
	raw = append(raw, token...)
	return append(raw, e.Metadata...), nil
}
