package command

import (
	"strings"
	"testing"
	"unicode/utf8"

	"rsc.io/qr"
)

// TestDrawQR reads the drawing back, module by module.
func TestDrawQR(t *testing.T) {
	const at = "https://auth.example.test/device"
	code, err := qr.Encode(at, qr.L)
	if err != nil {
		t.Fatal(err)
	}
	size := code.Size + 2*quiet
	plain := drawQR(at, canvas{columns: 2 * size})
	blocks := drawQR(at, canvas{columns: size, blocks: true})
	if len(plain) != size || len(blocks) != (size+1)/2 {
		t.Fatalf("%d and %d lines for %d modules", len(plain), len(blocks), size)
	}
	for y := range size {
		row := []rune(blocks[y/2])
		for x := range size {
			black := code.Black(x-quiet, y-quiet)
			if got := plain[y][2*x:2*x+2] == "  "; got != black {
				t.Fatalf("module %d %d is drawn wrong in plain characters", x, y)
			}
			light := map[rune][2]bool{' ': {}, '▀': {true, false}, '▄': {false, true}, '█': {true, true}}[row[x]]
			if light[y%2] == black {
				t.Fatalf("module %d %d is drawn wrong in half blocks", x, y)
			}
		}
	}
	for _, l := range blocks {
		if utf8.RuneCountInString(l) != size {
			t.Errorf("a line of %d columns", utf8.RuneCountInString(l))
		}
	}
	if drawQR(at, canvas{columns: size - 1, blocks: true}) != nil || drawQR(at, canvas{columns: 2*size - 1}) != nil {
		t.Error("drawn where it does not fit")
	}
	if drawQR(strings.Repeat("x", 5000), canvas{columns: 1000}) != nil {
		t.Error("more than a QR code holds")
	}
	for _, on := range []canvas{{columns: 100, colour: true}, {columns: 100, colour: true, blocks: true}} {
		for _, l := range drawQR(at, on) {
			if !strings.HasPrefix(l, "\x1b[97;40m") || !strings.HasSuffix(l, "\x1b[0m") {
				t.Errorf("%q leaves its colours behind", l)
			}
		}
	}
}

func TestUnicodeTerminal(t *testing.T) {
	for env, want := range map[string]bool{
		"": false, "LANG=C": false, "LANG=de_DE.UTF-8": true, "LANG=en_US.utf8": true, "LC_ALL=C LANG=C.UTF-8": false, "LC_CTYPE=C.UTF-8 LANG=C": true,
	} {
		if got := newApp(Program{Environ: strings.Fields(env)}).unicodeTerminal(); got != want {
			t.Errorf("%q: %v", env, got)
		}
	}
}
