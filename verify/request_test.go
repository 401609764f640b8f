package verify

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/keytether/keytether/internal/dpop"
	"github.com/keytether/keytether/internal/jws"
	"github.com/keytether/keytether/internal/oauth"
)

// TestLetsThrough: a good request, in every form that is good, and who is said
// to have sent it.
func TestLetsThrough(t *testing.T) {
	inWorld(t, New, nil, func(t *testing.T, w *world) {
		for name, edit := range map[string]func(*attempt){
			"plain":            func(*attempt) {},
			"query":            func(a *attempt) { a.target += "?month=11&access_token=x" },
			"scheme in small":  func(a *attempt) { a.scheme = "dpop" },
			"post":             func(a *attempt) { a.method, a.proof.Method = "POST", "POST" },
			"htu written else": func(a *attempt) { a.proof.URL = "HTTPS://API.example.test:443/v1/%72eports" },
			"routers have cut": func(a *attempt) { a.last = func(r *http.Request) { r.URL.Path = "/reports" } },
			"absolute form":    func(a *attempt) { a.target = "http://elsewhere.example/v1/reports" },
			"clock a bit off":  func(a *attempt) { a.claims.IssuedAt = a.claims.IssuedAt.Add(4 * time.Second) },
			"other typ form": func(a *attempt) {
				payload, _ := jws.Parse(w.issue(a))
				a.token, _ = jws.Sign(a.signer, "application/at+JWT", payload.Payload)
			},
		} {
			t.Log(name) // a bubble has no subtests
			want(t, w.do(edit), http.StatusOK, "")
		}
		rec := w.do()
		var c Caller
		if err := json.Unmarshal(rec.Body.Bytes(), &c); err != nil {
			t.Fatal(err)
		}
		now := time.Now().Truncate(time.Second)
		if c.Subject != "acc_1" || c.ClientID != "example-cli" || c.GrantID != "grt_1" || c.TokenID != "jti_1" ||
			c.Resource != testResource || c.Thumbprint != w.client.Public().Thumbprint() || c.ACR != oauth.ACRPassword ||
			!slices.Equal(c.Scope, []string{"read", "openid"}) || !c.Has("openid") || c.Has("write") || c.Has("") ||
			!c.ExpiresAt.Equal(now.Add(5*time.Minute)) || !c.AuthTime.Equal(now.Add(-time.Minute)) {
			t.Fatalf("%+v", c)
		}
		if rec.Header().Get("DPoP-Nonce") == "" {
			t.Fatal("a proof without a nonce was not offered one")
		}
		if _, ok := From(context.Background()); ok {
			t.Fatal("a caller out of nothing")
		}
	})
}

// TestRefuses sends one thing wrong at a time, with the token not seen before and
// with the good token already in the cache.
//
// Invariant: DP-16c, DP-16d, DP-16e, DP-18a, TK-20a, TK-20b, TK-20c, TK-20d, CF-5b
func TestRefuses(t *testing.T) {
	header := func(name string, values ...string) func(*attempt) {
		return func(a *attempt) { a.last = func(r *http.Request) { r.Header[name] = values } }
	}
	for _, c := range []struct {
		name   string
		edit   func(*world, *attempt)
		status int
		code   oauth.Code
	}{
		{"no token", func(_ *world, a *attempt) { header("Authorization")(a) }, 401, oauth.TokenMissing},
		{"token in the query alone", func(w *world, a *attempt) {
			a.target += "?access_token=" + url.QueryEscape(w.issue(a))
			header("Authorization")(a)
		}, 401, oauth.TokenMissing},
		{"basic", func(_ *world, a *attempt) { header("Authorization", "Basic eDp5")(a) }, 401, oauth.TokenMissing},
		{"two Authorization headers", func(w *world, a *attempt) {
			a.last = func(r *http.Request) { r.Header.Add("Authorization", r.Header.Get("Authorization")) }
		}, 400, oauth.BadRequest},
		{"scheme alone", func(_ *world, a *attempt) { header("Authorization", "DPoP ")(a) }, 401, oauth.TokenInvalid},
		{"two tokens in one header", func(w *world, a *attempt) {
			a.last = func(r *http.Request) { r.Header.Set("Authorization", r.Header.Get("Authorization")+", DPoP x") }
		}, 401, oauth.TokenInvalid},
		{"huge header", func(_ *world, a *attempt) { header("Authorization", "DPoP "+strings.Repeat("a", 1<<16))(a) }, 401, oauth.TokenInvalid},
		{"bound token as Bearer", func(_ *world, a *attempt) { a.scheme = "Bearer" }, 401, oauth.TokenBound},
		{"bound token as Bearer without a proof", func(_ *world, a *attempt) {
			a.scheme = "Bearer"
			header("Dpop")(a)
		}, 401, oauth.TokenBound},

		{"unbound token as Bearer", func(_ *world, a *attempt) {
			a.scheme, a.claims.Thumbprint = "Bearer", ""
			header("Dpop")(a)
		}, 401, oauth.TokenBound},

		{"not a JWT", func(_ *world, a *attempt) { a.token = "abc" }, 401, oauth.TokenInvalid},
		{"ID token's typ", func(w *world, a *attempt) {
			m, _ := jws.Parse(w.issue(a))
			a.token, _ = jws.Sign(a.signer, "JWT", m.Payload)
		}, 401, oauth.TokenInvalid},
		{"no typ", func(w *world, a *attempt) {
			m, _ := jws.Parse(w.issue(a))
			a.token, _ = jws.Sign(a.signer, "", m.Payload)
		}, 401, oauth.TokenInvalid},
		{"alg none", func(w *world, a *attempt) {
			_, rest, _ := strings.Cut(w.issue(a), ".")
			payload, _, _ := strings.Cut(rest, ".")
			a.token = "eyJhbGciOiJub25lIiwidHlwIjoiYXQrand0Iiwia2lkIjoiazEifQ." + payload + "."
		}, 401, oauth.TokenInvalid},
		{"embedded key", func(w *world, a *attempt) {
			m, _ := jws.Parse(w.issue(a))
			a.token, _ = jws.SignEmbedded(newSigner(t, ""), "at+jwt", m.Payload)
		}, 401, oauth.TokenInvalid},
		{"another algorithm than the key's", func(w *world, a *attempt) {
			a.token = sealed(t, a.signer, `{"typ":"at+jwt","alg":"EdDSA","kid":"k1"}`, w.issue(a))
		}, 401, oauth.TokenInvalid},
		{"a pointer to keys", func(w *world, a *attempt) {
			a.token = sealed(t, a.signer, `{"typ":"at+jwt","alg":"ES256","kid":"k1","jku":"https://evil.example/jwks"}`, w.issue(a))
		}, 401, oauth.TokenInvalid},
		{"another's key under our kid", func(_ *world, a *attempt) { a.signer = newSigner(t, "k1") }, 401, oauth.TokenInvalid},
		{"the client's own key", func(w *world, a *attempt) { a.signer = w.client }, 401, oauth.TokenInvalid},
		{"changed byte", func(w *world, a *attempt) {
			b := []byte(w.issue(a))
			b[len(b)/2] ^= 1
			a.token = string(b)
		}, 401, oauth.TokenInvalid},
		{"wrong iss", func(_ *world, a *attempt) { a.claims.Issuer = "https://evil.example" }, 401, oauth.TokenInvalid},
		{"wrong aud", func(_ *world, a *attempt) { a.claims.Audience = "https://other.example.test" }, 401, oauth.TokenInvalid},
		{"aud a prefix", func(_ *world, a *attempt) { a.claims.Audience = "https://api.example.test" }, 401, oauth.TokenInvalid},
		{"aud is the issuer", func(_ *world, a *attempt) { a.claims.Audience = testIssuer }, 401, oauth.TokenInvalid},
		{"expired", func(_ *world, a *attempt) {
			a.claims.IssuedAt, a.claims.ExpiresAt = time.Now().Add(-10*time.Minute), time.Now().Add(-6*time.Second)
		}, 401, oauth.TokenExpired},
		{"issued in the future", func(_ *world, a *attempt) { a.claims.IssuedAt = time.Now().Add(7 * time.Second) }, 401, oauth.TokenInvalid},
		{"scope in a wrong form", func(_ *world, a *attempt) { a.claims.Scope = "read  \"x" }, 401, oauth.TokenInvalid},

		{"unbound token with a proof", func(_ *world, a *attempt) { a.claims.Thumbprint = "" }, 401, oauth.TokenBound},
		{"another key's proof", func(_ *world, a *attempt) { a.key = newSigner(t, "") }, 401, oauth.TokenBound},
		{"no proof", func(_ *world, a *attempt) { header("Dpop")(a) }, 401, oauth.ProofRequired},
		{"two proofs", func(w *world, a *attempt) {
			a.last = func(r *http.Request) { r.Header["Dpop"] = append(r.Header["Dpop"], r.Header["Dpop"]...) }
		}, 401, oauth.ProofInvalid},
		{"garbage proof", func(_ *world, a *attempt) { a.raw = "a.b.c" }, 401, oauth.ProofInvalid},
		{"the token as its own proof", func(w *world, a *attempt) { a.raw = w.issue(a) }, 401, oauth.ProofInvalid},
		{"proof's typ", func(w *world, a *attempt) {
			p, _ := dpop.New(a.key, a.proof)
			m, _ := jws.ParseEmbedded(p, nil)
			a.raw, _ = jws.SignEmbedded(a.key, "at+jwt", m.Payload)
		}, 401, oauth.ProofInvalid},
		{"proof's signature", func(w *world, a *attempt) {
			p, _ := dpop.New(a.key, a.proof)
			q, _ := dpop.New(a.key, dpop.Request{Method: "GET", URL: testURL, IssuedAt: time.Now(), ID: "other"})
			a.raw = p[:strings.LastIndexByte(p, '.')] + q[strings.LastIndexByte(q, '.'):]
		}, 401, oauth.ProofInvalid},
		{"wrong method", func(_ *world, a *attempt) { a.proof.Method = "POST" }, 401, oauth.ProofInvalid},
		{"method in small", func(_ *world, a *attempt) { a.proof.Method = "get" }, 401, oauth.ProofInvalid},
		{"wrong path", func(_ *world, a *attempt) { a.proof.URL = testResource + "/admin" }, 401, oauth.ProofInvalid},
		{"without the resource's path", func(_ *world, a *attempt) { a.proof.URL = "https://api.example.test/reports" }, 401, oauth.ProofInvalid},
		{"by the Host header", func(_ *world, a *attempt) { a.proof.URL = "https://elsewhere.example/v1/reports" }, 401, oauth.ProofInvalid},
		{"plain http", func(_ *world, a *attempt) { a.proof.URL = "http://api.example.test/v1/reports" }, 401, oauth.ProofInvalid},
		{"htu with a query", func(w *world, a *attempt) {
			// RFC 9449 §4.2: htu has no query; §4.3 compares without, so it does no harm.
			a.raw, _ = jws.SignEmbedded(a.key, dpop.Type, []byte(`{"jti":"q","htm":"GET","htu":"`+testResource+`/admin?x=/v1/reports","iat":946684800}`))
		}, 401, oauth.ProofInvalid},
		{"missing ath", func(w *world, a *attempt) {
			a.raw, _ = dpop.New(a.key, dpop.Request{Method: "GET", URL: testURL, IssuedAt: time.Now(), ID: "noath"})
		}, 401, oauth.ProofInvalid},
		{"ath of another token", func(_ *world, a *attempt) { a.proof.AccessToken = "another" }, 401, oauth.ProofInvalid},
		{"old proof", func(_ *world, a *attempt) { a.proof.IssuedAt = time.Now().Add(-66 * time.Second) }, 401, oauth.NonceRequired},
		{"proof of the future", func(_ *world, a *attempt) { a.proof.IssuedAt = time.Now().Add(7 * time.Second) }, 401, oauth.NonceRequired},
		{"a nonce of somebody else", func(_ *world, a *attempt) { a.proof.Nonce = "abc" }, 401, oauth.NonceRequired},

		{"too little scope", func(_ *world, a *attempt) { a.claims.Scope = "openid reader" }, 403, oauth.InsufficientScope},
		{"no scope", func(_ *world, a *attempt) { a.claims.Scope = "" }, 403, oauth.InsufficientScope},
	} {
		t.Run(c.name, func(t *testing.T) {
			inWorld(t, New, nil, func(t *testing.T, w *world) {
				for range 2 {
					rec := w.do(func(a *attempt) { c.edit(w, a) })
					want(t, rec, c.status, c.code)
					challenged(t, rec)
					want(t, w.do(), http.StatusOK, "") // and now the token is known
				}
			})
		})
	}
}

// sealed signs a token's payload anew under any header.
func sealed(t *testing.T, s jws.Signer, header, compact string) string {
	t.Helper()
	_, rest, _ := strings.Cut(compact, ".")
	payload, _, _ := strings.Cut(rest, ".")
	input := base64.RawURLEncoding.EncodeToString([]byte(header)) + "." + payload
	signature, err := s.Sign([]byte(input))
	if err != nil {
		t.Fatal(err)
	}
	return input + "." + base64.RawURLEncoding.EncodeToString(signature)
}

// challenged checks WWW-Authenticate of a refusal (RFC 6750 §3, RFC 9449 §7.1,
// RFC 9728 §5.1).
func challenged(t *testing.T, rec *httptest.ResponseRecorder) {
	t.Helper()
	var body oauth.Response
	if err := json.Unmarshal(rec.Body.Bytes(), &body); err != nil {
		t.Fatal(err)
	}
	got := rec.Header().Values("WWW-Authenticate")
	if len(got) != 1 || !strings.HasPrefix(got[0], "DPoP ") || !strings.Contains(got[0], `algs="ES256 EdDSA"`) ||
		!strings.Contains(got[0], `resource_metadata="https://api.example.test/.well-known/oauth-protected-resource/v1"`) {
		t.Fatal(got)
	}
	if has := strings.Contains(got[0], `error="`+body.Error+`"`); has == (body.Code == oauth.TokenMissing) {
		t.Fatal(got)
	}
	if (body.Error == "insufficient_scope") != strings.Contains(got[0], `scope="read"`) {
		t.Fatal(got)
	}
	if nonce := rec.Header().Get("DPoP-Nonce"); (nonce == "") == (body.Error == "use_dpop_nonce") {
		t.Fatalf("%s with nonce %q", body.Error, nonce)
	}
}

// TestReplayIsRefused sends one proof twice, also with another request in
// between and after it was accepted with a nonce.
//
// Invariant: DP-17b
func TestReplayIsRefused(t *testing.T) {
	inWorld(t, New, nil, func(t *testing.T, w *world) {
		nonce := w.do().Header().Get("DPoP-Nonce")
		for name, edit := range map[string]func(*attempt){
			"by iat":   func(a *attempt) { a.proof.ID = "again" },
			"by nonce": func(a *attempt) { a.proof.ID, a.proof.Nonce = "again too", nonce },
		} {
			t.Log(name)
			want(t, w.do(edit), http.StatusOK, "")
			want(t, w.do(), http.StatusOK, "")
			want(t, w.do(edit), http.StatusUnauthorized, oauth.ProofReplayed)
		}
	})
}

type store struct {
	mu   sync.Mutex
	seen map[[16]byte]bool
	fail error
}

func (s *store) Seen(_ context.Context, key [16]byte, until time.Time) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	was := s.seen[key]
	if s.fail == nil && until.After(time.Now()) {
		s.seen[key] = true
	}
	return was, s.fail
}

// TestSharedReplays: with a store for all, a proof is good at one instance only,
// and a store that fails lets nothing through.
//
// Invariant: DP-17b
func TestSharedReplays(t *testing.T) {
	shared := &store{seen: map[[16]byte]bool{}}
	inWorld(t, New, func(o *Options) { o.Replays = shared }, func(t *testing.T, w *world) {
		same := func(a *attempt) { a.proof.ID = "same" }
		want(t, w.do(same), http.StatusOK, "")
		first := w.v
		w.open(New, func(o *Options) { o.Replays = shared })
		first.Close()
		w.ready()
		want(t, w.do(same), http.StatusUnauthorized, oauth.ProofReplayed)
		shared.fail = errors.New("store is down")
		want(t, w.do(), http.StatusServiceUnavailable, oauth.Unavailable)
	})
}

// TestFullReplaysRefuse: a proof that cannot be remembered is not accepted, and
// none is forgotten for it.
func TestFullReplaysRefuse(t *testing.T) {
	inWorld(t, New, nil, func(t *testing.T, w *world) {
		w.v.local = dpop.NewMemoryReplays(1)
		same := func(a *attempt) { a.proof.ID = "same" }
		want(t, w.do(same), http.StatusOK, "")
		want(t, w.do(), http.StatusServiceUnavailable, oauth.Unavailable)
		want(t, w.do(same), http.StatusUnauthorized, oauth.ProofReplayed)
		time.Sleep(2 * time.Minute)
		want(t, w.do(), http.StatusOK, "")
	})
}

// TestNonces: one that is offered makes the client's clock irrelevant, and where
// nonces are required a proof without one is refused however fresh it is.
//
// Invariant: DP-17c
func TestNonces(t *testing.T) {
	inWorld(t, New, nil, func(t *testing.T, w *world) {
		hourOff := func(a *attempt) { a.proof.IssuedAt = time.Now().Add(-time.Hour) }
		rec := w.do(hourOff)
		want(t, rec, http.StatusUnauthorized, oauth.NonceRequired)
		withNonce := func(a *attempt) { a.proof.Nonce = rec.Header().Get("DPoP-Nonce") }
		again := w.do(hourOff, withNonce)
		want(t, again, http.StatusOK, "")
		if again.Header().Get("DPoP-Nonce") != "" {
			t.Fatal("a fresh nonce was replaced")
		}
		time.Sleep(40 * time.Second)
		again = w.do(withNonce)
		want(t, again, http.StatusOK, "")
		if again.Header().Get("DPoP-Nonce") == "" {
			t.Fatal("an aging nonce was not replaced")
		}
		time.Sleep(40 * time.Second)
		want(t, w.do(withNonce), http.StatusUnauthorized, oauth.NonceRequired)
	})
	inWorld(t, New, func(o *Options) { o.RequireNonces = true }, func(t *testing.T, w *world) {
		rec := w.do()
		want(t, rec, http.StatusUnauthorized, oauth.NonceRequired)
		want(t, w.do(func(a *attempt) { a.proof.Nonce = rec.Header().Get("DPoP-Nonce") }), http.StatusOK, "")
	})
}

// TestBearerVariant takes bearer tokens, and bound ones only with their proof.
//
// Invariant: DP-18a
func TestBearerVariant(t *testing.T) {
	inWorld(t, NewAcceptingBearerTokens, nil, func(t *testing.T, w *world) {
		bearer := func(a *attempt) {
			a.scheme = "Bearer"
			a.last = func(r *http.Request) { r.Header.Del("DPoP") }
		}
		unbound := func(a *attempt) { a.claims.Thumbprint, a.claims.GrantID = "", "grt_2" }
		for range 2 {
			want(t, w.do(), http.StatusOK, "")
			want(t, w.do(bearer, unbound), http.StatusOK, "")
			rec := w.do(bearer)
			want(t, rec, http.StatusUnauthorized, oauth.TokenBound)
			if got := rec.Header().Values("WWW-Authenticate"); len(got) != 2 || !strings.HasPrefix(got[0], "DPoP ") || !strings.HasPrefix(got[1], "Bearer ") {
				t.Fatal(got)
			}
			want(t, w.do(unbound), http.StatusUnauthorized, oauth.TokenBound)
			want(t, w.do(bearer, func(a *attempt) { a.claims.Audience = "https://other.example.test" }), http.StatusUnauthorized, oauth.TokenInvalid)
		}
		w.issuer.revoke("grt_2")
		time.Sleep(time.Second)
		want(t, w.do(bearer, unbound), http.StatusUnauthorized, oauth.TokenRevoked)
		rec := w.do(func(a *attempt) { a.last = func(r *http.Request) { r.Header.Del("Authorization") } })
		want(t, rec, http.StatusUnauthorized, oauth.TokenMissing)
		if !strings.HasPrefix(rec.Header().Values("WWW-Authenticate")[1], "Bearer resource_metadata=") {
			t.Fatal(rec.Header())
		}
	})
}

// TestCopiedTokenIsReported, once it is certain that the token is genuine: what a
// stranger makes up fills no log.
func TestCopiedTokenIsReported(t *testing.T) {
	inWorld(t, New, nil, func(t *testing.T, w *world) {
		w.do(func(a *attempt) { a.signer, a.key = newSigner(t, "k1"), newSigner(t, "") })
		w.do(func(a *attempt) { a.claims.Thumbprint = "" })
		if strings.Contains(w.log.String(), "level=WARN") {
			t.Fatal(w.log)
		}
		var compact string
		w.do(func(a *attempt) { a.key = newSigner(t, ""); compact = w.issue(a); a.token = compact })
		if log := w.log.String(); !strings.Contains(log, "level=WARN") || !strings.Contains(log, "grant_id=grt_1") {
			t.Fatal(log)
		}
		for _, part := range strings.Split(compact, ".") {
			if strings.Contains(w.log.String(), part) {
				t.Fatal("the log holds a part of the token")
			}
		}
	})
}

// TestExpiryCountsInTheCache: a token that was good stops being so.
func TestExpiryCountsInTheCache(t *testing.T) {
	inWorld(t, New, nil, func(t *testing.T, w *world) {
		a := w.attempt()
		compact := w.issue(a)
		keep := func(a *attempt) { a.token = compact }
		want(t, w.do(keep), http.StatusOK, "")
		time.Sleep(5*time.Minute + 4*time.Second)
		want(t, w.do(keep), http.StatusOK, "")
		time.Sleep(2 * time.Second)
		want(t, w.do(keep), http.StatusUnauthorized, oauth.TokenExpired)
	})
}

// TestStrippedPrefix: the proxy in front took /v1 off.
func TestStrippedPrefix(t *testing.T) {
	inWorld(t, New, func(o *Options) { o.StrippedPrefix = "/v1" }, func(t *testing.T, w *world) {
		want(t, w.do(func(a *attempt) { a.target = "/reports" }), http.StatusOK, "")
		want(t, w.do(), http.StatusUnauthorized, oauth.ProofInvalid)
	})
}

// TestRequireAll: every scope that is asked for must be there, and Handler asks
// for none.
func TestRequireAll(t *testing.T) {
	inWorld(t, New, nil, func(t *testing.T, w *world) {
		ok := http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})
		w.api = w.v.Require("read", "write")(ok)
		rec := w.do()
		want(t, rec, http.StatusForbidden, oauth.InsufficientScope)
		if !strings.Contains(rec.Header().Get("WWW-Authenticate"), `scope="read write"`) {
			t.Fatal(rec.Header())
		}
		want(t, w.do(func(a *attempt) { a.claims.Scope = "write read" }), http.StatusOK, "")
		w.api = w.v.Handler(ok)
		want(t, w.do(func(a *attempt) { a.claims.Scope = "" }), http.StatusOK, "")
	})
}

// TestCallersAreTheirOwn: a handler that writes into its caller changes nobody
// else's.
func TestCallersAreTheirOwn(t *testing.T) {
	inWorld(t, New, nil, func(t *testing.T, w *world) {
		w.api = w.v.Handler(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			c, _ := From(r.Context())
			if c.Has("admin") {
				t.Error("a scope came from an earlier request")
			}
			c.Scope[0] = "admin"
		}))
		compact := w.issue(w.attempt())
		for range 2 {
			want(t, w.do(func(a *attempt) { a.token = compact }), http.StatusOK, "")
		}
	})
}

// TestParallel has many requests while grants are revoked and keys change; it is
// for the race detector.
func TestParallel(t *testing.T) {
	inWorld(t, New, nil, func(t *testing.T, w *world) {
		var requests []*http.Request
		for range 40 {
			a := w.attempt()
			compact := w.issue(a)
			a.proof.AccessToken = compact
			proof, err := dpop.New(a.key, a.proof)
			if err != nil {
				t.Fatal(err)
			}
			r := httptest.NewRequest(a.method, a.target, nil)
			r.Header.Set("Authorization", "DPoP "+compact)
			r.Header.Set("DPoP", proof)
			requests = append(requests, r)
		}
		var all sync.WaitGroup
		for _, r := range requests {
			all.Go(func() {
				rec := httptest.NewRecorder()
				w.api.ServeHTTP(rec, r)
				if rec.Code != http.StatusOK {
					t.Errorf("%d %s", rec.Code, rec.Body)
				}
			})
		}
		for i := range 20 {
			w.issuer.revoke("grt_x" + string(rune('a'+i)))
		}
		all.Wait()
	})
}
