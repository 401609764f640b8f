package sqlite

import (
	"strings"
	"sync/atomic"
	"time"

	"zombiezen.com/go/sqlite"

	"github.com/keytether/keytether/internal/event"
	"github.com/keytether/keytether/internal/grant"
	"github.com/keytether/keytether/internal/store"
)

// writer owns the writing connection. Only the committer's goroutine uses it.
type writer struct {
	conn    *sqlite.Conn
	recent  *recent
	answers []error
	groups  atomic.Int64 // how many groups were tried
	tails   []logTail    // of the logs that the group under way appends to
}

func (w *writer) exec(sql string) error {
	stmt, err := w.conn.Prepare(sql)
	if err != nil {
		return err
	}
	_, err = stmt.Step()
	return err
}

// statement pairs of the tables of states. ?1 tenant, ?2 id, ?3 the version
// that was read, ?4 the state; columns that are looked up follow.
const (
	insertRequest = `INSERT INTO requests (tenant, id, version, state, handle, code, ends) VALUES (?1, ?2, ?3 + 1, ?4, ?5, ?6, ?7)`
	updateRequest = `UPDATE requests SET version = ?3 + 1, state = ?4, handle = ?5, code = ?6, ends = ?7 WHERE tenant = ?1 AND id = ?2 AND version = ?3`

	insertGrant = `INSERT INTO grants (tenant, id, version, state, active, subject, client, resource, installation) VALUES (?1, ?2, ?3 + 1, ?4, ?5, ?6, ?7, ?8, ?9)`
	updateGrant = `UPDATE grants SET version = ?3 + 1, state = ?4, active = ?5, subject = ?6, client = ?7, resource = ?8, installation = ?9 WHERE tenant = ?1 AND id = ?2 AND version = ?3`
	// A refresh changes nothing that an index holds, and setting a column makes
	// SQLite write its indexes even if the value is the same.
	refreshGrant = `UPDATE grants SET version = ?3 + 1, state = ?4 WHERE tenant = ?1 AND id = ?2 AND version = ?3 AND active = ?5 AND subject = ?6 AND client = ?7 AND resource = ?8 AND installation = ?9`

	insertAccount = `INSERT INTO accounts (tenant, id, version, state, email) VALUES (?1, ?2, ?3 + 1, ?4, ?5)`
	updateAccount = `UPDATE accounts SET version = ?3 + 1, state = ?4, email = ?5 WHERE tenant = ?1 AND id = ?2 AND version = ?3`

	insertSession = `INSERT INTO sessions (tenant, id, version, state, hash, ends) VALUES (?1, ?2, ?3 + 1, ?4, ?5, ?6)`
	updateSession = `UPDATE sessions SET version = ?3 + 1, state = ?4, hash = ?5, ends = ?6 WHERE tenant = ?1 AND id = ?2 AND version = ?3`

	insertInstallation = `INSERT INTO installations (tenant, id, version, state, subject, thumbprint) VALUES (?1, ?2, ?3 + 1, ?4, ?5, ?6)`
	updateInstallation = `UPDATE installations SET version = ?3 + 1, state = ?4, subject = ?5, thumbprint = ?6 WHERE tenant = ?1 AND id = ?2 AND version = ?3`

	insertEntry = `INSERT INTO entries (tenant, id, version, state, kind) VALUES (?1, ?2, ?3 + 1, ?4, ?5)`
	updateEntry = `UPDATE entries SET version = ?3 + 1, state = ?4 WHERE tenant = ?1 AND id = ?2 AND version = ?3 AND kind = ?5`

	insertKey = `INSERT INTO keys (tenant, id, version, state) VALUES (?1, ?2, ?3 + 1, ?4)`
	updateKey = `UPDATE keys SET version = ?3 + 1, state = ?4 WHERE tenant = ?1 AND id = ?2 AND version = ?3`

	// The first commit that revokes keeps its place in the feed's order.
	insertRevocation = `INSERT INTO revocations (tenant, seq, grant_id, jti, resource, at, until)
		VALUES (?1, (SELECT coalesce(max(seq), 0) + 1 FROM revocations WHERE tenant = ?1), ?2, ?3, ?4, ?5, ?6)
		ON CONFLICT (tenant, grant_id, jti) DO UPDATE SET until = max(until, excluded.until)`
)

// change applies the states of a change. A refusal can only come from a state;
// what follows from one (a revocation) cannot be refused.
func (w *writer) change(j *job) error {
	c, states := &j.change, j.states
	next := func() []byte {
		s := states[0]
		states = states[1:]
		return s
	}
	for i := range c.Requests {
		if err := w.putRequest(j.tenant, &c.Requests[i], next()); err != nil {
			return err
		}
	}
	for i := range c.Grants {
		if err := w.putGrant(j.tenant, &c.Grants[i], next()); err != nil {
			return err
		}
	}
	for i := range c.Accounts {
		a := &c.Accounts[i]
		if err := w.put(insertAccount, updateAccount, j.tenant, a.Value.ID, a.Version, next(), func(stmt *sqlite.Stmt) {
			if a.Value.Email != "" {
				stmt.BindText(5, strings.ToLower(a.Value.Email))
			}
		}); err != nil {
			return err
		}
	}
	for i := range c.Sessions {
		s := &c.Sessions[i]
		if err := w.put(insertSession, updateSession, j.tenant, s.Value.ID, s.Version, next(), func(stmt *sqlite.Stmt) {
			stmt.BindBytes(5, s.Value.Hash[:])
			stmt.BindInt64(6, sessionEnds(&s.Value))
		}); err != nil {
			return err
		}
	}
	for i := range c.Installations {
		in := &c.Installations[i]
		if err := w.put(insertInstallation, updateInstallation, j.tenant, in.Value.ID, in.Version, next(), func(stmt *sqlite.Stmt) {
			stmt.BindText(5, in.Value.Subject)
			stmt.BindText(6, in.Value.Thumbprint)
		}); err != nil {
			return err
		}
	}
	for i := range c.Entries {
		e := &c.Entries[i]
		if err := w.put(insertEntry, updateEntry, j.tenant, e.Value.ID, e.Version, next(), func(stmt *sqlite.Stmt) {
			stmt.BindText(5, string(e.Value.Kind))
		}); err != nil {
			return err
		}
	}
	for i := range c.Keys {
		k := &c.Keys[i]
		if err := w.put(insertKey, updateKey, j.tenant, k.Value.ID, k.Version, next(), nil); err != nil {
			return err
		}
	}
	for i := range c.Devices {
		if err := w.putDevice(j.tenant, &c.Devices[i], next()); err != nil {
			return err
		}
	}
	for i := range c.Clients {
		cl := &c.Clients[i]
		if err := w.put(insertClient, updateClient, j.tenant, cl.Value.ID, cl.Version, next(), nil); err != nil {
			return err
		}
	}
	for i := range c.Decoys {
		if err := w.putDecoy(j.tenant, &c.Decoys[i], next()); err != nil {
			return err
		}
	}
	for _, r := range c.RevokedTokens {
		if err := w.revoke(j.tenant, r, revokedAt(c.Records, r.JTI)); err != nil {
			return err
		}
	}
	return nil
}

// put is the compare-and-swap. It binds ?1 to ?4; bind does the rest.
func (w *writer) put(insert, update, tenant, id string, version uint64, state []byte, bind func(*sqlite.Stmt)) error {
	sql := update
	if version == 0 {
		sql = insert
	}
	changed, err := w.run(sql, tenant, id, version, state, bind)
	if err == nil && !changed {
		err = store.ErrConflict
	}
	return err
}

func (w *writer) run(sql, tenant, id string, version uint64, state []byte, bind func(*sqlite.Stmt)) (changed bool, err error) {
	stmt, err := w.conn.Prepare(sql)
	if err != nil {
		return false, err
	}
	stmt.BindText(1, tenant)
	stmt.BindText(2, id)
	stmt.BindInt64(3, int64(version))
	stmt.BindBytes(4, state)
	if bind != nil {
		bind(stmt)
	}
	if _, err := stmt.Step(); err != nil {
		return false, err
	}
	return w.conn.Changes() == 1, nil
}

func (w *writer) putRequest(tenant string, r *store.Versioned[grant.Request], state []byte) error {
	return w.put(insertRequest, updateRequest, tenant, r.Value.ID, r.Version, state, func(stmt *sqlite.Stmt) {
		if r.Value.HandleHash != (grant.Hash{}) {
			stmt.BindBytes(5, r.Value.HandleHash[:])
		}
		if r.Value.CodeHash != (grant.Hash{}) {
			stmt.BindBytes(6, r.Value.CodeHash[:])
		}
		stmt.BindInt64(7, requestEnds(&r.Value))
	})
}

func (w *writer) putGrant(tenant string, g *store.Versioned[grant.Grant], state []byte) error {
	bind := func(stmt *sqlite.Stmt) {
		stmt.BindBool(5, g.Value.Status == grant.Active)
		stmt.BindText(6, g.Value.Subject)
		stmt.BindText(7, g.Value.Client)
		stmt.BindText(8, g.Value.Resource)
		stmt.BindText(9, g.Value.Installation)
	}
	if g.Version > 0 {
		if done, err := w.run(refreshGrant, tenant, g.Value.ID, g.Version, state, bind); err != nil {
			return err
		} else if done && g.Value.Status == grant.Active {
			return nil
		} else if done {
			return w.revokeGrant(tenant, &g.Value)
		}
	}
	if err := w.put(insertGrant, updateGrant, tenant, g.Value.ID, g.Version, state, bind); err != nil {
		return err
	}
	return w.revokeGrant(tenant, &g.Value)
}

func (w *writer) revokeGrant(tenant string, g *grant.Grant) error {
	if g.Status != grant.Revoked {
		return nil
	}
	return w.revoke(tenant, grant.RevokedToken{Grant: g.ID, Resource: g.Resource, Until: g.AccessUntil}, g.EndedAt)
}

// revoke enters the feed; a whole grant has no JTI.
func (w *writer) revoke(tenant string, r grant.RevokedToken, at time.Time) error {
	stmt, err := w.conn.Prepare(insertRevocation)
	if err != nil {
		return err
	}
	stmt.BindText(1, tenant)
	stmt.BindText(2, r.Grant)
	stmt.BindText(3, r.JTI)
	stmt.BindText(4, r.Resource)
	stmt.BindInt64(5, micros(at))
	stmt.BindInt64(6, micros(r.Until))
	_, err = stmt.Step()
	return err
}

// revokedAt is the time of the record that says so.
func revokedAt(records []event.Record, jti string) time.Time {
	for _, r := range records {
		if r.Name == event.TokenRevoked && r.JTI == jti {
			return r.Time
		}
	}
	return time.Time{}
}

// requestEnds is from when on nobody needs the request. A redeemed one must be
// found by its code as long as there may be something to revoke.
func requestEnds(r *grant.Request) int64 {
	switch {
	case r.Status == grant.Redeemed:
		return micros(r.CodeAt.Add(grant.CodeLife + r.Lifetimes.Grant + r.Lifetimes.Access))
	case r.Status == grant.Approved && !r.CodeAt.IsZero():
		return micros(r.CodeAt.Add(grant.CodeLife))
	}
	return micros(r.ExpiresAt)
}

func sessionEnds(s *store.Session) int64 {
	if s.Ended {
		return noTime
	}
	return micros(s.ExpiresAt)
}
