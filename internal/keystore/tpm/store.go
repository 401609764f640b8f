package tpm

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"

	"github.com/keytether/keytether/internal/keystore"
	"github.com/keytether/keytether/internal/keystore/safefile"
)

var (
	errClosed = errors.New("tpm: the store is closed")
	errHeld   = errors.New("tpm: another process holds the file")
	errFull   = errors.New("tpm: more than the file may hold")
)

// Store is a keystore.Store in a TPM. The work with the chip is done before the file is locked,
// and what was made is thrown away when the file cannot be written.
type Store struct {
	chip *chip
	path string
}

var (
	_ keystore.Store    = (*Store)(nil)
	_ keystore.Importer = (*Store)(nil)
)

// Close ends the way to the chip. Handles that are out give ErrNoKey. What is stored stays.
func (s *Store) Close() error { return s.chip.close() }

// ready checks names before anything else.
func ready(ctx context.Context, names ...string) error {
	for _, n := range names {
		if err := keystore.CheckName(n); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// read gives what the file holds; without a file, nothing.
func (s *Store) read() (*contents, error) {
	raw, err := safefile.Read(s.path, maxFile)
	if errors.Is(err, fs.ErrNotExist) {
		return empty(), nil
	}
	if err != nil {
		return nil, err
	}
	return parse(raw)
}

// change changes the file. What f refuses changes nothing.
func (s *Store) change(ctx context.Context, f func(*contents) error) error {
	in, cancel := context.WithTimeout(ctx, hangs)
	defer cancel()
	unlock, err := safefile.Lock(in, s.path)
	if err != nil {
		if in.Err() != nil && ctx.Err() == nil {
			return errHeld
		}
		return err
	}
	defer unlock()
	c, err := s.read()
	if err != nil {
		return err
	}
	if err := f(c); err != nil {
		return err
	}
	raw, err := c.encode()
	if err != nil {
		return err
	}
	if len(raw) > maxFile {
		return errFull
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	return safefile.Write(s.path, raw)
}

// NewKey has the chip make a key. See keystore.Store.
func (s *Store) NewKey(ctx context.Context, name string) (keystore.Key, error) {
	if err := ready(ctx, name); err != nil {
		return nil, err
	}
	b, err := s.chip.makeKey(ctx)
	if err != nil {
		return nil, s.problem(err)
	}
	pub, err := publicKey(b)
	if err != nil {
		return nil, s.problem(err)
	}
	err = s.change(ctx, func(c *contents) error {
		maps.DeleteFunc(c.Entries, func(_ string, e entry) bool { return e.Key == name })
		c.Keys[name] = b
		return nil
	})
	if err != nil {
		return nil, s.problem(err)
	}
	return &key{store: s, name: name, blob: b, pub: pub}, nil
}

// Key gives the key. One that another TPM made is a keystore.Problem and ErrNoKey: a new login
// makes a new one. See keystore.Store.
func (s *Store) Key(ctx context.Context, name string) (keystore.Key, error) {
	if err := ready(ctx, name); err != nil {
		return nil, err
	}
	c, err := s.read()
	if err != nil {
		return nil, s.problem(err)
	}
	b, ok := c.Keys[name]
	if !ok {
		return nil, keystore.ErrNoKey
	}
	if err := s.ours(ctx, b); errors.Is(err, errOther) {
		return nil, s.problem(errors.Join(err, keystore.ErrNoKey))
	} else if err != nil {
		return nil, s.problem(err)
	}
	pub, err := publicKey(b)
	if err != nil {
		return nil, s.problem(err)
	}
	return &key{store: s, name: name, blob: b, pub: pub}, nil
}

// ours says whether this chip made it. It asks the chip only the first time.
func (s *Store) ours(ctx context.Context, b blob) error {
	_, err := work(ctx, s.chip, func(l *link) (struct{}, error) { return struct{}{}, l.made(b) })
	return err
}

// Put seals the entry. See keystore.Store.
func (s *Store) Put(ctx context.Context, name string, e keystore.Entry) error {
	if err := ready(ctx, name, e.Key); err != nil {
		return err
	}
	c, err := s.read()
	if err != nil {
		return s.problem(err)
	}
	b, ok := c.Keys[e.Key]
	if !ok {
		return keystore.ErrNoKey
	}
	if err := s.ours(ctx, b); err != nil {
		return s.problem(err)
	}
	data := plain(e)
	defer clear(data)
	sealed, err := s.chip.seal(ctx, about(name, e.Key), data)
	if err != nil {
		return s.problem(err)
	}
	return s.problem(s.change(ctx, func(c *contents) error {
		if _, ok := c.Keys[e.Key]; !ok {
			return keystore.ErrNoKey
		}
		c.Entries[name] = entry{Key: e.Key, Box: sealed}
		return nil
	}))
}

// Get opens the entry. See keystore.Store.
func (s *Store) Get(ctx context.Context, name string) (keystore.Entry, error) {
	if err := ready(ctx, name); err != nil {
		return keystore.Entry{}, err
	}
	c, err := s.read()
	if err != nil {
		return keystore.Entry{}, s.problem(err)
	}
	e, ok := c.Entries[name]
	if !ok {
		return keystore.Entry{}, keystore.ErrNotFound
	}
	data, err := s.chip.open(ctx, about(name, e.Key), e.Box)
	if err != nil {
		return keystore.Entry{}, s.problem(err)
	}
	defer clear(data)
	out, err := fromPlain(e.Key, data)
	return out, s.problem(err)
}

// Delete wipes an entry, and its key with the last one. It needs no chip. See keystore.Store.
func (s *Store) Delete(ctx context.Context, name string) error {
	if err := ready(ctx, name); err != nil {
		return err
	}
	c, err := s.read()
	if err != nil {
		return s.problem(err)
	}
	if !wipe(c, name) {
		return nil
	}
	return s.problem(s.change(ctx, func(c *contents) error {
		wipe(c, name)
		return nil
	}))
}

// wipe says whether anything was there.
func wipe(c *contents, name string) bool {
	k := name
	e, found := c.Entries[name]
	if found {
		k = e.Key
		delete(c.Entries, name)
	}
	for _, e := range c.Entries {
		if e.Key == k {
			return found
		}
	}
	_, ok := c.Keys[k]
	delete(c.Keys, k)
	return found || ok
}

// Names lists the entries. See keystore.Store.
func (s *Store) Names(ctx context.Context) ([]string, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	c, err := s.read()
	if err != nil {
		return nil, s.problem(err)
	}
	return slices.Sorted(maps.Keys(c.Entries)), nil
}

// Import takes no key: one that was made elsewhere could be had elsewhere. A login that began in
// another store stays there.
func (s *Store) Import(ctx context.Context, name string, _ keystore.Key) error {
	if err := ready(ctx, name); err != nil {
		return err
	}
	return fmt.Errorf("%w: the TPM takes no key that was made elsewhere", keystore.ErrUnusable)
}
