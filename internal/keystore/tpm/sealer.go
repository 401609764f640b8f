package tpm

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/keytether/keytether/internal/keystore"
)

// Sealer seals other stores' secrets to the chip, such as the identity of a sealed file. It keeps
// nothing: what it gives is for the caller to store.
type Sealer struct{ chip *chip }

// NewSealer makes a sealer. The chip is reached when it is first used.
func NewSealer(o Options) *Sealer { return &Sealer{newChip(o.Device)} }

// Name tells it from other sealers.
func (s *Sealer) Name() string { return kindName }

// sealed is what Seal gives, as JSON.
type sealed struct {
	Version int `json:"version"`
	Box     box `json:"box"`
}

// Seal gives bytes that only this chip turns back into data. An error is a *keystore.Problem.
func (s *Sealer) Seal(ctx context.Context, data []byte) ([]byte, error) {
	b, err := s.chip.seal(ctx, aboutSeal(), data)
	if err != nil {
		return nil, problem(err, "the seal")
	}
	return json.Marshal(sealed{version, b})
}

// Unseal gives the data back. The caller clears it. An error is a *keystore.Problem, and so it is
// when another chip sealed, or this one before it was cleared.
func (s *Sealer) Unseal(ctx context.Context, raw []byte) ([]byte, error) {
	var in sealed
	if len(raw) > maxFile || json.Unmarshal(raw, &in) != nil || !in.Box.Key.sound() {
		return nil, problem(errDamaged, "the seal")
	}
	if in.Version != version {
		return nil, problem(errNewer, "the seal")
	}
	data, err := s.chip.open(ctx, aboutSeal(), in.Box)
	if errors.Is(err, errOther) {
		return nil, &keystore.Problem{
			Store: kindName, Why: "another TPM sealed the key of the sealed file, or this one did before it was cleared",
			Mend: "Move the sealed file away and log in again", Err: err,
		}
	}
	return data, problem(err, "the seal")
}

// Close ends the way to the chip.
func (s *Sealer) Close() error { return s.chip.close() }

func aboutSeal() []byte { return fmt.Appendf(nil, "keytether tpm seal %d", version) }
