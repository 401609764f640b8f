package dpop

import (
	"errors"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/keytether/keytether/internal/jws"
)

func TestNewVerify(t *testing.T) {
	n := testNonces(t)
	for name, s := range map[string]jws.Signer{"ES256": testSigner(t, 1), "EdDSA": testEdSigner(t)} {
		t.Run(name, func(t *testing.T) {
			r, want := request(), expect(s)
			r.Nonce, want.Nonces = n.Mint(testNow, NonceRandom{1}), n
			p, err := Verify(newProof(t, s, r), want)
			if err != nil {
				t.Fatal(err)
			}
			if p.ID != r.ID || p.Nonce != r.Nonce || p.Thumbprint != want.Thumbprint || !p.IssuedAt.Equal(testNow) || !p.Key.Equal(s.Public()) {
				t.Errorf("%+v", p)
			}
		})
	}
}

func TestNewRefuses(t *testing.T) {
	s := testSigner(t, 1)
	for name, spoil := range map[string]func(*Request){
		"no method": func(r *Request) { r.Method = "" }, "no jti": func(r *Request) { r.ID = "" },
		"jti too long": func(r *Request) { r.ID = strings.Repeat("j", maxJTI+1) },
		"not UTF-8":    func(r *Request) { r.Nonce = "\xff" }, "before 1970": func(r *Request) { r.IssuedAt = time.Unix(-1, 0) },
		"relative URL": func(r *Request) { r.URL = "/v1" }, "no URL": func(r *Request) { r.URL = "" },
		"user information": func(r *Request) { r.URL = "https://u:p@api.example.test/" },
	} {
		r := request()
		spoil(&r)
		if _, err := New(s, r); err == nil {
			t.Errorf("%s: a proof is made", name)
		}
	}
	if _, err := New(testRSASigner(t), request()); !errors.Is(err, ErrAlgorithm) {
		t.Errorf("RS256: %v", err)
	}
	r := request()
	r.URL += "?secret=1#frag"
	proof := newProof(t, s, r)
	m, err := jws.ParseEmbedded(proof, nil)
	if err != nil || strings.Contains(string(m.Payload), "secret") || strings.Contains(string(m.Payload), "frag") {
		t.Errorf("the query is in the proof: %s, %v", m.Payload, err)
	}
	if strings.Contains(string(m.Payload), testToken) {
		t.Error("the token is in the proof")
	}
}

const goodClaims = `{"jti":"j","htm":"GET","htu":"https://api.example.test/v1/reports","iat":1772366400,` +
	`"ath":"fUHyO2r2Z3DZ53EsNrWBb0xWXoaNy59IiKCAqksmQEo"}`

// RFC 9449 §4.3, steps 2 to 7: form, type, algorithm, key, signature.
//
// Invariant: DP-16a, DP-16b, DP-16f
func TestVerifyRefusesHeaders(t *testing.T) {
	s, ed, rs := testSigner(t, 1), testEdSigner(t), testRSASigner(t)
	jwk := string(s.Public().AppendJWK(nil))
	otherJWK := string(testSigner(t, 2).Public().AppendJWK(nil))
	private := strings.TrimSuffix(jwk, "}") + `,"d":"AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAE"}`
	h := func(typ, alg, jwk string) string {
		return `{"typ":"` + typ + `","alg":"` + alg + `","jwk":` + jwk + `}`
	}
	good := compactOf(t, s, headerOf(s), goodClaims)
	for _, c := range []struct {
		name, proof string
		want        error
	}{
		{"good", good, nil},
		{"empty", "", ErrMalformed},
		{"two proofs in one header", good + "," + good, ErrMalformed},
		{"trailing space", good + " ", ErrMalformed},
		{"too long", compactOf(t, s, headerOf(s), `{"z":"`+strings.Repeat("z", maxProof)+`"}`), ErrMalformed},
		{"typ missing", compactOf(t, s, `{"alg":"ES256","jwk":`+jwk+`}`, goodClaims), ErrType},
		{"typ JWT", compactOf(t, s, h("JWT", "ES256", jwk), goodClaims), ErrType},
		{"typ at+jwt", compactOf(t, s, h("at+jwt", "ES256", jwk), goodClaims), ErrType},
		{"typ in capitals", compactOf(t, s, h("DPOP+JWT", "ES256", jwk), goodClaims), ErrType},
		{"typ with prefix", compactOf(t, s, h("application/dpop+jwt", "ES256", jwk), goodClaims), ErrType},
		{"none", compactOf(t, s, h("dpop+jwt", "none", jwk), goodClaims), ErrAlgorithm},
		{"HS256", compactOf(t, s, h("dpop+jwt", "HS256", jwk), goodClaims), ErrAlgorithm},
		{"RS256", compactOf(t, rs, headerOf(rs), goodClaims), ErrAlgorithm},
		{"alg of another key type", compactOf(t, s, h("dpop+jwt", "EdDSA", jwk), goodClaims), ErrAlgorithm},
		{"alg missing", compactOf(t, s, `{"typ":"dpop+jwt","jwk":`+jwk+`}`, goodClaims), ErrAlgorithm},
		{"jwk missing", compactOf(t, s, `{"typ":"dpop+jwt","alg":"ES256"}`, goodClaims), ErrKey},
		{"jwk private", compactOf(t, s, h("dpop+jwt", "ES256", private), goodClaims), ErrKey},
		{"jwk symmetric", compactOf(t, s, h("dpop+jwt", "ES256", `{"kty":"oct","k":"AA"}`), goodClaims), ErrKey},
		{"jwk a curve we do not know", compactOf(t, s, h("dpop+jwt", "ES256", strings.Replace(jwk, "P-256", "P-384", 1)), goodClaims), ErrKey},
		{"jku beside jwk", compactOf(t, s, `{"typ":"dpop+jwt","alg":"ES256","jku":"https://a.example","jwk":`+jwk+`}`, goodClaims), ErrMalformed},
		{"jwk of another", compactOf(t, s, h("dpop+jwt", "ES256", otherJWK), goodClaims), ErrSignature},
		{"signed by Ed25519, ES256 named", compactOf(t, ed, h("dpop+jwt", "ES256", jwk), goodClaims), ErrSignature},
		{"signature cut", good[:len(good)-6], ErrSignature},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, headers := range []*jws.HeaderCache{nil, jws.NewHeaderCache(8)} {
				want := expect(s)
				want.Headers = headers
				for range 2 {
					if p, err := Verify(c.proof, want); !errors.Is(err, c.want) || err != nil && p.Key != nil {
						t.Errorf("got %+v, %v, want %v", p, err, c.want)
					}
				}
			}
		})
	}
}

// RFC 9449 §4.3, steps 3 and 8 to 12, without a nonce.
//
// Invariant: DP-16c, DP-16e, DP-17a
func TestVerifyRefusesClaims(t *testing.T) {
	s := testSigner(t, 1)
	edit := func(old, new string) string {
		if !strings.Contains(goodClaims, old) {
			t.Fatalf("%q is not in the claims", old)
		}
		return strings.Replace(goodClaims, old, new, 1)
	}
	for _, c := range []struct {
		name, claims string
		want         error
	}{
		{"good", goodClaims, nil},
		{"unknown claim", edit(`{`, `{"z":[{}],`), nil},
		{"jti missing", edit(`"jti":"j",`, ``), ErrMalformed},
		{"jti empty", edit(`"j"`, `""`), ErrMalformed},
		{"jti a number", edit(`"j"`, `1`), ErrMalformed},
		{"jti too long", edit(`"j"`, `"`+strings.Repeat("j", maxJTI+1)+`"`), ErrMalformed},
		{"jti as long as may be", edit(`"j"`, `"`+strings.Repeat("j", maxJTI)+`"`), nil},
		{"htm missing", edit(`"htm":"GET",`, ``), ErrMalformed},
		{"htm another", edit(`GET`, `POST`), ErrMethod},
		{"htm in small letters", edit(`GET`, `get`), ErrMethod},
		{"htm twice", edit(`{`, `{"htm":"POST",`), ErrMalformed},
		{"htu missing", edit(`"htu":"https://api.example.test/v1/reports",`, ``), ErrMalformed},
		{"htu another path", edit(`/v1/reports`, `/v1/report`), ErrURL},
		{"htu another host", edit(`api.example.test`, `api.example.test.evil.example`), ErrURL},
		{"htu another scheme", edit(`https:`, `http:`), ErrURL},
		{"htu another port", edit(`api.example.test`, `api.example.test:8443`), ErrURL},
		{"htu with the path's case changed", edit(`/v1/reports`, `/v1/Reports`), ErrURL},
		{"htu with user information", edit(`https://`, `https://u@`), ErrURL},
		{"htu relative", edit(`https://api.example.test`, ``), ErrURL},
		{"htu empty", edit(`https://api.example.test/v1/reports`, ``), ErrMalformed},
		{"htu normalised differently", edit(`https://api.example.test/v1/reports`, `HTTPS://API.example.test:443/x/../v1/%72eports?q#f`), nil},
		{"iat missing", edit(`"iat":1772366400,`, ``), ErrMalformed},
		{"iat a string", edit(`1772366400`, `"1772366400"`), ErrMalformed},
		{"iat null", edit(`1772366400`, `null`), ErrMalformed},
		{"iat with a fraction", edit(`1772366400`, `1772366400.5`), nil},
		{"iat as old as may be", edit(`1772366400`, `1772366335`), nil},
		{"iat too old", edit(`1772366400`, `1772366334`), ErrStale},
		{"iat as far ahead as may be", edit(`1772366400`, `1772366405`), nil},
		{"iat in the future", edit(`1772366400`, `1772366406`), ErrStale},
		{"ath missing", strings.Replace(goodClaims, `,"ath":"fUHyO2r2Z3DZ53EsNrWBb0xWXoaNy59IiKCAqksmQEo"`, ``, 1), ErrATH},
		{"ath empty", edit(`fUHyO2r2Z3DZ53EsNrWBb0xWXoaNy59IiKCAqksmQEo`, ``), ErrATH},
		{"ath of another token", edit(`fUHyO2r2`, `fUHyO2r3`), ErrATH},
		{"ath padded", edit(`mQEo"`, `mQEo="`), ErrATH},
		{"ath null", edit(`"fUHyO2r2Z3DZ53EsNrWBb0xWXoaNy59IiKCAqksmQEo"`, `null`), ErrMalformed},
		{"not JSON", `nope`, ErrMalformed},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, err := Verify(compactOf(t, s, headerOf(s), c.claims), expect(s)); !errors.Is(err, c.want) {
				t.Errorf("got %v, want %v", err, c.want)
			}
		})
	}
}

// RFC 9449 §7.1: the key is compared with the bound one, not only returned.
//
// Invariant: DP-16d
func TestVerifyComparesThumbprint(t *testing.T) {
	s, thief := testSigner(t, 1), testSigner(t, 2)
	if _, err := Verify(newProof(t, thief, request()), expect(s)); !errors.Is(err, ErrThumbprint) {
		t.Errorf("another key: %v", err)
	}
	want := expect(s)
	want.Thumbprint = ""
	if _, err := Verify(newProof(t, s, request()), want); !errors.Is(err, ErrThumbprint) {
		t.Errorf("a token with no key to compare: %v", err)
	}
	r := request()
	r.AccessToken, want.AccessToken = "", ""
	if _, err := Verify(newProof(t, s, r), want); err != nil {
		t.Errorf("the first binding at the authorization server: %v", err)
	}
	// With a token in the request an ath is needed, whatever else is right.
	if _, err := Verify(newProof(t, s, r), expect(s)); !errors.Is(err, ErrATH) {
		t.Errorf("no ath: %v", err)
	}
}

// A request that a server cannot describe matches nothing.
func TestVerifyEmptyExpectations(t *testing.T) {
	s := testSigner(t, 1)
	for name, spoil := range map[string]func(*Expect){
		"no method": func(e *Expect) { e.Method = "" }, "no URL": func(e *Expect) { e.URL = "" },
		"no clock": func(e *Expect) { e.Now = time.Time{} },
	} {
		want := expect(s)
		spoil(&want)
		if _, err := Verify(newProof(t, s, request()), want); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// RFC 9449 §8: once nonces are given out, the nonce is judged and the clock is not.
//
// Invariant: DP-17c
func TestVerifyNonce(t *testing.T) {
	s, n := testSigner(t, 1), testNonces(t)
	fresh := n.Mint(testNow, NonceRandom{1})
	for _, c := range []struct {
		name  string
		nonce string
		iat   time.Time
		use   NonceUse
		want  error
		renew bool
	}{
		{"fresh", fresh, testNow, NonceRequired, nil, false},
		{"fresh, clock an hour behind", fresh, testNow.Add(-time.Hour), NonceRequired, nil, false},
		{"fresh, clock an hour ahead", fresh, testNow.Add(time.Hour), NonceIfPresent, nil, false},
		{"older than half", n.Mint(testNow.Add(-31*time.Second), NonceRandom{}), testNow, NonceRequired, nil, true},
		{"missing", "", testNow, NonceRequired, ErrNonceMissing, false},
		{"missing where it may be", "", testNow, NonceIfPresent, nil, true},
		{"missing and stale", "", testNow.Add(-time.Hour), NonceIfPresent, ErrStale, false},
		{"old", n.Mint(testNow.Add(-61*time.Second), NonceRandom{}), testNow, NonceRequired, ErrNonceStale, false},
		{"old where it may be missing", n.Mint(testNow.Add(-61*time.Second), NonceRandom{}), testNow, NonceIfPresent, ErrNonceStale, false},
		{"made up", "nonce", testNow, NonceRequired, ErrNonceStale, false},
		{"made up where it may be missing", "nonce", testNow, NonceIfPresent, ErrNonceStale, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, want := request(), expect(s)
			r.Nonce, r.IssuedAt, want.Nonces, want.NonceUse = c.nonce, c.iat, n, c.use
			p, err := Verify(newProof(t, s, r), want)
			if !errors.Is(err, c.want) || p.RenewNonce != c.renew {
				t.Errorf("got %+v, %v", p, err)
			}
		})
	}
	// A server without nonces does not take one for freshness.
	r := request()
	r.Nonce, r.IssuedAt = fresh, testNow.Add(-time.Hour)
	if _, err := Verify(newProof(t, s, r), expect(s)); !errors.Is(err, ErrStale) {
		t.Errorf("a nonce nobody checks: %v", err)
	}
	// An empty nonce claim is a nonce, and a bad one.
	want := expect(s)
	want.Nonces, want.NonceUse = n, NonceIfPresent
	empty := compactOf(t, s, headerOf(s), strings.Replace(goodClaims, `{`, `{"nonce":"",`, 1))
	if _, err := Verify(empty, want); !errors.Is(err, ErrNonceStale) {
		t.Errorf("empty nonce: %v", err)
	}
}

// A jti is good once, and only proofs that hold are remembered (RFC 9449 §11.1).
//
// Invariant: DP-17b
func TestVerifyReplay(t *testing.T) {
	s := testSigner(t, 1)
	r := NewMemoryReplays(10)
	want := expect(s)
	want.Replays = r
	bad := want
	bad.Method = "POST"
	proof := newProof(t, s, request())
	if _, err := Verify(proof, bad); !errors.Is(err, ErrMethod) || r.Len() != 0 {
		t.Fatalf("a bad proof takes room: %v, %d", err, r.Len())
	}
	if _, err := Verify(newProof(t, testSigner(t, 2), request()), want); !errors.Is(err, ErrThumbprint) || r.Len() != 0 {
		t.Fatalf("another key's proof takes room: %v, %d", err, r.Len())
	}
	if _, err := Verify(proof, want); err != nil {
		t.Fatal(err)
	}
	// The same until the proof is stale by itself, so that there is no gap.
	for _, later := range []time.Duration{0, time.Second, 64 * time.Second, 65 * time.Second} {
		want.Now = testNow.Add(later)
		if _, err := Verify(proof, want); !errors.Is(err, ErrReplay) {
			t.Errorf("after %v: %v", later, err)
		}
	}
	want.Now = testNow.Add(66 * time.Second)
	if _, err := Verify(proof, want); !errors.Is(err, ErrStale) {
		t.Errorf("%v", err)
	}
	// The same with a nonce, whose age counts.
	n := testNonces(t)
	req := request()
	req.Nonce, req.IssuedAt, req.ID = n.Mint(testNow, NonceRandom{}), testNow.Add(-time.Hour), "jti-2"
	proof = newProof(t, s, req)
	want.Nonces, want.Now = n, testNow.Add(time.Second)
	if _, err := Verify(proof, want); err != nil {
		t.Fatal(err)
	}
	want.Now = testNow.Add(NonceWindow)
	if _, err := Verify(proof, want); !errors.Is(err, ErrReplay) {
		t.Errorf("with a nonce: %v", err)
	}
	want.Now = want.Now.Add(time.Microsecond)
	if _, err := Verify(proof, want); !errors.Is(err, ErrNonceStale) {
		t.Errorf("with an old nonce: %v", err)
	}
}

type brokenReplays struct{ err error }

func (b brokenReplays) Seen(ReplayKey, time.Time, time.Time) (bool, error) { return false, b.err }

func TestVerifyRefusesWhenReplaysFail(t *testing.T) {
	s := testSigner(t, 1)
	want := expect(s)
	gone := errors.New("shared store gone")
	want.Replays = brokenReplays{gone}
	if _, err := Verify(newProof(t, s, request()), want); !errors.Is(err, gone) {
		t.Errorf("%v", err)
	}
}

// A proof for one method and URL is none for any other.
//
// Invariant: DP-16c
func TestProofIsForOneRequest(t *testing.T) {
	s := testSigner(t, 1)
	method := rapid.SampledFrom([]string{"GET", "POST", "PUT", "get", "Get", "HEAD", "PATCH", "DELETE"})
	url := rapid.Custom(func(t *rapid.T) string {
		return rapid.SampledFrom([]string{"https://", "http://", "HTTPS://"}).Draw(t, "scheme") +
			rapid.SampledFrom([]string{"a.test", "A.test", "b.test", "[::1]", "a.test.", "127.0.0.1"}).Draw(t, "host") +
			rapid.SampledFrom([]string{"", ":443", ":80", ":8443", ":0443"}).Draw(t, "port") +
			rapid.SampledFrom([]string{"", "/", "/a", "/A", "/a/", "/%61", "/a/../a", "/./a", "/a%2Fb", "/a%2fb", "/a/b", "/a//b", "/..", "/%2E%2e/a"}).Draw(t, "path") +
			rapid.SampledFrom([]string{"", "?q=1", "#f", "?"}).Draw(t, "tail")
	})
	rapid.Check(t, func(t *rapid.T) {
		m1, m2, u1, u2 := method.Draw(t, "m1"), method.Draw(t, "m2"), url.Draw(t, "u1"), url.Draw(t, "u2")
		// Mostly only one of the two differs, or neither: there lies what could go wrong.
		switch rapid.IntRange(0, 3).Draw(t, "alike") {
		case 0:
			m2 = m1
		case 1:
			u2 = u1
		case 2:
			m2, u2 = m1, u1
		}
		proof, err := New(s, Request{Method: m1, URL: u1, IssuedAt: testNow, ID: "j"})
		if err != nil {
			t.Fatal(err)
		}
		want := Expect{Method: m2, URL: u2, Now: testNow, MaxAge: time.Minute}
		_, err = Verify(proof, want)
		same := m1 == m2 && reference(u1) == reference(u2)
		if (err == nil) != same {
			t.Fatalf("%s %s against %s %s: %v", m1, u1, m2, u2, err)
		}
	})
}

// No single changed byte of a proof leaves it valid: at every place, whatever
// takes its place, most of all what base64url could have there.
//
// Invariant: DP-16f
func TestMutatedProofNeverVerifies(t *testing.T) {
	s := testSigner(t, 1)
	good := newProof(t, s, request())
	want := expect(s)
	want.Headers = jws.NewHeaderCache(4)
	if _, err := Verify(good, want); err != nil {
		t.Fatal(err)
	}
	bad := []byte(good)
	for i, was := range bad {
		for _, c := range []byte{'A', 'Q', 'g', 'w', '3', '-', '_', '.', '=', '%', ' ', '"', 0, 0x80, was ^ 1, was ^ 2, was ^ 0x20} {
			if c == was {
				continue
			}
			bad[i] = c
			if _, err := Verify(string(bad), want); err == nil {
				t.Errorf("byte %d as %q", i, c)
			}
		}
		bad[i] = was
	}
}

// FuzzVerify signs whatever header and claims the fuzzer writes, so that it gets
// past the signature: what is accepted is for this request, and every error is ours.
func FuzzVerify(f *testing.F) {
	s, n := testSigner(f, 1), testNonces(f)
	f.Add(headerOf(s), goodClaims)
	f.Add(headerOf(s), strings.Replace(goodClaims, `{`, `{"nonce":"`+n.Mint(testNow, NonceRandom{})+`",`, 1))
	f.Add(headerOf(s), strings.Replace(goodClaims, `https://api.example.test/v1`, `HTTPS://api.example.test:443/a/%2e%2E/v1`, 1))
	f.Add(`{"typ":"dpop+jwt","alg":"ES256","jwk":{"kty":"EC"}}`, `{}`)
	f.Fuzz(func(t *testing.T, header, claims string) {
		want := expect(s)
		want.Nonces, want.NonceUse, want.Replays = n, NonceIfPresent, NewMemoryReplays(4)
		p, err := Verify(compactOf(t, s, header, claims), want)
		if err == nil && (p.Thumbprint != want.Thumbprint || p.ID == "" || len(p.ID) > maxJTI || !strings.Contains(claims, "GET")) {
			t.Fatalf("accepted %+v", p)
		}
		if err != nil && !known(err) {
			t.Fatalf("not one of our errors: %v", err)
		}
		if p, err := Verify(claims, want); err == nil {
			t.Fatalf("unsigned and accepted: %+v", p)
		}
	})
}

func known(err error) bool {
	for _, e := range []error{
		ErrMalformed, ErrType, ErrAlgorithm, ErrKey, ErrSignature, ErrMethod, ErrURL, ErrATH,
		ErrNonceMissing, ErrNonceStale, ErrStale, ErrThumbprint, ErrReplay, ErrReplayFull,
	} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}
