package oauth_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/keytether/keytether/internal/oauth"
)

// TestParseClientMetadata: what may be registered, with its defaults, and what
// may not.
//
// Invariant: CL-7
func TestParseClientMetadata(t *testing.T) {
	const name = `"client_name":"Tool"`
	const uris = `"redirect_uris":["http://127.0.0.1/callback","http://[::1]/callback"]`
	least, err := oauth.ParseClientMetadata([]byte("{" + name + "," + uris + `,"unheard_of":{"a":[1]},"logo_uri":"https://evil.test","client_name#de":"Werkzeug"}`))
	if err != nil {
		t.Fatal(err)
	}
	if want := (oauth.ClientMetadata{
		ClientName: "Tool", RedirectURIs: []string{"http://127.0.0.1/callback", "http://[::1]/callback"},
		GrantTypes: []string{"authorization_code"}, ResponseTypes: []string{"code"}, AuthMethod: "none", ApplicationType: "native", IDTokenAlg: "RS256",
	}); !reflect.DeepEqual(least, want) {
		t.Errorf("the least is %+v", least)
	}
	shaken, err := oauth.ParseClientMetadata([]byte("{" + name + "," + uris + `,"keytether_handshake_required":true}`))
	if err != nil || !shaken.DPoPBound || !shaken.RequirePAR {
		t.Errorf("the handshake brings %+v, %v", shaken, err)
	}

	many := strings.Repeat(`"http://127.0.0.1/%d",`, oauth.MaxRedirects+1)
	for i := range oauth.MaxRedirects + 1 {
		many = strings.Replace(many, "%d", fmt.Sprint(i), 1)
	}
	for _, x := range []struct {
		more string
		code oauth.Code // empty: fine
	}{
		{name + "," + uris + `,"grant_types":["authorization_code","refresh_token","` + oauth.GrantDeviceCode + `"],"response_types":["code"]`, ""},
		{name + `,"grant_types":["` + oauth.GrantDeviceCode + `"]`, ""},
		{name + "," + uris + `,"token_endpoint_auth_method":"none","application_type":"native","dpop_bound_access_tokens":true`, ""},
		{name + "," + uris + `,"id_token_signed_response_alg":"ES256","scope":"openid read","redirect_uris":null`, oauth.RedirectUnfit},
		{name + `,"redirect_uris":["http://127.0.0.1:8080/callback?a=b"]`, ""},

		{uris, oauth.MetadataUnfit},
		{`"client_name":"",` + uris, oauth.MetadataUnfit},
		{`"client_name":7,` + uris, oauth.MetadataUnfit},
		{`"client_name":" Tool",` + uris, oauth.MetadataUnfit},
		{`"client_name":"To\nol",` + uris, oauth.MetadataUnfit},
		{`"client_name":"The  Tool",` + uris, oauth.MetadataUnfit},
		{`"client_name":"To\u202eol",` + uris, oauth.MetadataUnfit},
		{`"client_name":"To\u200bol",` + uris, oauth.MetadataUnfit},
		{`"client_name":"` + strings.Repeat("x", oauth.MaxClientName+1) + `",` + uris, oauth.MetadataUnfit},
		{`"CLIENT_NAME":"Tool",` + uris, oauth.MetadataUnfit},
		{name + "," + uris + `,"token_endpoint_auth_method":"client_secret_basic"`, oauth.MetadataUnfit},
		{name + "," + uris + `,"token_endpoint_auth_method":"private_key_jwt"`, oauth.MetadataUnfit},
		{name + "," + uris + `,"application_type":"web"`, oauth.MetadataUnfit},
		{name + "," + uris + `,"id_token_signed_response_alg":"none"`, oauth.MetadataUnfit},
		{name + "," + uris + `,"id_token_signed_response_alg":"HS256"`, oauth.MetadataUnfit},
		{name + "," + uris + `,"grant_types":["implicit"]`, oauth.MetadataUnfit},
		{name + "," + uris + `,"grant_types":["authorization_code","password"]`, oauth.MetadataUnfit},
		{name + "," + uris + `,"grant_types":["client_credentials"]`, oauth.MetadataUnfit},
		{name + "," + uris + `,"grant_types":["refresh_token"]`, oauth.MetadataUnfit},
		{name + "," + uris + `,"grant_types":["authorization_code","authorization_code"]`, oauth.MetadataUnfit},
		{name + "," + uris + `,"grant_types":"authorization_code"`, oauth.MetadataUnfit},
		{name + "," + uris + `,"response_types":["token"]`, oauth.MetadataUnfit},
		{name + "," + uris + `,"response_types":[]`, oauth.MetadataUnfit},
		{name + `,"grant_types":["` + oauth.GrantDeviceCode + `"],"response_types":["code"]`, oauth.MetadataUnfit},
		{name + "," + uris + `,"scope":"a  b"`, oauth.MetadataUnfit},
		{name + "," + uris + `,"scope":["a"]`, oauth.MetadataUnfit},
		{name + "," + uris + `,"dpop_bound_access_tokens":"yes"`, oauth.MetadataUnfit},
		{name + "," + uris + `,"dpop_bound_access_tokens":false,"keytether_handshake_required":true`, oauth.MetadataUnfit},

		{name, oauth.RedirectUnfit},
		{name + `,"redirect_uris":[]`, oauth.RedirectUnfit},
		{name + `,"redirect_uris":"http://127.0.0.1/callback"`, oauth.RedirectUnfit},
		{name + `,"redirect_uris":[7]`, oauth.RedirectUnfit},
		{name + `,"redirect_uris":[""]`, oauth.RedirectUnfit},
		{name + `,"redirect_uris":["https://evil.test/cb"]`, oauth.RedirectUnfit},
		{name + `,"redirect_uris":["http://localhost/callback"]`, oauth.RedirectUnfit},
		{name + `,"redirect_uris":["http://127.0.0.2/callback"]`, oauth.RedirectUnfit},
		{name + `,"redirect_uris":["http://127.0.0.1@evil.test/callback"]`, oauth.RedirectUnfit},
		{name + `,"redirect_uris":["http://127.0.0.1.evil.test/callback"]`, oauth.RedirectUnfit},
		{name + `,"redirect_uris":["http://127.0.0.1/callback#x"]`, oauth.RedirectUnfit},
		{name + `,"redirect_uris":["http://127.0.0.1/*"]`, oauth.RedirectUnfit},
		{name + `,"redirect_uris":["http://127.0.0.1/a b"]`, oauth.RedirectUnfit},
		{name + `,"redirect_uris":["http://127.0.0.1/\u00e9"]`, oauth.RedirectUnfit},
		{name + `,"redirect_uris":["https://127.0.0.1/callback"]`, oauth.RedirectUnfit},
		{name + `,"redirect_uris":["com.example.app:/callback"]`, oauth.RedirectUnfit},
		{name + `,"redirect_uris":["javascript:alert(1)"]`, oauth.RedirectUnfit},
		{name + `,"redirect_uris":["http://127.0.0.1/callback","http://127.0.0.1/callback"]`, oauth.RedirectUnfit},
		{name + `,"redirect_uris":["http://127.0.0.1/` + strings.Repeat("a", oauth.MaxURI) + `"]`, oauth.RedirectUnfit},
		{name + `,"redirect_uris":[` + strings.TrimSuffix(many, ",") + `]`, oauth.RedirectUnfit},
		{name + "," + uris + `,"grant_types":["` + oauth.GrantDeviceCode + `"]`, oauth.RedirectUnfit},
	} {
		_, err := oauth.ParseClientMetadata([]byte("{" + x.more + "}"))
		if x.code == "" && err != nil || x.code != "" && !errors.Is(err, oauth.Fail(x.code)) {
			t.Errorf("{%s}: %v, want %q", x.more, err, x.code)
		}
	}
	for in, code := range map[string]oauth.Code{
		"": oauth.MetadataUnfit, "null": oauth.MetadataUnfit, "[]": oauth.MetadataUnfit, `"x"`: oauth.MetadataUnfit, "{": oauth.MetadataUnfit,
		"{} {}": oauth.MetadataUnfit, strings.Repeat(" ", oauth.MaxBody) + "{}": oauth.TooLarge,
	} {
		if _, err := oauth.ParseClientMetadata([]byte(in)); !errors.Is(err, oauth.Fail(code)) {
			t.Errorf("%.20q: %v, want %s", in, err, code)
		}
	}
}

// FuzzParseClientMetadata: what is taken is a public native client, and is taken
// again as it is answered.
func FuzzParseClientMetadata(f *testing.F) {
	f.Add(`{"client_name":"a","redirect_uris":["http://127.0.0.1/"]}`)
	f.Add(`{"client_name":"a","redirect_uris":["http://[::1]:1/x?y"],"scope":"a b","keytether_handshake_required":true}`)
	f.Add(`{"client_name":"a","grant_types":["` + oauth.GrantDeviceCode + `"],"dpop_bound_access_tokens":true}`)
	f.Fuzz(func(t *testing.T, in string) {
		m, err := oauth.ParseClientMetadata([]byte(in))
		if err != nil {
			return
		}
		for _, u := range m.RedirectURIs {
			if !oauth.IsLoopback(u) || oauth.CheckRedirect(u) != nil {
				t.Fatalf("%q was taken", u)
			}
		}
		if m.AuthMethod != "none" || m.ClientName == "" || len(m.GrantTypes) == 0 || m.Handshake && !m.DPoPBound {
			t.Fatalf("%+v was taken", m)
		}
		out, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		again, err := oauth.ParseClientMetadata(out)
		if err != nil || !reflect.DeepEqual(again, m) {
			t.Fatalf("%s came back as %+v, %v", out, again, err)
		}
	})
}
