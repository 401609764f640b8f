package oauth_test

import (
	"encoding/base64"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/keytether/keytether/internal/oauth"
)

func basic(pair string) string { return "Basic " + base64.StdEncoding.EncodeToString([]byte(pair)) }

// TestParseBasic reads and refuses headers as RFC 6749 §2.3.1 and RFC 7617 §2
// have them.
//
// Invariant: CL-4
func TestParseBasic(t *testing.T) {
	for _, x := range []struct{ in, id, secret string }{
		{basic("a:b"), "a", "b"},
		{"basic  " + base64.StdEncoding.EncodeToString([]byte("a:b")), "a", "b"},
		{"BASIC " + base64.StdEncoding.EncodeToString([]byte("a:")), "a", ""},
		{basic("a%3Ab:c"), "a:b", "c"},
		{basic("a:b:c"), "a", "b:c"},
		{basic("a+b:%2B%25+x"), "a b", "+% x"},
		{"Basic czZCaGRSa3F0Mzo3RmpmcDBaQnIxS3REUmJuZlZkbUl3", "s6BhdRkqt3", "7Fjfp0ZBr1KtDRbnfVdmIw"}, // RFC 6749 §2.3.1
	} {
		id, secret, err := oauth.ParseBasic(x.in)
		if err != nil || id != x.id || secret != x.secret {
			t.Errorf("%q: %q, %q, %v", x.in, id, secret, err)
		}
	}
	for _, in := range []string{
		"", "Basic", "Basic ", "Basic !", "Bearer YTpi", "BasicYTpi", basic("a"), basic(""), basic(":b"), basic("a%:b"), basic("a:%zz"),
		basic("a%00:b"), basic("a:\x00"), "Basic YTpi=", "Basic YTpi YTpi", "Basic YTp\r\ni", "Basic YTo", "Basic YTp=",
		basic(strings.Repeat("a", oauth.MaxParam) + ":b"),
	} {
		if id, _, err := oauth.ParseBasic(in); !errors.Is(err, oauth.Fail(oauth.ClientAuthentication)) || id != "" {
			t.Errorf("%q: %q, %v", in, id, err)
		}
	}
}

// What is encoded as the RFC says is read back, whatever it holds.
func TestParseBasicProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.StringN(0, 200, 500).Filter(func(s string) bool { return !strings.ContainsRune(s, 0) })
		id := text.Filter(func(s string) bool { return s != "" }).Draw(t, "id")
		secret := text.Draw(t, "secret")
		gotID, gotSecret, err := oauth.ParseBasic(basic(url.QueryEscape(id) + ":" + url.QueryEscape(secret)))
		if err != nil || gotID != id || gotSecret != secret {
			t.Fatalf("%q, %q came back as %q, %q, %v", id, secret, gotID, gotSecret, err)
		}
	})
}

// FuzzParseBasic holds the parser against net/http's, which decodes no form
// encoding: what ours takes is what theirs gives, decoded.
func FuzzParseBasic(f *testing.F) {
	for _, s := range []string{"", "Basic YTpi", "basic  YTpi", "Basic YSUzQTpi", "Bearer x", basic("a+%2B:%zz"), basic(":"), "Basic YTp="} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, in string) {
		id, secret, err := oauth.ParseBasic(in)
		if err != nil {
			if id != "" || secret != "" {
				t.Fatalf("%q: an error, and %q %q", in, id, secret)
			}
			return
		}
		scheme, text, _ := strings.Cut(in, " ")
		r := http.Request{Header: http.Header{"Authorization": {scheme + " " + strings.TrimLeft(text, " ")}}}
		user, pass, ok := r.BasicAuth()
		u, err1 := url.QueryUnescape(user)
		p, err2 := url.QueryUnescape(pass)
		if !ok || err1 != nil || err2 != nil || u != id || p != secret {
			t.Fatalf("%q: %q %q; net/http reads %q %q", in, id, secret, user, pass)
		}
	})
}
