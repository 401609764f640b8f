//go:build linux

package stores

import (
	"encoding/binary"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// kernelKeys gives the box's keys in the user's keyring. A restart of the machine
// takes all of that keyring; the tests take what is theirs.
func (b *box) kernelKeys(each func(serial int)) {
	b.t.Helper()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	_, err := unix.KeyctlInt(unix.KEYCTL_LINK, unix.KEY_SPEC_USER_KEYRING, unix.KEY_SPEC_THREAD_KEYRING, 0, 0)
	do(b.t, err)
	defer func() {
		_, _ = unix.KeyctlInt(unix.KEYCTL_UNLINK, unix.KEY_SPEC_USER_KEYRING, unix.KEY_SPEC_THREAD_KEYRING, 0, 0)
	}()
	buf := make([]byte, 1<<16)
	n, err := unix.KeyctlBuffer(unix.KEYCTL_READ, unix.KEY_SPEC_USER_KEYRING, buf, 0)
	do(b.t, err)
	for buf = buf[:n]; len(buf) >= 4; buf = buf[4:] {
		serial := int(int32(binary.NativeEndian.Uint32(buf)))
		text, err := unix.KeyctlString(unix.KEYCTL_DESCRIBE, serial)
		if err == nil && strings.Contains(text, ";"+b.service()+":") {
			each(serial)
		}
	}
}

func (b *box) forgetKernelKeys() {
	b.t.Helper()
	b.kernelKeys(func(serial int) {
		_, err := unix.KeyctlInt(unix.KEYCTL_UNLINK, serial, unix.KEY_SPEC_USER_KEYRING, 0, 0)
		do(b.t, err)
	})
}
