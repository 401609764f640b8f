package edge_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/keytether/keytether/internal/edge/edgetest"
	"github.com/keytether/keytether/internal/oauth"
)

// TestLogHoldsNoSecret logs in and fails in many ways at debug level, and looks
// for everything secret that was sent or given. Nothing of a query, a header or
// a body is logged, and no path that came from outside.
//
// Invariant: SC-1
func TestLogHoldsNoSecret(t *testing.T) {
	s := edgetest.NewServer(t, edgetest.Options{})
	tool := s.NewTool(edgetest.Handshake)
	tool.Consented()
	tool.Browser.Press("Allow")
	nonce := tool.Answer().Get("handshake_nonce")
	shake := tool.HandshakeURL(tool.Key, tool.HandshakeClaims(nonce))
	tool.Browser.Open(shake)
	tool.Code = tool.Answer().Get("code")
	tool.Take(tool.Post(oauth.PathToken, tool.RedeemParams()))
	tool.Post(oauth.PathToken, tool.RedeemParams())
	tool.Browser.Open(shake)
	tool.Browser.Open(s.Issuer + "/callback/" + tool.Code + "?code=" + tool.Code)
	r := get(t, s, "/")
	r.Method = "X" + tool.Verifier[:8]
	s.Do(r)
	plain := s.NewTool(edgetest.Plain)
	plain.Browser = tool.Browser
	plain.Login()
	tool.Call(http.MethodGet, oauth.PathAPI+"/whoami")

	_, jws, _ := strings.Cut(shake, "=")
	secrets := map[string]string{
		"code": tool.Code, "verifier": tool.Verifier, "state": tool.State, "request_uri": tool.RequestURI[len(tool.RequestURI)-40:],
		"access token": tool.Token.AccessToken, "refresh token": tool.Token.RefreshToken, "handshake": jws, "nonce": nonce,
		"DPoP nonce": tool.Nonce, "plain code": plain.Code, "plain token": plain.Token.AccessToken, "password": edgetest.Password,
		"method": tool.Verifier[:8],
	}
	for _, c := range tool.Browser.Cookies() {
		secrets["cookie "+c.Name] = c.Value
	}
	log := s.Log.String()
	for name, v := range secrets {
		if v == "" {
			t.Errorf("no %s to look for", name)
		} else if strings.Contains(log, v) {
			t.Errorf("the log holds the %s", name)
		}
	}
	if !strings.Contains(log, "path=/oauth/token") || !strings.Contains(log, "code=code_reused") {
		t.Errorf("the log says too little:\n%s", log)
	}
}
