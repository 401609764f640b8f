package redact

import (
	"bytes"
	"io"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/keytether/keytether/internal/secret"
)

// buffer is a WriteCloser that remembers.
type buffer struct {
	bytes.Buffer
	closed bool
}

func (b *buffer) Close() error { b.closed = true; return nil }

func knowing(t testing.TB, pieces []string, known ...string) string {
	t.Helper()
	var out buffer
	var values []secret.Value
	for _, k := range known {
		values = append(values, secret.New(k))
	}
	w := NewKnown(&out, values...)
	for _, p := range pieces {
		if n, err := io.WriteString(w, p); err != nil || n != len(p) {
			t.Fatalf("Write: %d, %v", n, err)
		}
	}
	if err := w.Close(); err != nil || !out.closed {
		t.Fatalf("Close: %v, closed %t", err, out.closed)
	}
	return out.String()
}

func TestKnown(t *testing.T) {
	for _, tt := range []struct {
		name   string
		pieces []string
		known  []string
		want   string
	}{
		{"nothing known", []string{"a b", " c"}, nil, "a b c"},
		{"once", []string{"user hunter2! done"}, []string{"hunter2!"}, "user [redacted] done"},
		{"split over writes", []string{"user hun", "ter", "2! done"}, []string{"hunter2!"}, "user [redacted] done"},
		{"begins and is another", []string{"hunter", " hunted"}, []string{"hunter2!"}, "hunter hunted"},
		{"twice, touching", []string{"hunter2!hunter2!"}, []string{"hunter2!"}, "[redacted][redacted]"},
		{"one begins another", []string{"abcd", "efgh abcdx"}, []string{"abcd", "abcdefgh"}, "[redacted] [redacted]x"},
		{"in a URL", []string{"?p=a%2Fb%3Dc+d&"}, []string{"a/b=c d"}, "?p=[redacted]&"},
		{"in JSON", []string{`{"p":"a\"b\\c"}`}, []string{`a"b\c`}, `{"p":"[redacted]"}`},
		{"line by line", []string{"1: first line\n2: second\n3: x"}, []string{"first line\nsecond\nx"}, "1: [redacted]\n2: second\n3: x"},
		{"too short to be masked", []string{"a b c"}, []string{"b"}, "a b c"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := knowing(t, tt.pieces, tt.known...); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

// However the text is cut, the output is the same and holds no known secret.
//
// Invariant: HY-1
func TestKnownAcrossAnySplit(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		known := rapid.SliceOfN(rapid.StringOfN(rapid.SampledFrom([]rune("ab")), 4, 7, -1), 1, 3).Draw(t, "known")
		text := rapid.StringOfN(rapid.SampledFrom([]rune("ab ")), 0, 60, -1).Draw(t, "text")
		var values []secret.Value
		for _, k := range known {
			values = append(values, secret.New(k))
		}
		write := func(pieces []string) string {
			var out buffer
			w := NewKnown(&out, values...)
			for _, p := range pieces {
				if _, err := io.WriteString(w, p); err != nil {
					t.Fatal(err)
				}
				if h := len(w.held); h >= 7 {
					t.Fatalf("%d bytes are held", h)
				}
			}
			if err := w.Close(); err != nil {
				t.Fatal(err)
			}
			return out.String()
		}
		var pieces []string
		for rest := text; rest != ""; {
			n := rapid.IntRange(1, len(rest)).Draw(t, "cut")
			pieces = append(pieces, rest[:n])
			rest = rest[n:]
		}
		got := write(pieces)
		for _, k := range known {
			for part := range strings.SplitSeq(got, mask) {
				if strings.Contains(part, k) {
					t.Fatalf("%q survives in %q", k, got)
				}
			}
		}
		if len(known) == 1 && got != write([]string{text}) {
			t.Fatalf("cut: %q, whole: %q", got, write([]string{text}))
		}
	})
}

func BenchmarkKnown(b *testing.B) {
	for name, text := range corpora() {
		b.Run(name, func(b *testing.B) {
			w := NewKnown(NewWriter(io.Discard), secret.New(jwt), secret.New("hunter2-and-more"))
			b.SetBytes(int64(len(text)))
			for b.Loop() {
				for rest := text; len(rest) > 0; {
					n := min(32<<10, len(rest))
					if _, err := w.Write(rest[:n]); err != nil {
						b.Fatal(err)
					}
					rest = rest[n:]
				}
			}
		})
	}
}
