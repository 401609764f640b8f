package keystoretest

import (
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/keytether/keytether/internal/jws"
	"github.com/keytether/keytether/internal/keystore"
)

// RunLasting tries a store that outlives the process. Each call of place gives another empty
// place, whose every call opens the store that is there, as another process would.
func RunLasting(t *testing.T, place func(*testing.T) func(*testing.T) keystore.Store) {
	t.Helper()
	for _, tt := range []struct {
		name string
		f    func(t *testing.T, open func(*testing.T) keystore.Store)
	}{
		{"what is there comes back", comesBack},
		{"two that are open see each other", twoOpen},
		{"what was wiped stays away", staysAway},
		{"a store that was closed signs no more", closed},
	} {
		t.Run(tt.name, func(t *testing.T) { tt.f(t, place(t)) })
	}
}

func closeStore(t *testing.T, s keystore.Store) {
	t.Helper()
	if c, ok := s.(io.Closer); ok {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}
}

func comesBack(t *testing.T, open func(*testing.T) keystore.Store) {
	s := open(t)
	k := login(t, s, "a")
	put(t, s, "b", "a")
	other := makeKey(t, s, "c")
	closeStore(t, s)
	s = open(t)
	holds(t, s, map[string]string{"a": "a", "b": "a"})
	sameKey(t, s, k, "a")
	sameKey(t, s, other, "c")
}

// sameKey says that the key of that name has the public half of k and signs for it.
func sameKey(t *testing.T, s keystore.Store, k keystore.Key, name string) {
	t.Helper()
	found, err := s.Key(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	sig, err := found.Sign([]byte("x"))
	if err != nil || verify(k, []byte("x"), sig) != nil || found.Public().Thumbprint() != k.Public().Thumbprint() {
		t.Errorf("key %s is another: %v", name, err)
	}
}

func twoOpen(t *testing.T, open func(*testing.T) keystore.Store) {
	one, two := open(t), open(t)
	k := login(t, one, "a")
	holds(t, two, map[string]string{"a": "a"})
	sameKey(t, two, k, "a")
	fresh := makeKey(t, two, "a")
	holds(t, one, nil)
	sameKey(t, one, fresh, "a")
	put(t, one, "b", "a")
	want(t, two.Delete(t.Context(), "b"), nil)
	holds(t, one, nil)
	_, err := one.Key(t.Context(), "a")
	want(t, err, keystore.ErrNoKey)
}

func staysAway(t *testing.T, open func(*testing.T) keystore.Store) {
	s := open(t)
	login(t, s, "a")
	login(t, s, "b")
	want(t, s.Delete(t.Context(), "a"), nil)
	closeStore(t, s)
	s = open(t)
	holds(t, s, map[string]string{"b": "b"})
	_, err := s.Key(t.Context(), "a")
	want(t, err, keystore.ErrNoKey)
}

func closed(t *testing.T, open func(*testing.T) keystore.Store) {
	s := open(t)
	if _, ok := s.(io.Closer); !ok {
		t.Error("a store that lasts can be closed")
	}
	k := login(t, s, "a")
	closeStore(t, s)
	_, err := k.Sign([]byte("x"))
	want(t, err, keystore.ErrNoKey)
}

// Grep fails if a file below the folder, or its name, holds the token of the suite.
func Grep(t *testing.T, folder string) {
	t.Helper()
	files := 0
	err := filepath.WalkDir(folder, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		files++
		raw, err := os.ReadFile(path)
		if err == nil && strings.Contains(path+string(raw), token) {
			t.Errorf("%s holds the token", path)
		}
		return err
	})
	if err != nil || files == 0 {
		t.Errorf("%d files were read: %v", files, err)
	}
}

func probed(t *testing.T, s keystore.Store) {
	login(t, s, "a")
	if err := keystore.Probe(t.Context(), s); err != nil {
		t.Error(err)
	}
	holds(t, s, map[string]string{"a": "a"})
}

// foreign is a key that cannot be copied, as one in hardware.
type foreign struct{ jws.Signer }

// imports takes over keys, if the store does: a software key that is copied, and one that cannot
// be, which the store takes too or refuses as a whole.
func imports(t *testing.T, s keystore.Store) {
	im, ok := s.(keystore.Importer)
	if !ok {
		return
	}
	from := keystore.NewMemory()
	k, err := from.NewKey(t.Context(), "from")
	if err != nil {
		t.Fatal(err)
	}
	old := login(t, s, "a")
	put(t, s, "b", "a")
	want(t, im.Import(t.Context(), "", k), keystore.ErrName)
	for _, in := range []keystore.Key{foreign{k}, k} {
		if err := im.Import(t.Context(), "a", in); err != nil {
			want(t, err, keystore.ErrUnusable)
			holds(t, s, map[string]string{"a": "a", "b": "a"})
			alive(t, s, old, "a")
			continue
		}
		holds(t, s, nil)
		_, err = old.Sign([]byte("x"))
		want(t, err, keystore.ErrNoKey)
		sameKey(t, s, k, "a")
		put(t, s, "a", "a")
		put(t, s, "b", "a")
		if old, err = s.Key(t.Context(), "a"); err != nil {
			t.Fatal(err)
		}
	}
	want(t, from.Delete(t.Context(), "from"), nil)
	if im.Import(t.Context(), "c", k) == nil {
		t.Error("a key that is gone was taken over")
	}
	if _, err := s.Key(t.Context(), "c"); err == nil {
		t.Error("a key that is gone came back")
	}
}
