package verify

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keytether/keytether/internal/jws"
	"github.com/keytether/keytether/internal/oauth"
)

func (s *issuer) fetched() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.fetches
}

// TestUnknownKidStorm: thousands of invented names cost the issuer one request in
// half a minute, and no request waits for it.
func TestUnknownKidStorm(t *testing.T) {
	inWorld(t, New, func(o *Options) {}, func(t *testing.T, w *world) {
		w.issuer.control = "max-age=3600"
		unknown := newSigner(t, "nobody")
		storm := func(a *attempt) { a.signer = unknown }
		want(t, w.do(storm), http.StatusUnauthorized, oauth.TokenInvalid) // the keys have just come
		time.Sleep(refetchEvery)
		before := w.issuer.fetched()
		want(t, w.do(storm), http.StatusServiceUnavailable, oauth.Unavailable)
		for range 200 {
			w.do(storm)
		}
		synctest.Wait()
		for range 200 {
			want(t, w.do(storm), http.StatusUnauthorized, oauth.TokenInvalid)
		}
		if n := w.issuer.fetched() - before; n != 1 {
			t.Fatalf("%d fetches", n)
		}
		want(t, w.do(), http.StatusOK, "")
	})
}

// TestKeysAreRotated: a token by a new key is taken a moment after it is first
// seen, and by the end of max-age without having been seen.
func TestKeysAreRotated(t *testing.T) {
	inWorld(t, New, nil, func(t *testing.T, w *world) {
		time.Sleep(refetchEvery)
		next := newSigner(t, "k2")
		w.issuer.with(func() { w.issuer.set = newSet(t, w.issuer.signer, next) })
		byNext := func(a *attempt) { a.signer = next }
		rec := w.do(byNext)
		want(t, rec, http.StatusServiceUnavailable, oauth.Unavailable)
		if rec.Header().Get("Retry-After") == "" {
			t.Fatal(rec.Header())
		}
		synctest.Wait()
		want(t, w.do(byNext), http.StatusOK, "")
		want(t, w.do(), http.StatusOK, "")

		third := newSigner(t, "k3")
		w.issuer.with(func() { w.issuer.set = newSet(t, next, third) })
		time.Sleep(defaultKeyAge + time.Second)
		want(t, w.do(func(a *attempt) { a.signer = third }), http.StatusOK, "")
	})
}

// TestRemovedKeyTakesItsTokensAlong: a token in the cache was verified under keys
// that are no more.
func TestRemovedKeyTakesItsTokensAlong(t *testing.T) {
	inWorld(t, New, nil, func(t *testing.T, w *world) {
		compact := w.issue(func() *attempt {
			a := w.attempt()
			a.claims.ExpiresAt = a.claims.ExpiresAt.Add(time.Hour)
			return a
		}())
		keep := func(a *attempt) { a.token = compact }
		want(t, w.do(keep), http.StatusOK, "")
		w.issuer.with(func() { w.issuer.set = newSet(t, newSigner(t, "k2")) })
		time.Sleep(defaultKeyAge + time.Second)
		if rec := w.do(keep); rec.Code == http.StatusOK { // 503 if the keys are asked for once more
			t.Fatal("let through")
		}
		synctest.Wait()
		want(t, w.do(keep), http.StatusUnauthorized, oauth.TokenInvalid)
	})
}

// TestKeysThatCannotBeFetched count for a day. In the meantime a kid that is not
// known may be a new one, so the answer is not a final one.
func TestKeysThatCannotBeFetched(t *testing.T) {
	inWorld(t, New, nil, func(t *testing.T, w *world) {
		w.issuer.with(func() { w.issuer.keysDown = true })
		time.Sleep(23 * time.Hour)
		want(t, w.do(), http.StatusOK, "")
		want(t, w.do(func(a *attempt) { a.signer = newSigner(t, "k2") }), http.StatusServiceUnavailable, oauth.Unavailable)
		time.Sleep(2 * time.Hour)
		want(t, w.do(), http.StatusServiceUnavailable, oauth.StaleRevocations)
		if err := w.v.Ready(); !errors.Is(err, ErrKeysOld) {
			t.Fatal(err)
		}
		w.issuer.with(func() { w.issuer.keysDown = false })
		time.Sleep(time.Minute)
		want(t, w.do(), http.StatusOK, "")
	})
}

// TestMaxAge reads Cache-Control as RFC 9111 has it, within bounds.
func TestMaxAge(t *testing.T) {
	for header, want := range map[string]time.Duration{
		"":                             defaultKeyAge,
		"no-store":                     defaultKeyAge,
		"max-age=600":                  10 * time.Minute,
		"public, MAX-AGE=\"600\"":      10 * time.Minute,
		"max-age=0":                    minKeyAge,
		"max-age=31536000":             maxKeyAge,
		"max-age=99999999999999999999": defaultKeyAge,
		"max-age=-1":                   defaultKeyAge,
		"s-max-age=7, max-age=120":     2 * time.Minute,
	} {
		if got := maxAge(header); got != want {
			t.Errorf("%q: %v, want %v", header, got, want)
		}
	}
}

// TestElapsed takes the larger of two clocks' word.
func TestElapsed(t *testing.T) {
	now := time.Now()
	if got := elapsed(now, now.Add(time.Minute)); got != time.Minute {
		t.Fatal(got)
	}
	// The steady clock stood still for an hour: only the wall tells.
	if got := elapsed(now.Round(0).Add(-time.Hour), now); got < time.Hour {
		t.Fatal(got)
	}
}

// TestNewRefuses what cannot be meant, and what it is told by a wrong issuer.
func TestNewRefuses(t *testing.T) {
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		options func(*Options)
		issuer  func(*issuer)
		want    error
	}{
		"plain http issuer":         {options: func(o *Options) { o.Issuer = "http://login.example.test" }, want: ErrOptions},
		"localhost is a name":       {options: func(o *Options) { o.Issuer = "http://localhost:8430" }, want: ErrOptions},
		"no issuer":                 {options: func(o *Options) { o.Issuer = "" }, want: ErrOptions},
		"plain http resource":       {options: func(o *Options) { o.Resource = "http://api.example.test" }, want: ErrOptions},
		"resource with a query":     {options: func(o *Options) { o.Resource += "?a" }, want: ErrOptions},
		"resource no URL":           {options: func(o *Options) { o.Resource = "api" }, want: ErrOptions},
		"prefix":                    {options: func(o *Options) { o.StrippedPrefix = "v1" }, want: ErrOptions},
		"short nonce key":           {options: func(o *Options) { o.NonceKey = []byte("short") }, want: ErrOptions},
		"CA file":                   {options: func(o *Options) { o.Env = map[string]string{"SSL_CERT_FILE": "/nonexistent"} }, want: ErrOptions},
		"no key":                    {options: func(o *Options) { o.Key = nil }, want: ErrKey},
		"wrong curve":               {options: func(o *Options) { o.Key = p384 }, want: ErrKey},
		"another issuer's metadata": {issuer: func(s *issuer) { s.meta.Issuer = "https://evil.example" }, want: ErrIssuer},
		"almost the issuer":         {issuer: func(s *issuer) { s.meta.Issuer += "/" }, want: ErrIssuer},
		"no keys":                   {issuer: func(s *issuer) { s.meta.JWKSURI = "" }, want: ErrIssuer},
		"feed elsewhere":            {issuer: func(s *issuer) { s.meta.RevocationFeedEndpoint = "http://evil.example/feed" }, want: ErrIssuer},
		"no feed":                   {issuer: func(s *issuer) { s.meta.RevocationFeedEndpoint = "" }, want: ErrNoFeed},
		"keys not found":            {issuer: func(s *issuer) { s.meta.JWKSURI = testIssuer + "/nothing" }, want: ErrIssuer},
		"keys are no keys":          {issuer: func(s *issuer) { s.meta.JWKSURI = testIssuer + oauth.WellKnownOAuth }, want: ErrIssuer},
		"keys down":                 {issuer: func(s *issuer) { s.keysDown = true }, want: ErrNoAnswer},
		"issuer gone":               {issuer: func(s *issuer) { _ = s.server.Close() }, want: ErrNoAnswer},
	} {
		t.Run(name, func(t *testing.T) {
			inEmptyWorld(t, func(t *testing.T, w *world) {
				o := w.options()
				if c.options != nil {
					c.options(&o)
				}
				if c.issuer != nil {
					synctest.Wait()
					c.issuer(w.issuer)
				}
				v, err := New(t.Context(), o)
				if !errors.Is(err, c.want) {
					t.Fatalf("%v, want %v", err, c.want)
				}
				if v != nil {
					t.Fatal("a Verifier beside an error")
				}
			})
		})
	}
}

// TestMetadataNamesThisResource, and stands where challenges say.
//
// Invariant: TK-21b
func TestMetadataNamesThisResource(t *testing.T) {
	inWorld(t, New, func(o *Options) { o.ScopesSupported = []string{"read", "write"} }, func(t *testing.T, w *world) {
		if got := w.v.MetadataPath(); got != "/.well-known/oauth-protected-resource/v1" {
			t.Fatal(got)
		}
		rec := httptest.NewRecorder()
		w.v.Metadata().ServeHTTP(rec, httptest.NewRequest("GET", w.v.MetadataPath(), nil))
		var got struct {
			Resource      string   `json:"resource"`
			Servers       []string `json:"authorization_servers"`
			Scopes        []string `json:"scopes_supported"`
			Methods       []string `json:"bearer_methods_supported"`
			BoundRequired bool     `json:"dpop_bound_access_tokens_required"`
		}
		if err := json.Unmarshal(rec.Body.Bytes(), &got); err != nil {
			t.Fatal(err)
		}
		if got.Resource != testResource || !slices.Equal(got.Servers, []string{testIssuer}) || !got.BoundRequired ||
			!slices.Equal(got.Scopes, []string{"read", "write"}) || !slices.Equal(got.Methods, []string{"header"}) ||
			rec.Header().Get("Content-Type") != "application/json" {
			t.Fatalf("%+v %v", got, rec.Header())
		}
		rec = httptest.NewRecorder()
		w.v.Metadata().ServeHTTP(rec, httptest.NewRequest("POST", w.v.MetadataPath(), nil))
		if rec.Code != http.StatusMethodNotAllowed {
			t.Fatal(rec.Code)
		}
	})
}

// TestWaitReadySaysWhy a feed that never comes did not.
func TestWaitReadySaysWhy(t *testing.T) {
	inEmptyWorld(t, func(t *testing.T, w *world) {
		w.issuer.feedDown = true
		w.open(New, nil)
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		err := w.v.WaitReady(ctx)
		if !errors.Is(err, ErrNoSnapshot) || !errors.Is(err, errFeed) {
			t.Fatal(err)
		}
	})
}

// TestLoadKey reads the forms that openssl writes, and nothing that cannot sign.
func TestLoadKey(t *testing.T) {
	ec := newKey(t)
	_, ed, _ := ed25519.GenerateKey(rand.Reader)
	weak, _ := rsa.GenerateKey(rand.Reader, 1024)
	p384, _ := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	pkcs8 := func(key any) []byte {
		der, err := x509.MarshalPKCS8PrivateKey(key)
		if err != nil {
			t.Fatal(err)
		}
		return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
	}
	sec1, err := x509.MarshalECPrivateKey(ec)
	if err != nil {
		t.Fatal(err)
	}
	spki, err := x509.MarshalPKIXPublicKey(ec.Public())
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		text []byte
		key  crypto.Signer // nil: refused
	}{
		"PKCS 8":                  {pkcs8(ec), ec},
		"Ed25519":                 {pkcs8(ed), ed},
		"SEC 1 behind parameters": {append(pem.EncodeToMemory(&pem.Block{Type: "EC PARAMETERS", Bytes: []byte{6, 0}}), pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: sec1})...), ec},
		"public":                  {pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: spki}), nil},
		"weak RSA":                {pkcs8(weak), nil},
		"another curve":           {pkcs8(p384), nil},
		"damaged":                 {pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: sec1[:20]}), nil},
		"empty":                   {nil, nil},
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "key.pem")
			if err := os.WriteFile(file, c.text, 0o600); err != nil {
				t.Fatal(err)
			}
			key, err := LoadKey(file)
			if c.key == nil {
				if !errors.Is(err, ErrKey) || key != nil {
					t.Fatal(key, err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if !key.Public().(interface{ Equal(crypto.PublicKey) bool }).Equal(c.key.Public()) {
				t.Fatal("another key")
			}
		})
	}
	if _, err := LoadKey(filepath.Join(t.TempDir(), "none")); !errors.Is(err, ErrKey) || !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
}

// TestPublicKeySet is public, and the key's.
func TestPublicKeySet(t *testing.T) {
	key := newKey(t)
	raw, err := PublicKeySet(key, "a")
	if err != nil {
		t.Fatal(err)
	}
	set, err := jws.ParseSet(raw)
	if err != nil {
		t.Fatal(err)
	}
	public, ok := set.Key("a")
	if !ok || !key.PublicKey.Equal(public.Standard()) || bytes.Contains(raw, []byte(`"d"`)) {
		t.Fatal(string(raw))
	}
	p384, _ := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if _, err := PublicKeySet(p384, ""); !errors.Is(err, ErrKey) {
		t.Fatal(err)
	}
}

// TestOptionsHideTheirKeys, however they are printed.
func TestOptionsHideTheirKeys(t *testing.T) {
	key := newKey(t)
	o := Options{Issuer: testIssuer, Resource: testResource, Key: key, NonceKey: bytes.Repeat([]byte("n"), 32)}
	var text bytes.Buffer
	fmt.Fprintf(&text, "%v %+v %#v %s %d %x", o, o, o, o, o, o)
	slog.New(slog.NewTextHandler(&text, nil)).Info("t", "options", o)
	slog.New(slog.NewJSONHandler(&text, nil)).Info("t", "options", o)
	_ = json.NewEncoder(&text).Encode(o)
	secret, err := key.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	d := new(big.Int).SetBytes(secret)
	for _, form := range []string{"nnnn", "110 110", "bm5u", "6e6e", d.String(), fmt.Sprintf("%x", secret), base64.StdEncoding.EncodeToString(secret)} {
		if strings.Contains(text.String(), form) {
			t.Fatalf("%q is in %s", form, text.String())
		}
	}
}

// TestTokenCacheIsBounded, and forgets what nobody asks for first.
func TestTokenCacheIsBounded(t *testing.T) {
	c, now, under := newTokenCache(8), time.Now(), &keySet{}
	sum := func(i int) [32]byte { return sha256.Sum256([]byte{byte(i), byte(i >> 8)}) }
	entry := &verified{Caller{ExpiresAt: now.Add(time.Minute)}, under}
	c.put(sum(0), entry)
	for i := range 1000 {
		c.put(sum(i+1), entry)
		if _, ok := c.get(sum(0), under, now); !ok {
			t.Fatal("forgot what is in use")
		}
		if n := len(c.cur) + len(c.old); n > 8 {
			t.Fatalf("%d entries", n)
		}
	}
	if _, ok := c.get(sum(0), &keySet{}, now); ok {
		t.Fatal("verified under other keys")
	}
	if _, ok := c.get(sum(0), under, now); ok {
		t.Fatal("still there")
	}
}
