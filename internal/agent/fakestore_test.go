package agent

import (
	"context"
	"path/filepath"
	"sync"
	"testing"

	"github.com/keytether/keytether/internal/keystore"
	"github.com/keytether/keytether/internal/oauthclient/oauthclienttest"
)

// fakeStore is a store that outlives agents and fails as it is told.
type fakeStore struct {
	*keystore.Memory
	name string
	life keystore.Life

	mu     sync.Mutex
	shut   error // what opening gives
	unread error // what Get and Names give
	full   error // what Put gives
	stuck  error // what Delete gives
	hang   bool  // nothing is answered until the caller gives up
	opened int
}

func newFakeStore(name string, life keystore.Life) *fakeStore {
	return &fakeStore{Memory: keystore.NewMemory(), name: name, life: life}
}

func problem(name string) error {
	return &keystore.Problem{Store: name, Why: "it is out of order", Mend: "Repair " + name}
}

func (f *fakeStore) set(change func(*fakeStore)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change(f)
}

func (f *fakeStore) kind() keystore.Kind {
	return keystore.Kind{Name: f.name, Life: f.life, Open: func(ctx context.Context) (keystore.Store, error) {
		f.mu.Lock()
		f.opened++
		f.mu.Unlock()
		return f, f.answer(ctx, func() error { return f.shut })
	}}
}

func (f *fakeStore) answer(ctx context.Context, err func() error) error {
	f.mu.Lock()
	hang, e := f.hang, err()
	f.mu.Unlock()
	if hang {
		<-ctx.Done()
		return ctx.Err()
	}
	return e
}

func (f *fakeStore) Put(ctx context.Context, name string, e keystore.Entry) error {
	if err := f.answer(ctx, func() error { return f.full }); err != nil {
		return err
	}
	return f.Memory.Put(ctx, name, e)
}

func (f *fakeStore) Get(ctx context.Context, name string) (keystore.Entry, error) {
	if err := f.answer(ctx, func() error { return f.unread }); err != nil {
		return keystore.Entry{}, err
	}
	return f.Memory.Get(ctx, name)
}

func (f *fakeStore) Names(ctx context.Context) ([]string, error) {
	if err := f.answer(ctx, func() error { return f.unread }); err != nil {
		return nil, err
	}
	return f.Memory.Names(ctx)
}

func (f *fakeStore) Delete(ctx context.Context, name string) error {
	if err := f.answer(ctx, func() error { return f.stuck }); err != nil {
		return err
	}
	return f.Memory.Delete(ctx, name)
}

// hardware is a store that takes no key of another one, and whose keys sign where
// they are.
func hardware(f *fakeStore) keystore.Kind {
	k := f.kind()
	k.Hardware = true
	k.Open = func(context.Context) (keystore.Store, error) { return hardStore{f}, nil }
	return k
}

type hardStore struct{ keystore.Store }

type hardKey struct{ keystore.Key }

func (h hardStore) NewKey(ctx context.Context, name string) (keystore.Key, error) {
	k, err := h.Store.NewKey(ctx, name)
	return hardKey{k}, err
}

func (h hardStore) Key(ctx context.Context, name string) (keystore.Key, error) {
	k, err := h.Store.Key(ctx, name)
	return hardKey{k}, err
}

// tokens are the refresh tokens in a store, by entry.
func (f *fakeStore) tokens(t *testing.T) map[string]string {
	t.Helper()
	names, err := f.Memory.Names(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for _, n := range names {
		if e, err := f.Memory.Get(t.Context(), n); err == nil && !e.RefreshToken.IsZero() {
			out[n] = e.RefreshToken.Reveal()
		}
	}
	return out
}

func storesRig(t *testing.T, kinds ...keystore.Kind) (*rig, string) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "state")
	c := oauthclienttest.Keytether()
	return newRig(t, c, func(o *Options) { o.Kinds, o.StateDir = kinds, dir }), dir
}
