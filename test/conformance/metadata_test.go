package conformance

import (
	"context"
	"net/http"
	"net/url"
	"strings"
)

func metadataRows() []row {
	return []row{
		{"8414 §3", "served", "The metadata is JSON with 200 at the well-known place, and OIDC's document beside it says the same.", func(w *world) error {
			a, err := w.get(w.Issuer + "/.well-known/oauth-authorization-server")
			b, err2 := w.get(w.Issuer + "/.well-known/openid-configuration")
			if err := all(err, err2, a.is(200), b.is(200)); err != nil {
				return err
			}
			if !isJSON(a.header.Get("Content-Type")) || !isJSON(b.header.Get("Content-Type")) || compactJSON(a.json) != compactJSON(b.json) {
				return wrong("%s\nand %s", a, b)
			}
			return nil
		}},
		{"8414 §3.3", "issuer", "`issuer` is the URL that the well-known place was made of.", func(w *world) error {
			if w.at("issuer") != w.Issuer {
				return wrong("issuer %q at %s", w.at("issuer"), w.Issuer)
			}
			return nil
		}},
		{"8414 §2", "required-members", "All members that OAuth metadata must have are there, and no list is empty.", func(w *world) error {
			for _, m := range []string{"issuer", "authorization_endpoint", "token_endpoint", "jwks_uri", "response_types_supported"} {
				if w.meta[m] == nil {
					return wrong("no %s", m)
				}
			}
			for name, v := range w.meta {
				if l, ok := v.([]any); ok && len(l) == 0 {
					return wrong("%s is empty (8414 §3.2: omitted instead)", name)
				}
				if v == nil {
					return wrong("%s is null", name)
				}
			}
			return nil
		}},
		{"OIDC Discovery §3", "oidc-members", "All members that OIDC Discovery requires are there, RS256 among the algorithms.", func(w *world) error {
			for _, m := range []string{"jwks_uri", "subject_types_supported", "id_token_signing_alg_values_supported"} {
				if w.meta[m] == nil {
					return wrong("no %s", m)
				}
			}
			if !oneOf("RS256", w.meta["id_token_signing_alg_values_supported"]) {
				return wrong("no RS256")
			}
			return nil
		}},
		{"8414 §2", "endpoints-answer", "Every endpoint that is named is there: none answers 404 to its method.", func(w *world) error {
			n := 0
			for name, v := range w.meta {
				to, ok := v.(string)
				if !ok || !(strings.HasSuffix(name, "_endpoint") || name == "jwks_uri") {
					continue
				}
				n++
				if !strings.HasPrefix(to, w.Issuer+"/") {
					return wrong("%s is %s", name, to)
				}
				for _, method := range []string{"GET", "POST"} {
					a, err := w.do(method, to, "")
					if err := all(err, a.notCrashed()); err != nil {
						return err
					}
					if a.status == http.StatusNotFound {
						return wrong("%s %s: 404", method, to)
					}
				}
			}
			if n < 7 {
				return wrong("%d endpoints only", n)
			}
			return nil
		}},
		{"8414 §2; 9700 §2.1.1", "pkce", "PKCE is announced with S256 and nothing else.", func(w *world) error {
			return listIs(w, "code_challenge_methods_supported", "S256")
		}},
		{"9207 §3", "iss-announced", "`authorization_response_iss_parameter_supported` is true.", func(w *world) error {
			if w.meta["authorization_response_iss_parameter_supported"] != true {
				return wrong("%v", w.meta["authorization_response_iss_parameter_supported"])
			}
			return nil
		}},
		{"9700 §2.1.2, §2.4; 8628 §4", "weak-grants", "Neither implicit nor password nor anything that is not served is announced; the device grant is if its endpoint is. Without the member, implicit would be meant.", func(w *world) error {
			grants := []string{"authorization_code", "refresh_token"}
			if w.meta["device_authorization_endpoint"] != nil {
				grants = append(grants, "urn:ietf:params:oauth:grant-type:device_code")
			}
			return all(listIs(w, "grant_types_supported", grants...), listIs(w, "response_types_supported", "code"))
		}},
		{"8414 §2", "auth-methods", "The methods of client authentication are those that work; without the member, client_secret_basic would be meant.", func(w *world) error {
			for _, e := range []string{"token", "revocation"} {
				if err := all(
					listIs(w, e+"_endpoint_auth_methods_supported", "private_key_jwt", "client_secret_basic", "client_secret_post", "none"),
					listIs(w, e+"_endpoint_auth_signing_alg_values_supported", "ES256", "EdDSA", "RS256"),
				); err != nil {
					return err
				}
			}
			return listIs(w, "introspection_endpoint_auth_methods_supported", "private_key_jwt")
		}},
		{"OIDC Discovery §3", "request-objects", "Request objects are said to be unsupported: for `request_uri` the default is true.", func(w *world) error {
			if v, ok := w.meta["request_uri_parameter_supported"]; !ok || v != false {
				return wrong("request_uri_parameter_supported: %v", v)
			}
			if v, ok := w.meta["request_parameter_supported"]; ok && v != false {
				return wrong("request_parameter_supported: %v", v)
			}
			return nil
		}},
		{"9126 §5", "par-announced", "`require_pushed_authorization_requests` is not claimed, since a client may do without.", func(w *world) error {
			if v, ok := w.meta["require_pushed_authorization_requests"]; ok && v != false {
				return wrong("%v", v)
			}
			return nil
		}},
		{"9449 §5.1", "dpop-algs", "Every DPoP algorithm announced works, and all are asymmetric.", func(w *world) error {
			algs := asList(w.meta["dpop_signing_alg_values_supported"])
			if len(algs) == 0 {
				return wrong("none")
			}
			for _, alg := range algs {
				name, _ := alg.(string)
				if strings.HasPrefix(name, "HS") || name == "none" {
					return wrong("%s", name)
				}
				c := w.bound()
				c.k = newKey(name)
				if _, err := c.login(); err != nil {
					return wrong("%s: %v", name, err)
				}
			}
			return nil
		}},
		{"9449 §5.1", "dpop-algs-only", "An algorithm that is not announced is refused.", func(w *world) error {
			for _, alg := range []string{"RS256", "ES384"} {
				if oneOf(alg, w.meta["dpop_signing_alg_values_supported"]) {
					continue
				}
				c := w.bound()
				c.k = newKey(alg)
				a, err := c.send(w.par(), c.write().params)
				if err := a.refusedBy(err, 400, "invalid_dpop_proof"); err != nil {
					return err
				}
			}
			return nil
		}},
		{"OIDC Core §3.1.2.1", "prompts", "Every prompt announced is taken, and one that is not is refused.", func(w *world) error {
			for _, p := range asList(w.meta["prompt_values_supported"]) {
				page, back, err := w.ask(w.std().write("prompt", p.(string)).params)
				if err != nil {
					return err
				}
				if back == nil && page.status != http.StatusOK || back != nil && back.Query().Get("error") != "login_required" {
					return wrong("prompt=%v: %s %v", p, page, back)
				}
			}
			return nil
		}},
		{"8414 §2", "modes", "Every response mode announced works.", func(w *world) error {
			for _, m := range asList(w.meta["response_modes_supported"]) {
				page, back, err := w.ask(w.std().write("response_mode", m.(string)).params)
				if err := all(err, page.is(200)); err != nil || back != nil {
					return all(err, wrong("%v: redirected %v", m, back))
				}
			}
			return nil
		}},
		{"8414 §2", "scopes", "Every scope announced can be asked for.", func(w *world) error {
			for _, s := range asList(w.meta["scopes_supported"]) {
				params := w.std().write("scope", s.(string)).params
				if s == "account" || s == "admin" {
					params.Set("resource", w.Issuer+"/api/v1")
				}
				page, back, err := w.ask(params)
				if err := all(err, page.notCrashed()); err != nil {
					return err
				}
				// The API of the issuer takes no bearer tokens, and may refuse for that.
				if e := query(back).Get("error"); e == "invalid_scope" && s != "account" && s != "admin" {
					return wrong("%v: %s", s, e)
				}
			}
			return nil
		}},
		{"7517 §4, §5; 8725", "jwks", "The JWKS has a key for each ID-token algorithm, each with a kid of its own and `use` sig, and no private or symmetric part.", func(w *world) error {
			a, err := w.get(w.at("jwks_uri"))
			if err := all(err, a.is(200)); err != nil {
				return err
			}
			algs, kids := map[string]bool{}, map[any]bool{}
			for _, k := range asList(a.json["keys"]) {
				m, _ := k.(map[string]any)
				for _, private := range []string{"d", "p", "q", "dp", "dq", "qi", "k", "oth"} {
					if m[private] != nil {
						return wrong("the JWKS has %q", private)
					}
				}
				if m["use"] != "sig" || m["kid"] == nil || kids[m["kid"]] || m["kty"] == "oct" {
					return wrong("key %v", m)
				}
				kids[m["kid"]] = true
				alg, _ := m["alg"].(string)
				algs[alg] = true
			}
			for _, alg := range asList(w.meta["id_token_signing_alg_values_supported"]) {
				if !algs[alg.(string)] {
					return wrong("no key for %v", alg)
				}
			}
			return nil
		}},
		{"9728 §3", "resource-metadata", "The APIs publish metadata whose `resource` is exactly theirs and which names the issuer.", func(w *world) error {
			for _, r := range []struct{ at, resource string }{
				{w.Resource + "/.well-known/oauth-protected-resource", w.Resource},
				{w.bearer + "/.well-known/oauth-protected-resource", w.bearer},
			} {
				a, err := w.get(r.at)
				if err := all(err, a.is(200)); err != nil {
					return err
				}
				if a.str("resource") != r.resource || !oneOf(w.Issuer, a.json["authorization_servers"]) || !isJSON(a.header.Get("Content-Type")) {
					return wrong("%s: %s", r.at, a)
				}
				if oneOf("query", a.json["bearer_methods_supported"]) {
					return wrong("%s takes tokens in the query: %s", r.at, a)
				}
			}
			return nil
		}},
		{"8414 §3.3; OIDC Discovery §4.3", "host-header", "The metadata is the configured issuer's whatever Host or forwarded header comes along.", func(w *world) error {
			for _, h := range [][2]string{{"Host", "evil.example.test"}, {"X-Forwarded-Host", "evil.example.test"}, {"Forwarded", "host=evil.example.test;proto=https"}, {"X-Forwarded-Proto", "https"}} {
				a, err := w.get(w.Issuer+"/.well-known/oauth-authorization-server", h[0], h[1])
				if err := all(err, a.notCrashed()); err != nil {
					return err
				}
				if strings.Contains(a.body, "evil") || a.status == 200 && a.str("issuer") != w.Issuer {
					return wrong("%s: %s", h[0], a)
				}
			}
			return nil
		}},
		{"9126 §2; 8414", "every-login-kind", "A login by each registered kind of client works with what the metadata says.", func(w *world) error {
			for _, c := range []*tool{w.std(), w.two(), w.bound(), w.named("narrow"), w.named("codes")} {
				scope := "read"
				if c.id == "std" || c.id == "bound" {
					scope = "read write"
				}
				a, err := c.login("scope", scope)
				if err != nil {
					return wrong("%s: %v", c.id, err)
				}
				if a.str("access_token") == "" {
					return wrong("%s: %s", c.id, a)
				}
			}
			return nil
		}},
		{"6749 §3.1", "https-only-page", "Loopback http aside, an http issuer is not served: checked by `keytether-server check`.", func(w *world) error {
			return w.checkConfig(context.Background(), "issuer: "+w.Issuer, "issuer: http://auth.example.test", false)
		}},
		{"6749 §3.1.2; 9700 §2.6", "http-redirect", "A redirect URI on plain http that is no loopback address cannot be registered, nor one with a fragment, nor without a host, nor of scheme javascript or data.", func(w *world) error {
			for _, bad := range []string{
				"http://app.example.test/cb", "https://app.example.test/cb#x", "https:///cb", "javascript:alert(1)", "data:text/html,x",
				"/cb", "http://localhost.evil.example.test/cb", "http://127.0.0.1.evil.example.test/cb", "http://127.0.0.1@evil.example.test/cb", "file:///tmp/x",
			} {
				if err := w.checkConfig(context.Background(), `"https://two.example.test/cb"`, `"`+bad+`"`, false); err != nil {
					return wrong("%s: %v", bad, err)
				}
			}
			return w.checkConfig(context.Background(), `"https://two.example.test/cb"`, `"https://three.example.test/cb"`, true)
		}},
		{"8707 §2", "resource-form", "A resource with a fragment, or one that is not absolute, cannot be registered.", func(w *world) error {
			for _, bad := range []string{otherAPI + "#x", "/v1", "other.example.test/v1"} {
				if err := w.checkConfig(context.Background(), otherAPI, bad, false); err != nil {
					return wrong("%s: %v", bad, err)
				}
			}
			return nil
		}},
	}
}

func query(u *url.URL) url.Values {
	if u == nil {
		return url.Values{}
	}
	return u.Query()
}

func listIs(w *world, name string, want ...string) error {
	got := asList(w.meta[name])
	if len(got) != len(want) {
		return wrong("%s is %v, want %v", name, got, want)
	}
	for _, v := range want {
		if !oneOf(v, got) {
			return wrong("%s is %v, want %v", name, got, want)
		}
	}
	return nil
}
