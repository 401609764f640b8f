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
	mu    sync.RWMutex
	slots map[string]*slot
}

type slot struct {
	key   *memKey
	entry *memEntry
}

type memEntry struct {
	token    []byte
	metadata []byte
}

var _ Store = (*Memory)(nil)

// NewMemory makes an empty store.
func NewMemory() *Memory { return &Memory{slots: map[string]*slot{}} }

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
	m.wipe(name)
	m.slots[name] = &slot{key: k}
	return k, nil
}

// Key gives the key. See Store.
func (m *Memory) Key(ctx context.Context, name string) (Key, error) {
	if err := ready(ctx, name); err != nil {
		return nil, err
	}
	m.mu.RLock()
	defer m.mu.RUnlock()
	s := m.slots[name]
	if s == nil {
		return nil, ErrNoKey
	}
	return s.key, nil
}

// Put writes the entry. See Store.
func (m *Memory) Put(ctx context.Context, name string, e Entry) error {
	if err := ready(ctx, name); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.slots[name]
	if s == nil {
		return ErrNoKey
	}
	s.entry.wipe()
	s.entry = &memEntry{token: []byte(e.RefreshToken.Reveal()), metadata: bytes.Clone(e.Metadata)}
	return nil
}

// Get gives the entry. See Store.
func (m *Memory) Get(ctx context.Context, name string) (Entry, error) {
	if err := ready(ctx, name); err != nil {
		return Entry{}, err
	}
	m.mu.RLock()
	defer m.mu.RUnlock()
	s := m.slots[name]
	if s == nil || s.entry == nil {
		return Entry{}, ErrNotFound
	}
	return Entry{RefreshToken: secret.New(string(s.entry.token)), Metadata: bytes.Clone(s.entry.metadata)}, nil
}

// Delete wipes key and entry. See Store.
func (m *Memory) Delete(ctx context.Context, name string) error {
	if err := ready(ctx, name); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.wipe(name)
	return nil
}

// Names lists the profiles. See Store.
func (m *Memory) Names(ctx context.Context) ([]string, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	m.mu.RLock()
	defer m.mu.RUnlock()
	names := slices.Sorted(maps.Keys(m.slots))
	return slices.DeleteFunc(names, func(n string) bool { return m.slots[n].entry == nil }), nil
}

// wipe needs the lock.
func (m *Memory) wipe(name string) {
	if s := m.slots[name]; s != nil {
		s.entry.wipe()
		s.key.drop()
		delete(m.slots, name)
	}
}

func (e *memEntry) wipe() {
	if e != nil {
		clear(e.token)
		clear(e.metadata)
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

func (k *memKey) drop() {
	k.mu.Lock()
	k.signer = nil
	k.mu.Unlock()
}

// String and GoString keep the private key out of whatever prints a handle.
func (k *memKey) String() string { return "proof key" }

// GoString is String.
func (k *memKey) GoString() string { return k.String() }
