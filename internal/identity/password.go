package identity

import (
	"context"
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"

	"golang.org/x/crypto/argon2"

	"github.com/keytether/keytether/internal/secret"
	"github.com/keytether/keytether/internal/store"
)

// Passwords hashes and verifies passwords. It is safe for concurrent use.
type Passwords struct {
	now    func() time.Time
	random io.Reader
	turns  chan struct{}
	dummy  string // a hash nobody knows the password of
}

// NewPasswords takes the clock and crypto/rand.Reader.
func NewPasswords(now func() time.Time, random io.Reader) (*Passwords, error) {
	p := &Passwords{now: now, random: random, turns: make(chan struct{}, HashesAtOnce)}
	var b [argonSaltLen + argonHashLen]byte
	if _, err := io.ReadFull(random, b[:]); err != nil {
		return nil, fmt.Errorf("identity: no randomness: %w", err)
	}
	p.dummy = current().format(b[:argonSaltLen], b[argonSaltLen:])
	return p, nil
}

// Hash makes the argon2id hash of a new password in PHC string format. Errors:
// ErrPassword, ErrBusy (ctx ended while waiting).
func (p *Passwords) Hash(ctx context.Context, password secret.Value) (string, error) {
	if err := CheckPassword(password); err != nil {
		return "", err
	}
	var salt [argonSaltLen]byte
	if _, err := io.ReadFull(p.random, salt[:]); err != nil {
		return "", fmt.Errorf("identity: no randomness: %w", err)
	}
	if err := p.enter(ctx); err != nil {
		return "", err
	}
	defer p.leave()
	params := current()
	return params.format(salt[:], params.derive(password, salt[:], argonHashLen)), nil
}

// Verify checks an account's password. For an unknown account pass the zero
// store.Account: it takes the same time, and the answer is ErrWrong. So does a
// disabled account or one without a password. Errors: ErrWrong, ErrBusy,
// ErrHash.
func (p *Passwords) Verify(ctx context.Context, account store.Account, password secret.Value) (Result, error) {
	usable := account.ID != "" && !account.Disabled && account.PasswordHash != ""
	stored := account.PasswordHash
	if !usable {
		stored = p.dummy
	}
	params, salt, want, err := parsePHC(stored)
	if err != nil {
		return Result{}, fmt.Errorf("%w: of account %s. Set a new password for it", err, account.ID)
	}
	if len(password.Reveal()) > MaxPassword {
		password, usable = secret.Value{}, false
	}
	if err := p.enter(ctx); err != nil {
		return Result{}, err
	}
	defer p.leave()
	got := params.derive(password, salt, len(want))
	if subtle.ConstantTimeCompare(got, want) != 1 || !usable {
		return Result{}, ErrWrong
	}
	return Result{
		Account:  account,
		ACR:      ACRPassword,
		AMR:      []string{AMRPassword},
		AuthTime: p.now(),
		Rehash:   params != current() || len(want) != argonHashLen,
	}, nil
}

func (p *Passwords) enter(ctx context.Context) error {
	select {
	case p.turns <- struct{}{}:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%w: %w", ErrBusy, context.Cause(ctx))
	}
}

func (p *Passwords) leave() { <-p.turns }

// CheckPassword says whether a password can be taken: UTF-8, at least
// MinPassword characters, at most MaxPassword bytes. Nothing else is asked
// (NIST SP 800-63B-4 §3.1.1.2: no rules of composition). Error: ErrPassword.
func CheckPassword(password secret.Value) error {
	s := password.Reveal()
	switch {
	case !utf8.ValidString(s):
		return fmt.Errorf("%w: it is not UTF-8 text", ErrPassword)
	case utf8.RuneCountInString(s) < MinPassword:
		return fmt.Errorf("%w: it needs at least %d characters", ErrPassword, MinPassword)
	case len(s) > MaxPassword:
		return fmt.Errorf("%w: it is longer than %d bytes", ErrPassword, MaxPassword)
	}
	return nil
}

// argonParams are the costs of one hash.
type argonParams struct {
	memory uint32 // KiB
	passes uint32
	lanes  uint8
}

func current() argonParams { return argonParams{argonMemory, argonPasses, argonLanes} }

func (a argonParams) derive(password secret.Value, salt []byte, n int) []byte {
	return argon2.IDKey([]byte(password.Reveal()), salt, a.passes, a.memory, a.lanes, uint32(n))
}

func (a argonParams) format(salt, hash []byte) string {
	b64 := base64.RawStdEncoding
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, a.memory, a.passes, a.lanes,
		b64.EncodeToString(salt), b64.EncodeToString(hash))
}

// parsePHC reads a PHC string of argon2id version 1.3, with costs within
// bounds, and accepts only the one spelling that format makes.
func parsePHC(s string) (a argonParams, salt, hash []byte, err error) {
	bad := func(what string) (argonParams, []byte, []byte, error) {
		return argonParams{}, nil, nil, fmt.Errorf("%w: %s", ErrHash, what)
	}
	parts := strings.Split(s, "$")
	if len(s) > maxPHC || len(parts) != 6 || parts[0] != "" || parts[1] != "argon2id" {
		return bad("not an argon2id hash in PHC format")
	}
	if _, err := fmt.Sscanf(parts[3], "m=%d,t=%d,p=%d", &a.memory, &a.passes, &a.lanes); err != nil {
		return bad("its parameters cannot be read")
	}
	b64 := base64.RawStdEncoding.Strict()
	salt, err1 := b64.DecodeString(parts[4])
	hash, err2 := b64.DecodeString(parts[5])
	if err1 != nil || err2 != nil || a.format(salt, hash) != s {
		return bad("it is not spelled as it should be")
	}
	if a.memory < minMemory || a.memory > maxMemory || a.passes < minPasses || a.passes > maxPasses ||
		a.lanes < 1 || a.lanes > maxLanes ||
		len(salt) < minSalt || len(salt) > maxSalt || len(hash) < minHash || len(hash) > maxHash {
		return bad("its parameters are out of bounds")
	}
	return a, salt, hash, nil
}
