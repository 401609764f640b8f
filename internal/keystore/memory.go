package keystore

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/keytether/keytether/internal/jws"
	"github.com/keytether/keytether/internal/secret"
)

// Memory keeps everything in this process and loses it when that ends.
//
// Wiping is as good as Go allows: the store holds refresh tokens as bytes of its own and
// overwrites them; the strings that callers passed in or took out, and the private key inside
// crypto/ecdsa, are only dropped for the garbage collector.
type Memory struct {
	mu      sync.RWMutex
	keys    map[string]*memKey
	entries map[string]*memEntry
}

type memEntry struct {
	key      string
	token    []byte
	metadata []byte
}

var _ Store = (*Memory)(nil)

// NewMemory makes an empty store.
func NewMemory() *Memory {
	return &Memory{keys: map[string]*memKey{}, entries: map[string]*memEntry{}}
}

func ready(ctx context.Context, name string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return CheckName(name)
}

// NewKey makes a key. See Store.
func (m *Memory) NewKey(ctx context.Context, name string) (Key, error) {
	if err := ready(ctx, name); err != nil {
		return nil, err
	}
	priv, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("keystore: making a key: %w", err)
	}
	s, err := jws.NewES256Signer("", priv, rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("keystore: making a key: %w", err)
	}
	k := &memKey{signer: s, pub: s.Public()}
	m.mu.Lock()
	defer m.mu.Unlock()
	for n, e := range m.entries {
		if e.key == name {
			m.wipe(n)
		}
	}
	m.keys[name].drop()
	m.keys[name] = k
	return k, nil
}

// Key gives the key. See Store.
func (m *Memory) Key(ctx context.Context, name string) (Key, error) {
	if err := ready(ctx, name); err != nil {
		return nil, err
	}
	m.mu.RLock()
	defer m.mu.RUnlock()
	k := m.keys[name]
	if k == nil {
		return nil, ErrNoKey
	}
	return k, nil
}

// Put writes the entry. See Store.
func (m *Memory) Put(ctx context.Context, name string, e Entry) error {
	if err := ready(ctx, name); err != nil {
		return err
	}
	if err := CheckName(e.Key); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.keys[e.Key] == nil {
		return ErrNoKey
	}
	m.wipe(name)
	m.entries[name] = &memEntry{key: e.Key, token: []byte(e.RefreshToken.Reveal()), metadata: bytes.Clone(e.Metadata)}
	return nil
}

// Get gives the entry. See Store.
func (m *Memory) Get(ctx context.Context, name string) (Entry, error) {
	if err := ready(ctx, name); err != nil {
		return Entry{}, err
	}
	m.mu.RLock()
	defer m.mu.RUnlock()
	e := m.entries[name]
	if e == nil {
		return Entry{}, ErrNotFound
	}
	return Entry{Key: e.key, RefreshToken: secret.New(string(e.token)), Metadata: bytes.Clone(e.metadata)}, nil
}

// Delete wipes an entry, and its key with the last one. See Store.
func (m *Memory) Delete(ctx context.Context, name string) error {
	if err := ready(ctx, name); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	key := name
	if e := m.entries[name]; e != nil {
		key = e.key
	}
	m.wipe(name)
	for _, e := range m.entries {
		if e.key == key {
			return nil
		}
	}
	m.keys[key].drop()
	delete(m.keys, key)
	return nil
}

// Names lists the entries. See Store.
func (m *Memory) Names(ctx context.Context) ([]string, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	m.mu.RLock()
	defer m.mu.RUnlock()
	return slices.Sorted(maps.Keys(m.entries)), nil
}

// wipe overwrites an entry and takes it away. It needs the lock.
func (m *Memory) wipe(name string) {
	if e := m.entries[name]; e != nil {
		clear(e.token)
		clear(e.metadata)
		delete(m.entries, name)
	}
}

// memKey is a handle that can be made useless.
type memKey struct {
	mu     sync.RWMutex
	signer jws.Signer
	pub    *jws.PublicKey
}

func (k *memKey) Algorithm() jws.Algorithm { return jws.ES256 }
func (k *memKey) KeyID() string            { return "" }
func (k *memKey) Public() *jws.PublicKey   { return k.pub }

func (k *memKey) Sign(input []byte) ([]byte, error) {
	k.mu.RLock()
	s := k.signer
	k.mu.RUnlock()
	if s == nil {
		return nil, ErrNoKey
	}
	return s.Sign(input)
}

// drop makes the handle useless; that there is none is fine.
func (k *memKey) drop() {
	if k == nil {
		return
	}
	k.mu.Lock()
	k.signer = nil
	k.mu.Unlock()
}

// String and GoString keep the private key out of whatever prints a handle.
func (k *memKey) String() string { return "proof key" }

// GoString is String.
func (k *memKey) GoString() string { return k.String() }
