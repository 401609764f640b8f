package scan

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/keytether/keytether/internal/secret"
)

const issuer = "https://auth.test"

func mint(k secret.Kind) string { return secret.Mint(k, [32]byte{1, 2, 3, byte(k[2])}).Reveal() }

func refresh() string {
	return secret.SealRefresh(secret.NewKey([32]byte{1}), "default", secret.RefreshHandle{Generation: 2}, [32]byte{3}).Reveal()
}

// token is a JWT whose signature is nobody's.
func token(typ, iss string, exp int64) string {
	return part(fmt.Sprintf(`{"alg":"ES256","typ":%q}`, typ)) + "." + part(fmt.Sprintf(`{"iss":%q,"exp":%d}`, iss, exp)) + "." + part("signature")
}

func part(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }

func find(t testing.TB, r Rules, text string) []Finding {
	t.Helper()
	var out []Finding
	n, err := r.Stream(strings.NewReader(text), &Buffer{}, func(f Finding) { out = append(out, f) })
	if err != nil || n != int64(len(text)) {
		t.Fatalf("Stream: %d bytes of %d, %v", n, len(text), err)
	}
	return out
}

// TestFinds says what counts and what does not: a checksum that does not hold, a JWT of somebody
// else, a code that is not of a loopback login.
//
// Invariant: HY-2
func TestFinds(t *testing.T) {
	code := mint(secret.Code)
	flip := func(s string, i int) string { return s[:i] + string('A'+(s[i]-'A'+1)%26) + s[i+1:] }
	at, id := token("at+jwt", issuer, 1800000000), token("JWT", issuer, 0)
	precise := strings.Replace(at, part(`{"iss":"https://auth.test","exp":1800000000}`), part(`{"iss":"https://auth.test","exp":1.8000000005e9}`), 1)
	const foreign = "SplxlOBeZQQYbYS6WxSbIA"
	for _, tt := range []struct {
		name, text string
		kind       Kind
		value      string
	}{
		{"nothing", "exit code=1, ktr_ and eyJ", "", ""},
		{"a refresh token", "export T=" + refresh() + "\n", RefreshToken, refresh()},
		{"a code", `{"c":"` + code + `"}`, AuthorizationCode, code},
		{"a device code", mint(secret.Device), DeviceCode, mint(secret.Device)},
		{"a request URI", secret.RequestURIPrefix + mint(secret.RequestURI), RequestURI, mint(secret.RequestURI)},
		{"a session", "Cookie: a=" + mint(secret.Session), SessionCookie, mint(secret.Session)},
		{"an initial token", mint(secret.Initial), InitialToken, mint(secret.Initial)},
		{"a code in a form", "code=" + code + "&state=x", AuthorizationCode, code},
		{"a refresh token in a form", "refresh_token=" + refresh() + " ", RefreshToken, refresh()},
		{"a checksum that does not hold", flip(code, 12), "", ""},
		{"cut off", code[:len(code)-1], "", ""},
		{"an access token", "Authorization: DPoP " + at + "\n", AccessToken, at},
		{"an ID token", id, IDToken, id},
		{"a token in a form", "access_token=" + at, AccessToken, at},
		{"a token at the end of a sentence", "it was " + id + ".", IDToken, id},
		{"a token of another issuer", token("at+jwt", "https://other.test", 0), "", ""},
		{"a token without its signature", at[:strings.LastIndexByte(at, '.')+1], "", ""},
		{"a callback", "http://127.0.0.1:4711/callback?code=" + foreign + "&state=1", CallbackCode, foreign},
		{"a callback, later", `GET "http://localhost:1/cb?state=1&code=` + foreign + `" 302`, CallbackCode, foreign},
		{"a callback in JSON fit for HTML", `{"u":"http://127.0.0.1:1/cb?state=1\u0026code=` + foreign + `\u0026x=1"}`, CallbackCode, foreign},
		{"a callback by IPv6", "http://[::1]:1/cb?iss=a&code=" + foreign, CallbackCode, foreign},
		{"a callback with its issuer first", "http://127.0.0.1:1/cb?state=1&iss=https%3A%2F%2Fauth.test%2Frealms%2Fx&code=" + foreign + "&x=1", CallbackCode, foreign},
		{"a callback with its issuer as it is", "http://127.0.0.1:1/cb?iss=https://auth.test&code=" + foreign, CallbackCode, foreign},
		{"a callback elsewhere that names a loopback", "https://app.example.test/cb?code=" + foreign + "&u=http://127.0.0.1/", "", ""},
		{"an access token with parts of a second", "x " + precise, AccessToken, precise},
		{"a callback elsewhere", "https://app.example.test/cb?code=" + foreign, "", ""},
		{"no callback", "http://127.0.0.1:1/ and ?code=" + foreign, "", ""},
		{"a private key", "-----BEGIN PRIVATE KEY-----\nMHcCAQ\n-----END PRIVATE KEY-----", "", ""},
		{"UTF-16", "\xff\xfe" + wide("a "+code+"\r\n"), AuthorizationCode, code},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := find(t, Rules{Issuers: []string{issuer}}, tt.text)
			switch {
			case tt.kind == "":
				if len(got) != 0 {
					t.Errorf("found %+v", got)
				}
			case len(got) != 1 || got[0].Kind != tt.kind || got[0].Value.Reveal() != tt.value:
				t.Errorf("found %+v", got)
			}
			for _, f := range got {
				if s := fmt.Sprintf("%+v %q", f, fmt.Sprint(f)); strings.Contains(s, tt.value) {
					t.Errorf("a finding shows what it found: %s", s)
				}
			}
		})
	}
}

func wide(s string) string {
	var b strings.Builder
	for _, c := range []byte(s) {
		b.WriteByte(c)
		b.WriteByte(0)
	}
	return b.String()
}

func TestExpired(t *testing.T) {
	got := find(t, Rules{Issuers: []string{issuer}}, token("at+jwt", issuer, 1000))
	if len(got) != 1 || !got[0].Expired(time.Unix(1000, 0)) || got[0].Expired(time.Unix(999, 0)) {
		t.Errorf("%+v", got)
	}
	if (Finding{}).Expired(time.Now()) {
		t.Error("what has no end has expired")
	}
}

// TestAnyTime: a report can be written whatever a token says of its end.
func TestAnyTime(t *testing.T) {
	for _, exp := range []int64{-1, 253402300799, 253402300800, 1 << 62} {
		got := find(t, Rules{Issuers: []string{issuer}}, token("at+jwt", issuer, exp))
		if _, err := json.Marshal(got); err != nil || len(got) != 1 {
			t.Errorf("%d: %+v, %v", exp, got, err)
		}
	}
}

func TestIgnored(t *testing.T) {
	known := Fingerprint(secret.New(refresh()))
	if got := find(t, Rules{Ignore: map[string]struct{}{known: {}}}, refresh()+" "+mint(secret.Code)); len(got) != 1 || got[0].Kind != AuthorizationCode {
		t.Errorf("%+v", got)
	}
}

// TestStreamFindsAcrossChunks puts credentials anywhere, also where two chunks meet, and wants
// each once, with its line and column.
//
// Invariant: HY-2
func TestStreamFindsAcrossChunks(t *testing.T) {
	r := Rules{Issuers: []string{issuer}}
	things := []string{refresh(), mint(secret.Code), token("at+jwt", issuer, 1), "http://127.0.0.1:1/callback?code=SplxlOBeZQQYbYS6WxSbIA"}
	rapid.Check(t, func(t *rapid.T) {
		type place struct {
			line   int64
			column int
		}
		var text strings.Builder
		var want []place
		line, column := int64(1), 1
		put := func(s string) {
			text.WriteString(s)
			for _, c := range []byte(s) {
				if column++; c == '\n' {
					line, column = line+1, 1
				}
			}
		}
		for range rapid.IntRange(1, 6).Draw(t, "n") {
			put(strings.Repeat(rapid.SampledFrom([]string{"x ", "word\n", " "}).Draw(t, "filler"), rapid.IntRange(1, 20000).Draw(t, "times")))
			put("\n ")
			thing := rapid.SampledFrom(things).Draw(t, "thing")
			at := place{line, column}
			if i := strings.Index(thing, "?code="); i >= 0 {
				at.column += i + len("?code=")
			}
			want = append(want, at)
			put(thing)
			put(" ")
		}
		buf := &Buffer{b: make([]byte, maxURL+overlap+rapid.IntRange(1, 5000).Draw(t, "chunk"))}
		var got []place
		if _, err := r.Stream(strings.NewReader(text.String()), buf, func(f Finding) { got = append(got, place{f.Line, f.Column}) }); err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(got, want) {
			t.Fatalf("found at %v, want %v", got, want)
		}
	})
}

// TestPlaceInALongLine: a column is right in a line that is longer than what is read at once.
func TestPlaceInALongLine(t *testing.T) {
	text := "\n" + strings.Repeat("x ", 3*chunk) + mint(secret.Code)
	got := find(t, Rules{}, text)
	if len(got) != 1 || got[0].Line != 2 || got[0].Column != 6*chunk+1 {
		t.Errorf("%+v", got)
	}
}

func FuzzStream(f *testing.F) {
	for _, s := range []string{"", refresh(), token("at+jwt", issuer, 1), "http://127.0.0.1/?code=" + mint(secret.Code), "\xff\xfea\x00", "eyJ..", "code=" + strings.Repeat("a", 50)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		r := Rules{Issuers: []string{issuer}}
		_, err := r.Stream(strings.NewReader(text), &Buffer{b: make([]byte, maxURL+overlap+64)}, func(f Finding) {
			if f.Line < 1 || f.Column < 1 || f.Value.IsZero() {
				t.Errorf("%+v", f)
			}
		})
		if err != nil {
			t.Error(err)
		}
	})
}

// BenchmarkStream reads a log without a credential, as most are.
func BenchmarkStream(b *testing.B) {
	line := "time=2026-11-24T11:08:33.000123Z level=INFO msg=\"request done\" method=GET path=/v1/reports status=200 bytes=5120 duration=12ms\n"
	text := strings.Repeat(line, 64<<20/len(line))
	var buf Buffer
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		if _, err := (Rules{Issuers: []string{issuer}}).Stream(io.NopCloser(strings.NewReader(text)), &buf, func(f Finding) { b.Fatal(f) }); err != nil {
			b.Fatal(err)
		}
	}
}
