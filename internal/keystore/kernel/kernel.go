// Package kernel keeps logins in Linux's kernel keyring: in the kernel's own memory, which is
// never swapped out and is gone when the machine stops. Keys are software keys.
//
// The keyring is the user's, @u of keyctl(1) (user-keyring(7)), one per uid and user namespace,
// so that an agent that starts again in another session finds what it left. The kernel drops it
// when the machine restarts at the latest, and older kernels with the user's last process. The
// session keyring would be wrong: pam_keyinit(8) revokes it when that one session ends, while the
// agent serves the next.
//
// Each record is a key of the type "user", described as "keytether:" and its id. "logon" cannot
// be read back by programs, and "big_key" puts larger values into swappable memory, sealed. Only
// who possesses the keyring may do anything with a record (permissions 0x3f000000), so no other
// uid, whatever groups it shares, and the kernel does not list the record in their /proc/keys.
// Other processes of the same uid may, as with every store that asks nobody. A process possesses
// @u by its session keyring in most logins but not in all, so each call links @u to the keyring
// of its own thread first (thread-keyring(7)).
//
// Containers share the host's @u when uid and user namespace are the same. So a container never
// uses this store (see stores.Auto). The kernel lets a user have 200 keys and 20,000 bytes
// (/proc/sys/kernel/keys), root more.
package kernel

import (
	"context"

	"github.com/keytether/keytether/internal/keystore"
	"github.com/keytether/keytether/internal/keystore/records"
)

// Name is the kind's name.
const Name = "kernel"

// Options says which keys to use.
type Options struct {
	Prefix string // of the keys' descriptions, before a colon; default "keytether"
}

// Kind is the kernel keyring. It is unusable where there is no Linux.
func Kind(o Options) keystore.Kind {
	if o.Prefix == "" {
		o.Prefix = "keytether"
	}
	return keystore.Kind{Name: Name, Life: keystore.Session, Open: func(ctx context.Context) (keystore.Store, error) {
		b, err := newBackend(o.Prefix + ":")
		if err != nil {
			return nil, err
		}
		s := records.New(b)
		if err := keystore.Probe(ctx, s); err != nil {
			return nil, keystore.AsProblem(Name, err)
		}
		return s, nil
	}}
}
