package dpop

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// Invariant: DP-17e
func TestNonceWindow(t *testing.T) {
	n := testNonces(t)
	nonce := n.Mint(testNow, NonceRandom{7})
	if len(nonce) != 55 {
		t.Errorf("%d characters", len(nonce))
	}
	for _, c := range []struct {
		after       time.Duration
		age         time.Duration
		renew, good bool
	}{
		{0, 0, false, true},
		{30 * time.Second, 30 * time.Second, false, true},
		{30*time.Second + time.Microsecond, 30*time.Second + time.Microsecond, true, true},
		{NonceWindow, NonceWindow, true, true},
		{NonceWindow + time.Microsecond, 0, false, false},
		{24 * time.Hour, 0, false, false},
		{-nonceSkew, 0, false, true},
		{-nonceSkew - time.Microsecond, 0, false, false},
	} {
		state, err := n.Check(testNow.Add(c.after), nonce)
		if (err == nil) != c.good || err != nil && !errors.Is(err, ErrNonceStale) {
			t.Errorf("after %v: %v", c.after, err)
			continue
		}
		if state.Age != c.age || state.Renew != c.renew || c.good && state.Remaining != NonceWindow-c.after {
			t.Errorf("after %v: %+v", c.after, state)
		}
	}
}

// A nonce of another tenant, server or key is not ours.
func TestNonceSeparation(t *testing.T) {
	a, err := NewNonceSource([]byte(strings.Repeat("a", 32)))
	if err != nil {
		t.Fatal(err)
	}
	b, err := NewNonceSource([]byte(strings.Repeat("b", 32)))
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]*Nonces{
		"a/default/as": a.For("default", "as"), "a/t/as": a.For("t", "as"), "a/default/rs": a.For("default", "https://api.example.test"),
		"a/defaulta/s": a.For("defaulta", "s"), "b/default/as": b.For("default", "as"),
	}
	for minter, m := range all {
		nonce := m.Mint(testNow, NonceRandom{})
		for checker, c := range all {
			if _, err := c.Check(testNow, nonce); (err == nil) != (minter == checker) {
				t.Errorf("%s by %s: %v", minter, checker, err)
			}
		}
	}
	// The same key gives the same nonces at every server of the tenant.
	again, err := NewNonceSource([]byte(strings.Repeat("a", 32)))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := again.For("default", "as").Check(testNow, all["a/default/as"].Mint(testNow, NonceRandom{3})); err != nil {
		t.Error(err)
	}
	if _, err := NewNonceSource(make([]byte, 31)); !errors.Is(err, ErrKey) {
		t.Errorf("a short key: %v", err)
	}
}

// A nonce that we did not make is refused, however near it is to one of ours.
//
// Invariant: DP-17d
func TestNonceForgery(t *testing.T) {
	n := testNonces(t)
	rapid.Check(t, func(t *rapid.T) {
		nonce := []byte(n.Mint(testNow, NonceRandom(rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "random"))))
		if _, err := n.Check(testNow, string(nonce)); err != nil {
			t.Fatal(err)
		}
		i, c := rapid.IntRange(0, len(nonce)-1).Draw(t, "at"), rapid.Byte().Draw(t, "byte")
		if nonce[i] == c {
			return
		}
		nonce[i] = c
		if _, err := n.Check(testNow, string(nonce)); !errors.Is(err, ErrNonceStale) {
			t.Fatalf("byte %d as %q: %v", i, c, err)
		}
	})
	good := n.Mint(testNow, NonceRandom{})
	for _, bad := range []string{"", "x", good + "A", good[:54], good + "\n", good[:10] + "\n" + good[10:54], strings.Repeat("A", 55)} {
		if _, err := n.Check(testNow, bad); !errors.Is(err, ErrNonceStale) {
			t.Errorf("%q: %v", bad, err)
		}
	}
	if good == n.Mint(testNow, NonceRandom{1}) {
		t.Error("randomness makes no difference")
	}
}

func TestNonceKeysAreNotShown(t *testing.T) {
	key := strings.Repeat("k", 32)
	src, err := NewNonceSource([]byte(key))
	if err != nil {
		t.Fatal(err)
	}
	n := src.For("default", "as")
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%d"} {
		if got := fmt.Sprintf(verb, src); got != "dpop.NonceSource" {
			t.Errorf("%s: %q", verb, got)
		}
		if got := fmt.Sprintf(verb, n); got != "dpop.Nonces" {
			t.Errorf("%s: %q", verb, got)
		}
	}
}

func FuzzNonceCheck(f *testing.F) {
	n := testNonces(f)
	f.Add(n.Mint(testNow, NonceRandom{}))
	f.Add("")
	f.Fuzz(func(t *testing.T, nonce string) {
		state, err := n.Check(testNow, nonce)
		if err != nil && !errors.Is(err, ErrNonceStale) || state.Age < 0 || state.Age > NonceWindow {
			t.Fatalf("%+v, %v", state, err)
		}
	})
}
