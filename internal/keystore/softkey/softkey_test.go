package softkey

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

func TestKey(t *testing.T) {
	k, err := New()
	if err != nil {
		t.Fatal(err)
	}
	c, err := k.Copy()
	if err != nil || c.Public().Thumbprint() != k.Public().Thumbprint() {
		t.Fatalf("the copy is another key: %v", err)
	}
	held := k.scalar
	gone := errors.New("gone")
	k.Drop(gone)
	k.Drop(errors.New("twice"))
	if _, err := k.Sign([]byte("x")); !errors.Is(err, gone) {
		t.Errorf("a dropped key signs: %v", err)
	}
	if _, err := k.Copy(); !errors.Is(err, gone) {
		t.Errorf("a dropped key is copied: %v", err)
	}
	if string(held) != string(make([]byte, Size)) {
		t.Error("the scalar is left")
	}
	if _, err := c.Sign([]byte("x")); err != nil {
		t.Errorf("the copy died too: %v", err)
	}
	var none *Key
	none.Drop(gone)
}

func TestFromScalar(t *testing.T) {
	order := "\xff\xff\xff\xff\x00\x00\x00\x00\xff\xff\xff\xff\xff\xff\xff\xff\xbc\xe6\xfa\xad\xa7\x17\x9e\x84\xf3\xb9\xca\xc2\xfc\x63\x25\x51"
	for _, bad := range []string{"", "short", strings.Repeat("\x00", Size), order, strings.Repeat("\xff", Size), strings.Repeat("\x01", Size+1)} {
		if _, err := FromScalar([]byte(bad)); !errors.Is(err, ErrScalar) {
			t.Errorf("%x: %v", bad, err)
		}
	}
	in := []byte(strings.Repeat("\x01", Size))
	k, err := FromScalar(in)
	if err != nil {
		t.Fatal(err)
	}
	clear(in)
	if out, err := k.AppendScalar(nil); err != nil || string(out) != strings.Repeat("\x01", Size) {
		t.Errorf("the caller's bytes are the key's: %x %v", out, err)
	}
	if s := fmt.Sprintf("%v %+v %#v %s", k, k, k, k); strings.Contains(s, "1, 0x1") || strings.Contains(s, "[1 1") || strings.Contains(s, "\x01") {
		t.Errorf("printed: %q", s)
	}
}
