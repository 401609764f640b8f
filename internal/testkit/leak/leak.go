// Package leak looks for secrets where none may be: in every file below some
// folders, and in the arguments and environments of running processes. It
// knows the ways a secret usually gets written down. It does not decompress: what
// a program stores compressed or encrypted it does not see.
package leak

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strconv"
	"strings"
)

// ErrShort says that a secret is too short to look for: it would be found by
// chance, and the finding would mean nothing.
var ErrShort = errors.New("leak: a secret needs at least 12 bytes")

// minSecret is the shortest secret worth a search, in bytes.
const minSecret = 12

// Hit is one secret found in one place. It does not hold the secret.
type Hit struct {
	Secret string // the name that the caller gave it
	Form   string // how it was written: "raw", "base64url", "hex", …
	Where  string // path of the file, or /proc/PID/cmdline and the like
}

// String says what was found where, without the secret.
func (h Hit) String() string { return fmt.Sprintf("%s (%s) in %s", h.Secret, h.Form, h.Where) }

// Scanner looks for a fixed set of secrets.
type Scanner struct {
	// byEnd finds the needles by their last bytes: beginnings are alike, since all
	// JWTs begin with the same header.
	byEnd map[uint64][]needle
	some  [1 << 16]bool // of hashes of those ends
}

const endBytes = 8 // less than minSecret

type needle struct {
	name, form string
	bytes      []byte
}

// New takes secrets by name. The values may be binary.
func New(secrets map[string][]byte) (*Scanner, error) {
	s := &Scanner{byEnd: map[uint64][]needle{}}
	names := make([]string, 0, len(secrets))
	for name := range secrets {
		names = append(names, name)
	}
	sort.Strings(names)
	for _, name := range names {
		v := secrets[name]
		if len(v) < minSecret {
			return nil, fmt.Errorf("%w: %s has %d", ErrShort, name, len(v))
		}
		for _, n := range forms(name, v) {
			end := binary.LittleEndian.Uint64(n.bytes[len(n.bytes)-endBytes:])
			s.byEnd[end] = append(s.byEnd[end], n)
			s.some[hash(end)] = true
		}
	}
	return s, nil
}

// forms lists the ways of writing a secret, each once.
func forms(name string, v []byte) []needle {
	seen := map[string]bool{}
	var out []needle
	add := func(form string, b []byte) {
		if len(b) >= minSecret && !seen[string(b)] {
			seen[string(b)] = true
			out = append(out, needle{name, form, b})
		}
	}
	add("raw", v)
	add("percent-encoded", percent(v, "%02X"))
	add("percent-encoded", percent(v, "%02x"))
	add("hex", []byte(hex.EncodeToString(v)))
	add("HEX", bytes.ToUpper([]byte(hex.EncodeToString(v))))
	add("utf-16", utf16(v))
	// Base64 of something that contains the secret: the secret may begin at
	// any of three positions in a group, and the first and last characters
	// then depend on the neighbours, so they are left out.
	for shift := range 3 {
		for _, enc := range []struct {
			form string
			e    *base64.Encoding
		}{{"base64url", base64.RawURLEncoding}, {"base64", base64.RawStdEncoding}} {
			b := []byte(enc.e.EncodeToString(append(make([]byte, shift), v...)))
			lead := []int{0, 2, 3}[shift]
			tail := 0
			if (shift+len(v))%3 != 0 {
				tail = 1
			}
			add(enc.form, b[lead:len(b)-tail])
		}
	}
	return out
}

// percent encodes as RFC 3986 §2.1 does, keeping the unreserved characters.
func percent(v []byte, format string) []byte {
	var b bytes.Buffer
	for _, c := range v {
		if 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("-._~", c) >= 0 {
			b.WriteByte(c)
			continue
		}
		b.WriteString("%" + fmt.Sprintf(format, c))
	}
	return b.Bytes()
}

// utf16 is how Chromium stores strings that it takes for text beyond Latin-1.
func utf16(v []byte) []byte {
	out := make([]byte, 0, 2*len(v))
	for _, c := range v {
		out = append(out, c, 0)
	}
	return out
}

func hash(end uint64) uint16 { return uint16(end * 0x9e3779b97f4a7c15 >> 48) }

// Bytes looks through data that was read from where. Each form of a secret is found
// once.
func (s *Scanner) Bytes(where string, data []byte) []Hit {
	var hits []Hit
	for i := endBytes; i <= len(data); i++ {
		end := binary.LittleEndian.Uint64(data[i-endBytes:])
		if !s.some[hash(end)] {
			continue
		}
		for _, n := range s.byEnd[end] {
			hit := Hit{n.name, n.form, where}
			if bytes.HasSuffix(data[:i], n.bytes) && !slices.Contains(hits, hit) {
				hits = append(hits, hit)
			}
		}
	}
	sort.SliceStable(hits, func(a, b int) bool { return hits[a].Secret < hits[b].Secret })
	return hits
}

// Files looks through the name and the content of every regular file below the
// roots. A file that goes away meanwhile is passed over; one that cannot be
// read is an error, since it was not looked at. It also returns how many files
// it read, so that a test can see that it read any.
func (s *Scanner) Files(roots ...string) ([]Hit, int, error) {
	var hits []Hit
	files := 0
	for _, root := range roots {
		err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if errors.Is(err, fs.ErrNotExist) && path != root {
				return nil
			}
			if err != nil {
				return err
			}
			hits = append(hits, s.Bytes("the name "+path, []byte(path))...)
			if !d.Type().IsRegular() {
				return nil
			}
			data, err := os.ReadFile(path)
			if errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			if err != nil {
				return err
			}
			files++
			hits = append(hits, s.Bytes(path, data)...)
			return nil
		})
		if err != nil {
			return hits, files, fmt.Errorf("leak: look through %s: %w", root, err)
		}
	}
	return hits, files, nil
}

// Processes looks through the arguments and the environment of each process by
// way of Linux's /proc. A process that is gone is an error: it was not looked at.
func (s *Scanner) Processes(pids ...int) ([]Hit, error) {
	var hits []Hit
	for _, pid := range pids {
		for _, what := range []string{"cmdline", "environ"} {
			path := filepath.Join("/proc", strconv.Itoa(pid), what)
			data, err := os.ReadFile(path)
			if err != nil {
				return hits, fmt.Errorf("leak: look through process %d: %w", pid, err)
			}
			hits = append(hits, s.Bytes(path, data)...)
		}
	}
	return hits, nil
}

// Children returns the pids of all processes that descend from pid, and pid itself.
func Children(pid int) ([]int, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, fmt.Errorf("leak: list processes: %w", err)
	}
	parent := map[int]int{}
	for _, e := range entries {
		p, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		data, err := os.ReadFile(filepath.Join("/proc", e.Name(), "stat"))
		if err != nil {
			continue // it has ended since
		}
		// "pid (name) state ppid …": the name may hold spaces and brackets.
		_, rest, ok := strings.Cut(string(data[bytes.LastIndexByte(data, ')')+1:]), " ")
		fields := strings.Fields(rest)
		if !ok || len(fields) < 2 {
			continue
		}
		if pp, err := strconv.Atoi(fields[1]); err == nil {
			parent[p] = pp
		}
	}
	out := []int{pid}
	for p := range parent {
		for q, steps := parent[p], 0; q > 1 && steps < len(parent); q, steps = parent[q], steps+1 {
			if q == pid {
				out = append(out, p)
				break
			}
		}
	}
	sort.Ints(out)
	return out, nil
}

// Scan looks for text secrets in the files below the roots and in the given
// processes.
func Scan(roots []string, pids []int, secrets map[string]string) ([]Hit, error) {
	values := make(map[string][]byte, len(secrets))
	for name, v := range secrets {
		values[name] = []byte(v)
	}
	s, err := New(values)
	if err != nil {
		return nil, err
	}
	hits, _, err := s.Files(roots...)
	if err != nil {
		return hits, err
	}
	more, err := s.Processes(pids...)
	return append(hits, more...), err
}
