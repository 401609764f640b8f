package grant

import (
	"bufio"
	"crypto/sha256"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/keytether/keytether/internal/event"
	"github.com/keytether/keytether/internal/id"
)

var update = flag.Bool("update", false, "write what happens into the scenarios; read the diff")

// Scenarios are histories as text, in testdata/*.txt. Each line is an event,
// with the time that passes before it; behind "=>" stand the state afterwards,
// the answer, and what is recorded. A line that begins with # is for the reader.
//
// Invariant: DC-2, BN-1, BN-2, CF-3c, CF-4a, CF-4b, CF-6, DP-18c, DP-18d, DP-18e, DP-18g, GR-2, GR-3, HS-3, HS-5, HS-6, TK-19b
func TestScenarios(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scenarios: %v", err)
	}
	for _, f := range files {
		t.Run(strings.TrimSuffix(filepath.Base(f), ".txt"), func(t *testing.T) {
			raw, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			w := newWorld()
			var out strings.Builder
			sc := bufio.NewScanner(strings.NewReader(string(raw)))
			for n := 1; sc.Scan(); n++ {
				line := strings.TrimSpace(sc.Text())
				if line == "" || strings.HasPrefix(line, "#") {
					fmt.Fprintln(&out, sc.Text())
					continue
				}
				event, want, _ := strings.Cut(line, " => ")
				got := w.play(t, strings.Fields(event))
				fmt.Fprintf(&out, "%s => %s\n", event, got)
				if !*update && got != want {
					t.Errorf("%s:%d: %s\n got %s\nwant %s", f, n, event, got, want)
				}
			}
			if *update {
				if err := os.WriteFile(f, []byte(out.String()), 0o644); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

// world is one request and the grant that may come of it.
type world struct {
	env   Env
	req   Request
	grant Grant
	dev   Device
	pace  Pace
	salts map[uint32]Salt // by the generation that they derived
	drawn byte
}

func newWorld() *world {
	return &world{env: Env{Now: time.Date(2026, 3, 1, 9, 0, 0, 0, time.UTC)}, salts: map[uint32]Salt{}}
}

func h(s string) Hash {
	if s == "" {
		return Hash{}
	}
	return sha256.Sum256([]byte(s))
}

// token is the hash of generation gen as derived under salt, in this model.
func token(gen uint32, salt Salt) Hash { return h(fmt.Sprintf("refresh %d %x", gen, salt)) }

func (w *world) draw() {
	w.drawn++
	w.env.Random = Random{Grant: [10]byte{w.drawn}, Token: [10]byte{w.drawn}, Salt: Salt{w.drawn}}
}

// play applies one line and says what came of it.
func (w *world) play(t *testing.T, words []string) string {
	t.Helper()
	if d, ok := strings.CutPrefix(words[0], "+"); ok {
		dur, err := time.ParseDuration(d)
		if err != nil {
			t.Fatal(err)
		}
		w.env.Now = w.env.Now.Add(dur)
		words = words[1:]
	}
	w.draw()
	arg := map[string]string{}
	for _, word := range words[1:] {
		k, v, _ := strings.Cut(word, "=")
		arg[k] = v
	}
	get := func(k, def string) string {
		if v, ok := arg[k]; ok {
			return v
		}
		return def
	}
	ses, bind := get("session", "ses_a"), h(get("cookie", "cookie-a"))
	switch words[0] {
	case "request":
		w.req = sampleRequest(w.env.Now, get("handshake", "yes") == "yes", get("key", "K"))
		if get("refresh", "yes") == "no" {
			w.req.Refresh = false
		}
		return "pending"
	case "time":
		return w.request(Lapse{})
	case "open":
		return w.request(Open{Session: ses, Binding: bind})
	case "approve":
		return w.request(Approve{
			Session: ses, Binding: bind, Subject: get("person", "acc_p"),
			Scope: strings.Split(get("scope", "read,write"), ","), AuthTime: w.env.Now,
		})
	case "deny":
		return w.request(Deny{Session: ses, Binding: bind, Subject: "acc_p"})
	case "nonce":
		return w.request(OfferNonce{Session: ses, Binding: bind, Nonce: h(get("n", "n1"))})
	case "answer":
		return w.request(Answer{
			Session: ses, Binding: bind, Client: get("client", "cli"), RedirectURI: get("redirect", "http://127.0.0.1:7/callback"),
			Handle: h(get("handle", "uri")), Nonce: h(get("n", "n1")), Thumbprint: get("key", "K"), Code: h("code"),
		})
	case "code":
		return w.request(IssueCode{Session: ses, Binding: bind, Code: h("code")})
	case "redeem":
		return w.request(Redeem{
			Client: get("client", "cli"), RedirectURI: get("redirect", "http://127.0.0.1:7/callback"),
			Challenge: get("verifier", "S256"), Thumbprint: get("key", "K"), Installation: "ins_1", Bearer: get("bearer", "no") == "yes",
			FirstRefresh: func(id.Raw) Hash { return token(0, Salt{}) },
		})
	case "device":
		w.dev = sampleDevice(w.env.Now, get("key", "K"))
		return "pending"
	case "type":
		return w.device(TypeCode{Session: ses, Binding: bind})
	case "approve-device":
		return w.device(ApproveDevice{
			Session: ses, Binding: bind, Installation: get("by", ""), Subject: get("person", "acc_p"),
			Scope: strings.Split(get("scope", "read,write"), ","), AuthTime: w.env.Now,
		})
	case "deny-device":
		return w.device(DenyDevice{Session: ses, Binding: bind, Installation: get("by", ""), Subject: "acc_p"})
	case "collect":
		return w.device(Collect{
			Client: get("client", "cli"), Thumbprint: get("key", "K"), Installation: "ins_1", Bearer: get("bearer", "no") == "yes",
			FirstRefresh: func(_ id.Raw, salt Salt) Hash { return token(0, salt) },
			Unused:       w.grant.Status == Active && w.grant.Generation == 0,
		})
	case "abandon":
		return w.device(Abandon{Client: get("client", "cli"), Thumbprint: get("key", "K"), Reason: "cancelled"})
	case "device-time":
		return w.device(LapseDevice{})
	case "pace":
		w.pace = Pace{Interval: PollInterval}
		return "5s"
	case "poll":
		var a PollAnswer
		w.pace, a = w.pace.Poll(w.env.Now)
		return fmt.Sprintf("%s %s", w.pace.Interval, [...]string{"accepted", "slow_down", "denied"}[a])
	case "refresh":
		return w.refresh(t, get)
	case "burn":
		return w.request(BurnRequest{})
	case "burn-device":
		return w.device(Abandon{Client: w.dev.Client, Thumbprint: w.dev.Thumbprint, Reason: event.ReasonBurned})
	case "revoke":
		return w.family(Revoke{Reason: "person"})
	case "revoke-token":
		return w.family(RevokeToken{Client: get("client", "cli"), JTI: "jti_x", Until: w.env.Now.Add(time.Minute)})
	case "trip":
		return w.family(Trip{Kind: TripKind(get("kind", "wrong_key")), JTI: "jti_x", Until: w.env.Now.Add(time.Minute), Revoke: get("revoke", "no") == "yes"})
	case "grant-time":
		return w.family(LapseGrant{})
	}
	t.Fatalf("unknown event %q", words[0])
	return ""
}

func (w *world) refresh(t *testing.T, get func(k, def string) string) string {
	var gen uint32
	if _, err := fmt.Sscan(get("gen", "0"), &gen); err != nil {
		t.Fatal(err)
	}
	presented := token(gen, w.salts[gen])
	if f := get("token", ""); f != "" {
		presented = h(f)
	}
	e := Refresh{
		Client: get("client", "cli"), Generation: gen, Presented: presented, Thumbprint: get("key", "K"),
		Unbound: get("unbound", "no") == "yes", Bearer: get("bearer", "yes") == "yes", Locked: get("locked", "no") == "yes", Resource: get("resource", ""), Successor: token(gen+1, w.env.Random.Salt), Repeat: token(gen+1, w.grant.Salt),
	}
	if s := get("scope", ""); s != "" {
		e.Scope = strings.Split(s, ",")
	}
	return w.family(e)
}

func (w *world) request(e RequestEvent) string {
	next, effects, err := StepRequest(w.req, e, w.env)
	w.req = next
	for _, eff := range effects {
		switch eff := eff.(type) {
		case NewGrant:
			w.grant = eff.Grant
		case RevokeGrant:
			var more []Effect
			w.grant, more, _ = StepGrant(w.grant, Revoke{Reason: eff.Reason}, w.env)
			effects = append(effects, more...)
		}
	}
	return say(string(next.Status), effects, err)
}

func (w *world) device(e DeviceEvent) string {
	next, effects, err := StepDevice(w.dev, e, w.env)
	w.dev = next
	for _, eff := range effects {
		switch eff := eff.(type) {
		case NewGrant:
			w.grant = eff.Grant
			w.salts[0] = next.Salt
		case Collected:
			if token(0, next.Salt) != w.grant.Current {
				return "ANOTHER refresh token than before"
			}
		}
	}
	return say(string(next.Status), effects, err)
}

func sampleDevice(now time.Time, key string) Device {
	return Device{
		Tenant: "default", ID: "dev_1", Status: Pending, Client: "cli", Scope: []string{"read", "write"},
		Resource: "https://api.example.test", Thumbprint: key, CodeHash: h("code"), UserHash: h("user"), Refresh: true,
		Lifetimes: DefaultLifetimes(), Interval: PollInterval, CreatedAt: now, TypeBy: now.Add(UserCodeLife), ExpiresAt: now.Add(DeviceCodeLife),
	}
}

func (w *world) family(e GrantEvent) string {
	before := w.grant.Generation
	next, effects, err := StepGrant(w.grant, e, w.env)
	w.grant = next
	if next.Generation > before {
		w.salts[next.Generation] = next.Salt
	}
	return say(fmt.Sprintf("%s/%d", next.Status, next.Generation), effects, err)
}

func say(state string, effects []Effect, err error) string {
	out := []string{state}
	if err != nil {
		out = append(out, answerName(err))
	}
	for _, e := range effects {
		switch e := e.(type) {
		case Record:
			s := string(e.Name)
			if e.Reason != "" {
				s += "(" + string(e.Reason) + ")"
			}
			out = append(out, s)
		case Collected:
			out = append(out, "AGAIN")
		case IssueToken:
			if e.Token.Thumbprint == "" {
				out = append(out, "UNBOUND")
			}
			out = append(out, "TOKEN["+strings.Join(e.Token.Scope, ",")+"]")
		}
	}
	return strings.Join(out, " ")
}

func answerName(err error) string {
	for name, e := range map[string]error{
		"EXPIRED": ErrExpired, "PENDING": ErrPending, "DENIED": ErrDenied, "NOT-PENDING": ErrNotPending, "NOT-APPROVED": ErrNotApproved, "NOT-OPENED": ErrNotOpened,
		"OTHER-BROWSER": ErrForeignSession, "SCOPE": ErrScope, "RESOURCE": ErrResource, "HANDSHAKE-FIRST": ErrHandshake,
		"NO-HANDSHAKE": ErrNoHandshake, "LATE": ErrHandshakeLate, "WRONG-ANSWER": ErrHandshakeWrong, "HAS-CODE": ErrCodeIssued,
		"OTHER-CLIENT": ErrCodeForeign, "REDIRECT": ErrCodeRedirect, "VERIFIER": ErrCodeVerifier, "CODE-KEY": ErrCodeKey,
		"CODE-REUSED": ErrCodeReused, "NO-PROOF": ErrProofRequired, "INACTIVE": ErrInactive, "NO-BEARER": ErrNoBearer, "BOUND": ErrBound, "FOREIGN-CLIENT": ErrForeignClient,
		"NO-REFRESH": ErrNoRefresh, "SUPERSEDED": ErrSuperseded, "REUSED": ErrReused, "WRONG-KEY": ErrWrongKey, "LOCKED": ErrLocked, "UNKNOWN": ErrUnknownToken,
	} {
		if errors.Is(err, e) {
			return name
		}
	}
	return err.Error()
}

func sampleRequest(now time.Time, handshake bool, key string) Request {
	return Request{
		Tenant: "default", ID: "req_1", Status: Pending, Client: "cli", RedirectURI: "http://127.0.0.1:7/callback",
		ResponseMode: "form_post", State: "st", Scope: []string{"read", "write"}, Resource: "https://api.example.test",
		Challenge: "S256", MaxAge: -1, Thumbprint: key, HandleHash: h("uri"), Handshake: handshake, Refresh: true,
		Lifetimes: DefaultLifetimes(), CreatedAt: now, ExpiresAt: now.Add(RequestURILife + RequestURIGrace),
	}
}
