package authserver

import (
	"context"
	"sync"
	"time"

	"github.com/keytether/keytether/internal/event"
	"github.com/keytether/keytether/internal/grant"
	"github.com/keytether/keytether/internal/oauth"
	"github.com/keytether/keytether/internal/store"
)

// deviceLogins remembers when each person's newest device login was, so that a
// refresh need not ask the store: it is there that notices are derived from. Two
// generations: when the younger is full the older is forgotten.
type deviceLogins struct {
	mu         sync.Mutex
	young, old map[string]time.Time
}

const maxDeviceLogins = 1 << 17 // people, of about 80 bytes each; twice as many at most

func newDeviceLogins() *deviceLogins { return &deviceLogins{young: make(map[string]time.Time)} }

// note remembers a login, or, with the zero time, that there was none.
func (l *deviceLogins) note(subject string, at time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	was, ok := l.get(subject)
	if ok && !at.After(was) {
		at = was
	}
	if len(l.young) >= maxDeviceLogins {
		l.young, l.old = make(map[string]time.Time), l.young
	}
	l.young[subject] = at
}

func (l *deviceLogins) get(subject string) (time.Time, bool) {
	at, ok := l.young[subject]
	if !ok {
		at, ok = l.old[subject]
	}
	return at, ok
}

func (l *deviceLogins) newest(subject string) (time.Time, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.get(subject)
}

const (
	maxNotices = 20 // in one answer; the newest

	// noticeOverlap: a login that is being committed while another installation
	// refreshes is told of at the next refresh.
	noticeOverlap = 10 * time.Second
)

// noticesSince gives, with the answer to a refresh of g, the same person's device
// logins at other installations since g was refreshed last. Only clients that
// shake hands with their installation get any: others would not show them.
func (s *Server) noticesSince(ctx context.Context, g grant.Grant, since time.Time) ([]oauth.Notice, error) {
	c, err := s.Registry().Client(g.Client)
	if err != nil || !c.Handshake || g.Installation == "" {
		return nil, nil
	}
	since = since.Add(-noticeOverlap)
	locked, err := s.lockNotices(ctx, g, since)
	if err != nil {
		return nil, err
	}
	newest, known := s.logins.newest(g.Subject)
	if known && !newest.After(since) {
		return locked, nil
	}
	list, err := s.deviceGrants(ctx, g.Subject)
	if err != nil {
		return nil, err
	}
	if !known {
		s.logins.note(g.Subject, newestOf(list))
	}
	out := locked
	for _, d := range list {
		if d.Installation == g.Installation || !d.CreatedAt.After(since) || len(out) == maxNotices {
			continue
		}
		n := oauth.Notice{GrantID: d.ID, Client: d.Client, At: d.CreatedAt}
		if c, err := s.Registry().Client(d.Client); err == nil {
			n.Client = c.Name
		}
		f, err := s.factsOf(ctx, d)
		if err != nil {
			return nil, err
		}
		n.Host, n.Address = f.Host, f.Address
		out = append(out, n)
	}
	return out, nil
}

// lockNotices tells of the person's other installations that are locked.
func (s *Server) lockNotices(ctx context.Context, g grant.Grant, since time.Time) ([]oauth.Notice, error) {
	var out []oauth.Notice
	for _, l := range s.locks.of(g.Subject) {
		if l.Installation == g.Installation || !l.At.After(since) || len(out) == maxNotices {
			continue
		}
		in, err := s.store.Installation(ctx, s.tenant, l.Installation)
		if err != nil {
			return nil, problem(err)
		}
		out = append(out, oauth.Notice{Kind: oauth.NoticeLocked, Host: in.Value.Facts.Host, Address: l.Address, At: l.At})
	}
	return out, nil
}

func newestOf(list []grant.Grant) time.Time {
	if len(list) == 0 {
		return time.Time{}
	}
	return list[0].CreatedAt
}

// deviceGrants lists a person's active grants that came of device logins,
// newest first.
func (s *Server) deviceGrants(ctx context.Context, subject string) ([]grant.Grant, error) {
	list, err := s.store.GrantsOf(ctx, s.tenant, store.GrantQuery{Subject: subject, ActiveOnly: true})
	if err != nil {
		return nil, problem(err)
	}
	var out []grant.Grant
	for _, v := range list {
		if g := v.Value; g.Flow == grant.FlowDevice && s.Now().Before(g.EndsAt) {
			out = append(out, g)
		}
	}
	return out, nil
}

// factsOf says where a grant's installation is, as it was last reported.
func (s *Server) factsOf(ctx context.Context, g grant.Grant) (event.Facts, error) {
	if g.Installation == "" {
		return event.Facts{}, nil
	}
	in, err := s.store.Installation(ctx, s.tenant, g.Installation)
	if err != nil {
		return event.Facts{}, problem(err)
	}
	return in.Value.Facts, nil
}

// NewLogins are a person's device logins that they have not yet said to know,
// newest first: the banner of /me.
func (s *Server) NewLogins(acc store.Account, held []Held) []NewLogin {
	var out []NewLogin
	for _, h := range held {
		for _, g := range h.Grants {
			if g.Flow == grant.FlowDevice && g.Since.After(acc.LoginsSeen) {
				out = append(out, NewLogin{HeldGrant: g, Installation: h.Installation})
			}
		}
	}
	return out
}

// NewLogin is a device login that the person is told of.
type NewLogin struct {
	HeldGrant
	Installation store.Installation
}

// SeeLogins remembers that a person knows their device logins until then.
func (s *Server) SeeLogins(ctx context.Context, account string, until time.Time) error {
	_, err := retry(func() (struct{}, error) {
		acc, err := s.store.Account(ctx, s.tenant, account)
		if err != nil {
			return struct{}{}, problem(err)
		}
		if until.After(s.Now()) || !until.After(acc.Value.LoginsSeen) {
			return struct{}{}, nil
		}
		acc.Value.LoginsSeen = until
		return struct{}{}, s.apply(ctx, store.Change{
			Accounts: []store.Versioned[store.Account]{acc},
			Records:  []event.Record{{Name: event.LoginsSeen, Tenant: s.tenant, Time: s.Now(), Subject: account, Until: until}},
		})
	})
	return err
}
