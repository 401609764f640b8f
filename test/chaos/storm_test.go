//go:build linux

package chaos

import (
	"context"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keytether/keytether/bench/driver"
	"github.com/keytether/keytether/internal/event"
	"github.com/keytether/keytether/internal/oauth"
)

// TestIdenticalRefreshes: fifty processes of one tool refresh at once with the
// same token and the same key. All get the same successor, and nobody is alarmed.
//
// Invariant: GR-9
func TestIdenticalRefreshes(t *testing.T) {
	s := newStage(t, "warn")
	p := meet(t, s)
	tool, first := p.login(t)
	const many = 50
	answers := make([]oauth.TokenResponse, many)
	errs := make([]error, many)
	together(many, func(i int) { answers[i], errs[i] = refresh(t.Context(), tool, first.RefreshToken) })
	successor := answers[0].RefreshToken
	tokens := map[string]bool{}
	for i, err := range errs {
		switch {
		case err != nil:
			t.Errorf("request %d: %v", i, err)
		case answers[i].RefreshToken != successor:
			t.Errorf("request %d got another successor", i)
		}
		tokens[answers[i].AccessToken] = true
	}
	if len(tokens) != many {
		t.Errorf("%d different access tokens for %d requests", len(tokens), many)
	}
	next, err := refresh(t.Context(), tool, successor)
	if err != nil {
		t.Fatalf("the one successor: %v", err)
	}
	if g := generation(t, next.RefreshToken); g != generation(t, first.RefreshToken)+2 {
		t.Errorf("after one storm and one refresh the generation is %d", g)
	}
	p.leave()
	stop(t, s)
	log := readLog(t, s.Data(), s.Issuer)
	log.checkFamilies(t)
	if n := log.report.Events[event.RefreshRepeated]; n != many-1 {
		t.Errorf("%d repetitions are recorded, want %d", n, many-1)
	}
	if n := log.report.Events[event.TokenIssued]; n != many+2 {
		t.Errorf("%d tokens are recorded, want %d", n, many+2)
	}
	if n := log.report.Events[event.RefreshReused] + log.report.Events[event.GrantRevoked]; n != 0 {
		t.Errorf("%d alarms", n)
	}
}

// TestForeignKeyInTheStorm: a thief with a key of his own joins such a storm. He
// gets nothing, and whatever order the requests came in, nothing that anybody
// got works afterwards.
//
// Invariant: GR-10
func TestForeignKeyInTheStorm(t *testing.T) {
	s := newStage(t, "warn")
	p := meet(t, s)
	tool, first := p.login(t)
	thief := p.tool(t)
	if _, err := refresh(t.Context(), thief, "ktr_none"); err == nil { // the thief knows the server's nonce by now
		t.Fatal("a string that is no token was taken")
	}
	const many = 41
	answers := make([]oauth.TokenResponse, many)
	errs := make([]error, many)
	var stolen oauth.TokenResponse
	var caught error
	together(many, func(i int) {
		if i == many/2 {
			stolen, caught = refresh(t.Context(), thief, first.RefreshToken)
			return
		}
		answers[i], errs[i] = refresh(t.Context(), tool, first.RefreshToken)
	})
	wantRefused(t, "the thief", caught, oauth.RefreshWrongKey)
	if stolen.AccessToken != "" || stolen.RefreshToken != "" {
		t.Error("the thief got a token")
	}
	all := map[string]bool{first.RefreshToken: true}
	for i, err := range errs {
		if i == many/2 {
			continue
		}
		if err != nil {
			wantRefused(t, "a request after the thief's", err, oauth.GrantEnded)
		} else if answers[i].RefreshToken != "" {
			all[answers[i].RefreshToken] = true
		}
	}
	for token := range all {
		_, err := refresh(t.Context(), tool, token)
		wantRefused(t, "what was given before", err, oauth.GrantEnded)
		_, err = refresh(t.Context(), thief, token)
		wantRefused(t, "what was given before, to the thief", err, oauth.GrantEnded)
	}
	api := newAPI(t, s)
	for _, a := range answers {
		if a.AccessToken != "" && api.active(t, a.AccessToken) {
			t.Error("an access token of the family is still good")
		}
	}
	p.leave()
	stop(t, s)
	log := readLog(t, s.Data(), s.Issuer)
	log.checkFamilies(t)
	if log.about(first.GrantID, event.RefreshReused, event.ReasonWrongKey) != 1 || log.about(first.GrantID, event.GrantRevoked, event.ReasonWrongKey) != 1 {
		t.Error("the theft is not recorded once")
	}
}

// TestRevocationInTheStorm: somebody keeps a grant busy from many connections; the
// person's word and the client's are heard at once nevertheless.
//
// Invariant: RV-3
func TestRevocationInTheStorm(t *testing.T) {
	s := newStage(t, "warn")
	p := meet(t, s)
	for _, c := range []struct {
		name string
		end  func(t *testing.T, tool *driver.Tool, token string)
	}{
		{"by the client", func(t *testing.T, tool *driver.Tool, token string) {
			if err := revoke(t.Context(), tool, token); err != nil {
				t.Error(err)
			}
		}},
		{"this was not me", func(t *testing.T, _ *driver.Tool, _ string) {
			page, err := p.person.Get(t.Context(), s.Issuer+"/me")
			if err != nil {
				t.Fatal(err)
			}
			page, err = p.person.Submit(t.Context(), form(t, page, "This wasn't me"), "This wasn't me", nil)
			if err != nil || page.Status != http.StatusOK {
				t.Errorf("%v: %+v", err, page)
			}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			tool, first := p.login(t)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			var busy sync.WaitGroup
			var answered atomic.Int64
			for range 50 {
				busy.Go(func() {
					for ctx.Err() == nil {
						_, err := refresh(ctx, tool, first.RefreshToken)
						if ctx.Err() != nil {
							return
						}
						if e, ok := refused(err); ok {
							if e.Code != oauth.GrantEnded {
								t.Errorf("in the storm: %v", e)
							}
							return
						}
						answered.Add(1)
					}
				})
			}
			for answered.Load() < 100 {
				time.Sleep(time.Millisecond)
			}
			began := time.Now()
			c.end(t, tool, first.RefreshToken)
			if took := time.Since(began); took > time.Second {
				t.Errorf("it took %v", took)
			}
			_, err := refresh(t.Context(), tool, first.RefreshToken)
			wantRefused(t, "a refresh after it", err, oauth.GrantEnded)
			if t.Failed() {
				cancel() // or the storm never ends
			}
			busy.Wait()
		})
	}
	p.leave()
	stop(t, s)
	readLog(t, s.Data(), s.Issuer).checkFamilies(t)
}

// together calls f n times at the same moment.
func together(n int, f func(i int)) {
	var wg sync.WaitGroup
	ready, cancel := context.WithCancel(context.Background())
	for i := range n {
		wg.Go(func() {
			<-ready.Done()
			f(i)
		})
	}
	cancel()
	wg.Wait()
}
