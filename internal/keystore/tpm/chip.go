package tpm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"
)

var (
	errOther = errors.New("tpm: this was made by another TPM, or by this one before it was cleared")
	errSRK   = errors.New("tpm: the storage root key is not what was asked for")
)

// blob is what the chip made, wrapped: of use to the chip alone.
type blob struct {
	SRK  []byte `json:"srk"`  // the name of the SRK that wraps it (TPM 2.0 Library, Part 1, section 16)
	Pub  []byte `json:"pub"`  // TPM2B_PUBLIC
	Priv []byte `json:"priv"` // TPM2B_PRIVATE
}

// chip is one TPM. It holds the SRK and at most one other object loaded, so that three of the
// chip's places are always enough: those two, and one that a command needs for itself.
type chip struct {
	device string
	hold   bool // as if it were managed
	gate   *gate
	link   *link // of whoever is inside the gate
	closed atomic.Bool
}

func newChip(device string) *chip { return &chip{device: device, gate: newGate()} }

// link is an open way to the chip, and what is loaded there.
type link struct {
	tpm   transport.TPMCloser
	keep  bool // from one piece of work to the next; without a manager others would miss the room
	srk   tpm2.NamedHandle
	pub   tpm2.TPMTPublic // of the SRK
	child tpm2.NamedHandle
	wrap  []byte // the private part of what child is; nil for nothing
}

// work runs f with the chip, and again when it failed for a reason that passes: the chip was
// busy or full, was restarted, or the machine slept, so that what was loaded is gone.
func work[T any](ctx context.Context, c *chip, f func(*link) (T, error)) (T, error) {
	return through(ctx, c.gate, hangs, func(ctx context.Context) (v T, err error) {
		if c.closed.Load() {
			return v, errClosed
		}
		defer func() {
			if c.closed.Load() {
				c.drop() // closed meanwhile, by who could not wait
			}
		}()
		for wait := 5 * time.Millisecond; ; wait *= 2 {
			old := c.link != nil
			v, err = try(c, f)
			if err == nil {
				return v, nil
			}
			c.drop() // also what is as good as before: who gets an error may never come back
			if final(err) {
				return v, err
			}
			// What an old link fails at, a new one may do: the chip may not be what it was.
			if !old && !passes(err) || wait > 500*time.Millisecond {
				return v, &chipError{err}
			}
			select {
			case <-ctx.Done():
				return v, &chipError{err}
			case <-time.After(wait):
			}
		}
	})
}

func try[T any](c *chip, f func(*link) (T, error)) (v T, err error) {
	if c.link == nil {
		if c.link, err = connect(c.device); err != nil {
			return v, err
		}
	}
	v, err = f(c.link)
	if err == nil && !c.link.keep && !c.hold {
		c.drop()
	}
	return v, err
}

// chipError is what the chip, or the way to it, answers.
type chipError struct{ err error }

func (e *chipError) Error() string { return e.err.Error() }
func (e *chipError) Unwrap() error { return e.err }

// close ends the way to the chip for good. One that hangs ends it when it comes back.
func (c *chip) close() error {
	c.closed.Store(true)
	_, err := through(context.Background(), c.gate, hangs, func(context.Context) (struct{}, error) {
		c.drop()
		return struct{}{}, nil
	})
	return err
}

// drop forgets the link. It flushes what was loaded, which the kernel's resource manager does by
// itself when its device is closed; a socket has nobody who does.
func (c *chip) drop() {
	if c.link == nil {
		return
	}
	c.link.unload()
	_, _ = tpm2.FlushContext{FlushHandle: c.link.srk.Handle}.Execute(c.link.tpm)
	_ = c.link.tpm.Close()
	c.link = nil
}

// connect opens the device and derives the SRK.
func connect(device string) (*link, error) {
	dev, managed, err := openDevice(device)
	if err != nil {
		return nil, err
	}
	l, err := primary(dev)
	if err != nil {
		_ = dev.Close()
		return nil, err
	}
	l.keep = managed
	return l, nil
}

func primary(dev transport.TPMCloser) (*link, error) {
	rsp, err := tpm2.CreatePrimary{
		PrimaryHandle: tpm2.AuthHandle{Handle: tpm2.TPMRHOwner, Auth: tpm2.PasswordAuth(nil)},
		InPublic:      tpm2.New2B(tpm2.ECCSRKTemplate),
	}.Execute(dev)
	if err != nil {
		return nil, err
	}
	l := &link{tpm: dev, srk: tpm2.NamedHandle{Handle: rsp.ObjectHandle, Name: rsp.Name}}
	pub, err := rsp.OutPublic.Contents()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errSRK, err)
	}
	name, err := tpm2.ObjectName(pub)
	if err != nil || !bytes.Equal(name.Buffer, rsp.Name.Buffer) ||
		pub.Type != tpm2.TPMAlgECC || pub.ObjectAttributes != tpm2.ECCSRKTemplate.ObjectAttributes {
		return nil, errSRK
	}
	l.pub = *pub
	return l, nil
}

// session guards a command and its answer against changes, with a key that only the owner of the
// SRK can know too. The first parameter of one or both is encrypted, as encrypt says.
func (l *link) session(encrypt tpm2.AuthOption) tpm2.Session {
	return tpm2.HMAC(tpm2.TPMAlgSHA256, 32, tpm2.Salted(l.srk.Handle, l.pub), encrypt)
}

func (l *link) parent() tpm2.AuthHandle {
	return tpm2.AuthHandle{Handle: l.srk.Handle, Name: l.srk.Name, Auth: l.session(tpm2.AESEncryption(128, tpm2.EncryptInOut))}
}

// create makes an object below the SRK.
func (l *link) create(public tpm2.TPMTPublic, data []byte) (blob, error) {
	in := tpm2.TPM2BSensitiveCreate{Sensitive: &tpm2.TPMSSensitiveCreate{}}
	if data != nil {
		in.Sensitive.Data = tpm2.NewTPMUSensitiveCreate(&tpm2.TPM2BSensitiveData{Buffer: data})
	}
	rsp, err := tpm2.Create{ParentHandle: l.parent(), InSensitive: in, InPublic: tpm2.New2B(public)}.Execute(l.tpm)
	if err != nil {
		return blob{}, err
	}
	return blob{
		SRK: bytes.Clone(l.srk.Name.Buffer), Pub: tpm2.Marshal(rsp.OutPublic), Priv: tpm2.Marshal(rsp.OutPrivate),
	}, nil
}

// made says whether this chip made b.
func (l *link) made(b blob) error {
	if !bytes.Equal(b.SRK, l.srk.Name.Buffer) {
		return errOther
	}
	return nil
}

// load makes b the one loaded child. An object that could have come from outside the chip is
// refused: see check.
func (l *link) load(b blob, check func(*tpm2.TPMTPublic) error) error {
	if err := l.made(b); err != nil {
		return err
	}
	if l.wrap != nil && bytes.Equal(l.wrap, b.Priv) {
		return nil
	}
	l.unload()
	public, err := tpm2.Unmarshal[tpm2.TPM2BPublic](b.Pub)
	if err != nil {
		return fmt.Errorf("%w: %w", errDamaged, err)
	}
	private, err := tpm2.Unmarshal[tpm2.TPM2BPrivate](b.Priv)
	if err != nil {
		return fmt.Errorf("%w: %w", errDamaged, err)
	}
	contents, err := public.Contents()
	if err != nil {
		return fmt.Errorf("%w: %w", errDamaged, err)
	}
	if err := check(contents); err != nil {
		return err
	}
	rsp, err := tpm2.Load{ParentHandle: l.parent(), InPrivate: *private, InPublic: *public}.Execute(l.tpm)
	if err != nil {
		return err
	}
	l.child, l.wrap = tpm2.NamedHandle{Handle: rsp.ObjectHandle, Name: rsp.Name}, b.Priv
	return nil
}

func (l *link) unload() {
	if l.wrap != nil {
		_, _ = tpm2.FlushContext{FlushHandle: l.child.Handle}.Execute(l.tpm)
		l.wrap = nil
	}
}

// final says that an error lies in what was asked for, and that no other try mends it.
func final(err error) bool {
	return errors.Is(err, errOther) || errors.Is(err, errDamaged)
}

// passes says that an error may be gone at the next try. A chip that was reset no longer knows
// a handle (TPM_RC_REFERENCE_H0 and the like are warnings, TPM_RC_HANDLE is none).
func passes(err error) bool {
	var rc tpm2.TPMRC
	if errors.As(err, &rc) {
		return rc.IsWarning() && rc != tpm2.TPMRCLockout || rc.Is(tpm2.TPMRCHandle) || rc == tpm2.TPMRCInitialize
	}
	for _, e := range []error{
		io.EOF, io.ErrUnexpectedEOF, errSignature,
		syscall.EBUSY, syscall.EAGAIN, syscall.EINTR, syscall.EPIPE, syscall.ECONNRESET, syscall.ECONNREFUSED, syscall.EIO,
	} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}
