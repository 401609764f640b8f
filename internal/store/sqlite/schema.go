package sqlite

import (
	"context"
	"fmt"
	"os"

	"zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"

	"github.com/keytether/keytether/internal/store"
)

// applicationID marks the file as ours ("kTth").
const applicationID = 0x6b547468

// schema lists the migrations: schema[i] leads from version i to i+1. What has
// been released is never edited.
//
// Every table of states has: tenant and id, the version for compare-and-swap,
// what is looked up as columns, and the whole state in the encoding of
// codec.go. A row of leaves holds what one group appended to a tenant's log:
// the number of the first leaf, and each leaf after its length.
//
// No table is WITHOUT ROWID: rows of this size make such a tree deep, and one
// with overflow pages reads them whole to compare two keys.
var schema = []string{`
CREATE TABLE requests (
	tenant TEXT NOT NULL, id TEXT NOT NULL, version INTEGER NOT NULL, state BLOB NOT NULL,
	handle BLOB, code BLOB, ends INTEGER NOT NULL,
	PRIMARY KEY (tenant, id));
CREATE UNIQUE INDEX requests_handle ON requests (tenant, handle) WHERE handle IS NOT NULL;
CREATE UNIQUE INDEX requests_code ON requests (tenant, code) WHERE code IS NOT NULL;
CREATE INDEX requests_ends ON requests (tenant, ends);

CREATE TABLE grants (
	tenant TEXT NOT NULL, id TEXT NOT NULL, version INTEGER NOT NULL, state BLOB NOT NULL,
	active INTEGER NOT NULL, subject TEXT NOT NULL, client TEXT NOT NULL, resource TEXT NOT NULL, installation TEXT NOT NULL,
	PRIMARY KEY (tenant, id));
CREATE INDEX grants_subject ON grants (tenant, subject);
CREATE INDEX grants_installation ON grants (tenant, installation);
CREATE INDEX grants_client ON grants (tenant, client) WHERE active = 1;
CREATE INDEX grants_resource ON grants (tenant, resource) WHERE active = 1;

CREATE TABLE revocations (
	tenant TEXT NOT NULL, seq INTEGER NOT NULL,
	grant_id TEXT NOT NULL, jti TEXT NOT NULL, resource TEXT NOT NULL, at INTEGER NOT NULL, until INTEGER NOT NULL,
	PRIMARY KEY (tenant, seq));
CREATE UNIQUE INDEX revocations_what ON revocations (tenant, grant_id, jti);
CREATE INDEX revocations_until ON revocations (tenant, until);

CREATE TABLE accounts (
	tenant TEXT NOT NULL, id TEXT NOT NULL, version INTEGER NOT NULL, state BLOB NOT NULL,
	email TEXT,
	PRIMARY KEY (tenant, id));
CREATE UNIQUE INDEX accounts_email ON accounts (tenant, email) WHERE email IS NOT NULL;

CREATE TABLE sessions (
	tenant TEXT NOT NULL, id TEXT NOT NULL, version INTEGER NOT NULL, state BLOB NOT NULL,
	hash BLOB NOT NULL, ends INTEGER NOT NULL,
	PRIMARY KEY (tenant, id));
CREATE UNIQUE INDEX sessions_hash ON sessions (tenant, hash);
CREATE INDEX sessions_ends ON sessions (tenant, ends);

CREATE TABLE installations (
	tenant TEXT NOT NULL, id TEXT NOT NULL, version INTEGER NOT NULL, state BLOB NOT NULL,
	subject TEXT NOT NULL, thumbprint TEXT NOT NULL,
	PRIMARY KEY (tenant, id));
CREATE UNIQUE INDEX installations_key ON installations (tenant, subject, thumbprint);

CREATE TABLE entries (
	tenant TEXT NOT NULL, kind TEXT NOT NULL, id TEXT NOT NULL, version INTEGER NOT NULL, state BLOB NOT NULL,
	PRIMARY KEY (tenant, kind, id));

CREATE TABLE keys (
	tenant TEXT NOT NULL, id TEXT NOT NULL, version INTEGER NOT NULL, state BLOB NOT NULL,
	PRIMARY KEY (tenant, id));

CREATE TABLE logs (
	tenant TEXT NOT NULL PRIMARY KEY, size INTEGER NOT NULL, hashes INTEGER NOT NULL, checkpoint BLOB);
CREATE TABLE leaves (
	tenant TEXT NOT NULL, number INTEGER NOT NULL, leaves BLOB NOT NULL,
	PRIMARY KEY (tenant, number));
CREATE TABLE sidecars (
	tenant TEXT NOT NULL, number INTEGER NOT NULL, facts BLOB NOT NULL,
	PRIMARY KEY (tenant, number));
CREATE TABLE hashes (
	tenant TEXT NOT NULL, chunk INTEGER NOT NULL, data BLOB NOT NULL,
	PRIMARY KEY (tenant, chunk));
`, schemaDevices, schemaClients, schemaDecoys}

// migrate brings the database to the newest version, after a copy of what was
// there is kept beside it.
func migrate(ctx context.Context, conn *sqlite.Conn, path string, schema []string) error {
	app, err := pragma(conn, "application_id")
	if err != nil {
		return err
	}
	version, err := pragma(conn, "user_version")
	if err != nil {
		return err
	}
	tables, err := sqlitex.ResultInt64(conn.Prep("SELECT count(*) FROM sqlite_schema"))
	if err != nil {
		return err
	}
	switch {
	case app != applicationID && (app != 0 || version != 0 || tables != 0):
		return fmt.Errorf("%w: %s is a database of another program", ErrCorrupt, path)
	case version > int64(len(schema)):
		return fmt.Errorf("%w: %s has schema %d, this program knows %d; start the newer program again, or restore a backup",
			store.ErrNewerSchema, path, version, len(schema))
	case version == int64(len(schema)):
		return nil
	}
	if tables > 0 {
		if err := copyInto(ctx, conn, fmt.Sprintf("%s.before-v%d", path, len(schema))); err != nil && !os.IsExist(err) {
			return fmt.Errorf("keeping a copy before the migration: %w", err)
		}
	}
	// One transaction for all steps: a crash or a full disk leaves the old version.
	if err := sqlitex.ExecuteTransient(conn, "BEGIN IMMEDIATE", nil); err != nil {
		return err
	}
	for _, step := range schema[version:] {
		if err == nil {
			err = sqlitex.ExecScript(conn, step)
		}
	}
	if err == nil {
		err = sqlitex.ExecuteTransient(conn, fmt.Sprintf("PRAGMA user_version = %d", len(schema)), nil)
	}
	if err == nil {
		err = sqlitex.ExecuteTransient(conn, fmt.Sprintf("PRAGMA application_id = %d", applicationID), nil)
	}
	if err == nil {
		err = sqlitex.ExecuteTransient(conn, "COMMIT", nil)
	}
	if err != nil && !conn.AutocommitEnabled() {
		_ = sqlitex.ExecuteTransient(conn, "ROLLBACK", nil)
	}
	return err
}

func pragma(conn *sqlite.Conn, name string) (int64, error) {
	return sqlitex.ResultInt64(conn.Prep("PRAGMA " + name))
}
