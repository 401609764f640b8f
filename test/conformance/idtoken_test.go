package conformance

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"math/big"
	"strings"
	"time"

	"github.com/keytether/keytether/internal/jws"
)

// verified checks a JWT by the JWKS and crypto/… alone, and gives its parts.
func (w *world) verified(jwt string) (header, body jose, err error) {
	if header, body, err = claims(jwt); err != nil {
		return nil, nil, err
	}
	a, err := w.get(w.at("jwks_uri"))
	if err != nil {
		return nil, nil, err
	}
	for _, k := range asList(a.json["keys"]) {
		m, _ := k.(map[string]any)
		if m["kid"] != header["kid"] || header["kid"] == nil {
			continue
		}
		if m["alg"] != header["alg"] {
			return nil, nil, wrong("alg %v by a key for %v", header["alg"], m["alg"])
		}
		pub, err := jws.ParseJWK([]byte(compactJSON(m)))
		if err != nil {
			return nil, nil, err
		}
		i := strings.LastIndex(jwt, ".")
		sum := sha256.Sum256([]byte(jwt[:i]))
		sig, err := base64.RawURLEncoding.DecodeString(jwt[i+1:])
		if err != nil {
			return nil, nil, wrong("signature: %v", err)
		}
		good := false
		switch p := pub.Standard().(type) {
		case *ecdsa.PublicKey:
			good = len(sig) == 64 && ecdsa.Verify(p, sum[:], new(big.Int).SetBytes(sig[:32]), new(big.Int).SetBytes(sig[32:]))
		case *rsa.PublicKey:
			good = rsa.VerifyPKCS1v15(p, crypto.SHA256, sum[:], sig) == nil
		}
		if !good {
			return nil, nil, wrong("the signature does not hold")
		}
		return header, body, nil
	}
	return nil, nil, wrong("no key %v in the JWKS", header["kid"])
}

func idTokenRows() []row {
	return []row{
		{"OIDC Core §2, §3.1.3.7", "rs256", "The ID token of an RS256 client: iss, sub, aud, exp, iat, auth_time, nonce, signature.", func(w *world) error { return w.idToken(w.std(), "RS256") }},
		{"OIDC Core §2, §3.1.3.7", "es256", "The same of an ES256 client.", func(w *world) error { return w.idToken(w.two(), "ES256") }},
		{"OIDC Core §3.1.2.1", "no-openid", "Without scope openid there is no ID token.", func(w *world) error {
			a, err := w.std().login("scope", "read", "nonce", "n")
			if err != nil {
				return err
			}
			if a.json["id_token"] != nil {
				return wrong("%s", a)
			}
			return nil
		}},
		{"OIDC Core §3.1.3.6", "no-nonce", "Without a nonce in the request there is none in the ID token.", func(w *world) error {
			a, err := w.std().login("scope", "openid read")
			if err != nil {
				return err
			}
			_, c, err := claims(a.str("id_token"))
			if err != nil {
				return err
			}
			if _, ok := c["nonce"]; ok {
				return wrong("%v", c)
			}
			return nil
		}},
		{"OIDC Core §5.4", "email", "email and email_verified are there with scope email alone.", func(w *world) error {
			with, err := w.std().login("scope", "openid email read")
			without, err2 := w.std().login("scope", "openid read")
			if err := all(err, err2); err != nil {
				return err
			}
			_, x, err := claims(with.str("id_token"))
			_, y, err2 := claims(without.str("id_token"))
			if err := all(err, err2); err != nil {
				return err
			}
			_, isBool := x["email_verified"].(bool)
			if x["email"] != "person@example.test" || !isBool || y["email"] != nil {
				return wrong("%v\n%v", x, y)
			}
			return nil
		}},
		{"OIDC Core §11", "offline", "offline_access gives a refresh token.", func(w *world) error {
			a, err := w.std().login("scope", "openid read offline_access")
			if err != nil {
				return err
			}
			if a.str("refresh_token") == "" {
				return wrong("%s", a)
			}
			return nil
		}},
		{"OIDC Core §2", "sub-stable", "sub is the same at each login and for each client, at most 255 ASCII characters, and no address.", func(w *world) error {
			a, err := w.std().login("scope", "openid read")
			b, err2 := w.two().login("scope", "openid read")
			if err := all(err, err2); err != nil {
				return err
			}
			_, x, err := claims(a.str("id_token"))
			_, y, err2 := claims(b.str("id_token"))
			if err := all(err, err2); err != nil {
				return err
			}
			sub, _ := x["sub"].(string)
			if sub == "" || sub != y["sub"] || len(sub) > 255 || strings.Contains(sub, "@") {
				return wrong("%v and %v", x["sub"], y["sub"])
			}
			return nil
		}},
		{"OIDC Core §3.1.2.1", "max-age", "With max_age auth_time is in the ID token, and not older.", func(w *world) error {
			a, err := w.std().login("scope", "openid read", "max_age", "3600")
			if err != nil {
				return err
			}
			_, c, err := claims(a.str("id_token"))
			if err != nil {
				return err
			}
			at, err := num(c["auth_time"])
			if err != nil {
				return err
			}
			if d := time.Since(at); d > time.Hour || d < -5*time.Second {
				return wrong("auth_time %v", at)
			}
			return nil
		}},
		{"OIDC Core §3.1.2.1; 9068 §2.2.1", "acr", "acr, where it is in a token, is one that the metadata announces.", func(w *world) error {
			a, err := w.std().login("scope", "openid read", "acr_values", "urn:example:gold")
			if err != nil {
				return err
			}
			for _, n := range []string{"id_token", "access_token"} {
				_, c, err := claims(a.str(n))
				if err != nil {
					return err
				}
				if c["acr"] != nil && !oneOf(c["acr"], w.meta["acr_values_supported"]) {
					return wrong("%s: acr %v", n, c["acr"])
				}
			}
			return nil
		}},
		{"OIDC Core §15.1", "ignored", "display, ui_locales, claims_locales, login_hint, id_token_hint of nobody: taken or ignored, no crash, no markup.", func(w *world) error {
			p := w.std().write("display", "touch", "ui_locales", "fr-CA fr", "claims_locales", "en", "login_hint", `"><script>alert(1)</script>`, "id_token_hint", "x.y.z").params
			page, back, err := w.ask(p)
			if err != nil {
				return err
			}
			if strings.Contains(page.body, "<script>alert") {
				return wrong("%s", page)
			}
			if back != nil && !strings.HasPrefix(back.String(), loop) {
				return wrong("%s", back)
			}
			return nil
		}},
		{"OIDC Core §5.5", "claims-parameter", "The claims parameter gives nobody claims they were not allowed.", func(w *world) error {
			c := w.std()
			s := c.write("scope", "openid read", "claims", `{"id_token":{"email":{"essential":true}}}`)
			if err := c.allow(s); err != nil {
				return nil // refused
			}
			a, err := c.send(w.token(), c.codeForm(s))
			if err := all(err, a.is(200)); err != nil {
				return err
			}
			_, x, err := claims(a.str("id_token"))
			if err != nil {
				return err
			}
			if x["email"] != nil {
				return wrong("%v", x)
			}
			return nil
		}},
		{"OIDC Core §2; 9068 §4; 8725 §3.11", "not-an-access-token", "An ID token is no access token: the API refuses it.", func(w *world) error {
			a, err := w.std().login("scope", "openid read")
			if err != nil {
				return err
			}
			b, err := w.call(w.bearer, "/reports", "Bearer "+a.str("id_token"))
			return all(err, b.is(401))
		}},
		{"OIDC Core §3.1.3.6", "hashes", "at_hash, if it is there, is of the access token beside it.", func(w *world) error {
			a, err := w.std().login("scope", "openid read")
			if err != nil {
				return err
			}
			_, c, err := claims(a.str("id_token"))
			if err != nil {
				return err
			}
			sum := sha256.Sum256([]byte(a.str("access_token")))
			if c["at_hash"] != nil && c["at_hash"] != b64(sum[:16]) {
				return wrong("at_hash %v", c["at_hash"])
			}
			return nil
		}},
	}
}

// idToken logs in and checks the ID token.
func (w *world) idToken(c *tool, alg string) error {
	before := time.Now().Add(-2 * time.Second)
	a, err := c.login("scope", "openid read", "nonce", "n-0S6_WzA2Mj")
	if err != nil {
		return err
	}
	h, body, err := w.verified(a.str("id_token"))
	if err != nil {
		return err
	}
	iat, err := num(body["iat"])
	exp, err2 := num(body["exp"])
	if err := all(err, err2); err != nil {
		return err
	}
	if h["alg"] != alg || body["iss"] != w.Issuer || compactJSON(body["aud"]) != compactJSON(c.id) && compactJSON(body["aud"]) != compactJSON([]string{c.id}) ||
		body["nonce"] != "n-0S6_WzA2Mj" || iat.Before(before) || !exp.After(time.Now()) || exp.Sub(iat) > time.Hour || h["typ"] == "at+jwt" {
		return wrong("%v %v", h, body)
	}
	if azp, ok := body["azp"]; ok && azp != c.id {
		return wrong("azp %v", azp)
	}
	return nil
}
