package redact

import (
	"bytes"
	"fmt"
	"io"
	"testing"
)

// corpora are what children print, without secrets: the mask must not slow it.
func corpora() map[string][]byte {
	lines := map[string]string{
		"prose":  "The quick brown fox jumps over the lazy dog; nothing here is worth a second look by anybody.\n",
		"build":  "[ 43%%] Building CXX object src/core/CMakeFiles/core_objects.dir/very_long_file_name_%d.cpp.o -I/usr/include -O2\n",
		"logfmt": "time=2026-11-24T11:08:33.%06dZ level=INFO msg=\"request done\" method=GET path=/v1/reports status=200 bytes=5120 duration=12ms\n",
		"json":   `{"time":"2026-11-24T11:08:33.%06dZ","level":"info","msg":"request done","http_method":"GET","status_code":200,"user_id":"u_71f9"}` + "\n",
		"base64": "TWFuIGlzIGRpc3Rpbmd1aXNoZWQsIG5vdCBvbmx5IGJ5IGhpcyByZWFzb24sIGJ1dCBieSB0aGlzIHNpbmd1bGFyIHBhc3Npb24gZnJvbQ==\n",
	}
	out := map[string][]byte{}
	for name, line := range lines {
		var b bytes.Buffer
		for i := 0; b.Len() < 1<<20; i++ {
			if bytes.Contains([]byte(line), []byte("%0")) || bytes.Contains([]byte(line), []byte("%d")) {
				fmt.Fprintf(&b, line, i)
				continue
			}
			b.WriteString(line)
		}
		out[name] = b.Bytes()
	}
	return out
}

func BenchmarkWriter(b *testing.B) {
	for name, text := range corpora() {
		b.Run(name, func(b *testing.B) {
			w := NewWriter(io.Discard)
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
