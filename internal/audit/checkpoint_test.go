package audit

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/note"
)

const origin = "127.0.0.1:8430/default"

func signer(t interface{ Fatal(...any) }, b byte) (note.Signer, string) {
	s, vkey, err := NewSigner(origin, [32]byte{b})
	if err != nil {
		t.Fatal(err)
	}
	return s, vkey
}

func TestOrigin(t *testing.T) {
	for _, tt := range []struct{ issuer, tenant, want string }{
		{"http://127.0.0.1:8430", "default", "127.0.0.1:8430/default"},
		{"http://[::1]:8430", "default", "[::1]:8430/default"},
		{"https://Auth.test/t/blue", "blue", "auth.test/blue"},
		{"https://auth.test", "", ""},
		{"https://auth.test", "a b", ""},
		{"https://auth.test", "a\nb", ""},
		{"https://auth.test", "a+b", ""},
		{"auth.test", "default", ""},
		{"", "default", ""},
	} {
		got, err := Origin(tt.issuer, tt.tenant)
		if got != tt.want || (err == nil) != (tt.want != "") || (err != nil && !errors.Is(err, ErrFormat)) {
			t.Errorf("Origin(%q, %q) = %q, %v", tt.issuer, tt.tenant, got, err)
		}
	}
}

func TestCheckpointGolden(t *testing.T) {
	s, vkey := signer(t, 7)
	c := Checkpoint{Origin: origin, Size: 0, Root: (&Frontier{}).Root(), Time: t0}
	msg, err := SignCheckpoint(c, s)
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "checkpoint-empty.txt", append([]byte(vkey+"\n\n"), msg...))
	// An independent reader of the format agrees (C2SP signed-note).
	known, err := Verifiers(vkey)
	if err != nil {
		t.Fatal(err)
	}
	n, err := note.Open(msg, known)
	if err != nil {
		t.Fatal(err)
	}
	want := origin + "\n0\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\ntime 2026-11-24T08:00:00.123456Z\n"
	if n.Text != want {
		t.Errorf("text\n%s\nwant\n%s", n.Text, want)
	}
}

func TestOpenCheckpoint(t *testing.T) {
	s, vkey := signer(t, 1)
	other, otherKey := signer(t, 2)
	c := Checkpoint{Origin: origin, Size: 12, Root: Hash{1, 2, 3}, Time: t0}
	msg, err := SignCheckpoint(c, s)
	if err != nil {
		t.Fatal(err)
	}
	both, err := SignCheckpoint(c, other, s)
	if err != nil {
		t.Fatal(err)
	}
	foreign, foreignKey, err := NewSigner("auth.test/blue", [32]byte{3})
	if err != nil {
		t.Fatal(err)
	}
	byForeign, err := SignCheckpoint(c, foreign)
	if err != nil {
		t.Fatal(err)
	}
	c.Origin = "127.0.0.1:8430/blue"
	ofAnother, err := SignCheckpoint(c, s)
	if err != nil {
		t.Fatal(err)
	}
	c.Origin = origin
	for name, tt := range map[string]struct {
		msg    []byte
		origin string
		keys   []string
		want   error
	}{
		"good":                 {msg, origin, []string{vkey}, nil},
		"one of two keys":      {msg, origin, []string{otherKey, vkey}, nil},
		"one of two signers":   {both, origin, []string{vkey}, nil},
		"the same key twice":   {msg, origin, []string{vkey, vkey}, nil},
		"unknown key":          {msg, origin, []string{otherKey}, ErrKey},
		"no key":               {msg, origin, nil, ErrKey},
		"another log":          {msg, "127.0.0.1:8430/blue", []string{vkey}, ErrKey},
		"of another log":       {ofAnother, origin, []string{vkey}, ErrKey},
		"another log's key":    {byForeign, origin, []string{foreignKey}, ErrKey},
		"changed size":         {bytes.Replace(msg, []byte("\n12\n"), []byte("\n11\n"), 1), origin, []string{vkey}, ErrSignature},
		"changed time":         {bytes.Replace(msg, []byte("2026"), []byte("2025"), 1), origin, []string{vkey}, ErrSignature},
		"signature taken away": {msg[:bytes.Index(msg, []byte("—"))], origin, []string{vkey}, ErrFormat},
		"nothing":              {nil, origin, []string{vkey}, ErrFormat},
		"too long":             {append(msg[:len(msg):len(msg)], strings.Repeat("— a AAAAAAAA\n", 1000)...), origin, []string{vkey}, ErrFormat},
	} {
		known, err := Verifiers(tt.keys...)
		if err != nil {
			t.Fatal(err)
		}
		got, err := OpenCheckpoint(tt.msg, tt.origin, known)
		if !errors.Is(err, tt.want) || (tt.want == nil && (err != nil || got != c)) {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
}

func TestParseCheckpointRefuses(t *testing.T) {
	good, err := Checkpoint{Origin: origin, Size: 12, Root: Hash{1}, Time: t0}.Text()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ParseCheckpoint(good); err != nil {
		t.Fatal(err)
	}
	for _, tt := range [][2]string{
		{"\n12\n", "\n012\n"},
		{"\n12\n", "\n-1\n"},
		{"\n12\n", "\n+12\n"},
		{"\n12\n", "\n99999999999999999999\n"},
		{"default", "de fault"},
		{"AQAA", "AQAB\n"},
		{"AQAA", "!!!!"},
		{"time ", "date "},
		{"123456Z\n", "123456Z\nmore\n"},
		{"123456Z\n", "123456Z"},
		{".123456Z", ".123Z"},
		{"Z", "+00:00"},
		{"time", "\ntime"},
	} {
		bad := strings.Replace(good, tt[0], tt[1], 1)
		if bad == good {
			t.Fatalf("%q is not in the text", tt[0])
		}
		if _, err := ParseCheckpoint(bad); !errors.Is(err, ErrFormat) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

// The signer does not print its key.
func TestSignerRedactsItself(t *testing.T) {
	s, _ := signer(t, 0x41)
	if str, ok := s.(interface{ String() string }); !ok || strings.Contains(str.String(), "AAAA") {
		t.Error("the signer has no String of its own")
	}
	if _, err := Verifiers("nonsense"); !errors.Is(err, ErrKey) {
		t.Errorf("Verifiers: %v", err)
	}
	if _, _, err := NewSigner("a b", [32]byte{}); !errors.Is(err, ErrFormat) {
		t.Errorf("NewSigner: %v", err)
	}
}
