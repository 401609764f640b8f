// Package tpm is the store of a machine with a TPM 2.0. Proof keys are made in the chip and
// never leave it; refresh tokens are sealed to it.
//
// The chip itself keeps nothing of ours: it has little room and wears out. What it made stands
// in a file of the user's, wrapped by the chip's storage root key (SRK), so that the file is of
// no use without the chip, and the chip tells others nothing without the file. The SRK is the one
// of the TCG's ECC template in the owner hierarchy (TCG TPM v2.0 Provisioning Guidance, section
// 7.5.1): every time it is asked for the chip derives the same one, until it is cleared.
//
//	keys     ECC P-256 objects with fixedTPM, fixedParent and sensitiveDataOrigin (TPM 2.0
//	         Library, Part 1, section 23): the chip drew the private part itself, and refuses
//	         to duplicate it
//	entries  token and metadata under XChaCha20-Poly1305 with a key of their own, and that key
//	         as a sealed object with fixedTPM and fixedParent
//
// Between processor and chip there may be wires, and somebody who listens. What is secret on
// them crosses in sessions that encrypt it (Part 1, section 21) under a key that is agreed with
// the SRK. What signs needs no such session: digest and signature are no secrets, and every
// signature is verified before it is given out.
//
// On Linux the chip is reached by the kernel's resource manager, /dev/tpmrm0, and on Windows by
// TBS. Windows is compiled and vetted, and has not been tried. There is none on macOS.
package tpm

import (
	"context"
	"errors"
	"path/filepath"
	"time"

	"github.com/keytether/keytether/internal/keystore"
)

// FileName is the name of the file, in the user's state folder.
const FileName = "tpm.keys"

const (
	kindName = "tpm"

	// hangs is how long one piece of work with the chip may take. The slowest chips make a key
	// within a second.
	hangs = 3 * time.Second
)

// Options say where things are.
type Options struct {
	// Device is the chip: a device, or the Unix socket of a TPM in software. Empty for the
	// system's own: /dev/tpmrm0, or TBS on Windows.
	Device string
	// Folder holds the file: the user's state folder, an absolute path. It is made with mode
	// 0700 if it is missing.
	Folder string
}

// Kind is the kind of store, for a list of them.
func Kind(o Options) keystore.Kind {
	return keystore.Kind{
		Name: kindName, Life: keystore.Machine, Hardware: true,
		Open: func(ctx context.Context) (keystore.Store, error) {
			s, err := Open(ctx, o)
			if err != nil {
				return nil, err
			}
			return s, nil
		},
	}
}

// Open opens the store and probes it. See keystore.Kind.
func Open(ctx context.Context, o Options) (*Store, error) {
	if !filepath.IsAbs(o.Folder) {
		return nil, &keystore.Problem{Store: kindName, Why: "its folder is not an absolute path", Mend: "Set HOME or XDG_STATE_HOME"}
	}
	return openOn(ctx, newChip(o.Device), o.Folder)
}

func openOn(ctx context.Context, c *chip, folder string) (*Store, error) {
	s := &Store{chip: c, path: filepath.Join(folder, FileName)}
	probed := make(chan error, 1) // a signature heeds no ctx
	go func() { probed <- keystore.Probe(ctx, s) }()
	var err error
	select {
	case err = <-probed:
	case <-ctx.Done():
		err = ctx.Err()
	}
	if err == nil {
		return s, nil
	}
	go func() { _ = s.Close() }() // which may wait for what hangs
	if e := ctx.Err(); e != nil {
		err = errors.Join(errHangs, e)
	}
	return nil, keystore.AsProblem(kindName, s.problem(err))
}
