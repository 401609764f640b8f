//go:build unix

package tpm

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"

	"github.com/keytether/keytether/internal/keystore"
	"github.com/keytether/keytether/internal/secret"
	"github.com/keytether/keytether/internal/testkit/swtpm"
)

// direct runs f on the chip beside the store.
func direct(t testing.TB, socket string, f func(*link) error) {
	t.Helper()
	c := newChip(socket)
	defer func() { _ = c.close() }()
	if _, err := work(t.Context(), c, func(l *link) (struct{}, error) { return struct{}{}, f(l) }); err != nil {
		t.Fatal(err)
	}
}

// handles counts what is loaded.
func handles(t testing.TB, socket string, first tpm2.TPMHandle) int {
	t.Helper()
	dev, _, err := openDevice(socket)
	if err != nil {
		t.Fatal(err)
	}
	rsp, err := tpm2.GetCapability{Capability: tpm2.TPMCapHandles, Property: uint32(first), PropertyCount: 16}.Execute(dev)
	if err != nil {
		t.Fatal(err)
	}
	list, err := rsp.CapabilityData.Data.Handles()
	if err != nil {
		t.Fatal(err)
	}
	return len(list.Handle)
}

const (
	transient = tpm2.TPMHandle(0x80000000)
	sessions  = tpm2.TPMHandle(0x02000000)
)

// TestKeyStays asks the chip for the private part in the ways that it has.
//
// Invariant: TP-2
func TestKeyStays(t *testing.T) {
	chip := swtpm.Start(t)
	s := open(t, options(t, chip))
	login(t, s, "a")
	c, err := s.read()
	if err != nil {
		t.Fatal(err)
	}
	b := c.Keys["a"]
	_ = s.Close()
	direct(t, chip.Socket, func(l *link) error {
		if err := l.load(b, checkKey); err != nil {
			return err
		}
		_, err := tpm2.Duplicate{
			ObjectHandle:    tpm2.AuthHandle{Handle: l.child.Handle, Name: l.child.Name, Auth: tpm2.Policy(tpm2.TPMAlgSHA256, 16, nothing)},
			NewParentHandle: tpm2.TPMRHNull,
			Symmetric:       tpm2.TPMTSymDef{Algorithm: tpm2.TPMAlgNull},
		}.Execute(l.tpm)
		var rc tpm2.TPMRC
		if !errors.As(err, &rc) {
			t.Errorf("duplicating the key: %v", err)
		}
		_, err = tpm2.Unseal{ItemHandle: tpm2.AuthHandle{Handle: l.child.Handle, Name: l.child.Name, Auth: tpm2.PasswordAuth(nil)}}.Execute(l.tpm)
		if !errors.Is(err, tpm2.TPMRCType) {
			t.Errorf("unsealing the key: %v", err)
		}
		rsp, err := tpm2.ReadPublic{ObjectHandle: l.child.Handle}.Execute(l.tpm)
		if err != nil {
			return err
		}
		public, err := rsp.OutPublic.Contents()
		if err != nil {
			return err
		}
		if a := public.ObjectAttributes; !a.FixedTPM || !a.FixedParent || !a.SensitiveDataOrigin || a.Decrypt || a.EncryptedDuplication || len(public.AuthPolicy.Buffer) != 0 {
			t.Errorf("the chip says of the key: %+v", public)
		}
		return nil
	})
}

// TestKeyFromElsewhere puts a key into the file that the chip wraps and would give out.
//
// Invariant: TP-2
func TestKeyFromElsewhere(t *testing.T) {
	chip := swtpm.Start(t)
	s := open(t, options(t, chip))
	k := login(t, s, "a")
	for _, spoil := range []func(*tpm2.TPMAObject){
		func(a *tpm2.TPMAObject) { a.FixedTPM, a.FixedParent = false, false },
		func(a *tpm2.TPMAObject) { a.Decrypt = true },
	} {
		public := keyTemplate()
		spoil(&public.ObjectAttributes)
		if public.ObjectAttributes.Decrypt {
			public.Parameters = tpm2.NewTPMUPublicParms(tpm2.TPMAlgECC, &tpm2.TPMSECCParms{CurveID: tpm2.TPMECCNistP256})
		}
		b, err := work(t.Context(), s.chip, func(l *link) (blob, error) { return l.create(public, nil) })
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.chip.sign(t.Context(), b, k.Public(), []byte("x")); !errors.Is(err, errDamaged) {
			t.Errorf("signed with it: %v", err)
		}
		err = s.change(t.Context(), func(c *contents) error {
			c.Keys["a"] = b
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		_, err = s.Key(t.Context(), "a")
		wantProblem(t, err, "damaged")
	}
}

func nothing(transport.TPM, tpm2.TPMISHPolicy, tpm2.TPM2BNonce) error { return nil }

// TestRoom says that little is ever loaded, and nothing stays.
func TestRoom(t *testing.T) {
	chip := swtpm.Start(t)
	s := open(t, options(t, chip))
	login(t, s, "a")
	login(t, s, "b")
	for range 3 {
		works(t, s, "a")
		works(t, s, "b")
		if n := handles(t, chip.Socket, transient); n > 2 {
			t.Errorf("%d objects are loaded", n)
		}
		if n := handles(t, chip.Socket, sessions); n != 0 {
			t.Errorf("%d sessions are left", n)
		}
	}
	_ = s.Close()
	if n := handles(t, chip.Socket, transient); n != 0 {
		t.Errorf("%d objects are left", n)
	}
}

// TestRoomAfterErrors opens the store again and again, as an agent does after each error, and
// leaves nothing loaded in a chip that knows none of its logins.
func TestRoomAfterErrors(t *testing.T) {
	chip := swtpm.Start(t)
	o := options(t, chip)
	login(t, open(t, o), "a")
	chip.Clear()
	for range 5 {
		s, err := Open(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		_, err = s.Get(t.Context(), "a")
		wantProblem(t, err, "another TPM")
	}
	if n := handles(t, chip.Socket, transient); n != 0 {
		t.Errorf("%d objects are left", n)
	}
}

// TestFullOfOthers fills the chip, as programs do that bypass a resource manager.
func TestFullOfOthers(t *testing.T) {
	chip := swtpm.Start(t)
	o := options(t, chip)
	others := []*link{}
	for range 3 {
		l, err := connect(chip.Socket)
		if err != nil {
			t.Fatal(err)
		}
		others = append(others, l)
	}
	_, err := Open(t.Context(), o)
	wantProblem(t, err, "full")
	for _, l := range others {
		_, _ = tpm2.FlushContext{FlushHandle: l.srk.Handle}.Execute(l.tpm)
	}
	login(t, open(t, o), "a")
}

// TestSwapped moves a sealed entry to where another one was.
//
// Invariant: TP-7
func TestSwapped(t *testing.T) {
	chip := swtpm.Start(t)
	s := open(t, options(t, chip))
	login(t, s, "a")
	login(t, s, "b")
	for _, swap := range []func(*contents){
		func(c *contents) { c.Entries["b"] = c.Entries["a"] },
		func(c *contents) { c.Entries["b"] = entry{Key: "b", Box: c.Entries["a"].Box} },
		func(c *contents) { c.Entries["a"] = entry{Key: "b", Box: c.Entries["a"].Box} },
	} {
		before, err := s.read()
		if err != nil {
			t.Fatal(err)
		}
		err = s.change(t.Context(), func(c *contents) error {
			swap(c)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		bad := 0
		for _, n := range []string{"a", "b"} {
			if _, err := s.Get(t.Context(), n); err != nil {
				wantProblem(t, err, "damaged")
				bad++
			}
		}
		if bad != 1 {
			t.Errorf("%d entries do not open, want 1", bad)
		}
		err = s.change(t.Context(), func(c *contents) error {
			*c = *before
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

// Invariant: TP-4
func TestListener(t *testing.T) {
	chip := swtpm.Start(t)
	wire := newBus(t, chip.Socket)
	o := options(t, chip)
	o.Device = wire.socket
	s := open(t, o)
	login(t, s, "a")
	works(t, s, "a")
	c, err := s.read()
	if err != nil {
		t.Fatal(err)
	}
	_ = s.Close()
	wire.mu.Lock()
	heard := bytes.Clone(wire.heard.Bytes())
	wire.mu.Unlock()
	quiet := newChip(chip.Socket)
	key, err := quiet.unseal(t.Context(), c.Entries["a"].Box.Key)
	if err != nil || len(key) != 32 {
		t.Fatalf("%d %v", len(key), err)
	}
	_ = quiet.close()
	if bytes.Contains(heard, key) || bytes.Contains(heard, []byte(token)) {
		t.Error("who listens at the chip's wires hears the secret")
	}
	if !bytes.Contains(heard, c.Keys["a"].Pub) {
		t.Error("the test hears nothing")
	}
}

// TestPasses has the chip fail in ways that pass.
func TestPasses(t *testing.T) {
	chip := swtpm.Start(t)
	wire := newBus(t, chip.Socket)
	o := options(t, chip)
	o.Device = wire.socket
	s := open(t, o)
	k := login(t, s, "a")
	for _, rc := range []tpm2.TPMRC{
		tpm2.TPMRCRetry, tpm2.TPMRCYielded, tpm2.TPMRCTesting, tpm2.TPMRCObjectMemory, tpm2.TPMRCReferenceH0, tpm2.TPMRCNVRate, tpm2.TPMRCInitialize,
		tpm2.TPMRCHandle + 0x100, // of the first handle
	} {
		wire.fail(2, tpm2.TPMCCSign, uint32(rc))
		if _, err := k.Sign([]byte("x")); err != nil {
			t.Errorf("%v was not tried again: %v", rc, err)
		}
	}
	wire.fail(-1, tpm2.TPMCCSign, uint32(tpm2.TPMRCLockout))
	_, err := k.Sign([]byte("x"))
	wantProblem(t, err, "locked")
	wire.fail(0, 0, 0)
	works(t, s, "a")
}

func TestNoChip(t *testing.T) {
	old := swtpm.StartOld(t)
	_, err := Open(t.Context(), options(t, old))
	wantProblem(t, err, "1.2")

	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for device, word := range map[string]string{"/nonexistent/tpm": "no TPM", file: "device"} {
		start := time.Now()
		_, err := Open(t.Context(), Options{Device: device, Folder: filepath.Join(t.TempDir(), "state")})
		wantProblem(t, err, word)
		if time.Since(start) > time.Second {
			t.Errorf("%s: it took %v to say so", device, time.Since(start))
		}
	}
	_, err = Open(t.Context(), Options{Folder: "state"})
	wantProblem(t, err, "absolute")
}

func TestOwnerPassword(t *testing.T) {
	chip := swtpm.Start(t)
	dev, _, err := openDevice(chip.Socket)
	if err != nil {
		t.Fatal(err)
	}
	_, err = tpm2.HierarchyChangeAuth{
		AuthHandle: tpm2.AuthHandle{Handle: tpm2.TPMRHOwner, Auth: tpm2.PasswordAuth(nil)},
		NewAuth:    tpm2.TPM2BAuth{Buffer: []byte("owner")},
	}.Execute(dev)
	if err != nil {
		t.Fatal(err)
	}
	o, asked := options(t, chip), 0
	wire := newBus(t, chip.Socket)
	wire.answer = func([]byte) []byte {
		asked++
		return nil
	}
	o.Device = wire.socket
	_, err = Open(t.Context(), o)
	wantProblem(t, err, "owner")
	if asked != 1 {
		t.Errorf("the chip was asked %d times for what it refuses", asked)
	}
}

func TestWords(t *testing.T) {
	for _, tt := range []struct {
		err  error
		word string
	}{
		{&chipError{&os.PathError{Op: "open", Path: systemDevice, Err: fs.ErrPermission}}, "may not use the TPM"},
		{&chipError{&os.PathError{Op: "open", Path: systemDevice, Err: syscall.EBUSY}}, "another program"},
		{&chipError{tpm2.TPMRCFailure}, "failed its own test"},
		{&chipError{tpm2.TPMRCIntegrity + 0x100}, "was changed"},
		{&os.PathError{Op: "open", Path: "tpm.keys", Err: fs.ErrPermission}, "the file of its keys failed"},
		{errNewer, "newer"},
	} {
		wantProblem(t, problem(tt.err, "tpm.keys"), tt.word)
	}
}

// TestUnsafeFile refuses a file that others could read.
func TestUnsafeFile(t *testing.T) {
	chip := swtpm.Start(t)
	o := options(t, chip)
	s := open(t, o)
	k := login(t, s, "a")
	if err := os.Chmod(s.path, 0o640); err != nil {
		t.Fatal(err)
	}
	_, err := s.Get(t.Context(), "a")
	wantProblem(t, err, "mode 0640")
	wantProblem(t, s.Put(t.Context(), "a", keystore.Entry{Key: "a", RefreshToken: secret.New(token)}), "mode 0640")
	_, err = k.Sign([]byte("x"))
	wantProblem(t, err, "mode 0640")
	_, err = Open(t.Context(), o)
	wantProblem(t, err, "mode 0640")
}

// BenchmarkSign is of swtpm; a chip takes some 20 to 100 ms.
func BenchmarkSign(b *testing.B) {
	chip := swtpm.Start(b)
	s := open(b, options(b, chip))
	k := login(b, s, "a")
	for b.Loop() {
		if _, err := k.Sign([]byte("input")); err != nil {
			b.Fatal(err)
		}
	}
}
