package signer

import (
	"cmp"
	"crypto/ed25519"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/keytether/keytether/internal/event"
	"github.com/keytether/keytether/internal/jws"
	"github.com/keytether/keytether/internal/secret"
	"github.com/keytether/keytether/internal/store"
)

// Ring is the server's keys, opened. It is immutable and safe for concurrent
// use; a rotation makes another ring.
type Ring struct {
	keys  map[Use][]*key // oldest first
	nonce secret.Key
	// destroyed are the public parts of audit keys whose private parts are no more.
	destroyed []ed25519.PublicKey
}

// State is where a key stands in its life.
type State string

// The states of a key, in their order.
const (
	Pending State = "pending" // published, does not sign yet
	Active  State = "active"
	Retired State = "retired" // published, signs no longer
	Gone    State = "gone"    // neither
)

// Info describes a key to a person. It holds nothing secret.
type Info struct {
	ID        string
	Use       Use
	State     State
	CreatedAt time.Time
	NotBefore time.Time
	RetiredAt time.Time // zero while nothing is planned
}

type key struct {
	Info
	signer  jws.Signer         // SignES256, SignRS256
	mac     secret.Key         // RefreshMAC, CSRF
	private ed25519.PrivateKey // AuditNote
}

func (k *key) state(now time.Time) State {
	switch {
	case !k.RetiredAt.IsZero() && !now.Before(k.RetiredAt.Add(keep(k.Use))):
		return Gone
	case !k.RetiredAt.IsZero() && !now.Before(k.RetiredAt):
		return Retired
	case now.Before(k.NotBefore):
		return Pending
	default:
		return Active
	}
}

func open(env Env, existing []store.Versioned[store.SealedKey]) (*Ring, error) {
	r := &Ring{keys: map[Use][]*key{}}
	if env.Former != nil {
		r.nonce = env.Former.nonce
	} else {
		var b [32]byte
		if _, err := io.ReadFull(env.Random, b[:]); err != nil {
			return nil, fmt.Errorf("signer: no randomness: %w", err)
		}
		r.nonce = secret.NewKey(b)
	}
	for _, v := range existing {
		s := v.Value
		use := Use(s.Use)
		if len(s.Sealed) == 0 && use == AuditNote {
			r.bury(s.Public)
		}
		if len(s.Sealed) == 0 || !slices.Contains(Uses(), use) {
			continue // destroyed, or of another version of Keytether
		}
		notBefore, material, err := env.Root.unseal(env.Tenant, use, s.ID, s.Sealed)
		if err != nil {
			return nil, err
		}
		k := &key{Info: Info{ID: s.ID, Use: use, CreatedAt: s.CreatedAt, NotBefore: notBefore, RetiredAt: s.RetiredAt}}
		if err := k.parse(material); err != nil {
			return nil, err
		}
		r.insert(k)
	}
	return r, nil
}

// bury remembers the public part (a JWK) of an audit key that was destroyed.
func (r *Ring) bury(public []byte) {
	pub, err := jws.ParseJWK(public)
	if err != nil {
		return
	}
	if ed, ok := pub.Standard().(ed25519.PublicKey); ok {
		r.destroyed = append(r.destroyed, ed)
	}
}

func (r *Ring) insert(k *key) {
	r.keys[k.Use] = append(r.keys[k.Use], k)
	slices.SortStableFunc(r.keys[k.Use], func(a, b *key) int {
		return cmp.Or(a.NotBefore.Compare(b.NotBefore), cmp.Compare(a.ID, b.ID))
	})
}

// lasting reports whether use has a key that signs now or is to sign, and whose
// retirement is not planned.
func (r *Ring) lasting(use Use, now time.Time) bool {
	active := r.active(use, now) != nil
	planned := slices.ContainsFunc(r.keys[use], func(k *key) bool { return k.RetiredAt.IsZero() })
	return active && planned
}

// add makes a key that signs from start on.
func (r *Ring) add(env Env, change *store.Change, use Use, start time.Time, why event.Reason) error {
	keyID, err := newID(env)
	if err != nil {
		return err
	}
	k := &key{Info: Info{ID: keyID, Use: use, CreatedAt: env.now(), NotBefore: start}}
	material, err := generate(use, env.Random)
	if err != nil {
		return err
	}
	if err := k.parse(material); err != nil {
		return err
	}
	sealed, err := env.Root.seal(env.Tenant, use, keyID, start, material, env.Random)
	if err != nil {
		return err
	}
	r.insert(k)
	change.Keys = append(change.Keys, store.Versioned[store.SealedKey]{Value: store.SealedKey{
		ID: keyID, Use: string(use), Sealed: sealed, Public: k.public(), CreatedAt: k.CreatedAt,
	}})
	change.Records = append(change.Records, record(env, event.KeyAdded, use, keyID, why, time.Time{}))
	return nil
}

func (r *Ring) find(use Use, keyID string) (*key, bool) {
	for _, k := range r.keys[use] {
		if k.ID == keyID {
			return k, true
		}
	}
	return nil, false
}

// active is the newest active key. When the clock went back behind the first
// key's start, that first key is better than none. Else nil.
func (r *Ring) active(use Use, now time.Time) *key {
	keys := r.keys[use]
	for i := len(keys) - 1; i >= 0; i-- {
		if keys[i].state(now) == Active {
			return keys[i]
		}
	}
	if len(keys) > 0 && keys[0].state(now) == Pending {
		return keys[0]
	}
	return nil
}

// String counts the keys and shows none.
func (r *Ring) String() string {
	n := 0
	for _, keys := range r.keys {
		n += len(keys)
	}
	return fmt.Sprintf("ring of %d keys", n)
}

// Format is String for every verb.
func (r *Ring) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, r.String()) }

// Signer gives the newest active signing key of an algorithm, ES256 or RS256.
// It costs no more than reading a map. Error: ErrNoKey.
func (r *Ring) Signer(alg jws.Algorithm, now time.Time) (jws.Signer, error) {
	use := SignES256
	switch alg {
	case jws.ES256:
	case jws.RS256:
		use = SignRS256
	default:
		return nil, fmt.Errorf("%w: tokens are not signed with %q", ErrNoKey, alg)
	}
	if k := r.active(use, now); k != nil {
		return k.signer, nil
	}
	return nil, fmt.Errorf("%w: %s", ErrNoKey, use)
}

// PublicKeys is the set of keys under which tokens are accepted now: pending,
// active and retired ones, newest first.
func (r *Ring) PublicKeys(now time.Time) (*jws.Set, error) {
	var entries []jws.Entry
	for _, use := range []Use{SignES256, SignRS256} {
		for _, k := range slices.Backward(r.keys[use]) {
			if k.state(now) != Gone {
				entries = append(entries, jws.Entry{KeyID: k.ID, Key: k.signer.Public()})
			}
		}
	}
	return jws.NewSet(entries...)
}

// JWKS is the document of PublicKeys (RFC 7517 §5).
func (r *Ring) JWKS(now time.Time) ([]byte, error) {
	set, err := r.PublicKeys(now)
	if err != nil {
		return nil, err
	}
	return json.Marshal(set)
}

// RefreshKey is the key to make refresh tokens under. It is zero if there is
// none, which Plan rules out.
func (r *Ring) RefreshKey(now time.Time) secret.Key { return r.mac(RefreshMAC, now) }

// RefreshKeys are the keys under which refresh tokens are recognised: the one
// in use first, then pending and former ones. A repeat of a refresh request
// that straddles a rotation must derive its successor under the key that the
// first answer used: the one whose successor has the stored hash.
func (r *Ring) RefreshKeys(now time.Time) []secret.Key { return r.macs(RefreshMAC, now) }

// CSRFKey is the key to tag forms with.
func (r *Ring) CSRFKey(now time.Time) secret.Key { return r.mac(CSRF, now) }

// CSRFKeys are the keys under which tags of forms are accepted.
func (r *Ring) CSRFKeys(now time.Time) []secret.Key { return r.macs(CSRF, now) }

// NonceKey is the key of DPoP nonces, fresh at every start (RFC 9449 §8).
func (r *Ring) NonceKey() secret.Key { return r.nonce }

func (r *Ring) mac(use Use, now time.Time) secret.Key {
	if k := r.active(use, now); k != nil {
		return k.mac
	}
	return secret.Key{}
}

func (r *Ring) macs(use Use, now time.Time) []secret.Key {
	first := r.active(use, now)
	var out []secret.Key
	if first != nil {
		out = append(out, first.mac)
	}
	for _, k := range slices.Backward(r.keys[use]) {
		if k != first && k.state(now) != Gone {
			out = append(out, k.mac)
		}
	}
	return out
}

// NoteSigners sign checkpoints of the audit log named origin (audit.Origin):
// the active key first, then former ones for KeepNote.
func (r *Ring) NoteSigners(origin string, now time.Time) ([]note.Signer, error) {
	var out []note.Signer
	for _, k := range slices.Backward(r.keys[AuditNote]) {
		if s := k.state(now); s != Active && s != Retired {
			continue
		}
		s, err := newNoteSigner(origin, k.private)
		if err != nil {
			return nil, err
		}
		out = append(out, s)
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("%w: %s", ErrNoKey, AuditNote)
	}
	return out, nil
}

// NoteVerifierKeys are the verifier keys ("vkey", as note.NewVerifier reads
// them) of every audit key that is kept, newest first: what an auditor holds.
func (r *Ring) NoteVerifierKeys(origin string) ([]string, error) {
	var out []string
	for _, k := range slices.Backward(r.keys[AuditNote]) {
		vkey, err := note.NewEd25519VerifierKey(origin, k.private.Public().(ed25519.PublicKey))
		if err != nil {
			return nil, err
		}
		out = append(out, vkey)
	}
	return out, nil
}

// DestroyedNoteKeys are the verifier keys of audit keys that were destroyed as
// compromised, oldest first. What they sign proves nothing any more; but the
// newest checkpoint in the store may be theirs, and whoever signs next must be
// able to go on from it, after comparing it with the log.
func (r *Ring) DestroyedNoteKeys(origin string) ([]string, error) {
	var out []string
	for _, public := range r.destroyed {
		vkey, err := note.NewEd25519VerifierKey(origin, public)
		if err != nil {
			return nil, err
		}
		out = append(out, vkey)
	}
	return out, nil
}

// Keys describes every key that is kept and not destroyed, by use, oldest first.
func (r *Ring) Keys(now time.Time) []Info {
	var out []Info
	for _, use := range Uses() {
		for _, k := range r.keys[use] {
			info := k.Info
			info.State = k.state(now)
			out = append(out, info)
		}
	}
	return out
}
