package tpm

import (
	"bytes"
	"crypto/elliptic"
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/google/go-tpm/tpm2"

	"github.com/keytether/keytether/internal/jws"
	"github.com/keytether/keytether/internal/keystore"
	"github.com/keytether/keytether/internal/secret"
)

// example is a file of made-up blobs, whose entry opens with a key of ones.
func example(t testing.TB) *contents {
	t.Helper()
	made := func(s string) blob {
		return blob{SRK: []byte("srk"), Pub: []byte("public " + s), Priv: []byte("private " + s)}
	}
	c := empty()
	c.Keys["issuer.1"] = made("key")
	e := keystore.Entry{Key: "issuer.1", RefreshToken: secret.New("ktr_made-up"), Metadata: []byte("{}")}
	b, err := sealWith(bytes.Repeat([]byte{1}, 32), bytes.Repeat([]byte{2}, 24), about("default", e.Key), plain(e))
	if err != nil {
		t.Fatal(err)
	}
	b.Key = made("seal")
	c.Entries["default"] = entry{Key: e.Key, Box: b}
	return c
}

// TestGolden holds the format still: what version 1 wrote is read for ever.
func TestGolden(t *testing.T) {
	raw, err := os.ReadFile("testdata/tpm.keys.1")
	if err != nil {
		t.Fatal(err)
	}
	wrote, err := example(t).encode()
	if err != nil || !bytes.Equal(wrote, raw) {
		t.Errorf("version 1 is written as (%v)\n%s", err, wrote)
	}
	c, err := parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	data, err := openWith(bytes.Repeat([]byte{1}, 32), about("default", "issuer.1"), c.Entries["default"].Box)
	if err != nil {
		t.Fatal(err)
	}
	e, err := fromPlain("issuer.1", data)
	if err != nil || e.RefreshToken.Reveal() != "ktr_made-up" || string(e.Metadata) != "{}" {
		t.Errorf("%s %v", e.Metadata, err)
	}
}

func TestParseRefuses(t *testing.T) {
	whole, err := example(t).encode()
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name, old, new string
		want           error
	}{
		{"a newer version", `"version": 1`, `"version": 2`, errNewer},
		{"a newer one with more", `"version": 1`, `"version": 2, "more": 1`, errNewer},
		{"version 0", `"version": 1`, `"version": 0`, errDamaged},
		{"an unknown member", `"version": 1`, `"version": 1, "more": 1`, errDamaged},
		{"no keys", `"keys": {`, `"keys": null, "old": {`, errDamaged},
		{"an entry without its key", `"key": "issuer.1"`, `"key": "issuer.2"`, errDamaged},
		{"a bad name of a key", `"issuer.1": {`, `"issuer/1": {`, errDamaged},
		{"a bad name of an entry", `"default"`, `"de fault"`, errDamaged},
		{"a blob without its private part", `"priv": "`, `"priv": "", "pub": "`, errDamaged},
		{"a blob that is too long", `"priv": "`, `"priv": "` + strings.Repeat("AAAA", maxBlob), errDamaged},
		{"more behind", "\n}\n", "\n}\n{}", errDamaged},
		{"half", "\n}\n", "", errDamaged},
	} {
		raw := strings.Replace(string(whole), tt.old, tt.new, 1)
		if raw == string(whole) {
			t.Errorf("%s: nothing to replace", tt.name)
		}
		if _, err := parse([]byte(raw)); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	whole, err := example(f).encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(whole)
	f.Add([]byte(`{"version":1,"keys":{},"entries":{}}`))
	f.Add([]byte(`{"version":2}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		c, err := parse(raw)
		if err != nil {
			if !errors.Is(err, errDamaged) && !errors.Is(err, errNewer) {
				t.Errorf("%v", err)
			}
			return
		}
		for _, b := range c.Keys {
			_, _ = publicKey(b) // another parser of what the file holds
		}
		again, err := c.encode()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := parse(again); err != nil {
			t.Errorf("what was read cannot be written: %v", err)
		}
	})
}

// FuzzPublic reads the chip's own form of a public key, which stands in the file.
func FuzzPublic(f *testing.F) {
	public := keyTemplate()
	f.Add(tpm2.Marshal(tpm2.New2B(public)))
	public.Unique = tpm2.NewTPMUPublicID(tpm2.TPMAlgECC, &tpm2.TPMSECCPoint{
		X: tpm2.TPM2BECCParameter{Buffer: elliptic.P256().Params().Gx.Bytes()},
		Y: tpm2.TPM2BECCParameter{Buffer: elliptic.P256().Params().Gy.Bytes()},
	})
	f.Add(tpm2.Marshal(tpm2.New2B(public)))
	f.Fuzz(func(t *testing.T, raw []byte) {
		pub, err := publicKey(blob{Pub: raw})
		if err == nil && pub.Algorithm() != jws.ES256 {
			t.Errorf("a key for %s", pub.Algorithm())
		}
		if err != nil && !errors.Is(err, errDamaged) {
			t.Error(err)
		}
	})
}

func FuzzPlain(f *testing.F) {
	f.Add([]byte("\x00\x00\x00\x01t{}"))
	f.Add([]byte("\xff\xff\xff\xff"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		if e, err := fromPlain("k", raw); err == nil && !bytes.Equal(plain(e), raw) {
			t.Errorf("%q is read as something else", raw)
		}
	})
}
