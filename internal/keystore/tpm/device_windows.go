package tpm

import (
	"github.com/google/go-tpm/tpm2/transport"
	"github.com/google/go-tpm/tpm2/transport/windowstpm"
)

const systemDevice = "TBS"

// openDevice opens the system's chip, whatever the path. TBS manages it.
func openDevice(string) (dev transport.TPMCloser, managed bool, err error) {
	dev, err = windowstpm.Open()
	return dev, true, err
}

// oldChip is for Linux: TBS says it when it is opened.
func oldChip() bool { return false }
