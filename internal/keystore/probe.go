package keystore

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"math/big"
	"strconv"
	"strings"
	"time"

	"github.com/keytether/keytether/internal/secret"
)

const probePrefix = "keytether.probe."

// Probe tries a store as Kind.Open promises: it makes a key and an entry of its own, signs, reads
// back and wipes them. What a probe that died left behind goes too, once it is a minute old.
func Probe(ctx context.Context, s Store) (err error) {
	names, err := s.Names(ctx)
	if err != nil {
		return err
	}
	now := time.Now().Unix()
	for _, n := range names {
		if at, ok := probedAt(n); ok && now-at > 60 {
			if err := s.Delete(ctx, n); err != nil {
				return err
			}
		}
	}
	name := fmt.Sprintf("%s%d.%s", probePrefix, now, rand.Text())
	defer func() {
		if err != nil {
			// The store's own mistake is the one worth telling. Once ctx has ended nobody waits
			// any more, and the next probe cleans up.
			_ = s.Delete(ctx, name)
		}
	}()
	k, err := s.NewKey(ctx, name)
	if err != nil {
		return err
	}
	if err := probeKey(k); err != nil {
		return err
	}
	want := Entry{Key: name, RefreshToken: secret.New(rand.Text()), Metadata: []byte("{}")}
	if err := s.Put(ctx, name, want); err != nil {
		return err
	}
	got, err := s.Get(ctx, name)
	if err != nil {
		return err
	}
	if got.Key != name || !got.RefreshToken.Equal(want.RefreshToken) || !bytes.Equal(got.Metadata, want.Metadata) {
		return fmt.Errorf("%w: it gives back something else than it was given", ErrUnusable)
	}
	if err := s.Delete(ctx, name); err != nil {
		return err
	}
	if _, err := s.Get(ctx, name); !errors.Is(err, ErrNotFound) {
		return fmt.Errorf("%w: what was wiped is still there", ErrUnusable)
	}
	return nil
}

func probedAt(name string) (int64, bool) {
	rest, ok := strings.CutPrefix(name, probePrefix)
	at, _, dot := strings.Cut(rest, ".")
	n, err := strconv.ParseInt(at, 10, 64)
	return n, ok && dot && err == nil
}

func probeKey(k Key) error {
	input := []byte("keytether probe")
	sig, err := k.Sign(input)
	if err != nil {
		return fmt.Errorf("%w: its key does not sign: %w", ErrUnusable, err)
	}
	pub, ok := k.Public().Standard().(*ecdsa.PublicKey)
	sum := sha256.Sum256(input)
	if !ok || len(sig) != 64 || !ecdsa.Verify(pub, sum[:], new(big.Int).SetBytes(sig[:32]), new(big.Int).SetBytes(sig[32:])) {
		return fmt.Errorf("%w: its key signs wrongly", ErrUnusable)
	}
	return nil
}
