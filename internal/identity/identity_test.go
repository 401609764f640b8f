package identity

import (
	"context"
	"crypto/rand"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/crypto/argon2"
	"pgregory.net/rapid"

	"github.com/keytether/keytether/internal/secret"
	"github.com/keytether/keytether/internal/store"
	"github.com/keytether/keytether/internal/testkit"
)

func passwords(t testing.TB) *Passwords {
	t.Helper()
	p, err := NewPasswords(testkit.NewClock().Now, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestVerify(t *testing.T) {
	p, ctx := passwords(t), t.Context()
	good := secret.New("correct horse")
	hash, err := p.Hash(ctx, good)
	if err != nil {
		t.Fatal(err)
	}
	again, err := p.Hash(ctx, good)
	if err != nil || again == hash {
		t.Error("two hashes of one password are the same: no salt")
	}
	alice := store.Account{ID: "acc_a", PasswordHash: hash}
	disabled, empty := alice, alice
	disabled.Disabled, empty.PasswordHash = true, ""
	for name, x := range map[string]struct {
		account store.Account
		typed   string
		want    error
	}{
		"right":       {alice, "correct horse", nil},
		"wrong":       {alice, "correct horsf", ErrWrong},
		"empty":       {alice, "", ErrWrong},
		"longer":      {alice, "correct horse ", ErrWrong},
		"endless":     {alice, strings.Repeat("x", MaxPassword+1), ErrWrong},
		"unknown":     {store.Account{}, "correct horse", ErrWrong},
		"disabled":    {disabled, "correct horse", ErrWrong},
		"no password": {empty, "", ErrWrong},
		"broken hash": {store.Account{ID: "acc_b", PasswordHash: "x"}, "correct horse", ErrHash},
	} {
		r, err := p.Verify(ctx, x.account, secret.New(x.typed))
		if !errors.Is(err, x.want) || (err == nil) != (x.want == nil) {
			t.Errorf("%s: %v, want %v", name, err, x.want)
		}
		if err == nil && (r.Account.ID != "acc_a" || r.ACR != ACRPassword || r.AuthTime != testkit.Epoch || r.Rehash) {
			t.Errorf("%s: %+v", name, r)
		}
		if err != nil && r.Account.ID != "" {
			t.Errorf("%s: an account comes with the error", name)
		}
	}
}

// Even who knew the password of the hash that stands in for a missing one gets
// nothing.
func TestStandInHashOpensNothing(t *testing.T) {
	p := passwords(t)
	var err error
	if p.dummy, err = p.Hash(t.Context(), secret.New("correct horse")); err != nil {
		t.Fatal(err)
	}
	for _, a := range []store.Account{{}, {ID: "acc_a"}, {ID: "acc_a", PasswordHash: p.dummy, Disabled: true}} {
		if _, err := p.Verify(t.Context(), a, secret.New("correct horse")); !errors.Is(err, ErrWrong) {
			t.Errorf("%+v: %v", a, err)
		}
	}
}

// OWASP's least, and not more memory than a small server has.
func TestCostsAreBounded(t *testing.T) {
	if argonMemory < 19*1024 || argonPasses < 2 || argonHashLen < 32 || argonSaltLen < 16 {
		t.Error("cheaper than OWASP's least")
	}
	if HashesAtOnce*argonMemory > 256*1024 {
		t.Error("a storm of sign-ins takes more than 256 MiB")
	}
}

// The time does not tell an unknown, disabled or passwordless account from a
// wrong password: the same hash is computed.
//
// Invariant: ID-1
func TestUnknownAccountTakesTheSameTime(t *testing.T) {
	p := passwords(t)
	hash, err := p.Hash(t.Context(), secret.New("correct horse"))
	if err != nil {
		t.Fatal(err)
	}
	fastest := func(a store.Account) time.Duration {
		best := time.Hour
		for range 5 {
			start := time.Now()
			if _, err := p.Verify(t.Context(), a, secret.New("wrong horse")); !errors.Is(err, ErrWrong) {
				t.Fatal(err)
			}
			best = min(best, time.Since(start))
		}
		return best
	}
	known := fastest(store.Account{ID: "acc_a", PasswordHash: hash})
	for name, a := range map[string]store.Account{
		"unknown":     {},
		"disabled":    {ID: "acc_a", PasswordHash: hash, Disabled: true},
		"no password": {ID: "acc_a"},
	} {
		// Without a hash it would be a thousandth; the bounds leave room for a busy machine.
		if d := fastest(a); d < known/5 || d > known*5 {
			t.Errorf("%s takes %s, a wrong password %s", name, d, known)
		}
	}
}

func TestStoredHashBounds(t *testing.T) {
	salt, hash := make([]byte, 16), make([]byte, 32)
	format := func(m, passes uint32, lanes uint8) string {
		return argonParams{m, passes, lanes}.format(salt, hash)
	}
	ok := format(minMemory, 2, 1)
	for s, good := range map[string]bool{
		ok:                                    true,
		format(maxMemory, 3, 4):               true,
		format(minMemory-1, 2, 1):             false,
		format(maxMemory+1, 2, 1):             false,
		format(1<<31, 2, 1):                   false,
		format(minMemory, 0, 1):               false,
		format(minMemory, 1000, 1):            false,
		format(minMemory, 2, 0):               false,
		format(minMemory, 2, 255):             false,
		strings.Replace(ok, "2id", "2i", 1):   false,
		strings.Replace(ok, "=19", "=16", 1):  false, // v=16
		strings.Replace(ok, "m=", "m=0", 1):   false,
		strings.Replace(ok, "t=2", "t=+2", 1): false,
		ok + "=":                              false,
		ok + "$":                              false,
		" " + ok:                              false,
		argonParams{minMemory, 2, 1}.format(salt[:4], hash): false,
		argonParams{minMemory, 2, 1}.format(salt, hash[:4]): false,
		argonParams{minMemory, 2, 1}.format(salt, nil):      false,
	} {
		if _, _, _, err := parsePHC(s); (err == nil) != good || err != nil && !errors.Is(err, ErrHash) {
			t.Errorf("%s: %v", s, err)
		}
	}
}

// Hashes of other programs, with other parameters, are taken and marked.
func TestRehash(t *testing.T) {
	salt := []byte("somesaltsomesalt")
	hash := argon2.IDKey([]byte("correct horse"), salt, 2, minMemory, 1, 32)
	a := store.Account{ID: "acc_a", PasswordHash: argonParams{minMemory, 2, 1}.format(salt, hash)}
	r, err := passwords(t).Verify(t.Context(), a, secret.New("correct horse"))
	if err != nil || !r.Rehash {
		t.Errorf("%+v %v", r, err)
	}
}

// No more than HashesAtOnce hashes are computed at once; who waits can give up.
func TestHashesAreBounded(t *testing.T) {
	p := passwords(t)
	synctest.Test(t, func(t *testing.T) {
		p.turns = make(chan struct{}, HashesAtOnce) // made in the bubble
		for range HashesAtOnce {
			if err := p.enter(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := p.Verify(ctx, store.Account{}, secret.New("x")); !errors.Is(err, ErrBusy) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("one more: %v", err)
		}
		if _, err := p.Hash(ctx, secret.New("12345678")); !errors.Is(err, ErrBusy) {
			t.Errorf("one more: %v", err)
		}
		p.leave()
		if _, err := p.Verify(t.Context(), store.Account{}, secret.New("x")); !errors.Is(err, ErrWrong) {
			t.Errorf("after one left: %v", err)
		}
		if len(p.turns) != HashesAtOnce-1 {
			t.Error("a turn was not given back")
		}
	})
}

func TestCheckPassword(t *testing.T) {
	for s, good := range map[string]bool{
		"1234567": false, "12345678": true, "pässwört": true, "pässwör": false,
		"\xff2345678": false, strings.Repeat("x", MaxPassword): true, strings.Repeat("x", MaxPassword+1): false,
	} {
		if err := CheckPassword(secret.New(s)); (err == nil) != good || err != nil && !errors.Is(err, ErrPassword) {
			t.Errorf("%q: %v", s, err)
		}
		if _, err := passwords(t).Hash(t.Context(), secret.New(s)); !good && !errors.Is(err, ErrPassword) {
			t.Errorf("%q is hashed", s)
		}
	}
}

func TestCheckEmail(t *testing.T) {
	for s, good := range map[string]bool{
		"person@example.test": true, "a.b+c@x-y.example": true, "A@B": true, "o'neil@x.test": true,
		"": false, "@": false, "a@": false, "@b": false, "a@b@c": false, "a b@c": false, "a@b c": false,
		".a@b": false, "a.@b": false, "a..b@c": false, "a@.b": false, "a@b.": false, "a@-b": false, "a@b-": false,
		"a@b_c": false, "a@b\x11c": false, "ä@b": false, "a@ä": false, "<a@b>": false, "a\"@b": false, "a\n@b": false, "a@b\n": false,
		strings.Repeat("a", 65) + "@b": false, "a@" + strings.Repeat("b", 64): false,
		"a@" + strings.Repeat("b.", 130) + "c": false,
	} {
		if err := CheckEmail(s); (err == nil) != good || err != nil && !errors.Is(err, ErrEmail) {
			t.Errorf("%q: %v", s, err)
		}
	}
}

func TestOneTimePassword(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var a, b [32]byte
		copy(a[:], rapid.SliceOfN(rapid.Byte(), 32, 32).Draw(t, "a"))
		copy(b[:], rapid.SliceOfN(rapid.Byte(), 32, 32).Draw(t, "b"))
		p := OneTimePassword(a)
		if CheckPassword(p) != nil || len(p.Reveal()) != 23 || strings.Count(p.Reveal(), "-") != 3 {
			t.Fatalf("%q", p.Reveal())
		}
		if strings.ContainsAny(p.Reveal(), "01ilo") {
			t.Fatalf("%q has look-alikes", p.Reveal())
		}
		if !p.Equal(OneTimePassword(a)) {
			t.Fatal("it does not follow from its bytes")
		}
		if a != b && a[28] != b[28] && p.Equal(OneTimePassword(b)) {
			t.Fatal("other bytes, same password")
		}
	})
	seen := map[byte]bool{}
	for i := range 200 {
		s := OneTimePassword([32]byte{byte(i), 31: byte(i)}).Reveal()
		for j := range len(s) {
			seen[s[j]] = true
		}
	}
	if len(seen) != len(oneTimeAlphabet)+1 || len(oneTimeAlphabet) != 31 { // 31^20 > 2^99
		t.Errorf("%d characters in use, of %d", len(seen), len(oneTimeAlphabet))
	}
}

func FuzzParsePHC(f *testing.F) {
	f.Add(current().format(make([]byte, 16), make([]byte, 32)))
	f.Add("$argon2id$v=19$m=65536,t=3,p=4$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAA")
	f.Add("$argon2id$v=19$m=99999999999999999999,t=3,p=4$AA$AA")
	f.Fuzz(func(t *testing.T, s string) {
		a, salt, hash, err := parsePHC(s)
		if err != nil {
			return
		}
		if a.format(salt, hash) != s {
			t.Fatalf("%q is accepted in two spellings", s)
		}
		if a.memory > maxMemory || a.passes > maxPasses || a.passes == 0 || a.lanes == 0 || len(hash) < minHash {
			t.Fatalf("%q is out of bounds", s)
		}
	})
}

func FuzzCheckEmail(f *testing.F) {
	f.Add("person@example.test")
	f.Fuzz(func(t *testing.T, s string) {
		if CheckEmail(s) != nil {
			return
		}
		if strings.ContainsAny(s, " \r\n\t<>\"\x00") || len(s) > MaxEmail || FoldEmail(s) != strings.ToLower(s) {
			t.Fatalf("%q", s)
		}
	})
}

func BenchmarkVerify(b *testing.B) {
	p := passwords(b)
	for b.Loop() {
		if _, err := p.Verify(b.Context(), store.Account{}, secret.New("x")); !errors.Is(err, ErrWrong) {
			b.Fatal(err)
		}
	}
}
