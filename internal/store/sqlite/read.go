package sqlite

import (
	"context"
	"fmt"
	"strings"
	"time"

	"zombiezen.com/go/sqlite"

	"github.com/keytether/keytether/internal/grant"
	"github.com/keytether/keytether/internal/store"
)

// read lends a reading connection to f.
func (s *Store) read(ctx context.Context, f func(*sqlite.Conn) error) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("%w: %w", store.ErrUnavailable, err)
	}
	var conn *sqlite.Conn
	select {
	case conn = <-s.readers:
	default:
		select {
		case conn = <-s.readers:
		case <-s.stopped:
			return store.ErrClosed
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", store.ErrUnavailable, ctx.Err())
		}
	}
	err := f(conn)
	s.readers <- conn
	if err != nil {
		return classify(err)
	}
	return nil
}

// one reads the single row of a table of states: version, state, tenant's id.
func one[T any](ctx context.Context, s *Store, sql string, bind func(*sqlite.Stmt), fields func(*coder, *T), name func(*T, string)) (store.Versioned[T], error) {
	var v store.Versioned[T]
	err := s.read(ctx, func(conn *sqlite.Conn) error {
		stmt, err := conn.Prepare(sql)
		if err != nil {
			return err
		}
		bind(stmt)
		found, err := stmt.Step()
		if err != nil {
			return err
		}
		if !found {
			return store.ErrNotFound
		}
		err = scan(stmt, &v, fields, name)
		if e := stmt.Reset(); err == nil {
			err = e
		}
		return err
	})
	if err != nil {
		return store.Versioned[T]{}, err
	}
	return v, nil
}

// all reads many rows.
func all[T any](ctx context.Context, s *Store, sql string, bind func(*sqlite.Stmt), fields func(*coder, *T), name func(*T, string)) ([]store.Versioned[T], error) {
	var list []store.Versioned[T]
	err := s.read(ctx, func(conn *sqlite.Conn) error {
		stmt, err := conn.Prepare(sql)
		if err != nil {
			return err
		}
		bind(stmt)
		for {
			more, err := stmt.Step()
			if err != nil || !more {
				return err
			}
			var v store.Versioned[T]
			if err := scan(stmt, &v, fields, name); err != nil {
				_ = stmt.Reset()
				return err
			}
			list = append(list, v)
		}
	})
	if err != nil {
		return nil, err
	}
	return list, nil
}

// scan reads the columns id, version, state.
func scan[T any](stmt *sqlite.Stmt, v *store.Versioned[T], fields func(*coder, *T), name func(*T, string)) error {
	id := stmt.ColumnText(0)
	v.Version = uint64(stmt.ColumnInt64(1))
	if !decode(text(stmt, 2), &v.Value, fields) {
		return damaged("the state of " + id + " cannot be read")
	}
	name(&v.Value, id)
	return nil
}

// text reads a blob as a string, so that the strings in it need no copies.
func text(stmt *sqlite.Stmt, col int) string {
	var b strings.Builder
	n := stmt.ColumnLen(col)
	b.Grow(n)
	_, _ = stmt.ColumnReader(col).WriteTo(&b)
	return b.String()
}

func named(tenant string) (request func(*grant.Request, string), grants func(*grant.Grant, string)) {
	return func(r *grant.Request, id string) { r.Tenant, r.ID = tenant, id },
		func(g *grant.Grant, id string) { g.Tenant, g.ID = tenant, id }
}

func byText(tenant string, more ...string) func(*sqlite.Stmt) {
	return func(stmt *sqlite.Stmt) {
		stmt.BindText(1, tenant)
		for i, s := range more {
			stmt.BindText(i+2, s)
		}
	}
}

func byHash(tenant string, h grant.Hash) func(*sqlite.Stmt) {
	return func(stmt *sqlite.Stmt) {
		stmt.BindText(1, tenant)
		stmt.BindBytes(2, h[:])
	}
}

// Request implements store.Requests.
func (s *Store) Request(ctx context.Context, tenant, id string) (store.Versioned[grant.Request], error) {
	name, _ := named(tenant)
	return one(ctx, s, "SELECT id, version, state FROM requests WHERE tenant = ?1 AND id = ?2", byText(tenant, id), requestFields, name)
}

// RequestByHandle implements store.Requests.
func (s *Store) RequestByHandle(ctx context.Context, tenant string, handle grant.Hash) (store.Versioned[grant.Request], error) {
	name, _ := named(tenant)
	return one(ctx, s, "SELECT id, version, state FROM requests WHERE tenant = ?1 AND handle = ?2", byHash(tenant, handle), requestFields, name)
}

// RequestByCode implements store.Requests.
func (s *Store) RequestByCode(ctx context.Context, tenant string, code grant.Hash) (store.Versioned[grant.Request], error) {
	name, _ := named(tenant)
	return one(ctx, s, "SELECT id, version, state FROM requests WHERE tenant = ?1 AND code = ?2", byHash(tenant, code), requestFields, name)
}

// PruneRequests implements store.Requests. A redeemed request is kept until its
// grant's whole lifetime is over.
func (s *Store) PruneRequests(ctx context.Context, tenant string, t time.Time) (int, error) {
	return s.prune(ctx, "DELETE FROM requests WHERE tenant = ?1 AND ends < ?2", tenant, t)
}

// PruneRevoked implements store.Grants.
func (s *Store) PruneRevoked(ctx context.Context, tenant string, t time.Time) (int, error) {
	return s.prune(ctx, "DELETE FROM revocations WHERE tenant = ?1 AND until < ?2", tenant, t)
}

// PruneSessions implements store.People.
func (s *Store) PruneSessions(ctx context.Context, tenant string, t time.Time) (int, error) {
	return s.prune(ctx, "DELETE FROM sessions WHERE tenant = ?1 AND ends < ?2", tenant, t)
}

func (s *Store) prune(ctx context.Context, sql, tenant string, t time.Time) (int, error) {
	// The count travels by channel: a caller that gave up does not read it.
	count := make(chan int, 1)
	err := s.do(ctx, func(w *writer) error {
		stmt, err := w.conn.Prepare(sql)
		if err != nil {
			return err
		}
		stmt.BindText(1, tenant)
		stmt.BindInt64(2, micros(t))
		if _, err := stmt.Step(); err != nil {
			return err
		}
		count <- w.conn.Changes()
		return nil
	})
	if err != nil {
		return 0, err
	}
	return <-count, nil
}

// Grant implements store.Grants.
func (s *Store) Grant(ctx context.Context, tenant, id string) (store.Versioned[grant.Grant], error) {
	if err := ctx.Err(); err != nil {
		return store.Versioned[grant.Grant]{}, classify(err)
	}
	select {
	case <-s.stopped:
		return store.Versioned[grant.Grant]{}, store.ErrClosed
	default:
	}
	if g, ok := s.recent.grant(tenant, id); ok {
		return g, nil
	}
	_, name := named(tenant)
	return one(ctx, s, "SELECT id, version, state FROM grants WHERE tenant = ?1 AND id = ?2", byText(tenant, id), grantFields, name)
}

// GrantsOf implements store.Grants. Newest first is by id: ids sort by time.
func (s *Store) GrantsOf(ctx context.Context, tenant string, q store.GrantQuery) ([]store.Versioned[grant.Grant], error) {
	sql := "SELECT id, version, state FROM grants WHERE tenant = ?1"
	args := []string{}
	for _, f := range []struct{ column, value string }{
		{"subject", q.Subject}, {"client", q.Client}, {"resource", q.Resource}, {"installation", q.Installation},
	} {
		if f.value != "" {
			args = append(args, f.value)
			sql += fmt.Sprintf(" AND %s = ?%d", f.column, len(args)+1)
		}
	}
	if q.ActiveOnly {
		sql += " AND active = 1"
	}
	limit := q.Limit
	if limit == 0 {
		limit = 1000
	}
	sql += fmt.Sprintf(" ORDER BY id DESC LIMIT ?%d", len(args)+2)
	_, name := named(tenant)
	texts := byText(tenant, args...)
	return all(ctx, s, sql, func(stmt *sqlite.Stmt) {
		texts(stmt)
		stmt.BindInt64(len(args)+2, int64(limit))
	}, grantFields, name)
}

// RevokedSince implements store.Grants. A single token's At is the time of its
// token.revoked record.
func (s *Store) RevokedSince(ctx context.Context, tenant string, t time.Time) ([]store.Revoked, error) {
	var list []store.Revoked
	err := s.read(ctx, func(conn *sqlite.Conn) error {
		stmt, err := conn.Prepare("SELECT grant_id, jti, resource, at, until FROM revocations WHERE tenant = ?1 AND until > ?2 ORDER BY seq")
		if err != nil {
			return err
		}
		stmt.BindText(1, tenant)
		stmt.BindInt64(2, micros(t))
		for {
			more, err := stmt.Step()
			if err != nil || !more {
				return err
			}
			r := store.Revoked{
				JTI: stmt.ColumnText(1), Resource: stmt.ColumnText(2),
				At: fromMicros(stmt.ColumnInt64(3)), Until: fromMicros(stmt.ColumnInt64(4)),
			}
			if r.JTI == "" {
				r.Grant = stmt.ColumnText(0)
			}
			list = append(list, r)
		}
	})
	if err != nil {
		return nil, err
	}
	return list, nil
}

// Installation implements store.Grants.
func (s *Store) Installation(ctx context.Context, tenant, id string) (store.Versioned[store.Installation], error) {
	return one(ctx, s, "SELECT id, version, state FROM installations WHERE tenant = ?1 AND id = ?2", byText(tenant, id),
		installationFields, nameInstallation)
}

// InstallationByKey implements store.Grants.
func (s *Store) InstallationByKey(ctx context.Context, tenant, subject, thumbprint string) (store.Versioned[store.Installation], error) {
	return one(ctx, s, "SELECT id, version, state FROM installations WHERE tenant = ?1 AND subject = ?2 AND thumbprint = ?3",
		byText(tenant, subject, thumbprint), installationFields, nameInstallation)
}

// Account implements store.People.
func (s *Store) Account(ctx context.Context, tenant, id string) (store.Versioned[store.Account], error) {
	return one(ctx, s, "SELECT id, version, state FROM accounts WHERE tenant = ?1 AND id = ?2", byText(tenant, id), accountFields, nameAccount)
}

// AccountByEmail implements store.People.
func (s *Store) AccountByEmail(ctx context.Context, tenant, email string) (store.Versioned[store.Account], error) {
	return one(ctx, s, "SELECT id, version, state FROM accounts WHERE tenant = ?1 AND email = ?2",
		byText(tenant, strings.ToLower(email)), accountFields, nameAccount)
}

// Accounts implements store.People, in the order of ids.
func (s *Store) Accounts(ctx context.Context, tenant string) ([]store.Versioned[store.Account], error) {
	return all(ctx, s, "SELECT id, version, state FROM accounts WHERE tenant = ?1 ORDER BY id", byText(tenant), accountFields, nameAccount)
}

// SessionByHash implements store.People.
func (s *Store) SessionByHash(ctx context.Context, tenant string, h grant.Hash) (store.Versioned[store.Session], error) {
	return one(ctx, s, "SELECT id, version, state FROM sessions WHERE tenant = ?1 AND hash = ?2", byHash(tenant, h), sessionFields,
		func(v *store.Session, id string) { v.ID = id })
}

// Session implements store.People.
func (s *Store) Session(ctx context.Context, tenant, id string) (store.Versioned[store.Session], error) {
	return one(ctx, s, "SELECT id, version, state FROM sessions WHERE tenant = ?1 AND id = ?2", byText(tenant, id), sessionFields,
		func(v *store.Session, id string) { v.ID = id })
}

// Entries implements store.Registry, in the order of kind and id.
func (s *Store) Entries(ctx context.Context, tenant string) ([]store.Versioned[store.Entry], error) {
	return all(ctx, s, "SELECT kind || ' ' || id, version, state FROM entries WHERE tenant = ?1 ORDER BY kind, id", byText(tenant), entryFields,
		func(v *store.Entry, id string) {
			kind, id, _ := strings.Cut(id, " ")
			v.Kind, v.ID = store.EntryKind(kind), id
		})
}

// Keys implements store.Registry, in the order of ids.
func (s *Store) Keys(ctx context.Context, tenant string) ([]store.Versioned[store.SealedKey], error) {
	return all(ctx, s, "SELECT id, version, state FROM keys WHERE tenant = ?1 ORDER BY id", byText(tenant), keyFields,
		func(v *store.SealedKey, id string) { v.ID = id })
}

func nameInstallation(v *store.Installation, id string) { v.ID = id }
func nameAccount(v *store.Account, id string)           { v.ID = id }
