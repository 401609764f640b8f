package grant

import (
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/keytether/keytether/internal/event"
	"github.com/keytether/keytether/internal/id"
	"pgregory.net/rapid"
)

// history plays arbitrary events and checks after each what must always hold.
type history struct {
	t      *rapid.T
	env    Env
	req    Request
	grant  Grant
	begun  bool // a grant exists
	drawn  byte
	tokens []handed // every refresh token that was handed out

	bearer, unbound bool // what the next refresh is allowed and asks for
}

// handed is a refresh token as its holder knows it.
type handed struct {
	gen  uint32
	hash Hash
}

// Whatever happens, in whatever order: no grant has two live refresh tokens, no
// token is wider than what was allowed or outlives its grant, none exists
// without its record, none comes of an ended grant, a code gives one grant at
// most, and a refusal without effects changes nothing.
//
// Invariant: GR-1, GR-5, GR-6a, TK-19a
func TestNoHistoryBreaksAGrant(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		key := rapid.SampledFrom([]string{"K", "K", "K", ""}).Draw(t, "key")
		w := &history{t: t, env: Env{Now: time.Date(2026, 3, 1, 9, 0, 0, 0, time.UTC)}}
		w.req = sampleRequest(w.env.Now, rapid.Bool().Draw(t, "handshake"), key)
		// Chance seldom leads to a grant, so most histories begin with one.
		if rapid.IntRange(0, 3).Draw(t, "begun") > 0 && (key != "" || !w.req.Handshake) {
			w.begin(key)
		}
		for range rapid.IntRange(1, 60).Draw(t, "length") {
			w.env.Now = w.env.Now.Add(rapid.SampledFrom([]time.Duration{
				0, 0, time.Millisecond, time.Second, 3 * time.Second, 29 * time.Second, 31 * time.Second, 4 * time.Minute, 20 * time.Minute, 7 * time.Hour,
			}).Draw(t, "pause"))
			w.drawn++
			w.env.Random = Random{Grant: [10]byte{w.drawn}, Token: [10]byte{w.drawn}, Salt: Salt{w.drawn}}
			if w.begun && rapid.IntRange(0, 9).Draw(t, "which") > 1 {
				w.stepGrant(w.drawGrantEvent())
			} else {
				w.stepRequest(w.drawRequestEvent())
			}
			w.check()
		}
	})
}

// approve takes the straight way to a person's Allow.
func (w *history) approve() {
	w.stepRequest(Open{Session: "ses_a", Binding: h("a")})
	scope := rapid.SampledFrom([][]string{{"read"}, {"read", "write"}}).Draw(w.t, "allowed")
	w.stepRequest(Approve{Session: "ses_a", Binding: h("a"), Subject: "acc_p", Scope: scope, AuthTime: w.env.Now})
}

// begin takes the straight way to a grant.
func (w *history) begin(key string) {
	w.approve()
	var way []RequestEvent
	if w.req.Handshake {
		way = append(way, OfferNonce{Session: "ses_a", Binding: h("a"), Nonce: h("n1")}, Answer{
			Session: "ses_a", Binding: h("a"), Client: "cli", RedirectURI: w.req.RedirectURI, Handle: h("uri"),
			Nonce: h("n1"), Thumbprint: key, Code: h("code"),
		})
	} else {
		way = append(way, IssueCode{Session: "ses_a", Binding: h("a"), Code: h("code")})
	}
	way = append(way, Redeem{
		Client: "cli", RedirectURI: w.req.RedirectURI, Challenge: "S256", Thumbprint: key, Installation: "ins_1",
		Bearer: key == "", FirstRefresh: func(id.Raw) Hash { return token(0, Salt{}) },
	})
	for _, e := range way {
		w.stepRequest(e)
	}
	if !w.begun {
		w.t.Fatalf("the straight way gives no grant: %+v", w.req)
	}
}

func (w *history) drawRequestEvent() RequestEvent {
	t := w.t
	ses := rapid.SampledFrom([]string{"ses_a", "ses_a", "ses_a", "ses_b"}).Draw(t, "session")
	bind := h(rapid.SampledFrom([]string{"a", "a", "a", "b", ""}).Draw(t, "cookie"))
	nonce := h(rapid.SampledFrom([]string{"n1", "n1", "n2"}).Draw(t, "nonce"))
	key := rapid.SampledFrom([]string{"K", "K", "K", "X", ""}).Draw(t, "key")
	switch rapid.IntRange(0, 8).Draw(t, "event") {
	case 0:
		return Open{Session: ses, Binding: bind}
	case 1, 2:
		scope := rapid.SampledFrom([][]string{{"read"}, {"read", "write"}, {"admin"}, {}}).Draw(t, "scope")
		return Approve{Session: ses, Binding: bind, Subject: "acc_p", Scope: scope, AuthTime: w.env.Now}
	case 3:
		return OfferNonce{Session: ses, Binding: bind, Nonce: nonce}
	case 4:
		return Answer{
			Session: ses, Binding: bind, Client: "cli", RedirectURI: w.req.RedirectURI, Handle: h("uri"),
			Nonce: nonce, Thumbprint: key, Code: h("code"),
		}
	case 5:
		return IssueCode{Session: ses, Binding: bind, Code: h("code")}
	case 6:
		return rapid.SampledFrom([]RequestEvent{Lapse{}, Lapse{}, Lapse{}, Deny{Session: ses, Binding: bind}}).Draw(t, "end")
	}
	return Redeem{
		Client:      rapid.SampledFrom([]string{"cli", "cli", "cli", "other"}).Draw(t, "client"),
		RedirectURI: w.req.RedirectURI, Challenge: rapid.SampledFrom([]string{"S256", "S256", "S256", "wrong", ""}).Draw(t, "verifier"),
		Thumbprint: key, Installation: "ins_1", Bearer: rapid.Bool().Draw(t, "bearer"),
		FirstRefresh: func(id.Raw) Hash { return token(0, Salt{}) },
	}
}

func (w *history) drawGrantEvent() GrantEvent {
	t := w.t
	w.bearer, w.unbound = rapid.Bool().Draw(t, "bearer"), rapid.IntRange(0, 4).Draw(t, "unbound") == 0
	if n := rapid.IntRange(0, 40).Draw(t, "event"); n < 5 {
		return []GrantEvent{
			Revoke{Reason: "person"},
			LapseGrant{},
			RevokeToken{Client: "cli", JTI: "jti_x", Until: w.env.Now.Add(time.Minute)},
			Trip{Kind: TripWrongKey, JTI: "jti_x", Until: w.env.Now.Add(time.Minute)},
			Trip{Kind: TripBearer, JTI: "jti_x", Until: w.env.Now.Add(time.Minute), Revoke: rapid.Bool().Draw(t, "trip")},
		}[n]
	}
	presented := rapid.SampledFrom(w.tokens).Draw(t, "token")
	if n := len(w.tokens); rapid.Bool().Draw(t, "recent") { // most repeats are of the last two
		presented = w.tokens[max(0, n-rapid.IntRange(1, 2).Draw(t, "back"))]
	}
	return w.refreshEvent(presented,
		rapid.SampledFrom([]string{w.grant.Thumbprint, w.grant.Thumbprint, w.grant.Thumbprint, w.grant.Thumbprint, "X", ""}).Draw(t, "key"),
		rapid.SampledFrom([]string{"cli", "cli", "cli", "cli", "other"}).Draw(t, "client"),
		rapid.SampledFrom([][]string{nil, nil, {"read"}, {"write"}, {"admin"}}).Draw(t, "scope"))
}

func (w *history) refreshEvent(p handed, key, client string, scope []string) Refresh {
	return Refresh{
		Bearer: w.bearer, Unbound: w.unbound, Client: client, Generation: p.gen, Presented: p.hash, Thumbprint: key, Scope: scope,
		Successor: token(p.gen+1, w.env.Random.Salt), Repeat: token(p.gen+1, w.grant.Salt),
	}
}

func (w *history) stepRequest(e RequestEvent) {
	before := w.req
	next, effects, err := StepRequest(w.req, e, w.env)
	w.refusalChangesNothing(before, next, effects, err)
	w.req = next
	for _, eff := range effects {
		switch eff := eff.(type) {
		case NewGrant:
			if w.begun {
				w.t.Fatal("a second grant of one request")
			}
			w.grant, w.begun = eff.Grant, true
			w.tokens = append(w.tokens, handed{0, eff.Grant.Current})
			if err != nil {
				w.t.Fatalf("a grant beside the refusal %v", err)
			}
		case RevokeGrant:
			w.grant, _, _ = StepGrant(w.grant, Revoke{Reason: eff.Reason}, w.env)
		}
	}
	w.issued(effects, err)
}

func (w *history) stepGrant(e GrantEvent) {
	before := w.grant
	next, effects, err := StepGrant(w.grant, e, w.env)
	w.refusalChangesNothing(before, next, effects, err)
	w.grant = next
	if before.Status != Active && next.Status != before.Status {
		w.t.Fatalf("%s became %s", before.Status, next.Status)
	}
	if r, ok := e.(Refresh); ok && err == nil {
		got := handed{r.Generation + 1, next.Current}
		if next.Generation == before.Generation { // a repeat: the same successor as before
			if !slices.Contains(w.tokens, got) {
				w.t.Fatalf("a repeat gave another successor")
			}
		} else {
			w.tokens = append(w.tokens, got)
		}
	}
	w.issued(effects, err)
}

func (w *history) refusalChangesNothing(before, after any, effects []Effect, err error) {
	if len(effects) == 0 && !reflect.DeepEqual(before, after) {
		w.t.Fatalf("state changed without an effect (%v):\n%+v\n%+v", err, before, after)
	}
	records := 0
	for _, e := range effects {
		if _, ok := e.(Record); ok {
			records++
		}
	}
	if len(effects) > 0 && records == 0 {
		w.t.Fatal("effects without a record")
	}
}

// issued checks every token that a step allowed.
func (w *history) issued(effects []Effect, err error) {
	for _, e := range effects {
		it, ok := e.(IssueToken)
		if !ok {
			continue
		}
		tok := it.Token
		switch {
		case err != nil:
			w.t.Fatalf("a token beside the refusal %v", err)
		case w.grant.Status != Active || !w.env.Now.Before(w.grant.EndsAt):
			w.t.Fatalf("a token of a grant that is %s", w.grant.Status)
		case !Subset(tok.Scope, w.grant.Scope) || !Subset(w.grant.Scope, w.req.Granted) || !Subset(w.req.Granted, w.req.Scope):
			w.t.Fatalf("scope %v of grant %v of request %v", tok.Scope, w.grant.Scope, w.req.Scope)
		case tok.ExpiresAt.After(w.grant.EndsAt) || tok.ExpiresAt.After(w.env.Now.Add(AccessTokenLife)):
			w.t.Fatalf("a token until %v", tok.ExpiresAt)
		case tok.Thumbprint != w.grant.Thumbprint && !(tok.Thumbprint == "" && w.bearer && w.unbound) || tok.Resource != w.req.Resource:
			w.t.Fatal("a token for another key or resource")
		case w.grant.AccessUntil.Before(tok.ExpiresAt):
			w.t.Fatal("the grant does not know how long its tokens live")
		}
		if !slices.ContainsFunc(effects, func(e Effect) bool {
			r, ok := e.(Record)
			return ok && r.Name == event.TokenIssued && r.JTI == tok.JTI && r.Until.Equal(tok.ExpiresAt) &&
				r.Scope == strings.Join(tok.Scope, " ") && r.Grant == tok.Grant
		}) {
			w.t.Fatal("a token without its record")
		}
	}
}

// check counts the refresh tokens that would give a new successor now, each
// tried on a copy of the grant by its rightful holder.
func (w *history) check() {
	if !w.begun {
		return
	}
	live := map[Hash]bool{}
	answers := map[Hash]bool{}
	for _, p := range w.tokens {
		next, _, err := StepGrant(w.grant, w.refreshEvent(p, w.grant.Thumbprint, "cli", nil), w.env)
		if err != nil {
			continue
		}
		if next.Generation > w.grant.Generation {
			live[p.hash] = true
		} else {
			answers[next.Current] = true
		}
	}
	if len(live) > 1 || len(answers) > 1 {
		w.t.Fatalf("%d live refresh tokens, %d repeated answers", len(live), len(answers))
	}
	for a := range answers {
		if len(live) == 1 && !live[a] {
			w.t.Fatal("a repeat answers with another token than the live one")
		}
	}
	if w.grant.Status != Active && len(live)+len(answers) > 0 {
		w.t.Fatalf("a live refresh token of a grant that is %s", w.grant.Status)
	}
}

// A request that needs the handshake gets a code only by an answer that is
// right in every respect, whatever came before.
//
// Invariant: HS-1, HS-3, HS-5, HS-6
func TestNoCodeBeforeTheHandshake(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := &history{t: t, env: Env{Now: time.Date(2026, 3, 1, 9, 0, 0, 0, time.UTC)}}
		w.req = sampleRequest(w.env.Now, true, "K")
		if rapid.IntRange(0, 3).Draw(t, "approved") > 0 {
			w.approve()
		}
		for range 30 {
			w.env.Now = w.env.Now.Add(rapid.SampledFrom([]time.Duration{0, time.Second, 4 * time.Second}).Draw(t, "pause"))
			e := w.drawRequestEvent()
			before := w.req
			w.stepRequest(e)
			if before.CodeAt.IsZero() && !w.req.CodeAt.IsZero() {
				a, ok := e.(Answer)
				if !ok || a.Thumbprint != "K" || a.Nonce != before.NonceHash || a.Session != before.Session ||
					a.Binding != before.Binding || w.env.Now.Sub(before.NonceAt) > HandshakeLife {
					t.Fatalf("a code by %#v", e)
				}
			}
		}
	})
}
