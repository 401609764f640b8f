package sqlite

import (
	"encoding/binary"
	"math"
	"time"

	"github.com/keytether/keytether/internal/event"
	"github.com/keytether/keytether/internal/grant"
	"github.com/keytether/keytether/internal/store"
)

// stateVersion is the first byte of every encoded state. A change of a list of
// fields below is a new version, which the old one's decoder stays beside.
const stateVersion = 0x01

// coder writes or reads a state, field by field, by one and the same list of
// fields. Numbers, times and hashes have a fixed width, so that what changes
// in a refresh does not change the row's size and is written over in place.
type coder struct {
	out     []byte
	in      string
	reading bool
	bad     bool
}

func encode[T any](b []byte, v *T, fields func(*coder, *T)) []byte {
	c := coder{out: append(b, stateVersion)}
	fields(&c, v)
	return c.out
}

func decode[T any](in string, v *T, fields func(*coder, *T)) bool {
	if in == "" || in[0] != stateVersion {
		return false
	}
	c := coder{in: in[1:], reading: true}
	fields(&c, v)
	return !c.bad && c.in == ""
}

func (c *coder) take(n int) string {
	if n < 0 || n > len(c.in) {
		c.bad, c.in = true, ""
		return ""
	}
	s := c.in[:n]
	c.in = c.in[n:]
	return s
}

func (c *coder) length(n int) int {
	if !c.reading {
		c.out = binary.AppendUvarint(c.out, uint64(n))
		return n
	}
	var v uint64
	for shift := uint(0); shift < 35; shift += 7 {
		b := c.take(1)
		if b == "" {
			return 0
		}
		v |= uint64(b[0]&0x7f) << shift
		if b[0] < 0x80 {
			return int(v)
		}
	}
	c.bad = true
	return 0
}

func str[T ~string](c *coder, p *T) {
	n := c.length(len(*p))
	if c.reading {
		*p = T(c.take(n))
		return
	}
	c.out = append(c.out, *p...)
}

func (c *coder) i64(p *int64) {
	if !c.reading {
		c.out = binary.BigEndian.AppendUint64(c.out, uint64(*p))
		return
	}
	if s := c.take(8); s != "" {
		var v uint64
		for i := range 8 {
			v = v<<8 | uint64(s[i])
		}
		*p = int64(v)
	}
}

func (c *coder) u32(p *uint32) {
	v := int64(*p)
	c.i64(&v)
	*p = uint32(v)
}

func (c *coder) num(p *int) {
	v := int64(*p)
	c.i64(&v)
	*p = int(v)
}

func (c *coder) duration(p *time.Duration) { c.i64((*int64)(p)) }

func (c *coder) time(p *time.Time) {
	v := micros(*p)
	c.i64(&v)
	if c.reading {
		*p = fromMicros(v)
	}
}

// flagAndTime is a flag, and a time that was added to the list of fields later:
// the flag's second bit says that one follows, so that where it is zero all is
// written as before there was one.
func (c *coder) flagAndTime(p *bool, t *time.Time) {
	b := byte(0)
	if *p {
		b = 1
	}
	if !t.IsZero() {
		b |= 2
	}
	if !c.reading {
		c.out = append(c.out, b)
	} else if s := c.take(1); s != "" {
		b = s[0]
		*p, c.bad = b&1 == 1, c.bad || b > 3
	}
	if b&2 != 0 {
		c.time(t)
		c.bad = c.bad || t.IsZero()
	}
}

func (c *coder) flag(p *bool) {
	if !c.reading {
		b := byte(0)
		if *p {
			b = 1
		}
		c.out = append(c.out, b)
		return
	}
	s := c.take(1)
	c.bad = c.bad || s > "\x01"
	*p = s == "\x01"
}

func (c *coder) fixed(p []byte) {
	if !c.reading {
		c.out = append(c.out, p...)
		return
	}
	copy(p, c.take(len(p)))
}

func (c *coder) bytes(p *[]byte) {
	present := *p != nil
	c.flag(&present)
	if !present {
		*p = nil
		return
	}
	n := c.length(len(*p))
	if c.reading {
		*p = []byte(c.take(n))
		return
	}
	c.out = append(c.out, *p...)
}

// strs tells nil from empty.
func (c *coder) strs(p *[]string) {
	n := len(*p) + 1
	if *p == nil {
		n = 0
	}
	n = c.length(n)
	if c.reading {
		*p = nil
		if n == 0 {
			return
		}
		if n-1 > len(c.in) {
			c.bad = true
			return
		}
		*p = make([]string, n-1)
	}
	for i := range *p {
		str(c, &(*p)[i])
	}
}

// noTime stands for the zero time.
const noTime = math.MinInt64

func micros(t time.Time) int64 {
	if t.IsZero() {
		return noTime
	}
	return t.UnixMicro()
}

func fromMicros(v int64) time.Time {
	if v == noTime {
		return time.Time{}
	}
	return time.UnixMicro(v).UTC()
}

func (c *coder) lifetimes(l *grant.Lifetimes) {
	c.duration(&l.Access)
	c.duration(&l.Idle)
	c.duration(&l.Grant)
}

func (c *coder) facts(f *event.Facts) {
	str(c, &f.Email)
	str(c, &f.Address)
	str(c, &f.Host)
	str(c, &f.OSUser)
	str(c, &f.Platform)
	str(c, &f.Agent)
}

// The lists of fields. Tenant and id are columns and not in them.

func requestFields(c *coder, r *grant.Request) {
	str(c, &r.Status)
	str(c, &r.Client)
	str(c, &r.RedirectURI)
	str(c, &r.ResponseMode)
	str(c, &r.State)
	c.strs(&r.Scope)
	str(c, &r.Resource)
	str(c, &r.Challenge)
	str(c, &r.Nonce)
	c.num(&r.MaxAge)
	str(c, &r.Prompt)
	str(c, &r.LoginHint)
	str(c, &r.Thumbprint)
	str(c, &r.JWK)
	c.fixed(r.HandleHash[:])
	c.flag(&r.Handshake)
	c.flag(&r.Refresh)
	c.lifetimes(&r.Lifetimes)
	c.facts(&r.Facts)
	c.time(&r.CreatedAt)
	c.time(&r.ExpiresAt)
	str(c, &r.Session)
	c.fixed(r.Binding[:])
	c.time(&r.OpenedAt)
	str(c, &r.Subject)
	c.time(&r.AuthTime)
	str(c, &r.ACR)
	c.strs(&r.Granted)
	c.time(&r.ApprovedAt)
	c.fixed(r.NonceHash[:])
	c.time(&r.NonceAt)
	c.fixed(r.CodeHash[:])
	c.time(&r.CodeAt)
	str(c, &r.Grant)
}

func grantFields(c *coder, g *grant.Grant) {
	str(c, &g.Status)
	str(c, &g.Subject)
	str(c, &g.Client)
	c.strs(&g.Scope)
	str(c, &g.Resource)
	str(c, &g.Thumbprint)
	str(c, &g.Flow)
	str(c, &g.Installation)
	c.time(&g.AuthTime)
	str(c, &g.ACR)
	c.lifetimes(&g.Lifetimes)
	c.time(&g.CreatedAt)
	c.time(&g.EndsAt)
	c.u32(&g.Generation)
	c.fixed(g.Current[:])
	c.fixed(g.Previous[:])
	c.fixed(g.Salt[:])
	c.time(&g.RotatedAt)
	c.time(&g.AccessUntil)
	c.time(&g.EndedAt)
	str(c, &g.Reason)
}

func accountFields(c *coder, a *store.Account) {
	str(c, &a.Email)
	str(c, &a.PasswordHash)
	c.strs(&a.Roles)
	c.flag(&a.Disabled)
	c.time(&a.Since)
	c.flagAndTime(&a.FromConfig, &a.LoginsSeen)
}

func sessionFields(c *coder, s *store.Session) {
	c.fixed(s.Hash[:])
	str(c, &s.Account)
	c.time(&s.AuthTime)
	str(c, &s.ACR)
	c.time(&s.CreatedAt)
	c.time(&s.ExpiresAt)
	c.flag(&s.Ended)
}

func installationFields(c *coder, i *store.Installation) {
	str(c, &i.Subject)
	str(c, &i.Thumbprint)
	c.facts(&i.Facts)
	c.time(&i.FirstSeen)
	c.time(&i.LastSeen)
}

func entryFields(c *coder, e *store.Entry) {
	c.fixed(e.Digest[:])
	c.flag(&e.Disabled)
	c.time(&e.Since)
}

func keyFields(c *coder, k *store.SealedKey) {
	str(c, &k.Use)
	c.bytes(&k.Sealed)
	c.bytes(&k.Public)
	c.time(&k.CreatedAt)
	c.time(&k.RetiredAt)
}
