package file

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"

	"filippo.io/age"
)

var (
	errDamaged = errors.New("file: damaged")
	errNewer   = errors.New("file: of a newer version")
	errOlder   = errors.New("file: older than what was seen")
)

// The file is a header and then an age file (binary) for one X25519 recipient, all integers
// big-endian:
//
//	header   "KTSTORE"  version(1)  len(1) sealer's name  len(2) age identity as the sealer sealed it
//	content  SHA-256 of the header(32)  number(8)  count(4)  count × record, by ascending id
//	record   len(2) id  len(4) bytes
const (
	magic   = "KTSTORE"
	version = 1

	maxSealer = 32
	maxSealed = 16 << 10
	sizeFixed = sha256.Size + 8 + 4
)

type header struct {
	raw    []byte
	sealer string
	sealed []byte
}

func (h header) equal(o header) bool { return bytes.Equal(h.raw, o.raw) }

func newHeader(sealer string, sealed []byte) (header, error) {
	if sealer == "" || len(sealer) > maxSealer || len(sealed) > maxSealed {
		return header{}, fmt.Errorf("file: the sealer %q gives a name or a box that is too long", sealer)
	}
	raw := append([]byte(magic), version, byte(len(sealer)))
	raw = append(raw, sealer...)
	raw = binary.BigEndian.AppendUint16(raw, uint16(len(sealed)))
	raw = append(raw, sealed...)
	return header{raw, sealer, raw[len(raw)-len(sealed):]}, nil
}

// parseHeader gives the header and the age file behind it.
func parseHeader(raw []byte) (header, []byte, error) {
	rest, ok := bytes.CutPrefix(raw, []byte(magic))
	if !ok || len(rest) < 2 {
		return header{}, nil, errDamaged
	}
	if rest[0] != version {
		if rest[0] > version {
			return header{}, nil, errNewer
		}
		return header{}, nil, errDamaged
	}
	n := int(rest[1])
	if rest = rest[2:]; n == 0 || n > maxSealer || len(rest) < n+2 {
		return header{}, nil, errDamaged
	}
	h := header{sealer: string(rest[:n])}
	m := int(binary.BigEndian.Uint16(rest[n:]))
	if rest = rest[n+2:]; m > maxSealed || len(rest) < m {
		return header{}, nil, errDamaged
	}
	h.sealed, rest = rest[:m:m], rest[m:]
	h.raw = raw[:len(raw)-len(rest)]
	return h, rest, nil
}

// content is what is sealed.
type content struct {
	number  uint64
	records map[string][]byte
}

func (c *content) wipe() {
	for _, raw := range c.records {
		clear(raw)
	}
	clear(c.records)
}

func (c *content) size() int {
	n := sizeFixed
	for id, raw := range c.records {
		n += 2 + len(id) + 4 + len(raw)
	}
	return n
}

func (c *content) append(b []byte, h header) []byte {
	sum := sha256.Sum256(h.raw)
	b = append(b, sum[:]...)
	b = binary.BigEndian.AppendUint64(b, c.number)
	b = binary.BigEndian.AppendUint32(b, uint32(len(c.records)))
	for _, id := range slices.Sorted(maps.Keys(c.records)) {
		b = binary.BigEndian.AppendUint16(b, uint16(len(id)))
		b = append(b, id...)
		b = binary.BigEndian.AppendUint32(b, uint32(len(c.records[id])))
		b = append(b, c.records[id]...)
	}
	return b
}

// parseContent copies what it keeps.
func parseContent(b []byte, h header) (*content, error) {
	sum := sha256.Sum256(h.raw)
	if len(b) < sizeFixed || !bytes.Equal(b[:sha256.Size], sum[:]) {
		return nil, errDamaged
	}
	c := &content{number: binary.BigEndian.Uint64(b[sha256.Size:]), records: map[string][]byte{}}
	count := binary.BigEndian.Uint32(b[sha256.Size+8:])
	b = b[sizeFixed:]
	last := ""
	for range count {
		if len(b) < 2 {
			return nil, c.damaged()
		}
		n := int(binary.BigEndian.Uint16(b))
		if b = b[2:]; len(b) < n+4 {
			return nil, c.damaged()
		}
		id := string(b[:n])
		m := binary.BigEndian.Uint32(b[n:])
		if b = b[n+4:]; uint64(len(b)) < uint64(m) || id <= last {
			return nil, c.damaged()
		}
		c.records[id] = append(make([]byte, 0, m), b[:m]...)
		b, last = b[m:], id
	}
	if len(b) != 0 {
		return nil, c.damaged()
	}
	return c, nil
}

func (c *content) damaged() error {
	c.wipe()
	return errDamaged
}

// seal gives the file.
func seal(c *content, to age.Recipient, h header) ([]byte, error) {
	plain := c.append(make([]byte, 0, c.size()), h)
	defer clear(plain)
	var out bytes.Buffer
	out.Write(h.raw)
	w, err := age.Encrypt(&out, to)
	if err != nil {
		return nil, fmt.Errorf("file: %w", err)
	}
	if _, err := w.Write(plain); err != nil {
		return nil, fmt.Errorf("file: %w", err)
	}
	if err := w.Close(); err != nil {
		return nil, fmt.Errorf("file: %w", err)
	}
	return out.Bytes(), nil
}

// unlock gives the content of the age file. A file for another identity is a damaged one.
func unlock(sealed []byte, id age.Identity, h header) (*content, error) {
	r, err := age.Decrypt(bytes.NewReader(sealed), id)
	if err != nil {
		return nil, errDamaged
	}
	plain := make([]byte, len(sealed)) // more than enough, so that nothing is copied to grow
	defer clear(plain)
	n, err := readAll(r, plain)
	if err != nil {
		return nil, errDamaged
	}
	return parseContent(plain[:n], h)
}

// readAll reads up to the end. age says io.ErrUnexpectedEOF of a file that was cut, which
// io.ReadFull could not tell from a buffer that is not full.
func readAll(r io.Reader, buf []byte) (int, error) {
	n := 0
	for n < len(buf) {
		m, err := r.Read(buf[n:])
		n += m
		if err == io.EOF {
			return n, nil
		}
		if err != nil {
			return n, err
		}
	}
	return n, errDamaged // what was sealed is longer than its seal
}
