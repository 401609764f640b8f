// Package records makes a keystore.Store of anything that keeps named pieces of bytes: the OS
// keychain, the kernel's keyring, a sealed file. It writes down keys and entries, and hands out
// software keys (softkey).
//
// Not every backend can change two records as one. So a key has a generation that its entries
// name: one write replaces the key and with it ends the entries of the old one, whether their
// records could be taken away or not.
package records

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/keytether/keytether/internal/keystore"
	"github.com/keytether/keytether/internal/keystore/softkey"
)

// Tx reads and writes records by their ids. An id is "k:" or "e:" and a name of a key or an
// entry. What Get gives and Set gets belongs to the caller, who overwrites it.
type Tx interface {
	Get(id string) ([]byte, error) // nil and no error: there is none
	Set(id string, record []byte) error
	Delete(id string) error // that there is none is no error
	IDs() ([]string, error) // in any order; one without a record is fine
}

// Backend keeps records. It heeds ctx, and calls f at most once and while no other f of this
// backend runs.
type Backend interface {
	View(ctx context.Context, f func(Tx) error) error
	// Update keeps what f did as a whole if the backend can; else each Set and Delete by itself.
	Update(ctx context.Context, f func(Tx) error) error
}

// Store is a keystore.Store and a keystore.Importer over a backend.
type Store struct {
	backend Backend
	lock    chan struct{} // holds one value while the store is in use
	live    map[string]*softkey.Key
	closed  bool
}

var (
	_ keystore.Store    = (*Store)(nil)
	_ keystore.Importer = (*Store)(nil)
)

// New makes a store of a backend that nobody else uses in this process.
func New(b Backend) *Store {
	return &Store{backend: b, lock: make(chan struct{}, 1), live: map[string]*softkey.Key{}}
}

// errClosed is what everything gives after Close. A handle that signs gives ErrNoKey.
var errClosed = fmt.Errorf("%w: it was closed", keystore.ErrUnusable)

// do runs f alone. It waits for others no longer than ctx.
func (s *Store) do(ctx context.Context, f func() error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	select {
	case s.lock <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-s.lock }()
	if s.closed {
		return errClosed
	}
	return f()
}

func (s *Store) view(ctx context.Context, f func(Tx) error) error {
	return s.do(ctx, func() error { return s.backend.View(ctx, f) })
}

func (s *Store) update(ctx context.Context, f func(Tx) error) error {
	return s.do(ctx, func() error { return s.backend.Update(ctx, f) })
}

// Close makes the handles useless and overwrites their keys. What is stored stays.
func (s *Store) Close() error {
	s.lock <- struct{}{}
	defer func() { <-s.lock }()
	s.closed = true
	for name := range s.live {
		s.drop(name)
	}
	return nil
}

func (s *Store) drop(name string) {
	s.live[name].Drop(keystore.ErrNoKey)
	delete(s.live, name)
}

// NewKey makes a key. See keystore.Store.
func (s *Store) NewKey(ctx context.Context, name string) (keystore.Key, error) {
	if err := keystore.CheckName(name); err != nil {
		return nil, err
	}
	k, err := softkey.New()
	if err != nil {
		return nil, err
	}
	if err := s.keep(ctx, name, k); err != nil {
		k.Drop(keystore.ErrNoKey)
		return nil, err
	}
	return k, nil
}

// Import takes over a software key. See keystore.Importer.
func (s *Store) Import(ctx context.Context, name string, k keystore.Key) error {
	if err := keystore.CheckName(name); err != nil {
		return err
	}
	soft, ok := k.(*softkey.Key)
	if !ok {
		return fmt.Errorf("%w: the key cannot leave the store that made it", keystore.ErrUnusable)
	}
	soft, err := soft.Copy()
	if err != nil {
		return err
	}
	if err := s.keep(ctx, name, soft); err != nil {
		soft.Drop(keystore.ErrNoKey)
		return err
	}
	return nil
}

// keep writes a key in place of what had its name, and takes away the entries of that.
func (s *Store) keep(ctx context.Context, name string, k *softkey.Key) error {
	var generation [16]byte
	_, _ = rand.Read(generation[:]) // never fails
	raw, err := appendKey(generation, k)
	if err != nil {
		return err
	}
	defer clear(raw)
	return s.do(ctx, func() error {
		err := s.backend.Update(ctx, func(tx Tx) error {
			if err := tx.Set("k:"+name, raw); err != nil {
				return err
			}
			return sweep(tx, name)
		})
		if err == nil {
			s.drop(name)
			s.live[name] = k
		}
		return err
	})
}

// sweep deletes the records of entries that were bound to an older key of that name.
func sweep(tx Tx, name string) error {
	_, err := eachEntry(tx, func(id string, e entryRecord) (bool, error) {
		if e.key != name {
			return false, nil
		}
		return false, tx.Delete(id)
	})
	return err
}

// eachEntry calls f for the entries whose record can be read, until f says that it is done.
func eachEntry(tx Tx, f func(id string, e entryRecord) (done bool, err error)) (bool, error) {
	ids, err := tx.IDs()
	if err != nil {
		return false, err
	}
	for _, id := range ids {
		if !strings.HasPrefix(id, "e:") {
			continue
		}
		raw, err := tx.Get(id)
		if err != nil {
			return false, err
		}
		if e, err := parseEntry(raw); err == nil {
			done, err := f(id, e)
			if done || err != nil {
				clear(raw)
				return done, err
			}
		}
		clear(raw)
	}
	return false, nil
}

// getKey gives the record of a key, whose raw bytes the caller clears, or ErrNoKey.
func getKey(tx Tx, name string) (keyRecord, error) {
	raw, err := tx.Get("k:" + name)
	if err != nil {
		return keyRecord{}, err
	}
	if raw == nil {
		return keyRecord{}, keystore.ErrNoKey
	}
	return parseKey(raw)
}

// generationOf gives the generation of the key of that name, or ErrNoKey.
func generationOf(tx Tx, name string) ([16]byte, error) {
	k, err := getKey(tx, name)
	clear(k.scalar)
	return k.generation, err
}

// Key gives the key. See keystore.Store.
func (s *Store) Key(ctx context.Context, name string) (keystore.Key, error) {
	if err := keystore.CheckName(name); err != nil {
		return nil, err
	}
	var k *softkey.Key
	err := s.view(ctx, func(tx Tx) error {
		r, err := getKey(tx, name)
		defer clear(r.scalar)
		if errors.Is(err, keystore.ErrNoKey) {
			s.drop(name)
		}
		if err != nil {
			return err
		}
		k, err = s.handle(name, r.scalar)
		return err
	})
	if err != nil {
		return nil, err
	}
	return k, nil
}

// handle gives the handle that is out for this key, or a new one.
func (s *Store) handle(name string, scalar []byte) (*softkey.Key, error) {
	if k := s.live[name]; k != nil {
		have, err := k.AppendScalar(make([]byte, 0, softkey.Size))
		same := err == nil && bytes.Equal(have, scalar)
		clear(have)
		if same {
			return k, nil
		}
	}
	k, err := softkey.FromScalar(scalar)
	if err != nil {
		return nil, ErrDamaged
	}
	s.drop(name)
	s.live[name] = k
	return k, nil
}

// Put writes the entry. See keystore.Store.
func (s *Store) Put(ctx context.Context, name string, e keystore.Entry) error {
	if err := errors.Join(keystore.CheckName(name), keystore.CheckName(e.Key)); err != nil {
		return err
	}
	return s.update(ctx, func(tx Tx) error {
		generation, err := generationOf(tx, e.Key)
		if err != nil {
			return err
		}
		raw, err := appendEntry(generation, e)
		if err != nil {
			return err
		}
		defer clear(raw)
		return tx.Set("e:"+name, raw)
	})
}

// find gives the record of an entry whose key is there, and the bytes to clear; or ErrNotFound.
func find(tx Tx, name string) (e entryRecord, raw []byte, err error) {
	raw, err = tx.Get("e:" + name)
	if err != nil {
		return e, nil, err
	}
	if raw == nil {
		return e, nil, keystore.ErrNotFound
	}
	if e, err = parseEntry(raw); err != nil {
		clear(raw)
		return e, nil, err
	}
	generation, err := generationOf(tx, e.key)
	if errors.Is(err, keystore.ErrNoKey) || err == nil && generation != e.generation {
		err = keystore.ErrNotFound
	}
	if err != nil {
		clear(raw)
		return entryRecord{}, nil, err
	}
	return e, raw, nil
}

// Get gives the entry. See keystore.Store.
func (s *Store) Get(ctx context.Context, name string) (keystore.Entry, error) {
	if err := keystore.CheckName(name); err != nil {
		return keystore.Entry{}, err
	}
	var out keystore.Entry
	err := s.view(ctx, func(tx Tx) error {
		e, raw, err := find(tx, name)
		if err == nil {
			out = e.entry()
			clear(raw)
		}
		return err
	})
	return out, err
}

// Delete wipes an entry, and its key with the last one. See keystore.Store. It wipes a damaged
// record too.
func (s *Store) Delete(ctx context.Context, name string) error {
	if err := keystore.CheckName(name); err != nil {
		return err
	}
	return s.do(ctx, func() error {
		key := name
		kept := false
		err := s.backend.Update(ctx, func(tx Tx) error {
			e, raw, err := find(tx, name)
			switch {
			case err == nil:
				key = e.key
				clear(raw)
			case !errors.Is(err, keystore.ErrNotFound) && !errors.Is(err, ErrDamaged):
				return err
			}
			if err := tx.Delete("e:" + name); err != nil {
				return err
			}
			if kept, err = bound(tx, key); err != nil || kept {
				return err
			}
			return tx.Delete("k:" + key)
		})
		if err == nil && !kept {
			s.drop(key)
		}
		return err
	})
}

// bound says whether an entry is bound to the key of that name as it is now.
func bound(tx Tx, key string) (bool, error) {
	generation, err := generationOf(tx, key)
	if errors.Is(err, keystore.ErrNoKey) || errors.Is(err, ErrDamaged) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return eachEntry(tx, func(_ string, e entryRecord) (bool, error) {
		return e.key == key && e.generation == generation, nil
	})
}

// Names lists the entries. See keystore.Store. One whose record is damaged is left out; Get says
// what ails it.
func (s *Store) Names(ctx context.Context) ([]string, error) {
	names := []string{}
	err := s.view(ctx, func(tx Tx) error {
		generations := map[string][16]byte{}
		_, err := eachEntry(tx, func(id string, e entryRecord) (bool, error) {
			g, ok := generations[e.key]
			if !ok {
				var err error
				if g, err = generationOf(tx, e.key); err != nil && !errors.Is(err, keystore.ErrNoKey) && !errors.Is(err, ErrDamaged) {
					return false, err
				} else if err == nil {
					generations[e.key], ok = g, true
				}
			}
			if ok && g == e.generation {
				names = append(names, id[len("e:"):])
			}
			return false, nil
		})
		return err
	})
	if err != nil {
		return nil, err
	}
	slices.Sort(names)
	return names, nil
}
