package sqlite

import (
	"context"
	"time"

	"zombiezen.com/go/sqlite"

	"github.com/keytether/keytether/internal/grant"
	"github.com/keytether/keytether/internal/store"
)

// schemaDevices is the migration that device authorizations came with. A user
// code may come up again after its time; the newest is meant.
const schemaDevices = `
CREATE TABLE devices (
	tenant TEXT NOT NULL, id TEXT NOT NULL, version INTEGER NOT NULL, state BLOB NOT NULL,
	code BLOB NOT NULL, user BLOB NOT NULL, live INTEGER NOT NULL, ends INTEGER NOT NULL,
	PRIMARY KEY (tenant, id));
CREATE UNIQUE INDEX devices_code ON devices (tenant, code);
CREATE INDEX devices_user ON devices (tenant, user, id);
CREATE INDEX devices_live ON devices (tenant, ends) WHERE live = 1;
CREATE INDEX devices_ends ON devices (tenant, ends);
`

const (
	insertDevice = `INSERT INTO devices (tenant, id, version, state, code, user, live, ends) VALUES (?1, ?2, ?3 + 1, ?4, ?5, ?6, ?7, ?8)`
	updateDevice = `UPDATE devices SET version = ?3 + 1, state = ?4, code = ?5, user = ?6, live = ?7, ends = ?8 WHERE tenant = ?1 AND id = ?2 AND version = ?3`
	selectDevice = `SELECT id, version, state FROM devices WHERE tenant = ?1 AND `
)

func (w *writer) putDevice(tenant string, d *store.Versioned[grant.Device], state []byte) error {
	return w.put(insertDevice, updateDevice, tenant, d.Value.ID, d.Version, state, func(stmt *sqlite.Stmt) {
		stmt.BindBytes(5, d.Value.CodeHash[:])
		stmt.BindBytes(6, d.Value.UserHash[:])
		stmt.BindBool(7, d.Value.Status == grant.Pending)
		stmt.BindInt64(8, deviceEnds(&d.Value))
	})
}

// deviceEnds is from when on nobody needs it. A redeemed one is kept as long as
// its lost answer can be asked for again.
func deviceEnds(d *grant.Device) int64 {
	if d.Status == grant.Redeemed {
		return micros(d.ExpiresAt.Add(d.Lifetimes.Idle))
	}
	return micros(d.Deadline())
}

// DeviceByCode implements store.Devices.
func (s *Store) DeviceByCode(ctx context.Context, tenant string, code grant.Hash) (store.Versioned[grant.Device], error) {
	return one(ctx, s, selectDevice+"code = ?2", byHash(tenant, code), deviceFields, nameDevice(tenant))
}

// DeviceByUserCode implements store.Devices.
func (s *Store) DeviceByUserCode(ctx context.Context, tenant string, user grant.Hash) (store.Versioned[grant.Device], error) {
	return one(ctx, s, selectDevice+"user = ?2 ORDER BY id DESC LIMIT 1", byHash(tenant, user), deviceFields, nameDevice(tenant))
}

func nameDevice(tenant string) func(*grant.Device, string) {
	return func(d *grant.Device, id string) { d.Tenant, d.ID = tenant, id }
}

// PendingDevices implements store.Devices.
func (s *Store) PendingDevices(ctx context.Context, tenant string, t time.Time) (int, error) {
	var n int64
	err := s.read(ctx, func(conn *sqlite.Conn) error {
		stmt, err := conn.Prepare("SELECT count(*) FROM devices WHERE tenant = ?1 AND live = 1 AND ends > ?2")
		if err != nil {
			return err
		}
		stmt.BindText(1, tenant)
		stmt.BindInt64(2, micros(t))
		if _, err := stmt.Step(); err != nil {
			return err
		}
		n = stmt.ColumnInt64(0)
		return stmt.Reset()
	})
	return int(n), err
}

// PruneDevices implements store.Devices.
func (s *Store) PruneDevices(ctx context.Context, tenant string, t time.Time) (int, error) {
	return s.prune(ctx, "DELETE FROM devices WHERE tenant = ?1 AND ends < ?2", tenant, t)
}

func deviceFields(c *coder, d *grant.Device) {
	str(c, &d.Status)
	str(c, &d.Client)
	c.strs(&d.Scope)
	str(c, &d.Resource)
	str(c, &d.Thumbprint)
	c.fixed(d.CodeHash[:])
	c.fixed(d.UserHash[:])
	c.flag(&d.Refresh)
	c.lifetimes(&d.Lifetimes)
	c.duration(&d.Interval)
	c.facts(&d.Facts)
	c.time(&d.CreatedAt)
	c.time(&d.TypeBy)
	c.time(&d.ExpiresAt)
	str(c, &d.Session)
	c.fixed(d.Binding[:])
	c.time(&d.TypedAt)
	str(c, &d.Subject)
	c.time(&d.AuthTime)
	str(c, &d.ACR)
	c.strs(&d.Granted)
	str(c, &d.ApprovedBy)
	c.time(&d.DecidedAt)
	str(c, &d.Grant)
	c.fixed(d.Salt[:])
}
