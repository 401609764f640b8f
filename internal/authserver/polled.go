package authserver

import (
	"crypto/sha256"
	"encoding/base64"
	"strings"
	"sync"
	"time"

	"github.com/keytether/keytether/internal/grant"
)

// polled is what is remembered of one device authorization. There may be a
// million, so that it is 64 bytes without a pointer, which the collector need
// not look into: times are Unix nanoseconds, the client is a number.
type polled struct {
	thumbprint [sha256.Size]byte // of the proof key, where bound
	deadline   int64
	last       int64 // of the last accepted poll; 0 before the first
	client     uint32
	interval   int32 // milliseconds
	refused    int16
	bound      bool
	raised     bool
	pending    bool
}

func (k *polled) ends() time.Time { return time.Unix(0, k.deadline) }

func (k *polled) pace() grant.Pace {
	p := grant.Pace{Interval: time.Duration(k.interval) * time.Millisecond, Raised: k.raised, Refused: int(k.refused)}
	if k.last != 0 {
		p.Last = time.Unix(0, k.last)
	}
	return p
}

func (k *polled) setPace(p grant.Pace) {
	k.interval, k.raised = int32(p.Interval/time.Millisecond), p.Raised
	k.refused = int16(min(p.Refused, grant.MaxRefusedPolls+1))
	if !p.Last.IsZero() {
		k.last = p.Last.UnixNano()
	}
}

// thumbprints are base64url without padding (RFC 7638 §3.1), and have one form.
var thumbprints = base64.RawURLEncoding.Strict()

// bind takes the proof key's thumbprint. One that is none is kept as zeros, which
// no key has.
func (k *polled) bind(thumbprint string) {
	k.bound, k.thumbprint = thumbprint != "", [sha256.Size]byte{}
	if raw, err := thumbprints.DecodeString(thumbprint); err == nil && len(raw) == len(k.thumbprint) {
		k.thumbprint = [sha256.Size]byte(raw)
	}
}

// names gives every client a number.
type names struct {
	mu     sync.RWMutex
	byName map[string]uint32
	list   []string
}

func (n *names) number(name string) uint32 {
	n.mu.Lock()
	defer n.mu.Unlock()
	i, ok := n.byName[name]
	if !ok {
		name = strings.Clone(name) // not the whole state that it was read with
		i = uint32(len(n.list))
		n.byName[name], n.list = i, append(n.list, name)
	}
	return i
}

func (n *names) name(i uint32) string {
	n.mu.RLock()
	defer n.mu.RUnlock()
	return n.list[i]
}

// holder is the tool that k belongs to.
func (p *polls) holder(k polled) grant.Holder {
	h := grant.Holder{Client: p.clients.name(k.client)}
	if k.bound {
		h.Thumbprint = thumbprints.EncodeToString(k.thumbprint[:])
	}
	return h
}
