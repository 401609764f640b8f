package agent

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keytether/keytether/internal/agentwire"
	"github.com/keytether/keytether/internal/keystore"
	"github.com/keytether/keytether/internal/keystore/file"
	"github.com/keytether/keytether/internal/oauth"
	"github.com/keytether/keytether/internal/oauthclient"
	"github.com/keytether/keytether/internal/outbound"
	"github.com/keytether/keytether/internal/secret"
	"github.com/keytether/keytether/internal/testkit/leak"
)

const (
	phrase = "violin gravel tuesday hammock"
	wrong  = "violin gravel tuesday hammocks"
)

// sealedRig is an agent with the real sealed file, which is not there yet.
func sealedRig(t *testing.T) (*rig, string) {
	t.Helper()
	folder := filepath.Join(t.TempDir(), "sealed")
	if err := os.Mkdir(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	r, dir := storesRig(t, file.Kind(file.Options{Folder: folder, Passphrase: true}), memoryKind())
	r.opt.storeTime = time.Minute
	return r.again(), dir
}

func (r *rig) open(passphrase string, fresh bool) error {
	return r.UnlockStore(r.t.Context(), agentwire.UnlockStoreRequest{Passphrase: agentwire.NewSecret(passphrase), New: fresh})
}

// refused wants an error of that code with these words.
func refused(t *testing.T, err error, code agentwire.Code, words string) {
	t.Helper()
	e, ok := errors.AsType[*agentwire.Error](err)
	if !ok || e.Code != code || !strings.Contains(e.Why, words) || e.Do == "" {
		t.Errorf("want %s %q, got %+v", code, words, err)
	}
}

// lockedOut wants status and calls to say that the file is locked, and how to open it.
func (r *rig) lockedOut() {
	r.t.Helper()
	const mend = "Run `keytether agent unlock --store`"
	s, err := r.Status(r.t.Context())
	if err != nil || len(s.Profiles) != 0 || len(s.Stores) != 1 || s.Stores[0] != (agentwire.StoreProblem{Store: "file", Why: "file: locked, it needs its passphrase", Do: mend}) {
		r.t.Errorf("status: %+v, %v", s, err)
	}
	_, err = r.Token(r.t.Context(), agentwire.TokenRequest{})
	if e, ok := errors.AsType[*agentwire.Error](err); !ok || e.Code != agentwire.StoreUnusable || e.Do != mend {
		r.t.Errorf("a token: %+v", err)
	}
}

// A login into a file that is not there wants a passphrase before the server or a
// person hears of it; one that is too easy, or that nobody chose for it, makes no
// file. After a restart and after a lock the file wants it again, and a wrong one
// changes nothing.
//
// Invariant: AS-7
func TestSealedFile(t *testing.T) {
	r, dir := sealedRig(t)
	inFile := agentwire.LoginRequest{Store: "file"}
	_, err := r.logIn(inFile)
	refused(t, err, agentwire.NewPassphraseWanted, "there is no sealed file yet")
	if r.server.Count("par")+r.server.Count("metadata") != 0 {
		t.Error("the server heard of it")
	}
	refused(t, r.open("", false), agentwire.NewPassphraseWanted, "there is no sealed file yet")
	refused(t, r.open(phrase, false), agentwire.NewPassphraseWanted, "there is no sealed file yet")
	refused(t, r.open("easy", true), agentwire.NewPassphraseWanted, "fewer than 12 characters")
	refused(t, r.open(strings.Repeat("abcd", 4), true), agentwire.NewPassphraseWanted, "fewer than 5 different")
	if err := r.open(phrase, true); err != nil {
		t.Fatal(err)
	}
	if _, err := r.logIn(inFile); err != nil {
		t.Fatal(err)
	}
	if p := r.one(); p.KeyStore != "file" || p.KeyStoreLife != "machine" {
		t.Errorf("kept in %s", p.KeyStore)
	}
	jkt := r.one().JKT
	r.renews("")

	if err := r.Stop(t.Context(), agentwire.StopRequest{}); err != nil {
		t.Fatal(err)
	}
	if err := r.wait(); err != nil {
		t.Fatal(err)
	}
	n := r.again()
	n.lockedOut()
	_, err = n.logIn(inFile)
	refused(t, err, agentwire.PassphraseWanted, "locked, it needs its passphrase")
	refused(t, n.open(wrong, true), agentwire.PassphraseWanted, "the passphrase is wrong")
	refused(t, n.open(phrase, false), agentwire.PassphraseWanted, "just now")
	n.lockedOut()
	n.clock.Advance(2 * time.Second)
	if err := n.open(phrase, false); err != nil {
		t.Fatal(err)
	}
	n.renews("")
	if n.one().JKT != jkt {
		t.Error("another key")
	}
	if err := n.open("", false); err != nil {
		t.Errorf("what is open: %v", err)
	}

	if err := n.Lock(t.Context(), agentwire.LockRequest{}); err != nil {
		t.Fatal(err)
	}
	if err := n.open(phrase, false); !errors.Is(err, agentwire.Locked) {
		t.Errorf("while the agent is locked: %v", err)
	}
	eventually(t, "the file stays open", func() bool {
		_ = n.Unlock(t.Context(), agentwire.LockRequest{})
		s, err := n.Status(t.Context())
		return err == nil && len(s.Stores) == 1
	})
	n.lockedOut()
	if b, err := os.ReadFile(filepath.Join(dir, agentwire.StoresFile)); err != nil || !strings.Contains(string(b), "file") {
		t.Errorf("the list of stores: %s, %v", b, err)
	}
	if err := n.open(phrase, false); err != nil {
		t.Fatal(err)
	}
	n.renews("")
	if n.one().JKT != jkt || r.server.Count("reuse") != 0 {
		t.Error("another key, or a token used twice")
	}

	s, err := n.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	said, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	scan, err := leak.New(map[string][]byte{"passphrase": []byte(phrase), "wrong": []byte(wrong)})
	if err != nil {
		t.Fatal(err)
	}
	hits, files, err := scan.Files(filepath.Dir(dir))
	if err != nil || files == 0 {
		t.Fatalf("%d files, %v", files, err)
	}
	for _, data := range [][]byte{said, []byte(r.log.String()), []byte(n.log.String())} {
		hits = append(hits, scan.Bytes("status or log", data)...)
	}
	for _, h := range hits {
		t.Error(h)
	}
}

// held holds requests to the token endpoint back.
type held struct {
	oauthclient.HTTP
	at, on chan struct{}
}

func (h *held) Do(r *http.Request) (*outbound.Response, error) {
	if strings.HasSuffix(r.URL.Path, oauth.PathToken) {
		res, err := h.HTTP.Do(r)
		select {
		case h.at <- struct{}{}:
			<-h.on
		default:
		}
		return res, err
	}
	return h.HTTP.Do(r)
}

// A lock that comes between the server's answer and the writing of it waits for
// the writing: the login is in the file, and nowhere else.
//
// Invariant: AS-8
func TestLockWaitsForARenewal(t *testing.T) {
	r, _ := sealedRig(t)
	h := &held{at: make(chan struct{}), on: make(chan struct{})}
	n := r.again(func(o *Options) {
		o.HTTP = func(env map[string]string) (_ oauthclient.HTTP, err error) {
			inner, err := oauthclient.NewHTTP(env)
			return &held{HTTP: inner, at: h.at, on: h.on}, err
		}
	})
	if err := n.open(phrase, true); err != nil {
		t.Fatal(err)
	}
	if _, err := n.logIn(agentwire.LoginRequest{Store: "file"}); err != nil {
		t.Fatal(err)
	}
	n.clock.Advance(6 * time.Minute)
	var all sync.WaitGroup
	all.Go(func() { _, _ = n.Token(t.Context(), agentwire.TokenRequest{}) })
	<-h.at
	if err := n.Lock(t.Context(), agentwire.LockRequest{}); err != nil {
		t.Fatal(err)
	}
	time.Sleep(50 * time.Millisecond) // for a lock that does not wait
	close(h.on)
	all.Wait()
	eventually(t, "the file stays open", func() bool {
		_ = n.Unlock(t.Context(), agentwire.LockRequest{})
		s, err := n.Status(t.Context())
		return err == nil && len(s.Stores) == 1
	})
	n.lockedOut()
	if err := n.open(phrase, false); err != nil {
		t.Fatal(err)
	}
	if p := n.one(); p.KeyStore != "file" || p.KeyStoreWhy != "" {
		t.Errorf("in %s: %s", p.KeyStore, p.KeyStoreWhy)
	}
	n.renews("")
	if r.server.Count("refresh") != 2 || r.server.Count("repeat")+r.server.Count("reuse") != 0 {
		t.Error("what the server rotated was not written")
	}
}

// A login into a store that was missed, and works again, is not taken for an older
// copy of itself when the store is asked for what it holds.
//
// Invariant: AS-6
func TestLoginIntoAStoreThatWasMissed(t *testing.T) {
	keychain := newFakeStore("keychain", keystore.Machine)
	r, _ := storesRig(t, keychain.kind(), memoryKind())
	r.mustLogIn()
	keychain.set(func(f *fakeStore) { f.shut = problem("keychain") })
	n := r.again()
	if s, err := n.Status(t.Context()); err != nil || len(s.Stores) != 1 {
		t.Fatalf("not missed: %+v, %v", s, err)
	}
	keychain.set(func(f *fakeStore) { f.shut = nil })
	if _, err := n.logIn(agentwire.LoginRequest{Profile: "other"}); err != nil {
		t.Fatal(err)
	}
	n.clock.Advance(3 * time.Second)
	if s, err := n.Status(t.Context()); err != nil || len(s.Stores) != 0 || len(s.Profiles) != 2 {
		t.Errorf("%+v, %v", s, err)
	}
	n.renews("other")
}

// Who tries a passphrase and goes away does not have the next one tried beside it, nor without the
// pause after a wrong one.
//
// Invariant: AS-15
func TestPassphrasesAreTriedOneAtATime(t *testing.T) {
	begun, let := make(chan struct{}, 1), make(chan struct{})
	var tried, ended atomic.Int32
	kind := newFakeStore("file", keystore.Machine).kind()
	kind.Lock = func() {}
	kind.Unlock = func(ctx context.Context, _ secret.Value, _ bool) error {
		tried.Add(1)
		begun <- struct{}{}
		select {
		case <-ctx.Done():
			ended.Add(1)
			return ctx.Err()
		case <-let:
			return keystore.ErrPassphrase
		}
	}
	r, _ := storesRig(t, kind, memoryKind())
	ctx, cancel := context.WithCancel(t.Context())
	gone := make(chan error, 1)
	go func() {
		gone <- r.UnlockStore(ctx, agentwire.UnlockStoreRequest{Passphrase: agentwire.NewSecret(wrong)})
	}()
	<-begun
	cancel()
	if err := <-gone; err == nil {
		t.Error("it was not called off")
	}
	next := make(chan error, 1)
	go func() { next <- r.open(wrong, false) }()
	time.Sleep(50 * time.Millisecond)
	if tried.Load() != 1 || ended.Load() != 0 {
		t.Errorf("%d tried, %d of them given up", tried.Load(), ended.Load())
	}
	close(let)
	refused(t, <-next, agentwire.PassphraseWanted, "just now")
}
