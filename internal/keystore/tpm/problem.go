package tpm

import (
	"context"
	"errors"
	"io/fs"
	"syscall"

	"github.com/google/go-tpm/tpm2"

	"github.com/keytether/keytether/internal/keystore"
	"github.com/keytether/keytether/internal/keystore/safefile"
)

const elsewhere = "Choose another store for logins meanwhile"

// problem puts the store's errors into words. The contract's own and a context's stay what they are.
func (s *Store) problem(err error) error { return problem(err, s.path) }

func problem(err error, file string) error {
	var p *keystore.Problem
	if err == nil || errors.As(err, &p) {
		return err
	}
	if why, mend := words(err, file); why != "" {
		return &keystore.Problem{Store: kindName, Why: why, Mend: mend, Err: err}
	}
	for _, e := range []error{keystore.ErrNoKey, keystore.ErrNotFound, context.Canceled, context.DeadlineExceeded} {
		if errors.Is(err, e) {
			return err
		}
	}
	return &keystore.Problem{Store: kindName, Why: "the TPM or the file of its keys failed: " + err.Error(), Mend: elsewhere, Err: err}
}

// words gives why and what to do; "" for what has no words of its own.
func words(err error, file string) (why, mend string) {
	var unsafe *safefile.Unsafe
	switch {
	case errors.As(err, &unsafe):
		return unsafe.Error(), unsafe.Mend
	case errors.Is(err, errOther):
		return "this login was made in another TPM, or in this one before it was cleared", "Log in again"
	case errors.Is(err, errNewer):
		return file + " was written by a newer Keytether", "Use that one"
	case errors.Is(err, errDamaged):
		return file + " is damaged, or was changed by something else", "Move it away and log in again"
	case errors.Is(err, errHangs):
		return "the TPM does not answer", elsewhere + ". If it lasts, restart the machine"
	case errors.Is(err, errHeld):
		return "another process does not let go of " + file, "End it: fuser " + file + ".lock"
	case errors.Is(err, errFull):
		return file + " would be too large", "Log out where you no longer need it"
	case errors.Is(err, errClosed):
		return "it was closed", ""
	}
	var chip *chipError
	if errors.As(err, &chip) {
		return chipWords(chip.err)
	}
	return "", ""
}

func chipWords(err error) (why, mend string) {
	var rc tpm2.TPMRC
	errors.As(err, &rc)
	switch {
	// Answers of 2.0 have bit 7 or 8 (TPM 2.0 Library, Part 2, section 6.6.2).
	case rc > 0 && rc < 0x80, errors.Is(err, fs.ErrNotExist) && oldChip():
		return "the TPM is of version 1.2", elsewhere + ". Some firmware can turn it into a 2.0"
	case rc.Is(tpm2.TPMRCAuthFail), rc.Is(tpm2.TPMRCBadAuth), rc.Is(tpm2.TPMRCHierarchy):
		return "the TPM's owner hierarchy has a password or is turned off", elsewhere + ", or ask who set it up"
	case rc == tpm2.TPMRCLockout:
		return "the TPM is locked after wrong passwords for something else", "Wait, or ask an administrator to reset the lock"
	case rc == tpm2.TPMRCFailure, rc == tpm2.TPMRCInitialize:
		return "the TPM has failed its own test or was not started", "Restart the machine"
	case rc.Is(tpm2.TPMRCIntegrity):
		return "the TPM refuses what is stored: it was changed", "Log in again"
	case rc == tpm2.TPMRCObjectMemory, rc == tpm2.TPMRCSessionMemory, rc == tpm2.TPMRCObjectHandles, rc == tpm2.TPMRCSessionHandles:
		return "the TPM is full of what other programs have loaded", "End them, or restart the machine"
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		return "this machine has no TPM 2.0 that can be reached", "Turn it on in the firmware (fTPM, PTT), or choose another store"
	case errors.Is(err, fs.ErrPermission):
		return "this user may not use the TPM (" + systemDevice + ")", "Ask an administrator: usermod -aG tss USER. Then sign out of the machine and in again"
	case errors.Is(err, syscall.EBUSY):
		return "another program holds the TPM", "End that program, or try again"
	}
	return "", ""
}
