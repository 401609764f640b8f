package file

import (
	"bytes"
	"context"
	"fmt"

	"filippo.io/age"

	"github.com/keytether/keytether/internal/keystore"
	"github.com/keytether/keytether/internal/secret"
)

const (
	workFactor    = 18 // age's own: 2^18 rounds
	maxWorkFactor = 20
)

func wrongPassphrase() error {
	return &keystore.Problem{
		Store: Name, Why: "the passphrase is wrong, or the file is damaged",
		Mend: "Try again with the passphrase that the file was made with", Err: keystore.ErrPassphrase,
	}
}

// passphrase is a Sealer by age's scrypt recipient: about a second of work for each Seal and
// Unseal. get gives the passphrase, or an error.
type passphrase struct {
	get  func(context.Context) (secret.Value, error)
	logN int
}

func (p passphrase) Name() string { return "passphrase" }

func (p passphrase) Seal(ctx context.Context, data []byte) ([]byte, error) {
	pass, err := p.get(ctx)
	if err != nil {
		return nil, err
	}
	return await(ctx, func() ([]byte, error) {
		to, err := age.NewScryptRecipient(pass.Reveal())
		if err != nil {
			return nil, &keystore.Problem{Store: Name, Why: "the passphrase is empty", Mend: "Give one"}
		}
		to.SetWorkFactor(p.logN)
		var out bytes.Buffer
		w, err := age.Encrypt(&out, to)
		if err != nil {
			return nil, fmt.Errorf("file: %w", err)
		}
		if _, err := w.Write(data); err != nil {
			return nil, fmt.Errorf("file: %w", err)
		}
		if err := w.Close(); err != nil {
			return nil, fmt.Errorf("file: %w", err)
		}
		return out.Bytes(), nil
	})
}

func (p passphrase) Unseal(ctx context.Context, sealed []byte) ([]byte, error) {
	pass, err := p.get(ctx)
	if err != nil {
		return nil, err
	}
	return await(ctx, func() ([]byte, error) {
		id, err := age.NewScryptIdentity(pass.Reveal())
		if err != nil {
			return nil, &keystore.Problem{Store: Name, Why: "the passphrase is empty", Mend: "Give one"}
		}
		id.SetMaxWorkFactor(maxWorkFactor)
		r, err := age.Decrypt(bytes.NewReader(sealed), id)
		if err != nil {
			return nil, wrongPassphrase()
		}
		plain := make([]byte, len(sealed))
		n, err := readAll(r, plain)
		if err != nil {
			return nil, wrongPassphrase()
		}
		return plain[:n], nil
	})
}

// await gives up with ctx. scrypt itself does not stop, and ends by itself.
func await(ctx context.Context, f func() ([]byte, error)) ([]byte, error) {
	type answer struct {
		b   []byte
		err error
	}
	done := make(chan answer, 1)
	go func() {
		b, err := f()
		done <- answer{b, err}
	}()
	select {
	case a := <-done:
		return a.b, a.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}
