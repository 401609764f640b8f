package keystore_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/keytether/keytether/internal/keystore"
	"github.com/keytether/keytether/internal/secret"
)

// odd is a store in memory with one fault.
type odd struct {
	*keystore.Memory
	onNewKey func()
	onPut    func(*keystore.Entry)
	keep     bool // Delete does nothing
}

func (o *odd) NewKey(ctx context.Context, name string) (keystore.Key, error) {
	if o.onNewKey != nil {
		o.onNewKey()
	}
	return o.Memory.NewKey(ctx, name)
}

func (o *odd) Put(ctx context.Context, name string, e keystore.Entry) error {
	if o.onPut != nil {
		o.onPut(&e)
	}
	return o.Memory.Put(ctx, name, e)
}

func (o *odd) Delete(ctx context.Context, name string) error {
	if o.onNewKey != nil && ctx.Err() == nil {
		<-make(chan struct{}) // hangs, and heeds only a context that has ended
	}
	if o.keep {
		return nil
	}
	return o.Memory.Delete(ctx, name)
}

func TestProbeFindsFaults(t *testing.T) {
	for name, s := range map[string]*odd{
		"another token":    {onPut: func(e *keystore.Entry) { e.RefreshToken = secret.New("other") }},
		"other metadata":   {onPut: func(e *keystore.Entry) { e.Metadata = nil }},
		"nothing is wiped": {keep: true},
	} {
		s.Memory = keystore.NewMemory()
		if err := keystore.Probe(t.Context(), s); !errors.Is(err, keystore.ErrUnusable) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestProbeEndsWithItsContext lets a store hang once the probe has been called off.
func TestProbeEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- keystore.Probe(ctx, &odd{Memory: keystore.NewMemory(), onNewKey: cancel}) }()
	select {
	case err := <-done:
		if !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	case <-time.After(5 * time.Second):
		t.Fatal("it waits for the store")
	}
}

// TestProbeCleansUp finds what probes left that died: an old one goes, one under way stays.
func TestProbeCleansUp(t *testing.T) {
	m := keystore.NewMemory()
	old := fmt.Sprintf("keytether.probe.%d.X", time.Now().Unix()-3600)
	young := fmt.Sprintf("keytether.probe.%d.X", time.Now().Unix())
	for _, name := range []string{old, young, "keytether.probe.mine", "a"} {
		if _, err := m.NewKey(t.Context(), name); err != nil {
			t.Fatal(err)
		}
		if err := m.Put(t.Context(), name, keystore.Entry{Key: name}); err != nil {
			t.Fatal(err)
		}
	}
	if err := keystore.Probe(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	if names, err := m.Names(t.Context()); err != nil || !slices.Equal(names, []string{"a", young, "keytether.probe.mine"}) {
		t.Errorf("%q %v", names, err)
	}
}
