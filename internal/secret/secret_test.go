package secret

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"math/big"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// Invariant: SC-2
func TestValueRedactsItself(t *testing.T) {
	const s = "hunter2-hunter2"
	v := New(s)
	k := NewKey([32]byte{'h', 'u', 'n', 't', 'e', 'r', '2'})
	var sb strings.Builder
	log := slog.New(slog.NewTextHandler(&sb, nil))
	log.Info("x", "v", v, "k", k, "in", struct{ V Value }{v})
	slog.New(slog.NewJSONHandler(&sb, nil)).Info("x", "v", v, "k", k, "in", struct{ V Value }{v})
	for _, f := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		fmt.Fprintf(&sb, f+f, v, k)
		fmt.Fprintf(&sb, f, struct{ V *Value }{&v})
		fmt.Fprintf(&sb, f, []any{v, k})
	}
	j, err := json.Marshal(map[string]any{"v": v, "k": k})
	if err != nil {
		t.Fatal(err)
	}
	sb.Write(j)
	out := sb.String()
	for _, leak := range []string{s, "hunter", "68756e74", "104 117"} {
		if strings.Contains(out, leak) {
			t.Errorf("printed %q:\n%s", leak, out)
		}
	}
	if !strings.Contains(out, Redacted) {
		t.Error("nothing was printed at all")
	}
}

func draw32(t *rapid.T, name string) (b [32]byte) {
	copy(b[:], rapid.SliceOfN(rapid.Byte(), 32, 32).Draw(t, name))
	return b
}

func TestMintParseRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		k := rapid.SampledFrom([]Kind{Code, Device, RequestURI, Session}).Draw(t, "kind")
		body := draw32(t, "body")
		v := Mint(k, body)
		if len(v.Reveal()) != k.EncodedLen() {
			t.Fatalf("length %d, want %d", len(v.Reveal()), k.EncodedLen())
		}
		got, err := Parse(k, v.Reveal())
		if err != nil || [32]byte(got) != body {
			t.Fatalf("Parse: %v %v", got, err)
		}
		// A different encoder gives the same digits.
		digits := new(big.Int).SetBytes(body[:]).Text(62)
		digits = strings.Map(swapCase, digits)
		if want := strings.Repeat("0", 43-len(digits)) + digits; v.Reveal()[4:47] != want {
			t.Fatalf("base62 %s, want %s", v.Reveal()[4:47], want)
		}
		// One changed character is noticed.
		i := rapid.IntRange(0, len(v.Reveal())-1).Draw(t, "i")
		c := base62[rapid.IntRange(0, 61).Draw(t, "c")]
		if v.Reveal()[i] != c {
			bad := v.Reveal()[:i] + string(c) + v.Reveal()[i+1:]
			if _, err := Parse(k, bad); err == nil {
				t.Fatalf("accepted %s", bad)
			}
		}
	})
}

// big.Int's base 62 has lower case before upper case; ours is the other way.
func swapCase(r rune) rune {
	switch {
	case r >= 'a' && r <= 'z':
		return r - 32
	case r >= 'A' && r <= 'Z':
		return r + 32
	}
	return r
}

// A token is recognised under its own key and tenant only, and its successor
// follows from token and salt.
//
// Invariant: GR-4
func TestRefreshTagAndSuccessor(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		key, other := NewKey(draw32(t, "key")), NewKey(draw32(t, "other"))
		h := RefreshHandle{Generation: rapid.Uint32Range(0, 1<<31).Draw(t, "gen")}
		copy(h.Grant[:], rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "grant"))
		v := SealRefresh(key, "default", h, draw32(t, "random"))
		if got, err := OpenRefresh(key, "default", v.Reveal()); err != nil || got != h {
			t.Fatalf("OpenRefresh: %v %v", got, err)
		}
		if _, err := OpenRefresh(key, "other", v.Reveal()); err == nil {
			t.Fatal("accepted for another tenant")
		}
		if key.b != other.b {
			if _, err := OpenRefresh(other, "default", v.Reveal()); err == nil {
				t.Fatal("accepted under another key")
			}
		}
		salt, salt2 := Salt{1}, Salt{2}
		s1, s2 := Successor(key, "default", v, h, salt), Successor(key, "default", v, h, salt)
		if !s1.Equal(s2) {
			t.Fatal("the same token and salt give two successors")
		}
		if s1.Equal(Successor(key, "default", v, h, salt2)) {
			t.Fatal("the salt does nothing")
		}
		got, err := OpenRefresh(key, "default", s1.Reveal())
		if err != nil || got.Generation != h.Generation+1 || got.Grant != h.Grant {
			t.Fatalf("successor says %v %v", got, err)
		}
	})
}

// The format is on people's machines: these were computed by another program
// after docs/adr/0003-refresh-token.md.
func TestRefreshGolden(t *testing.T) {
	key, h := NewKey([32]byte{7}), RefreshHandle{Grant: [16]byte{1, 2, 3}, Generation: 9}
	v := SealRefresh(key, "default", h, [32]byte{5})
	const want = "ktr_01612vbkBEpdwB8Ne4ah8OACeiKvT5e9NjgvgHRhETVmDuJrvIoA8i7gAC1lpfOaxK69pvsfBn1XFVKD38AYbOG695J50jefEt"
	if v.Reveal() != want {
		t.Errorf("got  %s\nwant %s", v.Reveal(), want)
	}
	const next = "ktr_01612vbkBEpdwB8Ne4ah8OACeiL4LI786Bdny9ospBCkZUm2UD46inMKpopeb9s466QtmavKyZmUqp8ByyPLksY9ZPvR2TUsOd"
	if got := Successor(key, "default", v, h, Salt{9}).Reveal(); got != next {
		t.Errorf("successor %s\nwant      %s", got, next)
	}
}

func FuzzOpenRefresh(f *testing.F) {
	key := NewKey([32]byte{7})
	f.Add(SealRefresh(key, "default", RefreshHandle{Generation: 1}, [32]byte{5}).Reveal())
	f.Add("ktr_")
	f.Fuzz(func(t *testing.T, s string) {
		h, err := OpenRefresh(key, "default", s)
		if err != nil {
			return
		}
		body, err := Parse(Refresh, s)
		if err != nil || mint(Refresh, body).Reveal() != s {
			t.Fatalf("%q is accepted in two spellings (%v)", s, h)
		}
	})
}

func BenchmarkSuccessor(b *testing.B) {
	key := NewKey([32]byte{7})
	h := RefreshHandle{Generation: 1}
	v := SealRefresh(key, "default", h, [32]byte{5})
	for b.Loop() {
		if _, err := OpenRefresh(key, "default", v.Reveal()); err != nil {
			b.Fatal(err)
		}
		Successor(key, "default", v, h, Salt{1})
	}
}
