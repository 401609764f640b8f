package verify

import (
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keytether/keytether/internal/dpop"
	"github.com/keytether/keytether/internal/oauth"
)

// tripwire takes reports as the server does.
func (s *issuer) tripwire(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	why, answer := s.authenticate(r), s.trip
	s.telling++
	s.mu.Unlock()
	status := http.StatusNoContent
	if answer != nil {
		status = answer()
	}
	if why != "" {
		s.tb.Errorf("assertion refused: %s", why)
		status = http.StatusUnauthorized
	}
	if status == http.StatusNoContent {
		s.with(func() { s.told = append(s.told, r.PostForm) })
	}
	w.WriteHeader(status)
}

// reported gives what the issuer was told by now.
func (w *world) reported() (out []string) {
	synctest.Wait()
	w.issuer.with(func() {
		for _, f := range w.issuer.told {
			if f.Get("token") == "" || strings.Count(f.Get("token"), ".") != 2 {
				w.t.Errorf("no token: %q", f.Get("token"))
			}
			out = append(out, fmt.Sprintf("%s %s %s", f.Get("kind"), f.Get("proof_jkt"), f.Get("address")))
		}
	})
	return out
}

func (w *world) wantReports(want ...string) {
	w.t.Helper()
	if got := w.reported(); fmt.Sprint(got) != fmt.Sprint(want) {
		w.t.Errorf("reported %q, want %q", got, want)
	}
}

func asBearer(a *attempt) { a.scheme = "Bearer" }

func numbered(n int) func(*attempt) {
	return func(a *attempt) { a.claims.ID = fmt.Sprint("jti_", n) }
}

// TestCopiesAreReported: another key's proof and a bound token as Bearer are told
// of, once each, and refused as they always were.
//
// Invariant: TW-7
func TestCopiesAreReported(t *testing.T) {
	for name, make := range map[string]constructor{"strict": New, "bearer": NewAcceptingBearerTokens} {
		t.Run(name, func(t *testing.T) {
			address := func(o *Options) {
				o.ClientAddress = func(*http.Request) netip.Addr { return netip.MustParseAddr("::ffff:203.0.113.9") }
			}
			inWorld(t, make, address, func(t *testing.T, w *world) {
				thief := newSigner(t, "")
				steal := func(a *attempt) { a.key = thief }
				for range 3 {
					want(t, w.do(steal), http.StatusUnauthorized, oauth.TokenBound)
				}
				first := "wrong_key " + thief.Public().Thumbprint() + " 203.0.113.9"
				w.wantReports(first)
				for range 3 {
					want(t, w.do(asBearer, numbered(2)), http.StatusUnauthorized, oauth.TokenBound)
				}
				w.wantReports(first, "bearer  203.0.113.9")
				want(t, w.do(), http.StatusOK, "")
			})
		})
	}
}

// TestNoCopyNoReport: nothing that is not a live token of ours with a valid proof
// by another key, or as Bearer, is told of; nor by an API without a key, nor to an
// issuer without a tripwire.
//
// Invariant: TW-2
func TestNoCopyNoReport(t *testing.T) {
	inWorld(t, New, nil, func(t *testing.T, w *world) {
		w.issuer.revoke("grt_9")
		synctest.Wait()
		thief := newSigner(t, "")
		for name, edit := range map[string]func(*attempt){
			"no proof":       func(a *attempt) { a.last = func(r *http.Request) { r.Header.Del("DPoP") } },
			"nonsense proof": func(a *attempt) { a.key, a.raw = thief, "x.y.z" },
			"stale proof":    func(a *attempt) { a.key, a.proof.IssuedAt = thief, time.Now().Add(-time.Hour) },
			"early proof":    func(a *attempt) { a.key, a.proof.IssuedAt = thief, time.Now().Add(time.Hour) },
			"old nonce":      func(a *attempt) { a.key, a.proof.Nonce = thief, "x" },
			"other URL":      func(a *attempt) { a.key, a.proof.URL = thief, testURL+"/x" },
			"other method":   func(a *attempt) { a.key, a.proof.Method = thief, "POST" },
			"other ath":      func(a *attempt) { a.key, a.proof.AccessToken = thief, "x" },
			"forged":         func(a *attempt) { asBearer(a); a.signer = newSigner(t, "k1") },
			"forged, proved": func(a *attempt) { a.key = thief; a.signer = newSigner(t, "k1") },
			"expired": func(a *attempt) {
				asBearer(a)
				a.claims.IssuedAt, a.claims.ExpiresAt = time.Now().Add(-time.Hour), time.Now().Add(-time.Minute)
			},
			"other resource": func(a *attempt) { asBearer(a); a.claims.Audience = "https://x.test" },
			"other issuer":   func(a *attempt) { asBearer(a); a.claims.Issuer = "https://x.test" },
			"ended":          func(a *attempt) { asBearer(a); a.claims.GrantID = "grt_9" },
			"ended, proved":  func(a *attempt) { a.key = thief; a.claims.GrantID = "grt_9" },
			"bound to none":  func(a *attempt) { asBearer(a); a.claims.Thumbprint = "" },
			"a string":       func(a *attempt) { asBearer(a); a.token = "correct-horse" },
			"a grant id":     func(a *attempt) { asBearer(a); a.token = "grt_1" },
			"the right key":  func(*attempt) {},
		} {
			id := func(a *attempt) { a.claims.ID = "jti_" + name } // each may be reported
			if rec := w.do(id, edit); (rec.Code == http.StatusOK) != (name == "the right key") {
				t.Errorf("%s: %d", name, rec.Code)
			}
			if got := w.reported(); len(got) != 0 {
				t.Fatalf("%s was reported: %q", name, got)
			}
		}
	})
	for name, edit := range map[string]struct {
		make constructor
		meta func(*issuer)
	}{
		"no key":      {NewWithoutRevocations, func(*issuer) {}},
		"no tripwire": {New, func(s *issuer) { s.meta.TripwireEndpoint = "" }},
	} {
		t.Run(name, func(t *testing.T) {
			inEmptyWorld(t, func(t *testing.T, w *world) {
				edit.meta(w.issuer)
				w.open(edit.make, nil)
				w.ready()
				want(t, w.do(asBearer), http.StatusUnauthorized, oauth.TokenBound)
				want(t, w.do(func(a *attempt) { a.key = newSigner(t, "") }), http.StatusUnauthorized, oauth.TokenBound)
				w.wantReports()
			})
		})
	}
}

// TestReportsNeverDelay: the issuer hangs, is down, or overwhelmed. Requests are
// answered at once and as always; what finds no room is dropped; a copy that is
// still used when the issuer is back is told of then.
//
// Invariant: TW-7
func TestReportsNeverDelay(t *testing.T) {
	inWorld(t, New, nil, func(t *testing.T, w *world) {
		block := make(chan struct{})
		w.issuer.with(func() { w.issuer.trip = func() int { <-block; return http.StatusNoContent } })
		began := time.Now()
		for n := range 3 * maxReports {
			want(t, w.do(asBearer, numbered(n)), http.StatusUnauthorized, oauth.TokenBound)
		}
		want(t, w.do(), http.StatusOK, "")
		if took := time.Since(began); took != 0 { // nobody waited in the bubble
			t.Errorf("it took %v", took)
		}
		close(block)
		if got := len(w.reported()); got < maxReports || got > maxReports+1 {
			t.Errorf("%d reports", got)
		}
		n := 3*maxReports - 1 // one that was dropped
		w.issuer.with(func() {
			w.issuer.told, w.issuer.telling = nil, 0
			w.issuer.trip = func() int { return http.StatusServiceUnavailable }
		})
		for range 600 {
			want(t, w.do(asBearer, numbered(n)), http.StatusUnauthorized, oauth.TokenBound)
			time.Sleep(100 * time.Millisecond)
		}
		w.wantReports()
		tried := 0
		w.issuer.with(func() { tried, w.issuer.trip = w.issuer.telling, nil })
		if tried < 5 || tried > 25 {
			t.Errorf("tried %d times in a minute", tried)
		}
		time.Sleep(2 * maxPause)
		want(t, w.do(asBearer, numbered(n)), http.StatusUnauthorized, oauth.TokenBound)
		w.wantReports("bearer  ")
		w.issuer.with(func() {
			w.issuer.told, w.issuer.telling = nil, 0
			w.issuer.trip = func() int { return http.StatusBadRequest }
		})
		for range 10 {
			want(t, w.do(asBearer, numbered(9999)), http.StatusUnauthorized, oauth.TokenBound)
			time.Sleep(time.Second)
		}
		w.issuer.with(func() { tried = w.issuer.telling })
		if tried != 1 {
			t.Errorf("a refused report was repeated: %d", tried)
		}
	})
}

// TestReportedIsBounded: however many tokens are copied, few are remembered.
//
// Invariant: TW-7
func TestReportedIsBounded(t *testing.T) {
	r := newReports("")
	for n := range 3 * maxReported {
		r.first(fmt.Sprint(n))
	}
	if len(r.young)+len(r.old) > 2*maxReported || r.first(fmt.Sprint(3*maxReported-1)) || !r.first("0") {
		t.Errorf("%d and %d remembered", len(r.young), len(r.old))
	}
}

// TestReportKeepsTheTokenOutOfTheLog, and out of what is printed of a report.
func TestReportKeepsTheTokenOutOfTheLog(t *testing.T) {
	inWorld(t, New, nil, func(t *testing.T, w *world) {
		w.issuer.with(func() { w.issuer.trip = func() int { return http.StatusBadRequest } })
		a := w.attempt()
		compact := w.issue(a)
		proof, err := dpop.New(newSigner(t, ""), dpop.Request{Method: "GET", URL: testURL, AccessToken: compact, IssuedAt: time.Now(), ID: "p"})
		if err != nil {
			t.Fatal(err)
		}
		want(t, w.do(func(a *attempt) { a.token, a.raw = compact, proof }), http.StatusUnauthorized, oauth.TokenBound)
		synctest.Wait()
		if text := w.log.String(); strings.Contains(text, compact) || strings.Contains(text, proof) || !strings.Contains(text, "could not be reported") {
			t.Errorf("the log has %s", text)
		}
	})
}
