// Package file keeps logins in one file that is sealed with age (age-encryption.org/v1), in the
// user's state folder. Keys are software keys.
//
// The file alone opens nothing: the age identity that it is sealed to is held by a Sealer, such as
// a TPM or a passphrase, and stands in the file only as that Sealer sealed it. Without a Sealer
// there is no such store; a plain file is never written.
//
// safefile checks owner, mode and links of the file and its folder each time, replaces the file as
// a whole, and lets one process write at a time. Each write has a higher number than the one
// before, so that an older file that is put back while a process uses the store is refused. Put
// back while nobody does, an old file cannot be told from the newest; its refresh tokens have
// been used since, and the server revokes what uses one again.
package file

import (
	"context"
	"errors"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"

	"filippo.io/age"

	"github.com/keytether/keytether/internal/keystore"
	"github.com/keytether/keytether/internal/keystore/records"
	"github.com/keytether/keytether/internal/keystore/safefile"
	"github.com/keytether/keytether/internal/secret"
)

// Name is the kind's name.
const Name = "file"

// FileName is the file's name in the folder.
const FileName = "store.age"

// maxFile is the largest file that is read, in bytes: some ten thousand logins.
const maxFile = 16 << 20

// Sealer holds what opens the file. It heeds ctx, and asks nobody anything.
type Sealer interface {
	// Name tells one kind of sealer from another: 1 to 32 letters and digits. It stands in the
	// file.
	Name() string
	// Seal gives data in a form that only this sealer opens, at most 16 KiB.
	Seal(ctx context.Context, data []byte) ([]byte, error)
	// Unseal gives back what was sealed. The caller overwrites it.
	Unseal(ctx context.Context, sealed []byte) ([]byte, error)
}

// Options says where the file is.
type Options struct {
	Folder string // absolute; made with mode 0700 if missing

	// Sealers are tried in this order when the file is made; later the one that the file names
	// opens it. Without any the store is unusable.
	Sealers []Sealer

	// Passphrase adds a last Sealer: a person, who gives a passphrase to Kind.Unlock.
	Passphrase bool
}

// Kind is the sealed file.
func Kind(o Options) keystore.Kind {
	var p person
	if o.Passphrase {
		o.Sealers = append(slices.Clone(o.Sealers), &p)
	}
	k := keystore.Kind{Name: Name, Life: keystore.Machine, Open: func(ctx context.Context) (keystore.Store, error) {
		if len(o.Sealers) == 0 {
			return nil, &keystore.Problem{
				Store: Name, Why: "nothing holds a key to seal the file with",
				Mend: "Use a machine with a TPM, or give a passphrase",
			}
		}
		if !filepath.IsAbs(o.Folder) {
			return nil, &keystore.Problem{Store: Name, Why: "its folder is not an absolute path", Mend: "Set HOME or XDG_STATE_HOME"}
		}
		s := records.New(&backend{path: filepath.Join(o.Folder, FileName), sealers: o.Sealers})
		if err := keystore.Probe(ctx, s); err != nil {
			return nil, keystore.AsProblem(Name, err)
		}
		return s, nil
	}}
	if o.Passphrase {
		k.Lock = p.lock
		k.Unlock = func(ctx context.Context, pass secret.Value, fresh bool) error {
			p.give(pass, fresh)
			defer p.give(secret.Value{}, false)
			_, err := k.Open(ctx)
			return err
		}
	}
	return k
}

// backend is the file. records.Store calls it from one goroutine at a time.
type backend struct {
	path    string
	sealers []Sealer

	head     header // that identity belongs to
	identity *age.X25519Identity
	seen     uint64 // the highest number of a file with that header
}

// View reads the file as it is now. See records.Backend.
func (b *backend) View(ctx context.Context, f func(records.Tx) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	c, err := b.load(ctx)
	if err != nil {
		return err
	}
	defer c.wipe()
	return f(&tx{c: c})
}

// Update reads the file, and replaces it if f changed something and gave no error.
func (b *backend) Update(ctx context.Context, f func(records.Tx) error) error {
	release, err := safefile.Lock(ctx, b.path)
	if err != nil {
		return b.problem(err)
	}
	defer release()
	c, err := b.load(ctx)
	if err != nil {
		return err
	}
	defer c.wipe()
	t := &tx{c: c}
	if err := f(t); err != nil || !t.changed {
		return err
	}
	return b.save(ctx, c)
}

// load gives what the file holds, or nothing where there is no file.
func (b *backend) load(ctx context.Context) (*content, error) {
	raw, err := safefile.Read(b.path, maxFile)
	if errors.Is(err, fs.ErrNotExist) {
		// Whoever removes the file logs out. The next file has another identity.
		b.identity, b.seen = nil, 0
		return &content{records: map[string][]byte{}}, nil
	}
	if err != nil {
		return nil, b.problem(err)
	}
	head, sealed, err := parseHeader(raw)
	if err != nil {
		return nil, b.problem(err)
	}
	if b.identity == nil || !head.equal(b.head) {
		id, err := b.unseal(ctx, head)
		if err != nil {
			return nil, b.problem(err)
		}
		b.head, b.identity, b.seen = head, id, 0
	}
	c, err := unlock(sealed, b.identity, head)
	if err != nil {
		return nil, b.problem(err)
	}
	if c.number < b.seen {
		c.wipe()
		return nil, b.problem(errOlder)
	}
	b.seen = c.number
	return c, nil
}

func (b *backend) unseal(ctx context.Context, head header) (*age.X25519Identity, error) {
	at := slices.IndexFunc(b.sealers, func(s Sealer) bool { return s.Name() == head.sealer })
	if at < 0 {
		return nil, &keystore.Problem{
			Store: Name, Why: "its file is sealed by " + head.sealer + ", which is not there now",
			Mend: "Give it again, or move the file away and log in again: " + b.path,
		}
	}
	text, err := b.sealers[at].Unseal(ctx, head.sealed)
	if err != nil {
		return nil, err
	}
	defer clear(text)
	id, err := age.ParseX25519Identity(string(text))
	if err != nil {
		return nil, errDamaged // age's words would show a part of it
	}
	return id, nil
}

// save replaces the file. It makes an identity for the first one.
func (b *backend) save(ctx context.Context, c *content) error {
	if b.identity == nil {
		if err := b.begin(ctx); err != nil {
			return b.problem(err)
		}
	}
	c.number++
	raw, err := seal(c, b.identity.Recipient(), b.head)
	if err != nil {
		return b.problem(err)
	}
	if err := safefile.Write(b.path, raw); err != nil {
		return b.problem(err)
	}
	b.seen = c.number
	return nil
}

// begin makes an identity and has it sealed by the first sealer that can. The error is the first
// one's, or that a passphrase is wanted.
func (b *backend) begin(ctx context.Context) error {
	id, err := age.GenerateX25519Identity()
	if err != nil {
		return err
	}
	text := []byte(id.String())
	defer clear(text)
	var first error
	for _, s := range b.sealers {
		sealed, err := s.Seal(ctx, text)
		if err == nil {
			b.identity, b.seen = id, 0
			b.head, err = newHeader(s.Name(), sealed)
			return err
		}
		if first == nil || errors.Is(err, keystore.ErrNewPassphrase) { // which a person can mend
			first = err
		}
	}
	return first
}

// problem puts an error into words. The end of a context stays what it is.
func (b *backend) problem(err error) error {
	var p *keystore.Problem
	var u *safefile.Unsafe
	switch {
	case errors.As(err, &p), errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return err
	case errors.As(err, &u):
		return &keystore.Problem{Store: Name, Why: u.Error(), Mend: u.Mend, Err: err}
	case errors.Is(err, errNewer):
		return &keystore.Problem{Store: Name, Why: b.path + " was written by a newer Keytether", Mend: "Use that version, or move the file away and log in again", Err: err}
	case errors.Is(err, errOlder):
		return &keystore.Problem{Store: Name, Why: b.path + " is older than what was written before: somebody put it back", Mend: "Put the newest back, or remove it and log in again", Err: err}
	case errors.Is(err, errDamaged):
		return &keystore.Problem{Store: Name, Why: b.path + " is damaged", Mend: "Put a copy back, or move it away and log in again", Err: err}
	}
	words := strings.TrimPrefix(strings.TrimPrefix(err.Error(), "safefile: "), "file: ")
	return &keystore.Problem{Store: Name, Why: words, Mend: "See that this user may write in " + filepath.Dir(b.path) + " and that the disk is not full", Err: err}
}

// tx is a content that remembers whether it was changed.
type tx struct {
	c       *content
	changed bool
}

func (t *tx) Get(id string) ([]byte, error) {
	raw, ok := t.c.records[id]
	if !ok {
		return nil, nil
	}
	return append(make([]byte, 0, len(raw)), raw...), nil
}

func (t *tx) Set(id string, record []byte) error {
	clear(t.c.records[id])
	t.c.records[id] = append(make([]byte, 0, len(record)), record...)
	t.changed = true
	return nil
}

func (t *tx) Delete(id string) error {
	if raw, ok := t.c.records[id]; ok {
		clear(raw)
		delete(t.c.records, id)
		t.changed = true
	}
	return nil
}

func (t *tx) IDs() ([]string, error) {
	ids := make([]string, 0, len(t.c.records))
	for id := range t.c.records {
		ids = append(ids, id)
	}
	return ids, nil
}
