package verify

import (
	"context"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/keytether/keytether/internal/dpop"
	"github.com/keytether/keytether/internal/feed"
	"github.com/keytether/keytether/internal/jws"
	"github.com/keytether/keytether/internal/outbound"
	"github.com/keytether/keytether/internal/token"
)

// offline is a Verifier with keys and a snapshot, and without an issuer.
func offline(tb testing.TB, signer jws.Signer) *Verifier {
	tb.Helper()
	v, err := build(Options{Issuer: testIssuer, Resource: testResource, Key: newKey(tb), Env: map[string]string{}}, mode{})
	if err != nil {
		tb.Fatal(err)
	}
	now := time.Now()
	v.keys = &keys{log: v.log, wake: make(chan struct{}, 1), get: func(context.Context) (*outbound.Response, error) { return nil, errFeed }}
	v.keys.set.Store(&keySet{Set: newSet(tb, signer)})
	v.keys.fetched.Store(&now)
	refresh(tb, v)
	return v
}

// refresh is what a heartbeat does.
func refresh(tb testing.TB, v *Verifier) {
	now := time.Now()
	if err := v.revoked.apply(&feed.Snapshot{IssuedAt: now}, now, now); err != nil {
		tb.Fatal(err)
	}
}

// nowhere is a ResponseWriter that costs nothing.
type nowhere struct{ h http.Header }

func (n nowhere) Header() http.Header         { return n.h }
func (n nowhere) Write(b []byte) (int, error) { return len(b), nil }
func (n nowhere) WriteHeader(int)             {}

// bench measures one whole request through Require, beside as many bare ES256
// verifications as it cannot do without, by turns and median by median, so that a
// neighbour's burst counts for nothing. Proofs are made in between, and a new token
// each time if that is asked for.
func bench(b *testing.B, floor int, always bool) {
	signer, client, key := newSigner(b, "k1"), newSigner(b, ""), newKey(b)
	v := offline(b, signer)
	digest := sha256.Sum256([]byte("floor"))
	signature, err := ecdsa.SignASN1(rand.Reader, key, digest[:])
	if err != nil {
		b.Fatal(err)
	}
	through := 0
	api := v.Require("read")(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { through++ }))
	now := time.Now()
	claims := token.AccessClaims{
		Issuer: testIssuer, Subject: "acc_01K0000000000000000000000", Audience: testResource, ClientID: "example-cli",
		Scope: "openid read write", ID: "jti_1", GrantID: "grt_01K0000000000000000000000", Thumbprint: client.Public().Thumbprint(),
		IssuedAt: now, ExpiresAt: now.Add(time.Hour), AuthTime: now,
	}
	nonce := v.nonce(now)
	var own, base []time.Duration
	b.ReportAllocs()
	n, compact := 0, ""
	for b.Loop() {
		b.StopTimer()
		n++
		if n%1024 == 0 {
			nonce = v.nonce(time.Now())
		}
		refresh(b, v)
		if always || n == 1 {
			if compact, err = token.Issue(signer, claims); err != nil {
				b.Fatal(err)
			}
		}
		proof, err := dpop.New(client, dpop.Request{
			Method: "GET", URL: testURL, AccessToken: compact, Nonce: nonce, IssuedAt: time.Now(), ID: strconv.Itoa(n),
		})
		if err != nil {
			b.Fatal(err)
		}
		r := httptest.NewRequest("GET", "/v1/reports?month=11", nil)
		r.Header.Set("Authorization", "DPoP "+compact)
		r.Header.Set("DPoP", proof)
		w := nowhere{http.Header{}}
		t0 := time.Now()
		for range floor {
			if !ecdsa.VerifyASN1(&key.PublicKey, digest[:], signature) {
				b.Fatal("floor")
			}
		}
		base = append(base, time.Since(t0))
		b.StartTimer()
		t1 := time.Now()
		api.ServeHTTP(w, r)
		own = append(own, time.Since(t1))
	}
	if through != n {
		b.Fatalf("%d of %d requests came through", through, n)
	}
	slices.Sort(own)
	slices.Sort(base)
	o, f := float64(own[len(own)/2]), float64(base[len(base)/2])
	b.ReportMetric(o, "ns/op")
	b.ReportMetric(o/f, "ratio")
	b.ReportMetric(f, "floor-ns")
}

// BenchmarkVerifyFirst: a token that was never seen. Floor: two verifications.
func BenchmarkVerifyFirst(b *testing.B) { bench(b, 2, true) }

// BenchmarkVerifySeen: a token whose signature is known. Floor: one verification.
func BenchmarkVerifySeen(b *testing.B) { bench(b, 1, false) }
