package doctor

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/keytether/keytether/internal/oauth"
	"github.com/keytether/keytether/internal/outbound"
)

// The steps of reaching the issuer, each a finding.
const (
	stepName       = "issuer-name"
	stepConnection = "issuer-connection"
	stepTLS        = "issuer-tls"
	stepMetadata   = "issuer-metadata"
	stepClock      = "clock"
)

var steps = [...]string{stepName, stepConnection, stepTLS, stepMetadata, stepClock}

// span is one step that was seen: when it began and ended, and how.
type span struct {
	begun, ended time.Time
	err          error
	what         string
}

func (s span) took() string { return s.ended.Sub(s.begun).Round(100 * time.Microsecond).String() }

func (s span) done() bool { return !s.ended.IsZero() && s.err == nil }

// trip is what was seen of asking the issuer for its metadata.
type trip struct {
	mu             sync.Mutex
	name, dial, tl span
	state          tls.ConnectionState

	err      error // of the exchange; nil: answered
	status   int
	body     []byte
	dates    []date
	metadata string // where it was found
}

// date is a Date header, and when it was asked for and came.
type date struct {
	said           string
	sent, received time.Time
}

func (t *trip) watch(ctx context.Context, now func() time.Time) context.Context {
	set := func(f func()) { t.mu.Lock(); defer t.mu.Unlock(); f() }
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		DNSStart: func(i httptrace.DNSStartInfo) { set(func() { t.name = span{begun: now(), what: i.Host} }) },
		DNSDone: func(i httptrace.DNSDoneInfo) {
			set(func() {
				t.name.ended, t.name.err = now(), i.Err
				if len(i.Addrs) > 0 {
					t.name.what += " is " + i.Addrs[0].String()
				}
			})
		},
		ConnectStart: func(_, addr string) {
			set(func() {
				if t.dial.begun.IsZero() {
					t.dial = span{begun: now(), what: addr}
				}
			})
		},
		ConnectDone: func(_, addr string, err error) {
			set(func() {
				if !t.dial.done() { // of several addresses the first that answers counts
					t.dial.ended, t.dial.err, t.dial.what = now(), err, addr
				}
			})
		},
		TLSHandshakeStart: func() { set(func() { t.tl = span{begun: now()} }) },
		TLSHandshakeDone: func(s tls.ConnectionState, err error) {
			set(func() { t.tl.ended, t.tl.err, t.state = now(), err, s })
		},
	})
}

func checkIssuer(ctx context.Context, o *Options) []Finding {
	if o.Issuer == "" {
		return one(none("issuer", o.IssuerWhy))
	}
	if err := oauth.CheckIssuer(strings.TrimSuffix(o.Issuer, "/")); err != nil {
		return one(Finding{"issuer", Problem, "its address is not usable", "it must be an https URL without query (plain http is for 127.0.0.1 and [::1] only)", "Correct --issuer, KEYTETHER_ISSUER or the config"})
	}
	t := travel(ctx, o)
	t.mu.Lock()
	defer t.mu.Unlock()
	via, _, _ := outbound.Via(o.Env, mustURL(o.Issuer))
	return append(one(ok("issuer", o.Issuer)), judgeTrip(o, t, via)...)
}

func mustURL(s string) *url.URL {
	u, err := url.Parse(s)
	if err != nil {
		return &url.URL{}
	}
	return u
}

// travel asks for the metadata at both places where it may be. The second answer is wanted for
// its Date too.
func travel(ctx context.Context, o *Options) *trip {
	t := &trip{}
	c, err := outbound.New(outbound.Options{Env: o.Env, DialContext: o.DialContext})
	if err != nil {
		t.err = err
		return t
	}
	defer c.Close()
	traced := t.watch(ctx, time.Now)
	for _, place := range []string{oauth.WellKnownOAuth, oauth.WellKnownOIDC} {
		at := oauth.MetadataURL(o.Issuer, place)
		sent := o.Now()
		res, err := c.GetMetadata(traced, at)
		traced = ctx // the first trip is the one to tell of
		if err != nil {
			if t.metadata == "" && (t.err == nil || errors.Is(err, outbound.ErrNotJSON)) {
				t.err = err
			}
			if errors.Is(err, outbound.ErrUnreachable) {
				return t
			}
			continue
		}
		if res.Header.Get("Age") == "" { // else its Date is a cache's memory
			t.dates = append(t.dates, date{res.Header.Get("Date"), sent, o.Now()})
		}
		if t.metadata == "" && (t.status == 0 || res.Status == http.StatusOK) {
			t.status, t.body, t.err = res.Status, res.Body, nil
			if res.Status == http.StatusOK {
				t.metadata = at
			}
		}
	}
	return t
}

// judgeTrip gives a finding for each step: how long it took, or why the trip ended there.
func judgeTrip(o *Options, t *trip, via string) []Finding {
	failed := len(steps)
	var out []Finding
	if t.err != nil {
		failed = slices.Index(steps[:], endedAt(t))
	}
	for i, step := range steps {
		switch {
		case i == failed:
			f := explained(step, Problem, t.err)
			if errors.Is(t.err, outbound.ErrConfig) {
				f = none(step, "not asked: see proxy and certificates")
			}
			out = append(out, f)
		case i > failed && step == stepClock && errors.Is(t.err, outbound.ErrClock):
			out = append(out, explained(step, Problem, t.err))
		case i > failed:
			out = append(out, none(step, "not reached"))
		default:
			out = append(out, judgeStep(o, t, via, step))
		}
	}
	return out
}

// endedAt says at which step a trip failed.
func endedAt(t *trip) string {
	switch err := t.err; {
	case errors.Is(err, outbound.ErrConfig):
		return stepName
	case errors.Is(err, outbound.ErrDNS):
		return stepName
	case errors.Is(err, outbound.ErrProxy):
		return stepConnection
	case errors.Is(err, outbound.ErrTLS):
		return stepTLS
	case errors.Is(err, outbound.ErrUnreachable):
		switch {
		case !t.name.begun.IsZero() && !t.name.done():
			return stepName
		case !t.dial.done():
			return stepConnection
		case !t.tl.begun.IsZero() && !t.tl.done():
			return stepTLS
		}
	}
	return stepMetadata
}

func judgeStep(o *Options, t *trip, via, step string) Finding {
	switch step {
	case stepName:
		if t.name.begun.IsZero() {
			return none(step, "an address, nothing to look up")
		}
		return ok(step, byProxy(via)+t.name.what+" ("+t.name.took()+")")
	case stepConnection:
		return ok(step, byProxy(via)+t.dial.what+" ("+t.dial.took()+")")
	case stepTLS:
		return judgeTLS(t.state, t.tl, o.Now())
	case stepMetadata:
		return judgeMetadata(o.Issuer, t.status, t.body)
	}
	return judgeClock(t.dates)
}

func byProxy(via string) string {
	if via == "" {
		return ""
	}
	return "the proxy "
}

func judgeTLS(s tls.ConnectionState, seen span, now time.Time) Finding {
	if seen.begun.IsZero() || len(s.PeerCertificates) == 0 {
		return none(stepTLS, "plain http, on this machine")
	}
	c := s.PeerCertificates[0]
	by := c.Issuer.CommonName
	if by == "" {
		by = c.Issuer.String()
	}
	found := fmt.Sprintf("%s, signed by %q (%s)", tls.VersionName(s.Version), by, seen.took())
	if left := c.NotAfter.Sub(now); left < 7*24*time.Hour && c.NotAfter.Sub(c.NotBefore) > 30*24*time.Hour {
		return Finding{stepTLS, Warning, found, "its certificate expires on " + c.NotAfter.UTC().Format(time.RFC3339), "Tell who runs the server"}
	}
	return ok(stepTLS, found)
}

// judgeMetadata says whether somebody can log in there, and what the server lacks.
func judgeMetadata(issuer string, status int, body []byte) Finding {
	const ask = "Check the issuer's address, or ask who runs the server"
	if status != http.StatusOK {
		return Finding{stepMetadata, Problem, fmt.Sprintf("the server answers with status %d", status), "no metadata at " + issuer + oauth.WellKnownOAuth, ask}
	}
	m, err := oauth.DecodeMetadata(issuer, body)
	if err != nil {
		why := "the document is malformed"
		if e, ok := errors.AsType[*oauth.Error](err); ok && e.Detail == "issuer" {
			why = "the document names another issuer"
		}
		return Finding{stepMetadata, Problem, "the server's metadata is not usable", why, ask}
	}
	listed := func(list []string, want string) bool { return len(list) == 0 || slices.Contains(list, want) }
	browser := m.AuthorizationEndpoint != "" && m.TokenEndpoint != "" && listed(m.ResponseTypesSupported, "code") &&
		listed(m.GrantTypesSupported, oauth.GrantAuthorizationCode) && listed(m.CodeChallengeMethods, "S256")
	device := m.DeviceAuthorizationEndpoint != "" && m.TokenEndpoint != ""
	var lacks []string
	for _, l := range []struct {
		there bool
		name  string
	}{
		{browser, "logins by browser"},
		{device, "logins by code"},
		{slices.Contains(m.DPoPAlgs, "ES256"), "DPoP"},
		{m.PAREndpoint != "", "PAR"},
		{m.RevocationEndpoint != "", "revocation"},
	} {
		if !l.there {
			lacks = append(lacks, l.name)
		}
	}
	switch {
	case !browser && !device:
		return Finding{stepMetadata, Problem, "nobody can log in there", "it has neither logins by browser with PKCE nor by code", ask}
	case slices.Contains(lacks, "DPoP"):
		return Finding{stepMetadata, Warning, "lacks " + strings.Join(lacks, ", "), "without DPoP a token can be used by whoever copies it", "Ask who runs the server for DPoP (RFC 9449)"}
	case len(lacks) > 0:
		return ok(stepMetadata, "lacks "+strings.Join(lacks, ", "))
	}
	return ok(stepMetadata, "has all that is used")
}

// Bounds of a clock that is wrong.
const (
	fine     = 30 * time.Second // Date has whole seconds, and answers take time
	tolerant = 2 * time.Hour    // a login moves its proofs to the server's time, so far
)

// judgeClock compares the Date of each answer with the middle of its exchange.
func judgeClock(dates []date) Finding {
	var off []time.Duration
	for _, d := range dates {
		at, err := http.ParseTime(d.said)
		if err != nil {
			continue
		}
		middle := d.sent.Round(0).Add(d.received.Sub(d.sent) / 2)
		off = append(off, at.Add(500*time.Millisecond).Sub(middle)) // Date is cut to seconds
	}
	if len(off) == 0 {
		return none(stepClock, "the server does not say its time")
	}
	const mend = "Set this machine's date and time (Linux: timedatectl set-ntp true)"
	d := off[0]
	by, way := d.Abs().Round(time.Second).String(), "behind"
	if d < 0 {
		way = "ahead of"
	}
	found := "this machine is " + by + " " + way + " the server"
	switch {
	case slices.Max(off)-slices.Min(off) > 5*time.Second:
		return Finding{stepClock, Warning, "the server tells two different times", "its answers came from machines that do not agree, or through a cache", "Tell who runs the server"}
	case d.Abs() > tolerant:
		return Finding{stepClock, Problem, found, "proofs and certificates are refused", mend}
	case d.Abs() > fine:
		return Finding{stepClock, Warning, found, "keytether allows for it; other programs do not", mend}
	}
	return ok(stepClock, "as the server's")
}
