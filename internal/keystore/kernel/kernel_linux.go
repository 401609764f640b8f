package kernel

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/keytether/keytether/internal/keystore"
	"github.com/keytether/keytether/internal/keystore/records"
)

const (
	keyType    = "user"
	maxPayload = 32767 // of the type "user"
	permission = 0x3f000000
)

type backend struct{ prefix string }

func newBackend(prefix string) (records.Backend, error) { return &backend{prefix}, nil }

// View is Update: records are read and written one by one, each as a whole.
func (b *backend) View(ctx context.Context, f func(records.Tx) error) error { return b.Update(ctx, f) }

// Update calls f on a thread that possesses the user's keyring. Keyring calls do not wait for
// anything outside the kernel.
func (b *backend) Update(ctx context.Context, f func(records.Tx) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if _, err := unix.KeyctlInt(unix.KEYCTL_LINK, unix.KEY_SPEC_USER_KEYRING, unix.KEY_SPEC_THREAD_KEYRING, 0, 0); err != nil {
		return problem(err)
	}
	defer func() {
		_, _ = unix.KeyctlInt(unix.KEYCTL_UNLINK, unix.KEY_SPEC_USER_KEYRING, unix.KEY_SPEC_THREAD_KEYRING, 0, 0)
	}()
	return f(b)
}

// find gives the serial number of a record's key, or 0.
func (b *backend) find(id string) (int, error) {
	serial, err := unix.KeyctlSearch(unix.KEY_SPEC_USER_KEYRING, keyType, b.prefix+id, 0)
	if isGone(err) {
		return 0, nil
	}
	if err != nil {
		return 0, problem(err)
	}
	return serial, nil
}

// isGone: a key that was invalidated is found as revoked until the kernel has swept it up.
func isGone(err error) bool {
	return errors.Is(err, unix.ENOKEY) || errors.Is(err, unix.EKEYREVOKED) || errors.Is(err, unix.EKEYEXPIRED)
}

// Get reads a record.
func (b *backend) Get(id string) ([]byte, error) {
	serial, err := b.find(id)
	if serial == 0 || err != nil {
		return nil, err
	}
	buf := make([]byte, maxPayload)
	n, err := unix.KeyctlBuffer(unix.KEYCTL_READ, serial, buf, 0)
	if isGone(err) {
		return nil, nil
	}
	if err != nil {
		return nil, problem(err)
	}
	raw := append(make([]byte, 0, n), buf[:n]...)
	clear(buf[:n])
	return raw, nil
}

// Set writes a record. Until its permissions are set, who possesses the keyring may read it and
// processes of the same uid may see that it is there: the kernel's own default.
func (b *backend) Set(id string, record []byte) error {
	if len(record) > maxPayload {
		return &keystore.Problem{Store: Name, Why: fmt.Sprintf("the login is larger than the %d bytes that a key may have", maxPayload), Mend: "Choose another store"}
	}
	serial, err := unix.AddKey(keyType, b.prefix+id, record, unix.KEY_SPEC_USER_KEYRING)
	if err != nil {
		return problem(err)
	}
	if err := unix.KeyctlSetperm(serial, permission); err != nil {
		_ = b.invalidate(serial)
		return problem(err)
	}
	return nil
}

// Delete wipes a record: the kernel overwrites what it frees.
func (b *backend) Delete(id string) error {
	serial, err := b.find(id)
	if serial == 0 || err != nil {
		return err
	}
	return b.invalidate(serial)
}

func (b *backend) invalidate(serial int) error {
	if _, err := unix.KeyctlInt(unix.KEYCTL_INVALIDATE, serial, 0, 0, 0); err != nil && !isGone(err) {
		return problem(err)
	}
	return nil
}

// IDs reads the user's keyring, an array of serial numbers, and what describes each.
func (b *backend) IDs() ([]string, error) {
	buf := make([]byte, 4096)
	for {
		n, err := unix.KeyctlBuffer(unix.KEYCTL_READ, unix.KEY_SPEC_USER_KEYRING, buf, 0)
		if err != nil {
			return nil, problem(err)
		}
		if n <= len(buf) {
			buf = buf[:n]
			break
		}
		buf = make([]byte, 2*n)
	}
	var ids []string
	for ; len(buf) >= 4; buf = buf[4:] {
		// type;uid;gid;permissions;description
		text, err := unix.KeyctlString(unix.KEYCTL_DESCRIBE, int(int32(binary.NativeEndian.Uint32(buf))))
		if err != nil {
			continue // another program's, or just gone
		}
		part := strings.SplitN(text, ";", 5)
		if len(part) != 5 || part[0] != keyType {
			continue
		}
		if id, ok := strings.CutPrefix(part[4], b.prefix); ok {
			ids = append(ids, id)
		}
	}
	return ids, nil
}

// problem puts an error of the kernel into words.
func problem(err error) error {
	p := &keystore.Problem{Store: Name, Why: "the kernel keyring refused", Err: err}
	switch {
	case errors.Is(err, unix.ENOSYS), errors.Is(err, unix.EPERM):
		p.Why, p.Mend = "this kernel has no keyring for us, as in a container that forbids keyctl", "Choose another store"
	case errors.Is(err, unix.EDQUOT):
		p.Why, p.Mend = "this user's share of the kernel keyring is used up", "Look at it with: keyctl show @u; or raise kernel.keys.maxkeys and kernel.keys.maxbytes"
	case errors.Is(err, unix.EACCES):
		p.Why, p.Mend = "the kernel keyring of this user may not be used from here", "Choose another store"
	}
	return p
}
