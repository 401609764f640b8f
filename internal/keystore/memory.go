package keystore

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/keytether/keytether/internal/jws"
	"github.com/keytether/keytether/internal/keystore/locked"
	"github.com/keytether/keytether/internal/keystore/softkey"
	"github.com/keytether/keytether/internal/secret"
)

// Memory keeps everything in this process and loses it when that ends.
//
// Refresh tokens stand in pages of their own that are not swapped out and not in core dumps where
// the system allows (package locked), and are overwritten when they are wiped. The strings that
// callers passed in or took out, and the private key inside crypto/ecdsa, are only dropped for
// the garbage collector.
type Memory struct {
	mu      sync.RWMutex
	keys    map[string]memoryKey
	entries map[string]*memEntry
}

type memoryKey interface {
	Key
	Drop(why error)
}

type memEntry struct {
	key      string
	token    *locked.Bytes
	metadata []byte
}

var (
	_ Store    = (*Memory)(nil)
	_ Importer = (*Memory)(nil)
)

// NewMemory makes an empty store.
func NewMemory() *Memory {
	return &Memory{keys: map[string]memoryKey{}, entries: map[string]*memEntry{}}
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
	k, err := softkey.New()
	if err != nil {
		return nil, fmt.Errorf("keystore: %w", err)
	}
	m.keep(name, k)
	return k, nil
}

// Import takes over any key: a copy of a software key, else the handle, which then works for as
// long as the store that made it lets it. See Importer.
func (m *Memory) Import(ctx context.Context, name string, k Key) error {
	if err := ready(ctx, name); err != nil {
		return err
	}
	soft, ok := k.(*softkey.Key)
	if !ok {
		m.keep(name, &memKey{signer: k, pub: k.Public()})
		return nil
	}
	c, err := soft.Copy()
	if err != nil {
		return err
	}
	m.keep(name, c)
	return nil
}

// keep puts a key in place of what had its name, and wipes the entries of that.
func (m *Memory) keep(name string, k memoryKey) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for n, e := range m.entries {
		if e.key == name {
			m.wipe(n)
		}
	}
	m.drop(name)
	m.keys[name] = k
}

// drop makes a key useless and takes it away. It needs the lock.
func (m *Memory) drop(name string) {
	if k := m.keys[name]; k != nil {
		k.Drop(ErrNoKey)
		delete(m.keys, name)
	}
}

// Close wipes everything.
func (m *Memory) Close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for n := range m.entries {
		m.wipe(n)
	}
	for n := range m.keys {
		m.drop(n)
	}
	return nil
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
	m.entries[name] = &memEntry{key: e.Key, token: locked.New([]byte(e.RefreshToken.Reveal())), metadata: bytes.Clone(e.Metadata)}
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
	return Entry{Key: e.key, RefreshToken: secret.New(string(e.token.Bytes())), Metadata: bytes.Clone(e.metadata)}, nil
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
	m.drop(key)
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
		e.token.Free()
		clear(e.metadata)
		delete(m.entries, name)
	}
}

// memKey is a handle of a key that another store made and that cannot be copied.
type memKey struct {
	mu     sync.RWMutex
	signer Key
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

// Drop makes the handle useless.
func (k *memKey) Drop(error) {
	k.mu.Lock()
	k.signer = nil
	k.mu.Unlock()
}

// String and GoString keep whatever prints a handle from looking into it.
func (k *memKey) String() string { return "proof key" }

// GoString is String.
func (k *memKey) GoString() string { return k.String() }

// MemoryKind is the kind that always works.
func MemoryKind() Kind {
	return Kind{Name: "memory", Life: Process, Open: func(ctx context.Context) (Store, error) {
		m := NewMemory()
		if err := Probe(ctx, m); err != nil {
			return nil, AsProblem("memory", err)
		}
		return m, nil
	}}
}
