package sqlite

import (
	"context"
	"time"

	"zombiezen.com/go/sqlite"

	"github.com/keytether/keytether/internal/grant"
	"github.com/keytether/keytether/internal/store"
)

// schemaDecoys is the migration that decoys came with.
const schemaDecoys = `
CREATE TABLE decoys (
	tenant TEXT NOT NULL, id TEXT NOT NULL, version INTEGER NOT NULL, state BLOB NOT NULL,
	hash BLOB NOT NULL, subject TEXT NOT NULL, planted INTEGER NOT NULL, fired INTEGER NOT NULL, locks INTEGER NOT NULL,
	PRIMARY KEY (tenant, id));
CREATE UNIQUE INDEX decoys_hash ON decoys (tenant, hash);
CREATE INDEX decoys_subject ON decoys (tenant, subject);
CREATE INDEX decoys_fired ON decoys (tenant, fired) WHERE fired > 0;
`

const (
	insertDecoy = `INSERT INTO decoys (tenant, id, version, state, hash, subject, planted, fired, locks) VALUES (?1, ?2, ?3 + 1, ?4, ?5, ?6, ?7, ?8, ?9)`
	updateDecoy = `UPDATE decoys SET version = ?3 + 1, state = ?4, hash = ?5, subject = ?6, planted = ?7, fired = ?8, locks = ?9 WHERE tenant = ?1 AND id = ?2 AND version = ?3`
	selectDecoy = `SELECT id, version, state FROM decoys WHERE tenant = ?1 AND `
)

func (w *writer) putDecoy(tenant string, d *store.Versioned[grant.Decoy], state []byte) error {
	return w.put(insertDecoy, updateDecoy, tenant, d.Value.ID, d.Version, state, func(stmt *sqlite.Stmt) {
		stmt.BindBytes(5, d.Value.Hash[:])
		stmt.BindText(6, d.Value.Subject)
		stmt.BindInt64(7, micros(d.Value.PlantedAt))
		stmt.BindInt64(8, micros(d.Value.FiredAt))
		stmt.BindBool(9, d.Value.Locks())
	})
}

// DecoyByHash implements store.Decoys.
func (s *Store) DecoyByHash(ctx context.Context, tenant string, h grant.Hash) (store.Versioned[grant.Decoy], error) {
	return one(ctx, s, selectDecoy+"hash = ?2", byHash(tenant, h), decoyFields, nameDecoy(tenant))
}

// DecoysOf implements store.Decoys.
func (s *Store) DecoysOf(ctx context.Context, tenant, subject string) ([]store.Versioned[grant.Decoy], error) {
	return all(ctx, s, selectDecoy+"subject = ?2 ORDER BY id DESC", byText(tenant, subject), decoyFields, nameDecoy(tenant))
}

// FiredDecoys implements store.Decoys.
func (s *Store) FiredDecoys(ctx context.Context, tenant string, since time.Time) ([]store.Versioned[grant.Decoy], error) {
	return all(ctx, s, selectDecoy+"fired > 0 AND (locks = 1 OR fired >= ?2) ORDER BY fired, id", func(stmt *sqlite.Stmt) {
		stmt.BindText(1, tenant)
		stmt.BindInt64(2, micros(since))
	}, decoyFields, nameDecoy(tenant))
}

func nameDecoy(tenant string) func(*grant.Decoy, string) {
	return func(d *grant.Decoy, id string) { d.Tenant, d.ID = tenant, id }
}

// PruneDecoys implements store.Decoys.
func (s *Store) PruneDecoys(ctx context.Context, tenant string, t time.Time) (int, error) {
	return s.prune(ctx, "DELETE FROM decoys WHERE tenant = ?1 AND planted < ?2 AND locks = 0", tenant, t)
}

func decoyFields(c *coder, d *grant.Decoy) {
	c.fixed(d.Hash[:])
	str(c, &d.Subject)
	str(c, &d.Installation)
	str(c, &d.Kind)
	str(c, &d.Ending)
	c.time(&d.PlantedAt)
	c.time(&d.FiredAt)
	str(c, &d.FiredFrom)
	c.time(&d.UnlockedAt)
}
