package signer

import (
	"fmt"
	"os"
)

// openRootFile opens path unless it is a symbolic link or another reparse point.
func openRootFile(path string) (*os.File, error) {
	fi, err := os.Lstat(path)
	if err != nil {
		return nil, fmt.Errorf("signer: opening the root key: %w", err)
	}
	if !fi.Mode().IsRegular() {
		return nil, fmt.Errorf("%w: %s is not a regular file", ErrRootFile, path)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("signer: opening the root key: %w", err)
	}
	return f, nil
}

// Access on Windows is what the folder's access control list says; Go's file
// mode tells nothing about it.
func checkRootFile(string, *os.File) error { return nil }

func checkCredential(string, *os.File) error { return nil }

func syncDir(string) error { return nil }
