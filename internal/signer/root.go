package signer

import (
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/keytether/keytether/internal/secret"
)

// CredentialName is the systemd credential that may hold the root key
// (systemd.exec, LoadCredential= and LoadCredentialEncrypted=). Its path is
// $CREDENTIALS_DIRECTORY/keytether-root-key.
const CredentialName = "keytether-root-key"

// rootPrefix begins the one line of a root key file; 43 characters of base64url
// (32 bytes) follow.
const rootPrefix = "keytether-root-key-1:"

// Root is the key under which all others are sealed. It redacts itself.
type Root struct {
	key     secret.Key
	source  string
	created bool
}

// RootOptions says where to look for the root key, in this order.
type RootOptions struct {
	Credential string // path of the systemd credential; empty: there is none
	File       string // path of the file, e.g. DATA/root.key
}

// Source is where the root key came from, in words.
func (r *Root) Source() string { return r.source }

// Warning is what a person should be told about where the root key lies; empty
// if there is nothing to say.
func (r *Root) Warning() string {
	if !r.created {
		return ""
	}
	return "a new root key was made in " + r.source + ". It opens every key of this server and lies beside them: " +
		"move it to a systemd credential named " + CredentialName + ", and keep a copy apart from the database's backups"
}

// String names the source and never the key.
func (r *Root) String() string { return "root key from " + r.source }

// Format is String for every verb.
func (r *Root) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, r.String()) }

// NewRoot makes a root key from 32 bytes that came from somewhere else.
func NewRoot(b [32]byte, source string) *Root {
	return &Root{key: secret.NewKey(b), source: source}
}

// LoadRoot reads the root key. If there is none and nothing is sealed yet
// (sealed is the number of keys in the store), it makes one in o.File, 0600;
// Warning then says to move it. Errors: ErrNoRoot, ErrRootFile, or the file
// system's.
func LoadRoot(o RootOptions, sealed int, random io.Reader) (*Root, error) {
	if o.Credential != "" {
		return readRoot(o.Credential, "the systemd credential "+o.Credential, checkCredential)
	}
	r, err := readRoot(o.File, "the file "+o.File, checkRootFile)
	if !errors.Is(err, fs.ErrNotExist) {
		return r, err
	}
	if sealed > 0 {
		return nil, fmt.Errorf("%w: %s does not exist, but %d keys are sealed under it. "+
			"Put it back from your backup, or pass it as the systemd credential %s",
			ErrNoRoot, o.File, sealed, CredentialName)
	}
	return createRoot(o.File, random)
}

func readRoot(path, source string, check func(path string, f *os.File) error) (*Root, error) {
	f, err := openRootFile(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if err := check(path, f); err != nil {
		return nil, err
	}
	data, err := io.ReadAll(io.LimitReader(f, maxRootFile))
	if err != nil {
		return nil, fmt.Errorf("signer: reading the root key: %w", err)
	}
	b, err := parseRoot(data)
	if err != nil {
		return nil, fmt.Errorf("%w: %s holds no root key: one line is expected, %q and 43 characters of base64url",
			ErrRootFile, path, rootPrefix)
	}
	return NewRoot(b, source), nil
}

func parseRoot(data []byte) (b [32]byte, err error) {
	body, ok := strings.CutPrefix(strings.TrimSuffix(string(data), "\n"), rootPrefix)
	if !ok || len(body) != 43 {
		return b, ErrRootFile
	}
	raw, err := base64.RawURLEncoding.Strict().DecodeString(body)
	if err != nil || len(raw) != 32 || [32]byte(raw) == b {
		return b, ErrRootFile
	}
	return [32]byte(raw), nil
}

// createRoot writes a new root key and has it on disk before it returns, for a
// database sealed under a key that a power cut took is lost.
func createRoot(path string, random io.Reader) (*Root, error) {
	var b [32]byte
	if _, err := io.ReadFull(random, b[:]); err != nil {
		return nil, fmt.Errorf("signer: no randomness: %w", err)
	}
	// It appears whole or not at all: a half-written key would be refused for
	// good. A link, unlike a rename, replaces nothing.
	f, err := os.CreateTemp(filepath.Dir(path), ".root-key-*") // 0600
	if err != nil {
		return nil, fmt.Errorf("signer: making the root key: %w", err)
	}
	_, err = io.WriteString(f, rootPrefix+base64.RawURLEncoding.EncodeToString(b[:])+"\n")
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Link(f.Name(), path)
	}
	err = errors.Join(err, os.Remove(f.Name()), syncDir(filepath.Dir(path)))
	if err != nil {
		return nil, fmt.Errorf("signer: making the root key: %w", err)
	}
	r := NewRoot(b, "the file "+path)
	r.created = true
	return r, nil
}
