//go:build unix

package tpm

import (
	"io/fs"
	"os"
	"runtime"

	"github.com/google/go-tpm/tpm2/transport"
	"github.com/google/go-tpm/tpm2/transport/linuxtpm"
	"github.com/google/go-tpm/tpm2/transport/linuxudstpm"
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
	dev, err = linuxtpm.Open(path)
	return dev, true, err
}

// oldChip says that the system has a TPM of version 1.2. Those have no resource manager.
func oldChip() bool {
	v, err := os.ReadFile("/sys/class/tpm/tpm0/tpm_version_major")
	return err == nil && len(v) > 0 && v[0] == '1'
}
