package audit

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/keytether/keytether/internal/event"
)

// LeafVersion is a leaf's first byte.
const LeafVersion = 0x01

// MaxLeaf is the longest leaf, in bytes.
const MaxLeaf = 16 << 10

// timeLayout is RFC 3339 in UTC with whole microseconds.
const timeLayout = "2006-01-02T15:04:05.000000Z"

// Leaf is a decoded leaf: the record without its facts, and the commitments.
type Leaf struct {
	Record event.Record
	Commit Commitments
}

// Commitments stand for the facts, member by member: base64url without
// padding of an HMAC-SHA256, or empty.
type Commitments struct {
	Email    string `json:"email"`
	Address  string `json:"address"`
	Host     string `json:"host"`
	OSUser   string `json:"os_user"`
	Platform string `json:"platform"`
	Agent    string `json:"agent"`
}

// IsZero reports whether nothing was committed to.
func (c Commitments) IsZero() bool { return c == Commitments{} }

// leafJSON is a leaf as it is read; appendLeaf is how it is written.
type leafJSON struct {
	Name         event.Name   `json:"name"`
	Tenant       string       `json:"tenant"`
	Time         string       `json:"time"`
	Subject      string       `json:"subject"`
	Client       string       `json:"client"`
	Request      string       `json:"request"`
	Grant        string       `json:"grant"`
	Installation string       `json:"installation"`
	Session      string       `json:"session"`
	Resource     string       `json:"resource"`
	Scope        string       `json:"scope"`
	Flow         string       `json:"flow"`
	JTI          string       `json:"jti"`
	Thumbprint   string       `json:"thumbprint"`
	Generation   uint32       `json:"generation"`
	Until        string       `json:"until"`
	Reason       event.Reason `json:"reason"`
	Detail       string       `json:"detail"`
	Commit       Commitments  `json:"commit"`
}

// EncodeLeaf renders rec as a leaf of version 1. Its times lose what is below
// the microsecond. key is the record's own 32 random bytes; it is used only if
// there are facts. Records with an unknown name, without tenant or time, or
// with control characters or invalid UTF-8 outside the facts are ErrFormat.
func EncodeLeaf(rec event.Record, key [32]byte) ([]byte, error) {
	return appendLeaf(make([]byte, 0, 512), rec, commit(rec.Facts, key))
}

// DecodeLeaf is the inverse of EncodeLeaf and accepts nothing else: an unknown
// version, member or event name, and a second spelling of the same record, are
// ErrFormat.
func DecodeLeaf(leaf []byte) (Leaf, error) {
	if len(leaf) == 0 || len(leaf) > MaxLeaf {
		return Leaf{}, fmt.Errorf("%w: leaf of %d bytes", ErrFormat, len(leaf))
	}
	if leaf[0] != LeafVersion {
		return Leaf{}, fmt.Errorf("%w: leaf version %d, this program knows %d", ErrFormat, leaf[0], LeafVersion)
	}
	var in leafJSON
	dec := json.NewDecoder(bytes.NewReader(leaf[1:]))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&in); err != nil {
		return Leaf{}, fmt.Errorf("%w: leaf: %s", ErrFormat, err.Error())
	}
	out := Leaf{Commit: in.Commit, Record: event.Record{
		Name: in.Name, Tenant: in.Tenant, Subject: in.Subject, Client: in.Client, Request: in.Request,
		Grant: in.Grant, Installation: in.Installation, Session: in.Session, Resource: in.Resource,
		Scope: in.Scope, Flow: in.Flow, JTI: in.JTI, Thumbprint: in.Thumbprint, Generation: in.Generation,
		Reason: in.Reason, Detail: in.Detail,
	}}
	var err error
	if out.Record.Time, err = parseTime(in.Time); err != nil {
		return Leaf{}, err
	}
	if in.Until != "" {
		if out.Record.Until, err = parseTime(in.Until); err != nil {
			return Leaf{}, err
		}
	}
	if err := in.Commit.check(); err != nil {
		return Leaf{}, err
	}
	again, err := appendLeaf(make([]byte, 0, len(leaf)), out.Record, out.Commit)
	if err != nil {
		return Leaf{}, err
	}
	if !bytes.Equal(again, leaf) {
		return Leaf{}, fmt.Errorf("%w: leaf is not in its one spelling", ErrFormat)
	}
	return out, nil
}

func parseTime(s string) (time.Time, error) {
	t, err := time.Parse(timeLayout, s)
	if err != nil {
		return time.Time{}, fmt.Errorf("%w: not a time in UTC with microseconds", ErrFormat)
	}
	return t, nil
}

func appendLeaf(b []byte, rec event.Record, c Commitments) ([]byte, error) {
	if !slices.Contains(allNames, rec.Name) {
		return nil, fmt.Errorf("%w: unknown event %q", ErrFormat, rec.Name)
	}
	if rec.Tenant == "" || rec.Time.IsZero() {
		return nil, fmt.Errorf("%w: %s without tenant or time", ErrFormat, rec.Name)
	}
	o := object{b: append(b, LeafVersion, '{')}
	o.str("name", string(rec.Name))
	o.str("tenant", rec.Tenant)
	o.time("time", rec.Time)
	o.str("subject", rec.Subject)
	o.str("client", rec.Client)
	o.str("request", rec.Request)
	o.str("grant", rec.Grant)
	o.str("installation", rec.Installation)
	o.str("session", rec.Session)
	o.str("resource", rec.Resource)
	o.str("scope", rec.Scope)
	o.str("flow", rec.Flow)
	o.str("jti", rec.JTI)
	o.str("thumbprint", rec.Thumbprint)
	if rec.Generation != 0 {
		o.key("generation")
		o.b = strconv.AppendUint(o.b, uint64(rec.Generation), 10)
	}
	o.time("until", rec.Until)
	o.str("reason", string(rec.Reason))
	o.str("detail", rec.Detail)
	if !c.IsZero() {
		o.key("commit")
		o.b = append(o.b, '{')
		o.str("email", c.Email)
		o.str("address", c.Address)
		o.str("host", c.Host)
		o.str("os_user", c.OSUser)
		o.str("platform", c.Platform)
		o.str("agent", c.Agent)
		o.b = append(o.b, '}')
	}
	o.b = append(o.b, '}')
	if o.err == nil && len(o.b) > MaxLeaf {
		o.err = fmt.Errorf("%w: %s makes a leaf of %d bytes, at most %d are allowed", ErrFormat, rec.Name, len(o.b), MaxLeaf)
	}
	if o.err != nil {
		return nil, o.err
	}
	return o.b, nil
}

var allNames = event.All()

// object writes the members of a JSON object in the one spelling.
type object struct {
	b   []byte
	err error
}

func (o *object) key(name string) {
	if o.b[len(o.b)-1] != '{' {
		o.b = append(o.b, ',')
	}
	o.b = append(o.b, '"')
	o.b = append(o.b, name...)
	o.b = append(o.b, '"', ':')
}

func (o *object) str(name, s string) {
	if s == "" {
		return
	}
	o.key(name)
	o.b = append(o.b, '"')
	for i := range len(s) {
		switch c := s[i]; {
		case c < 0x20 || c == 0x7f:
			o.err = fmt.Errorf("%w: control character in %q", ErrFormat, name)
		case c == '"' || c == '\\':
			o.b = append(o.b, '\\', c)
		default:
			o.b = append(o.b, c)
		}
	}
	if !utf8.ValidString(s) {
		o.err = fmt.Errorf("%w: invalid UTF-8 in %q", ErrFormat, name)
	}
	o.b = append(o.b, '"')
}

func (o *object) time(name string, t time.Time) {
	if t.IsZero() {
		return
	}
	t = t.UTC()
	if y := t.Year(); y < 1 || y > 9999 {
		o.err = fmt.Errorf("%w: year %d in %q", ErrFormat, y, name)
		return
	}
	o.key(name)
	o.b = append(o.b, '"')
	o.b = t.AppendFormat(o.b, timeLayout)
	o.b = append(o.b, '"')
}

// Sidecar opens the commitments of one leaf. It is personal data.
type Sidecar struct {
	Key   []byte      `json:"key"` // 32 bytes, base64 in JSON
	Facts event.Facts `json:"facts"`
}

// NewSidecar makes the sidecar that belongs to EncodeLeaf(rec, key), or nil if
// the record has no facts. Bytes that are not UTF-8 become U+FFFD.
func NewSidecar(rec event.Record, key [32]byte) *Sidecar {
	if rec.Facts.IsZero() {
		return nil
	}
	return &Sidecar{Key: key[:], Facts: valid(rec.Facts)}
}

// Encode renders the sidecar as JSON.
func (s Sidecar) Encode() ([]byte, error) { return json.Marshal(s) }

// DecodeSidecar reads what Encode wrote.
func DecodeSidecar(b []byte) (*Sidecar, error) {
	var s Sidecar
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&s); err != nil {
		return nil, fmt.Errorf("%w: sidecar: %s", ErrFormat, err.Error())
	}
	if dec.More() || len(s.Key) != 32 {
		return nil, fmt.Errorf("%w: sidecar", ErrFormat)
	}
	return &s, nil
}

// OpenCommitments proves that the sidecar's facts are all the facts, and the
// very facts, that the leaf was made of. Otherwise ErrChanged.
func OpenCommitments(leaf Leaf, s Sidecar) error {
	if len(s.Key) != 32 {
		return fmt.Errorf("%w: sidecar key of %d bytes", ErrFormat, len(s.Key))
	}
	if commit(s.Facts, [32]byte(s.Key)) != leaf.Commit {
		return fmt.Errorf("%w: the facts are not those that the record commits to", ErrChanged)
	}
	return nil
}

func commit(f event.Facts, key [32]byte) Commitments {
	if f.IsZero() {
		return Commitments{}
	}
	f = valid(f)
	m := hmac.New(sha256.New, key[:])
	one := func(name, value string) string {
		if value == "" {
			return ""
		}
		m.Reset()
		_, _ = m.Write([]byte(name))
		_, _ = m.Write([]byte{0})
		_, _ = m.Write([]byte(value))
		return base64.RawURLEncoding.EncodeToString(m.Sum(nil))
	}
	return Commitments{
		Email: one("email", f.Email), Address: one("address", f.Address), Host: one("host", f.Host),
		OSUser: one("os_user", f.OSUser), Platform: one("platform", f.Platform), Agent: one("agent", f.Agent),
	}
}

func (c Commitments) check() error {
	for _, s := range []string{c.Email, c.Address, c.Host, c.OSUser, c.Platform, c.Agent} {
		if s == "" {
			continue
		}
		b, err := base64.RawURLEncoding.Strict().DecodeString(s)
		if err != nil || len(b) != sha256.Size {
			return fmt.Errorf("%w: commitment", ErrFormat)
		}
	}
	return nil
}

// valid is the facts in a form that survives JSON.
func valid(f event.Facts) event.Facts {
	v := func(s string) string { return strings.ToValidUTF8(s, "\uFFFD") }
	return event.Facts{
		Email: v(f.Email), Address: v(f.Address), Host: v(f.Host),
		OSUser: v(f.OSUser), Platform: v(f.Platform), Agent: v(f.Agent),
	}
}
