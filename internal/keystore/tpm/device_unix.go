//go:build unix

package tpm

import (
	"fmt"
	"io/fs"
	"os"
	"runtime"

	"github.com/google/go-tpm/tpm2/transport"
	"github.com/google/go-tpm/tpm2/transport/linuxudstpm"
	"golang.org/x/sys/unix"
)

const systemDevice = "/dev/tpmrm0"

// openDevice opens the chip's device, or the socket of one in software. A managed one keeps apart
// what each of its users loads, and unloads it when they are gone.
func openDevice(path string) (dev transport.TPMCloser, managed bool, err error) {
	if path == "" {
		if path = systemDevice; runtime.GOOS != "linux" {
			return nil, false, fs.ErrNotExist
		}
	}
	st, err := os.Stat(path)
	if err != nil {
		return nil, false, err
	}
	if st.Mode()&fs.ModeSocket != 0 {
		dev, err = linuxudstpm.Open(path)
		return dev, false, err
	}
	if st.Mode()&fs.ModeDevice == 0 {
		return nil, false, fmt.Errorf("tpm: %s is not a device", path)
	}
	fd, err := again(func() (int, error) { return unix.Open(path, unix.O_RDWR|unix.O_CLOEXEC, 0) })
	if err != nil {
		return nil, false, &os.PathError{Op: "open", Path: path, Err: err}
	}
	return transport.FromReadWriteCloser(deviceFile(fd)), true, nil
}

// deviceFile is the kernel's device in blocking mode, in which a write returns when the chip has
// done its work. An os.File would ask for the other mode, and go-tpm's way with those takes a
// signal of Go's scheduler for a failure, with the answer left unread.
type deviceFile int

func (d deviceFile) Write(p []byte) (int, error) {
	return again(func() (int, error) { return unix.Write(int(d), p) })
}

func (d deviceFile) Read(p []byte) (int, error) {
	return again(func() (int, error) { return unix.Read(int(d), p) })
}

func (d deviceFile) Close() error { return unix.Close(int(d)) }

// again makes a system call until no signal cuts it short.
func again(call func() (int, error)) (int, error) {
	for {
		if n, err := call(); err != unix.EINTR {
			return max(n, 0), err
		}
	}
}

// oldChip says that the system has a TPM of version 1.2. Those have no resource manager.
func oldChip() bool {
	v, err := os.ReadFile("/sys/class/tpm/tpm0/tpm_version_major")
	return err == nil && len(v) > 0 && v[0] == '1'
}
