package redact

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
)

// TestVectors reads the cases that the Python package answers too.
//
// Invariant: PY-5
func TestVectors(t *testing.T) {
	b, err := os.ReadFile(filepath.Join("..", "..", "conformance", "redact", "vectors.json"))
	if err != nil {
		t.Fatal(err)
	}
	var f struct {
		Vectors []struct{ Name, In, Want string }
	}
	if err := json.Unmarshal(b, &f); err != nil {
		t.Fatal(err)
	}
	if len(f.Vectors) < 40 {
		t.Fatalf("only %d vectors", len(f.Vectors))
	}
	for _, v := range f.Vectors {
		if got := String(v.In); got != v.Want {
			t.Errorf("%s: String(%q)\n got %q\nwant %q", v.Name, v.In, got, v.Want)
		}
	}
}
