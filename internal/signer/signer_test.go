package signer

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"
	"pgregory.net/rapid"

	"github.com/keytether/keytether/internal/config"
	"github.com/keytether/keytether/internal/event"
	"github.com/keytether/keytether/internal/jws"
	"github.com/keytether/keytether/internal/secret"
	"github.com/keytether/keytether/internal/store"
	"github.com/keytether/keytether/internal/testkit"
)

type versioned = store.Versioned[store.SealedKey]

func testEnv(now time.Time) Env {
	return Env{Root: NewRoot([32]byte{1}, "a test"), Tenant: store.DefaultTenant, Now: now, Random: rand.Reader}
}

// apply commits a change as a store does.
func apply(t testing.TB, keys []versioned, c store.Change) []versioned {
	t.Helper()
	out := append([]versioned(nil), keys...)
next:
	for _, v := range c.Keys {
		for i := range out {
			if out[i].Value.ID != v.Value.ID {
				continue
			}
			if out[i].Version != v.Version {
				t.Fatalf("%s: version %d, has %d", v.Value.ID, v.Version, out[i].Version)
			}
			v.Version++
			out[i] = v
			continue next
		}
		if v.Version != 0 {
			t.Fatalf("new key %s has version %d", v.Value.ID, v.Version)
		}
		v.Version = 1
		out = append(out, v)
	}
	return out
}

// fresh is a server after its first start.
func fresh(t testing.TB) ([]versioned, *Ring) {
	t.Helper()
	change, ring, err := Plan(testEnv(testkit.Epoch), nil)
	if err != nil {
		t.Fatal(err)
	}
	return apply(t, nil, change), ring
}

func sign(t testing.TB, r *Ring, alg jws.Algorithm, now time.Time) string {
	t.Helper()
	s, err := r.Signer(alg, now)
	if err != nil {
		t.Fatal(err)
	}
	compact, err := jws.Sign(s, "at+jwt", []byte(`{}`))
	if err != nil {
		t.Fatal(err)
	}
	return compact
}

// accepts reports whether a relying party that holds the document accepts a token.
func accepts(t testing.TB, jwks []byte, compact string) bool {
	t.Helper()
	set, err := jws.ParseSet(jwks)
	if err != nil {
		t.Fatal(err)
	}
	m, err := jws.Parse(compact)
	if err != nil {
		t.Fatal(err)
	}
	k, ok := set.Key(m.Header.KeyID)
	return ok && m.Verify(k) == nil
}

func document(t testing.TB, r *Ring, now time.Time) []byte {
	t.Helper()
	b, err := r.JWKS(now)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestFirstStartMakesEveryKeyWithARecord(t *testing.T) {
	keys, ring := fresh(t)
	change, _, err := Plan(testEnv(testkit.Epoch), keys)
	if err != nil || !change.IsEmpty() {
		t.Errorf("a second start changes %+v %v", change, err)
	}
	first, _, err := Plan(testEnv(testkit.Epoch), nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(first.Keys) != len(Uses()) || len(first.Records) != len(Uses()) {
		t.Fatalf("%d keys, %d records", len(first.Keys), len(first.Records))
	}
	for i, use := range Uses() {
		r := first.Records[i]
		if r.Name != event.KeyAdded || r.Reason != event.ReasonFirstStart || r.Detail != string(use)+" "+first.Keys[i].Value.ID {
			t.Errorf("record %+v", r)
		}
	}
	doc := document(t, ring, testkit.Epoch)
	for _, alg := range []jws.Algorithm{jws.ES256, jws.RS256} {
		if !accepts(t, doc, sign(t, ring, alg, testkit.Epoch)) {
			t.Errorf("%s: own token refused", alg)
		}
	}
	if n := strings.Count(string(doc), `"kid"`); n != 2 {
		t.Errorf("%d keys in %s", n, doc)
	}
	if _, err := ring.Signer(jws.EdDSA, testkit.Epoch); !errors.Is(err, ErrNoKey) {
		t.Errorf("the audit key signs tokens: %v", err)
	}
	if ring.RefreshKey(testkit.Epoch).IsZero() || ring.CSRFKey(testkit.Epoch).IsZero() || ring.NonceKey().IsZero() {
		t.Error("a symmetric key is missing")
	}
}

// A new key is published PublishLead before it signs, the old one KeepPublished
// after its last signature.
//
// Invariant: KY-1
func TestRotationTimeline(t *testing.T) {
	keys, ring := fresh(t)
	start := testkit.Epoch.Add(24 * time.Hour)
	old := sign(t, ring, jws.ES256, start)
	change, rotated, err := Rotate(testEnv(start), keys, SignES256)
	if err != nil {
		t.Fatal(err)
	}
	keys = apply(t, keys, change)
	_, reloaded, err := Plan(testEnv(start), keys)
	if err != nil {
		t.Fatal(err)
	}
	turn := start.Truncate(time.Microsecond).Add(PublishLead)
	for name, r := range map[string]*Ring{"after Rotate": rotated, "after a restart": reloaded} {
		t.Run(name, func(t *testing.T) {
			published := document(t, r, start)
			before, after := sign(t, r, jws.ES256, turn.Add(-1)), sign(t, r, jws.ES256, turn)
			if kid(t, before) != kid(t, old) || kid(t, after) == kid(t, old) {
				t.Error("the new key does not begin at its time")
			}
			if !accepts(t, published, after) {
				t.Error("the new key was not published before it signed")
			}
			end := turn.Add(KeepPublished)
			if !accepts(t, document(t, r, end.Add(-1)), before) {
				t.Error("the old key left the JWKS while its tokens could live")
			}
			if accepts(t, document(t, r, end), before) {
				t.Error("the old key stays for ever")
			}
		})
	}
	var names []string
	for _, r := range change.Records {
		names = append(names, string(r.Name))
	}
	if fmt.Sprint(names) != "[key.retired key.added]" || !change.Records[0].Until.Equal(turn) {
		t.Errorf("records %+v", change.Records)
	}
	if _, _, err := Rotate(testEnv(start.Add(time.Minute)), keys, SignES256); !errors.Is(err, ErrRotating) {
		t.Errorf("a second rotation within the lead: %v", err)
	}
	if _, _, err := Rotate(testEnv(turn), keys, SignES256); err != nil {
		t.Errorf("the next rotation: %v", err)
	}
	if _, _, err := Rotate(testEnv(start), keys, DPoPNonce); !errors.Is(err, ErrUse) {
		t.Errorf("dpop-nonce: %v", err)
	}
}

// TestCompromisedKeyIsDestroyed looks for what is left of a compromised key.
//
// Invariant: KY-3
func TestCompromisedKeyIsDestroyed(t *testing.T) {
	for _, use := range Uses() {
		t.Run(string(use), func(t *testing.T) {
			keys, ring := fresh(t)
			before := ring.Keys(testkit.Epoch)
			change, _, err := Rotate(testEnv(testkit.Epoch), keys, use)
			if err != nil {
				t.Fatal(err)
			}
			keys = apply(t, keys, change)
			now := testkit.Epoch.Add(time.Minute)
			change, _, err = RotateCompromised(testEnv(now), keys, use)
			if err != nil {
				t.Fatal(err)
			}
			keys = apply(t, keys, change)
			_, after, err := Plan(testEnv(now), keys)
			if err != nil {
				t.Fatal(err)
			}
			if len(after.Keys(now)) != len(before) {
				t.Errorf("keys left: %+v", after.Keys(now))
			}
			sealed := 0
			for _, k := range keys {
				if Use(k.Value.Use) == use && len(k.Value.Sealed) > 0 {
					sealed++
				}
			}
			if sealed != 1 {
				t.Errorf("%d sealed keys of the use are left", sealed)
			}
			if len(change.Records) != 3 { // active, pending, and the new one
				t.Errorf("records %+v", change.Records)
			}
			if use == SignES256 && accepts(t, document(t, after, now), sign(t, ring, jws.ES256, now)) {
				t.Error("a token under the compromised key is accepted")
			}
			if use == RefreshMAC {
				token := secret.SealRefresh(ring.RefreshKey(now), "default", secret.RefreshHandle{}, [32]byte{})
				for _, k := range after.RefreshKeys(now) {
					if _, err := secret.OpenRefresh(k, "default", token.Reveal()); err == nil {
						t.Error("a refresh token under the compromised key is recognised")
					}
				}
			}
		})
	}
}

func TestFormerRefreshKeysRecogniseForAGrantsLife(t *testing.T) {
	keys, ring := fresh(t)
	token := secret.SealRefresh(ring.RefreshKey(testkit.Epoch), "default", secret.RefreshHandle{}, [32]byte{})
	change, ring, err := Rotate(testEnv(testkit.Epoch), keys, RefreshMAC)
	if err != nil {
		t.Fatal(err)
	}
	apply(t, keys, change)
	known := func(now time.Time) bool {
		for _, k := range ring.RefreshKeys(now) {
			if _, err := secret.OpenRefresh(k, "default", token.Reveal()); err == nil {
				return true
			}
		}
		return false
	}
	later := testkit.Epoch.Add(2 * PublishLead)
	if string(ring.RefreshKeys(later)[0].Bytes()) != string(ring.RefreshKey(later).Bytes()) || len(ring.RefreshKeys(later)) != 2 {
		t.Error("the key in use is not the first of two")
	}
	if !known(later) || !known(testkit.Epoch.Add(config.MaxGrant)) {
		t.Error("a living login is forgotten")
	}
	if known(testkit.Epoch.Add(KeepRefresh + 2*PublishLead)) {
		t.Error("the former key stays for ever")
	}
}

// The keep times are longer than what they wait for.
func TestKeepTimesCoverLifetimes(t *testing.T) {
	if KeepPublished < config.MaxAccess+5*time.Minute {
		t.Error("a retired key leaves the JWKS before its tokens die")
	}
	if KeepRefresh < config.MaxGrant {
		t.Error("a former MAC key goes before its grants end")
	}
	if PublishLead < 2*JWKSMaxAge || PublishLead < 2*ReloadEvery {
		t.Error("a new key signs before it is known")
	}
}

// Whatever is rotated when: there is a signer at all times, every copy of the
// JWKS that is younger than JWKSMaxAge knows it, and every living token is
// accepted.
//
// Invariant: KY-1
func TestRotationProperty(t *testing.T) {
	base, _ := fresh(t)
	rapid.Check(t, func(rt *rapid.T) {
		keys, now := base, testkit.Epoch
		type doc struct {
			at   time.Time
			body []byte
		}
		var docs []doc
		type token struct {
			at      time.Time
			compact string
		}
		var living []token
		for range rapid.IntRange(1, 12).Draw(rt, "steps") {
			now = now.Add(time.Duration(rapid.Int64Range(0, int64(2*time.Hour)).Draw(rt, "pass")))
			env := testEnv(now)
			change, ring, err := Plan(env, keys)
			if rapid.Bool().Draw(rt, "rotate") {
				if c, r, err := Rotate(env, keys, SignES256); err == nil {
					change, ring = c, r
				} else if !errors.Is(err, ErrRotating) {
					rt.Fatal(err)
				}
			}
			if err != nil {
				rt.Fatal(err)
			}
			keys = apply(t, keys, change)
			compact := sign(t, ring, jws.ES256, now)
			body := document(t, ring, now)
			docs = append(docs, doc{now, body})
			living = append(living, token{now, compact})
			for _, x := range living {
				if now.Sub(x.at) <= config.MaxAccess && !accepts(t, body, x.compact) {
					rt.Fatalf("a token of %s is refused at %s", x.at, now)
				}
			}
			for _, d := range docs { // a relying party with the oldest copy it may hold
				if now.Sub(d.at) <= JWKSMaxAge && !accepts(t, d.body, compact) {
					rt.Fatalf("a copy of the JWKS of %s does not know the signer at %s", d.at, now)
				}
			}
		}
	})
}

func kid(t testing.TB, compact string) string {
	t.Helper()
	m, err := jws.Parse(compact)
	if err != nil {
		t.Fatal(err)
	}
	return m.Header.KeyID
}

func TestNonceKeyIsFreshAtStartAndKeptOnReload(t *testing.T) {
	keys, ring := fresh(t)
	env := testEnv(testkit.Epoch)
	env.Random = testkit.Rand("another start")
	_, restarted, err := Plan(env, keys)
	if err != nil {
		t.Fatal(err)
	}
	env.Former = ring
	_, reloaded, err := Plan(env, keys)
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Equal(restarted.NonceKey().Bytes(), ring.NonceKey().Bytes()) {
		t.Error("a restart keeps the nonce key")
	}
	if !bytes.Equal(reloaded.NonceKey().Bytes(), ring.NonceKey().Bytes()) {
		t.Error("a reload drops the nonce key")
	}
}

func TestNotesVerify(t *testing.T) {
	const origin = "127.0.0.1:8430/default"
	keys, ring := fresh(t)
	oldKeys, err := ring.NoteVerifierKeys(origin)
	if err != nil || len(oldKeys) != 1 {
		t.Fatal(oldKeys, err)
	}
	_, ring, err = Rotate(testEnv(testkit.Epoch), keys, AuditNote)
	if err != nil {
		t.Fatal(err)
	}
	later := testkit.Epoch.Add(2 * PublishLead)
	signers, err := ring.NoteSigners(origin, later)
	if err != nil || len(signers) != 2 {
		t.Fatal(signers, err)
	}
	msg, err := note.Sign(&note.Note{Text: origin + "\n0\n\n"}, signers...)
	if err != nil {
		t.Fatal(err)
	}
	vkeys, err := ring.NoteVerifierKeys(origin)
	if err != nil || len(vkeys) != 2 {
		t.Fatal(vkeys, err)
	}
	for _, vkey := range append(vkeys, oldKeys...) {
		v, err := note.NewVerifier(vkey)
		if err != nil {
			t.Fatal(err)
		}
		if n, err := note.Open(msg, note.VerifierList(v)); err != nil || len(n.Sigs) != 1 {
			t.Errorf("%s: %v", vkey, err)
		}
	}
	if _, err := ring.NoteSigners("a b", later); err == nil {
		t.Error("a name with a space is accepted")
	}
}

// A clock that went back behind the first start still has a signer.
func TestClockBeforeFirstStart(t *testing.T) {
	keys, _ := fresh(t)
	early := testkit.Epoch.Add(-time.Hour)
	change, ring, err := Plan(testEnv(early), keys)
	if err != nil || !change.IsEmpty() {
		t.Fatal(change, err)
	}
	if !accepts(t, document(t, ring, early), sign(t, ring, jws.ES256, early)) {
		t.Error("own token refused")
	}
}

func TestNothingPrintsAKey(t *testing.T) {
	root := NewRoot([32]byte{'h', 'u', 'n', 't', 'e', 'r', '2'}, "a test")
	env := testEnv(testkit.Epoch)
	env.Root = root
	change, ring, err := Plan(env, nil)
	if err != nil {
		t.Fatal(err)
	}
	signers, err := ring.NoteSigners("x", env.Now)
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	slog.New(slog.NewTextHandler(&b, nil)).Info("x", "root", root, "ring", ring, "note", signers)
	for _, f := range []string{"%v", "%+v", "%#v", "%s", "%x", "%d"} {
		fmt.Fprintf(&b, f+f+f+f, root, ring, signers, change.Records)
	}
	j, err := json.Marshal([]any{root, ring, signers})
	if err != nil {
		t.Fatal(err)
	}
	b.Write(j)
	private := ring.keys[AuditNote][0].private
	for _, leak := range []string{
		"hunter2", "68756e746572", "104 117 110", hex.EncodeToString(private[:8]),
		strings.Trim(fmt.Sprint([]byte(private[:8])), "[]"), string(ring.RefreshKey(env.Now).Bytes()),
	} {
		if strings.Contains(b.String(), leak) {
			t.Errorf("%q is printed:\n%s", leak, b.String())
		}
	}
}

// The Ring's signer against crypto/ecdsa behind it: see jws for the floor.
func BenchmarkSignES256(b *testing.B) {
	_, ring := fresh(b)
	b.ReportAllocs()
	for b.Loop() {
		s, err := ring.Signer(jws.ES256, testkit.Epoch)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := s.Sign([]byte("x")); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkRawES256(b *testing.B) {
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		digest := sha256.Sum256([]byte("x"))
		if _, err := ecdsa.SignASN1(rand.Reader, k, digest[:]); err != nil {
			b.Fatal(err)
		}
	}
}
