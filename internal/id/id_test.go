package id

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestGolden(t *testing.T) {
	now := time.UnixMilli(1469922850259) // the ULID specification's example time
	got := New(Grant, now, [10]byte{})
	if want := "grt_01ARZ3NDEK0000000000000000"; got[:14] != want[:14] || len(got) != 30 {
		t.Fatalf("New = %s, want the time part of %s", got, want)
	}
}

func TestRoundTripAndOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		ms := rapid.Int64Range(0, 1<<47).Draw(t, "ms")
		var rnd [10]byte
		copy(rnd[:], rapid.SliceOfN(rapid.Byte(), 10, 10).Draw(t, "rnd"))
		s := New(Request, time.UnixMilli(ms), rnd)
		r, err := Parse(Request, s)
		if err != nil {
			t.Fatal(err)
		}
		if r.String(Request) != s || r.Time().UnixMilli() != ms {
			t.Fatalf("round trip of %s", s)
		}
		if later := New(Request, time.UnixMilli(ms+1), [10]byte{}); later <= s {
			t.Fatalf("%s does not sort after %s", later, s)
		}
	})
}

func TestParseRefuses(t *testing.T) {
	good := New(Grant, time.UnixMilli(1), [10]byte{1})
	for _, s := range []string{"", "grt_", good + "0", good[:29], "req" + good[3:], "grt_8" + good[5:], good[:29] + "U", good[:29] + "l"} {
		if _, err := Parse(Grant, s); err == nil {
			t.Errorf("Parse(%q) accepted", s)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add("grt_01ARZ3NDEKTSV4RRFFQ69G5FAV")
	f.Fuzz(func(t *testing.T, s string) {
		r, err := Parse(Grant, s)
		if err == nil && r.String(Grant) != s {
			t.Fatalf("%q parsed to another id %q", s, r.String(Grant))
		}
	})
}
