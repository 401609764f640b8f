package redact

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/keytether/keytether/internal/secret"
)

const (
	header = "eyJhbGciOiJFUzI1NiIsInR5cCI6ImF0K2p3dCJ9" // {"alg":"ES256","typ":"at+jwt"}
	jwt    = header + ".eyJpc3MiOiJodHRwczovL2F1dGgudGVzdCJ9.MEUCIQDx-_A"
	opaque = "Zm9vYmFyYmF6cXV4MTIzNDU2Nzg5MDEyMzQ1Njc4OTA" // 43 characters
	// A key that was made for this test and opens nothing.
	body   = "MHcCAQEEIOyN0v5KHq1n0m5a9eTq2m1Yk1l9f3w2b7c8d9e0f1g2oAoGCCqGSM49\nAwEHoUQDQgAE"
	pemKey = "-----BEGIN EC PRIVATE KEY-----\n" + body + "\n-----END EC PRIVATE KEY-----"
)

func code() string    { return secret.Mint(secret.Code, [32]byte{1, 2, 3}).Reveal() }
func session() string { return secret.Mint(secret.Session, [32]byte{9}).Reveal() }

func refresh() string {
	return secret.SealRefresh(secret.NewKey([32]byte{1}), "default", secret.RefreshHandle{Generation: 2}, [32]byte{3}).Reveal()
}

// Every kind of package secret has the shape that the scanner looks for.
func TestKindsAreKnown(t *testing.T) {
	for _, k := range secret.Kinds() {
		if len(k) != 4 || k[:2] != "kt" || k[3] != '_' {
			t.Errorf("kind %q has another shape", k)
		}
		if k == secret.Refresh {
			continue
		}
		s := secret.Mint(k, [32]byte{1}).Reveal()
		if got := String(s); got != string(k)+mask {
			t.Errorf("String(%s) = %s", s, got)
		}
	}
	if got := String(refresh()); got != "ktr_"+mask {
		t.Errorf("refresh token: %s", got)
	}
}

func TestString(t *testing.T) {
	c := code()
	flip := func(s string, i int) string { // another character of the alphabet
		b := []byte(s)
		b[i] = 'A' + (b[i]-'A'+1)%26
		return string(b)
	}
	certificate := strings.ReplaceAll(pemKey, "EC PRIVATE KEY", "CERTIFICATE")
	for _, tt := range []struct{ name, in, want string }{
		{"empty", "", ""},
		{"clear", "nothing to see, code 5, exit code=1 key=value", "nothing to see, code 5, exit code=1 key=value"},
		{"minted alone", c, "ktc_" + mask},
		{"minted in quotes", `{"code":"` + c + `"}`, `{"code":"ktc_` + mask + `"}`},
		{"minted twice, touching", c + c, "ktc_" + mask + "ktc_" + mask},
		{"minted after letters", "x" + c, "xktc_" + mask},
		{"minted in a urn", "urn:ietf:params:oauth:request_uri:" + secret.Mint(secret.RequestURI, [32]byte{4}).Reveal(), "urn:ietf:params:oauth:request_uri:ktu_" + mask},
		{"minted, wrong checksum", flip(c, len(c)-1), flip(c, len(c)-1)},
		{"minted, wrong body", flip(c, 10), flip(c, 10)},
		{"minted, cut off", c[:len(c)-1], c[:len(c)-1]},
		{"minted, unknown kind", "ktz_" + c[4:], "ktz_" + c[4:]},
		{"jws", "DPoP " + jwt + "\n", "DPoP eyJ" + mask + "\n"},
		{"jws, cut off", header + ".eyJpc3M", "eyJ" + mask},
		{"jws, glued", "x" + jwt + `"`, "xeyJ" + mask + `"`},
		{"jwe, five parts", jwt + ".aa.bb", "eyJ" + mask},
		{"header alone is no secret", header + " ", header + " "},
		{"json without alg", "eyJhIjoxfQ.eyJhIjoxfQ.aa", "eyJhIjoxfQ.eyJhIjoxfQ.aa"},
		{"not json", "eyJoZWxsbyJ9x.foo.bar", "eyJoZWxsbyJ9x.foo.bar"},
		{"false header before a true one", header + jwt, header + "eyJ" + mask},
		{"pem", "key:\n" + pemKey + "\nnext", "key:\n-----BEGIN " + mask + "\nnext"},
		{"pem in json", strings.ReplaceAll(pemKey, "\n", `\n`) + `"}`, "-----BEGIN " + mask + `"}`},
		{"pem, cut off", pemKey[:60], "-----BEGIN " + mask},
		{"pem, cut off, then whole", pemKey[:60] + "\n" + pemKey + "!", "-----BEGIN " + mask + "!"},
		{"certificate", certificate, certificate},
		{"query", "http://127.0.0.1:1/callback?code=abc&state=1", "http://127.0.0.1:1/callback?code=" + mask + "&state=1"},
		{"query later", "/cb?state=1&code=abc", "/cb?state=1&code=" + mask},
		{"form", "code=" + opaque + "&code_verifier=" + opaque, "code=" + mask + "&code_verifier=" + mask},
		{"nonce", "iss=a&handshake_nonce=" + opaque + "\n", "iss=a&handshake_nonce=" + mask + "\n"},
		{"foreign tokens", "refresh_token=" + opaque + " access_token=" + opaque, "refresh_token=" + mask + " access_token=" + mask},
		{"other names", "xcode=" + opaque + " error_code=" + opaque, "xcode=" + opaque + " error_code=" + opaque},
		{"challenge is no secret", "code_challenge=" + opaque, "code_challenge=" + opaque},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := String(tt.in); got != tt.want {
				t.Errorf("String(%q)\n got %q\nwant %q", tt.in, got, tt.want)
			}
			if got := string(Bytes([]byte("before "), []byte(tt.in))); got != "before "+tt.want {
				t.Errorf("Bytes: %q", got)
			}
		})
	}
}

// hidden is a secret in text, and the part that must not survive.
type hidden struct{ text, core string }

func drawHidden(t *rapid.T) hidden {
	b := [32]byte(rapid.SliceOfN(rapid.Byte(), 32, 32).Draw(t, "random"))
	b64 := base64.RawURLEncoding.EncodeToString(b[:])
	switch rapid.IntRange(0, 6).Draw(t, "sort") {
	case 0:
		k := rapid.SampledFrom([]secret.Kind{secret.Code, secret.Device, secret.RequestURI, secret.Session}).Draw(t, "kind")
		s := secret.Mint(k, b).Reveal()
		return hidden{s, s[4:]}
	case 1:
		s := secret.SealRefresh(secret.NewKey(b), "default", secret.RefreshHandle{Generation: 7}, b).Reveal()
		return hidden{s, s[4:]}
	case 2:
		return hidden{header + "." + b64 + "." + b64, b64}
	case 3:
		std := base64.StdEncoding.EncodeToString(b[:])
		return hidden{"-----BEGIN PRIVATE KEY-----\n" + std + "\n-----END PRIVATE KEY-----", std}
	case 4:
		return hidden{rapid.SampledFrom([]string{"?", "&", `?x=\u0026`}).Draw(t, "before") + "code=" + b64[:8], b64[:8]}
	}
	name := rapid.SampledFrom(names).Draw(t, "name")
	return hidden{name + "=" + b64, b64}
}

// No secret survives, however the writes are split, and the split does not
// show: a Writer gives what String gives.
//
// Invariant: SC-5
func TestWriterMasksAcrossAnySplit(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var text strings.Builder
		var cores []string
		for range rapid.IntRange(1, 4).Draw(t, "n") {
			// The separator does not end in a character of a name or value.
			text.WriteString(rapid.SampledFrom([]string{" ", "\n", "k ", "-----BEGIN ", `{"code":"`, "exit code=1 ", "eyJ ktr_ ", "code_verifier ", "e kt <"}).Draw(t, "between"))
			h := drawHidden(t)
			text.WriteString(h.text)
			cores = append(cores, h.core)
		}
		text.WriteString(rapid.SampledFrom([]string{"", "\n", `"}`, " ktr", " eyJ", " code="}).Draw(t, "end"))
		in := text.String()
		var out bytes.Buffer
		w := NewWriter(&out)
		for rest := in; rest != ""; {
			n := rapid.IntRange(1, min(len(rest), 40)).Draw(t, "cut")
			if _, err := io.WriteString(w, rest[:n]); err != nil {
				t.Fatal(err)
			}
			rest = rest[n:]
			for _, c := range cores {
				if strings.Contains(out.String(), c) {
					t.Fatalf("%q survives in\n%q", c, out.String())
				}
			}
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		for _, c := range cores {
			if strings.Contains(out.String(), c) {
				t.Fatalf("%q survives in\n%q", c, out.String())
			}
		}
		if want := String(in); out.String() != want {
			t.Fatalf("in  %q\nout %q\nas one %q", in, out.String(), want)
		}
	})
}

// A prompt is not held back.
func TestWriterLetsPromptsThrough(t *testing.T) {
	for _, s := range []string{"Password: ", "Enter code", "y/n [k", "-----BEGIN ", "kt", "?code="} {
		var out bytes.Buffer
		if _, err := io.WriteString(NewWriter(&out), s); err != nil || out.String() != s {
			t.Errorf("wrote %q, came out %q (%v)", s, out.String(), err)
		}
	}
}

// What is held back stays bounded, whatever is written.
func TestWriterHoldsLittle(t *testing.T) {
	for _, piece := range []string{"eyJ", "a", "-", "ktr_", header, "code=", jwt, "-----BEGIN PRIVATE KEY-----"} {
		w := NewWriter(io.Discard)
		for range 4000 {
			if _, err := io.WriteString(w, piece); err != nil {
				t.Fatal(err)
			}
			if len(w.held) > maxHeader+maxMarker {
				t.Fatalf("%q: %d bytes held", piece, len(w.held))
			}
		}
	}
}

type brokenWriter struct{}

var errBroken = errors.New("broken")

func (brokenWriter) Write([]byte) (int, error) { return 0, errBroken }

func TestWriterKeepsTheError(t *testing.T) {
	w := NewWriter(brokenWriter{})
	for range 2 {
		if _, err := io.WriteString(w, "hello "); !errors.Is(err, errBroken) {
			t.Errorf("Write: %v", err)
		}
	}
	if err := w.Close(); !errors.Is(err, errBroken) {
		t.Errorf("Close: %v", err)
	}
}

type stringer struct{ s string }

func (s stringer) String() string { return s.s }

type valuer struct{ s string }

func (v valuer) LogValue() slog.Value { return slog.StringValue(v.s) }

// TestHandlerMasksEverything logs a secret in every place and kind of value.
//
// Invariant: SC-6
func TestHandlerMasksEverything(t *testing.T) {
	secrets := []string{code(), session(), refresh(), jwt, opaque, body}
	inPlain := "GET /cb?code=" + opaque + " " + strings.Join(secrets[:4], " ") + " " + pemKey
	ptr := &struct{ Token string }{jwt}
	var out bytes.Buffer
	opts := &slog.HandlerOptions{Level: slog.LevelDebug}
	for _, h := range []slog.Handler{slog.NewTextHandler(&out, opts), slog.NewJSONHandler(&out, opts)} {
		log := slog.New(Handler(h))
		for _, level := range []slog.Level{slog.LevelDebug, slog.LevelInfo, slog.LevelWarn, slog.LevelError} {
			log.Log(context.Background(), level, "message "+inPlain,
				"string", inPlain, inPlain, "key",
				"error", fmt.Errorf("wrapped: %w", errors.New(inPlain)),
				"stringer", stringer{inPlain}, "valuer", valuer{inPlain},
				"bytes", []byte(inPlain), "struct", struct{ A string }{inPlain}, "pointer", ptr, "deep pointer", struct{ P any }{ptr},
				"map", map[string]string{"k": inPlain}, "list", []string{inPlain},
				slog.Group("group", "in", inPlain, slog.Group("deeper", "in", errors.New(inPlain))),
				"number", 5, "time", time.Unix(0, 0), "nil", nil)
		}
		log.With("with", inPlain).WithGroup(inPlain).With("error", errors.New(inPlain)).Info("x")
	}
	for _, s := range secrets {
		for _, form := range []string{s, strings.ReplaceAll(s, "\n", `\n`), base64.StdEncoding.EncodeToString([]byte(s))[8:40]} {
			if strings.Contains(out.String(), form) {
				t.Errorf("%.60q survives in\n%s", form, out.String())
			}
		}
	}
	if got := strings.Count(out.String(), "ktc_"+mask); got < 100 {
		t.Errorf("only %d masks; was anything logged?", got)
	}
}

func TestHandlerLeavesTheRestAlone(t *testing.T) {
	var masked, plain bytes.Buffer
	at := time.Unix(1700000000, 0)
	for _, o := range []struct {
		h func(slog.Handler) slog.Handler
		b *bytes.Buffer
	}{{Handler, &masked}, {func(h slog.Handler) slog.Handler { return h }, &plain}} {
		for _, h := range []slog.Handler{slog.NewTextHandler(o.b, nil), slog.NewJSONHandler(o.b, nil)} {
			h = o.h(h).WithGroup("g").WithAttrs([]slog.Attr{slog.Int("n", 1)})
			if h.Enabled(context.Background(), slog.LevelDebug) {
				t.Error("debug is enabled")
			}
			r := slog.NewRecord(at, slog.LevelInfo, "hello", 0)
			r.Add("err", io.EOF, "list", []int{1, 2}, "b", []byte("abc"), "d", time.Second, "nil", error(nil), slog.Group("q", "a", true))
			if err := h.Handle(context.Background(), r); err != nil {
				t.Fatal(err)
			}
		}
	}
	if masked.String() != plain.String() {
		t.Errorf("got\n%s\nwant\n%s", masked.String(), plain.String())
	}
}

func TestNoHitDoesNotAllocate(t *testing.T) {
	s := cleanText()
	if n := testing.AllocsPerRun(10, func() { String(s) }); n != 0 {
		t.Errorf("%v allocations for text without secrets", n)
	}
}

func FuzzString(f *testing.F) {
	for _, s := range []string{code() + "x", refresh(), jwt, pemKey, "?code=" + opaque, "code=" + jwt, header + jwt, "-----BEGIN RSA PRIVATE KEY-----\nabc", jwt + "code=" + opaque, code() + "code=" + opaque + "\n", "eyJ[redacted]", `?code=a\u0026code=b\u0026`} {
		f.Add(s, uint8(7))
	}
	f.Fuzz(func(t *testing.T, s string, cut uint8) {
		once := String(s)
		if twice := String(once); twice != once {
			t.Fatalf("in    %q\nonce  %q\ntwice %q", s, once, twice)
		}
		var out bytes.Buffer
		w := NewWriter(&out)
		for rest, n := s, int(cut)%61+1; rest != ""; {
			n = min(n, len(rest))
			_, _ = io.WriteString(w, rest[:n])
			rest = rest[n:]
		}
		_ = w.Close()
		if out.String() != once {
			t.Fatalf("in     %q\nonce   %q\nWriter %q", s, once, out.String())
		}
	})
}

func cleanText() string {
	const line = `2026-11-24T08:07:54.000123Z level=INFO msg="token issued" tenant=default client=example-cli grant=grt_01ARZ3NDEKTSV4RRFFQ69G5FAV scope="read write" duration=1.2ms status=200` + "\n" +
		`{"time":"2026-11-24T08:07:54Z","level":"DEBUG","msg":"GET /oauth/jwks","remote_addr":"127.0.0.1:51234","user_agent":"keytether/0.1 (linux; amd64)","bytes_out":412}` + "\n"
	return strings.Repeat(line, 256)
}

func BenchmarkString(b *testing.B) {
	s := cleanText()
	b.SetBytes(int64(len(s)))
	b.ReportAllocs()
	for b.Loop() {
		String(s)
	}
}

func BenchmarkStringProse(b *testing.B) {
	s := strings.Repeat("The quick brown fox jumps over the lazy dog, and then it keeps to itself; nobody knows why. ", 1000)
	b.SetBytes(int64(len(s)))
	for b.Loop() {
		String(s)
	}
}

func BenchmarkWriterWithSecrets(b *testing.B) {
	line := []byte(`level=DEBUG msg="POST /oauth/token" refresh_token=` + refresh() + ` authorization="DPoP ` + jwt + `" status=200` + "\n")
	w := NewWriter(io.Discard)
	b.SetBytes(int64(len(line)))
	b.ReportAllocs()
	for b.Loop() {
		_, _ = w.Write(line)
	}
}
