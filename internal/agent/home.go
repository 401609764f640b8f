package agent

import (
	"context"
	"errors"
	"strings"
	"sync"
	"time"

	"github.com/keytether/keytether/internal/agentwire"
	"github.com/keytether/keytether/internal/jws"
	"github.com/keytether/keytether/internal/keystore"
)

// home is one kind of store on this machine. It is opened when it is first
// used, and again after it failed.
type home struct {
	kind  keystore.Kind
	limit time.Duration // of one use
	turn  chan struct{} // one use at a time: what reads and then writes is one step

	mu      sync.Mutex
	store   keystore.Store // nil: not open
	problem error          // of the last use
}

func newHome(k keystore.Kind, limit time.Duration) *home {
	return &home{kind: k, limit: limit, turn: make(chan struct{}, 1)}
}

// memoryKind is always there.
func memoryKind() keystore.Kind {
	return keystore.Kind{Name: agentwire.StoreMemory, Life: keystore.Process, Open: func(context.Context) (keystore.Store, error) {
		return keystore.NewMemory(), nil
	}}
}

// use runs f on the open store. A store that cannot be used, or that does not
// answer in time, gives an error that wraps keystore.ErrUnusable.
func (p *home) use(ctx context.Context, f func(context.Context, keystore.Store) error) error {
	ctx, cancel := context.WithTimeout(ctx, p.limit)
	defer cancel()
	select {
	case p.turn <- struct{}{}:
		defer func() { <-p.turn }()
	case <-ctx.Done():
		return p.note(ctx.Err())
	}
	s, err := p.open(ctx)
	if err == nil {
		err = f(ctx, s)
	}
	return p.note(err)
}

// alone runs f while nobody uses the store.
func (p *home) alone(ctx context.Context, limit time.Duration, f func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	select {
	case p.turn <- struct{}{}:
		defer func() { <-p.turn }()
	case <-ctx.Done():
		return keystore.AsProblem(p.kind.Name, ctx.Err())
	}
	return f(ctx)
}

// lock wipes what a passphrase opened, and closes the store.
func (p *home) lock() {
	p.kind.Lock()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.store = nil
}

// open gives the store. The turn is held.
func (p *home) open(ctx context.Context) (keystore.Store, error) {
	p.mu.Lock()
	s := p.store
	p.mu.Unlock()
	if s != nil {
		return s, nil
	}
	s, err := p.kind.Open(ctx)
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	p.store = s
	p.mu.Unlock()
	return s, nil
}

// note remembers how a use went. An answer (there is no such entry) is no failure
// of the store; after a failure a store that outlives this process is opened anew.
func (p *home) note(err error) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case err == nil, errors.Is(err, keystore.ErrNotFound), errors.Is(err, keystore.ErrNoKey), errors.Is(err, keystore.ErrName), errors.Is(err, errGone):
		p.problem = nil
		return err
	case errors.Is(err, context.Canceled):
		return err
	case errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, keystore.ErrUnusable):
		err = &keystore.Problem{Store: p.kind.Name, Why: "it did not answer in time", Mend: "See whether it waits for somebody to unlock it", Err: err}
	case !errors.Is(err, keystore.ErrUnusable):
		err = &keystore.Problem{Store: p.kind.Name, Why: err.Error(), Err: err}
	}
	p.problem = err
	if p.kind.Life > keystore.Process {
		p.store = nil
	}
	return err
}

// trouble is why the last use failed, or nil.
func (p *home) trouble() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.problem
}

// reason puts a store's failure in a few words, with its name.
func (p *home) reason(err error) string {
	if problem, ok := errors.AsType[*keystore.Problem](err); ok {
		return p.kind.Name + ": " + problem.Why
	}
	return p.kind.Name + ": " + strings.TrimPrefix(err.Error(), "keystore: ")
}

func mend(err error) string {
	if problem, ok := errors.AsType[*keystore.Problem](err); ok {
		return problem.Mend
	}
	return ""
}

// vault is all the places: those of Options.Kinds, and memory as the last resort.
type vault struct {
	places []*home
	passed map[string]string // what auto passes over, and why
	listed []*home           // of Options.Kinds
}

func newVault(o Options) *vault {
	v := &vault{passed: o.Passed}
	for _, k := range o.Kinds {
		v.places = append(v.places, newHome(k, o.storeTime))
	}
	v.listed = v.places[:len(v.places):len(v.places)]
	if v.named(agentwire.StoreMemory) == nil {
		v.places = append(v.places, newHome(memoryKind(), o.storeTime))
	}
	return v
}

// named gives the place of that name, or nil.
func (v *vault) named(name string) *home {
	for _, p := range v.places {
		if p.kind.Name == name {
			return p
		}
	}
	return nil
}

// sealed is the place that a person opens with a passphrase, or nil.
func (v *vault) sealed() *home {
	for _, p := range v.places {
		if p.kind.Unlock != nil {
			return p
		}
	}
	return nil
}

// order is what a login tries, by what was chosen for it, and why others are not
// tried. Where outlives says why, auto takes nothing that lasts.
func (v *vault) order(choice, outlives string) (places []*home, why []string, err error) {
	if choice != "" && choice != agentwire.StoreAuto {
		if p := v.named(choice); p != nil {
			return []*home{p}, nil, nil
		}
		return nil, nil, agentwire.NewError(agentwire.StoreUnusable, couldNot, "this system has no store "+choice, "Choose another one, or auto, in config.yaml or with --store", keystore.ErrUnusable)
	}
	for _, p := range v.listed {
		reason, passed := v.passed[p.kind.Name]
		if !passed && outlives != "" && p.kind.Life > keystore.Process {
			reason, passed = outlives, true
		}
		if passed {
			why = append(why, p.kind.Name+": "+reason)
			continue
		}
		places = append(places, p)
	}
	return places, why, nil
}

// next is what is tried when a place failed that holds a login: what comes after
// it in the order, and memory at last.
func (v *vault) next(failed *home) []*home {
	var out []*home
	after := false
	for _, p := range v.places {
		if _, passed := v.passed[p.kind.Name]; after && !passed && p.kind.Name != agentwire.StoreMemory {
			out = append(out, p)
		}
		after = after || p == failed
	}
	if memory := v.named(agentwire.StoreMemory); memory != failed {
		out = append(out, memory)
	}
	return out
}

// lasting are the places whose entries outlive this process.
func (v *vault) lasting() []*home {
	var out []*home
	for _, p := range v.places {
		if p.kind.Life > keystore.Process {
			out = append(out, p)
		}
	}
	return out
}

// proofKey is a login's key wherever it lies now.
type proofKey struct {
	mu  sync.RWMutex
	now keystore.Key
}

func newProofKey(k keystore.Key) *proofKey { return &proofKey{now: k} }

func (k *proofKey) current() keystore.Key {
	k.mu.RLock()
	defer k.mu.RUnlock()
	return k.now
}

func (k *proofKey) move(to keystore.Key) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.now = to
}

// Algorithm, KeyID, Public and Sign make it a signer.
func (k *proofKey) Algorithm() jws.Algorithm { return k.current().Algorithm() }

// KeyID is empty for proof keys.
func (k *proofKey) KeyID() string { return k.current().KeyID() }

// Public is the public half.
func (k *proofKey) Public() *jws.PublicKey { return k.current().Public() }

// Sign signs with the key where it lies now.
func (k *proofKey) Sign(input []byte) ([]byte, error) { return k.current().Sign(input) }
