package edge_test

import (
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"testing"

	"github.com/keytether/keytether/internal/edge/edgetest"
	"github.com/keytether/keytether/internal/oauth"
	"github.com/keytether/keytether/internal/store/sqlite"
	"github.com/keytether/keytether/internal/testkit/leak"
)

// TestAtRestAreHashes logs in, renews and logs in again, and looks through the
// database after each step for every secret that was given by then, and for the
// end of each, as it would stand there if it were cut off to the size of a hash.
//
// Invariant: GR-7
func TestAtRestAreHashes(t *testing.T) {
	s := edgetest.NewServer(t, edgetest.Options{})
	secrets := map[string][]byte{"password": []byte(edgetest.Password)}
	give := func(name, v string) {
		t.Helper()
		if len(v) < 43 {
			t.Fatalf("no %s to look for: %q", name, v)
		}
		secrets[name], secrets["the end of the "+name] = []byte(v), []byte(v[len(v)-24:])
	}
	steps := 0
	look := func(step string) {
		t.Helper()
		steps++
		path := filepath.Join(t.TempDir(), fmt.Sprint(steps))
		if err := s.Store.(*sqlite.Store).Backup(t.Context(), path); err != nil {
			t.Fatal(err)
		}
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		scan, err := leak.New(secrets)
		if err != nil {
			t.Fatal(err)
		}
		for _, hit := range scan.Bytes("the database", data) {
			t.Errorf("%s: %v", step, hit)
		}
		planted, err := leak.New(map[string][]byte{"the account's email": []byte(edgetest.Email)})
		if err != nil {
			t.Fatal(err)
		}
		if len(planted.Bytes("the database", data)) == 0 {
			t.Errorf("%s: the database does not hold what it must", step)
		}
	}

	tool := s.NewTool(edgetest.Handshake)
	tool.Consented()
	u, err := url.Parse(tool.RequestURI)
	if err != nil {
		t.Fatal(err)
	}
	give("request_uri", u.Opaque)
	for _, c := range tool.Browser.Cookies() {
		give("cookie "+c.Name, c.Value)
	}
	look("consent page")
	tool.Browser.Press("Allow")
	nonce := tool.Answer().Get("handshake_nonce")
	give("handshake_nonce", nonce)
	look("nonce")
	tool.Browser.Open(tool.HandshakeURL(tool.Key, tool.HandshakeClaims(nonce)))
	tool.Code = tool.Answer().Get("code")
	give("code", tool.Code)
	give("code_verifier", tool.Verifier)
	look("code")
	tool.Take(tool.Post(oauth.PathToken, tool.RedeemParams()))
	for i := range 3 {
		give(fmt.Sprintf("access token %d", i), tool.Token.AccessToken)
		give(fmt.Sprintf("refresh token %d", i), tool.Token.RefreshToken)
		look(fmt.Sprintf("tokens %d", i))
		tool.Take(tool.Post(oauth.PathToken, tool.RefreshParams()))
	}
	plain := s.NewTool(edgetest.Plain)
	plain.Browser = tool.Browser
	plain.Consented()
	plain.Allow()
	give("plain code", plain.Code)
	look("plain code")
	plain.Take(plain.Post(oauth.PathToken, plain.RedeemParams()))
	give("bearer token", plain.Token.AccessToken)
	look("bearer token")
}
