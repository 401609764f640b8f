package sqlite

import (
	"context"

	"github.com/keytether/keytether/internal/store"
)

// schemaClients is the migration that clients which register themselves (RFC
// 7591) came with.
const schemaClients = `
CREATE TABLE clients (
	tenant TEXT NOT NULL, id TEXT NOT NULL, version INTEGER NOT NULL, state BLOB NOT NULL,
	PRIMARY KEY (tenant, id));
`

const (
	insertClient = `INSERT INTO clients (tenant, id, version, state) VALUES (?1, ?2, ?3 + 1, ?4)`
	updateClient = `UPDATE clients SET version = ?3 + 1, state = ?4 WHERE tenant = ?1 AND id = ?2 AND version = ?3`
)

// Clients implements store.Registry.
func (s *Store) Clients(ctx context.Context, tenant string) ([]store.Versioned[store.RegisteredClient], error) {
	return all(ctx, s, "SELECT id, version, state FROM clients WHERE tenant = ?1 ORDER BY id", byText(tenant), clientFields,
		func(v *store.RegisteredClient, id string) { v.ID = id })
}

func clientFields(c *coder, v *store.RegisteredClient) {
	str(c, &v.Name)
	c.strs(&v.RedirectURIs)
	c.strs(&v.GrantTypes)
	c.strs(&v.Scopes)
	c.flag(&v.DPoPRequired)
	c.flag(&v.Handshake)
	c.flag(&v.PARRequired)
	str(c, &v.IDTokenAlg)
	str(c, &v.Token)
	c.time(&v.CreatedAt)
	c.flag(&v.Disabled)
}
