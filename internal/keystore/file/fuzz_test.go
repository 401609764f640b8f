package file

import (
	"bytes"
	"testing"
)

// FuzzParse reads files and contents of hostile make. What is accepted is written back the same.
func FuzzParse(f *testing.F) {
	h, err := newHeader("passphrase", []byte("sealed"))
	if err != nil {
		f.Fatal(err)
	}
	c := &content{number: 7, records: map[string][]byte{"k:a": {1, 'K'}, "e:a": {1, 'E'}}}
	f.Add(h.raw, c.append(nil, h))
	f.Add([]byte(magic+"\x02"), []byte{})
	f.Add([]byte(magic+"\x01\xff"), make([]byte, sizeFixed))
	f.Fuzz(func(t *testing.T, file, plain []byte) {
		got, rest, err := parseHeader(file)
		if err == nil {
			again, err := newHeader(got.sealer, got.sealed)
			if err != nil || !again.equal(got) || !bytes.Equal(append(bytes.Clone(got.raw), rest...), file) {
				t.Errorf("%x became %x %v", file, again.raw, err)
			}
		}
		for _, head := range []header{got, h} {
			if c, err := parseContent(plain, head); err == nil && !bytes.Equal(c.append(nil, head), plain) {
				t.Errorf("%x became %x", plain, c.append(nil, head))
			}
		}
	})
}
