package file

import (
	"bytes"
	"context"
	"sync"
	"unicode/utf8"

	"github.com/keytether/keytether/internal/keystore"
	"github.com/keytether/keytether/internal/keystore/locked"
	"github.com/keytether/keytether/internal/secret"
)

// person is a Sealer whose passphrase is there only while Kind.Unlock works. What it opened, the
// file's identity, stays in locked memory until lock: with it the file is opened again without the
// passphrase and without its second of work.
type person struct {
	mu    sync.Mutex
	pass  secret.Value
	fresh bool // pass may make a file

	sealed   []byte        // the identity as it stands in the file
	identity *locked.Bytes // nil: locked
}

func (p *person) Name() string { return passphrase{}.Name() }

func (p *person) give(pass secret.Value, fresh bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.pass, p.fresh = pass, fresh
}

func (p *person) given() (pass secret.Value, fresh bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.pass, p.fresh
}

func (p *person) Seal(ctx context.Context, data []byte) ([]byte, error) {
	pass, fresh := p.given()
	if pass.IsZero() || !fresh {
		return nil, &keystore.Problem{
			Store: Name, Why: "there is no sealed file yet, and it is made with a passphrase",
			Mend: "Log in on a terminal, which asks for one, or with --store-passphrase-stdin", Err: keystore.ErrNewPassphrase,
		}
	}
	if why := weak(pass); why != "" {
		return nil, &keystore.Problem{
			Store: Name, Why: why + ", and who gets hold of the file can try as long as they like",
			Mend: "Take four or more words that do not belong together, or let a password manager make one", Err: keystore.ErrNewPassphrase,
		}
	}
	sealed, err := typed(pass).Seal(ctx, data)
	if err == nil {
		p.hold(sealed, data)
	}
	return sealed, err
}

func (p *person) Unseal(ctx context.Context, sealed []byte) ([]byte, error) {
	if held := p.held(sealed); held != nil {
		return held, nil
	}
	pass, _ := p.given()
	if pass.IsZero() {
		return nil, &keystore.Problem{Store: Name, Why: "locked, it needs its passphrase", Mend: "Run `keytether agent unlock --store`", Err: keystore.ErrPassphrase}
	}
	data, err := typed(pass).Unseal(ctx, sealed)
	if err == nil {
		p.hold(sealed, data)
	}
	return data, err
}

func typed(pass secret.Value) passphrase {
	return passphrase{get: func(context.Context) (secret.Value, error) { return pass, nil }, logN: workFactor}
}

func (p *person) hold(sealed, identity []byte) {
	p.lock()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.sealed, p.identity = bytes.Clone(sealed), locked.New(identity)
}

func (p *person) held(sealed []byte) []byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.identity == nil || !bytes.Equal(sealed, p.sealed) {
		return nil
	}
	return bytes.Clone(p.identity.Bytes())
}

func (p *person) lock() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.identity != nil {
		p.identity.Free()
	}
	p.sealed, p.identity = nil, nil
}

// minPassphrase is in characters, of which minDifferent are different ones. scrypt makes each try
// cost a second and 256 MiB; that is worth nothing to a word out of a list.
const (
	minPassphrase = 12
	minDifferent  = 5
)

// weak says why a passphrase is no good for a new file; empty if it may do.
func weak(pass secret.Value) string {
	different := map[rune]bool{}
	for _, r := range pass.Reveal() {
		different[r] = true
	}
	switch {
	case utf8.RuneCountInString(pass.Reveal()) < minPassphrase:
		return "the passphrase has fewer than 12 characters"
	case len(different) < minDifferent:
		return "the passphrase has fewer than 5 different characters"
	}
	return ""
}
