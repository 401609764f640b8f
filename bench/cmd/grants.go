package main

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	zombie "zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"

	"github.com/keytether/keytether/bench/driver"
	"github.com/keytether/keytether/internal/grant"
	"github.com/keytether/keytether/internal/id"
	"github.com/keytether/keytether/internal/secret"
	"github.com/keytether/keytether/internal/signer"
	"github.com/keytether/keytether/internal/store"
	"github.com/keytether/keytether/internal/store/sqlite"
	"github.com/keytether/keytether/internal/testkit/stage"
)

// fewGrants is what many grants are compared with (design §7), all of them active.
const fewGrants = 10_000

// grantCounts compares the CPU of a refresh among many grants, of which active
// ones are renewed, with that among few.
func grantCounts(ctx context.Context, bin string, load time.Duration, many, active int) ([]Row, error) {
	small, err := refreshAmong(ctx, bin, fewGrants, fewGrants, load)
	if err != nil {
		return nil, err
	}
	big, err := refreshAmong(ctx, bin, many, active, load)
	if err != nil {
		return nil, err
	}
	return []Row{{
		Work: fmt.Sprintf("refresh, server CPU, among %d grants of which %d are active", many, active), Value: big, Unit: "µs",
		Ratio: big / small, Floor: fmt.Sprintf("that among %d", fewGrants), Must: 1.3, Stretch: 1.15,
	}}, nil
}

func refreshAmong(ctx context.Context, bin string, total, active int, load time.Duration) (us float64, err error) {
	st, err := stage.New(ctx, bin, stage.Options{LogLevel: "warn", Clients: benchClient, NoAPI: true})
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, st.Close(context.WithoutCancel(ctx))) }()
	srv, err := driver.Discover(ctx, st.Issuer, st.Client())
	if err != nil {
		return 0, err
	}
	var tools [workers]*driver.Tool
	for i := range tools {
		if tools[i], err = driver.NewTool(srv, "bench-cli"); err != nil {
			return 0, err
		}
	}
	if err := st.StopServer(ctx); err != nil {
		return 0, err
	}
	begun := time.Now()
	grants, err := layGrants(ctx, st, tools[:], active)
	if err == nil {
		err = copyGrants(ctx, databaseOf(st), total/active)
	}
	if err != nil {
		return 0, err
	}
	laid := time.Since(begun)
	info, err := os.Stat(databaseOf(st))
	if err != nil {
		return 0, err
	}
	begun = time.Now()
	if err := st.StartServer(ctx); err != nil {
		return 0, err
	}
	step(fmt.Sprintf("  %d grants (%.0f MB) laid in %.1f s, the server started on them in %.1f s",
		total, float64(info.Size())/1e6, laid.Seconds(), time.Since(begun).Seconds()))
	return storm(ctx, st, grants, load)
}

// layGrants puts active grants into a server's store, which must not be open,
// each of a person and an installation of its own, with refresh tokens under the
// server's key. Their ids end in zeros.
func layGrants(ctx context.Context, st *stage.Stage, tools []*driver.Tool, n int) (out []held, err error) {
	s, err := sqlite.Open(ctx, sqlite.Options{Path: databaseOf(st)})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	now := time.Now().UTC().Truncate(time.Microsecond)
	key, err := refreshKey(ctx, st, s, now)
	if err != nil {
		return nil, err
	}
	for len(out) < n {
		var c store.Change
		for range min(2000, n-len(out)) {
			i := len(out)
			var random [10]byte
			binary.BigEndian.PutUint32(random[:], uint32(i))
			raw := id.NewRaw(now, random)
			token := secret.SealRefresh(key, store.DefaultTenant, secret.RefreshHandle{Grant: raw}, sha256.Sum256(random[:]))
			tool := tools[i%len(tools)]
			c.Grants = append(c.Grants, store.Versioned[grant.Grant]{Value: grant.Grant{
				Tenant: store.DefaultTenant, ID: raw.String(id.Grant), Status: grant.Active,
				Subject: raw.String(id.Account), Client: tool.Client, Scope: []string{"read"}, Resource: st.Resource,
				Thumbprint: tool.Signer.Public().Thumbprint(), Flow: grant.FlowDevice, Installation: raw.String(id.Installation),
				AuthTime: now, ACR: "pwd", Lifetimes: grant.DefaultLifetimes(), CreatedAt: now, EndsAt: now.Add(grant.GrantLife),
				RotatedAt: now, Current: grant.Hash(token.Hash()),
			}})
			out = append(out, held{tool, token.Reveal()})
		}
		if err := s.Commit(ctx, store.DefaultTenant, c); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func databaseOf(st *stage.Stage) string { return filepath.Join(st.Data(), "keytether.db") }

// refreshKey opens the key that the server's refresh tokens are under.
func refreshKey(ctx context.Context, st *stage.Stage, s store.Store, now time.Time) (secret.Key, error) {
	sealed, err := s.Keys(ctx, store.DefaultTenant)
	if err != nil {
		return secret.Key{}, err
	}
	root, err := signer.LoadRoot(signer.RootOptions{File: filepath.Join(st.Data(), "root.key")}, len(sealed), rand.Reader)
	if err != nil {
		return secret.Key{}, err
	}
	_, ring, err := signer.Plan(signer.Env{Root: root, Tenant: store.DefaultTenant, Now: now, Random: rand.Reader}, sealed)
	if err != nil {
		return secret.Key{}, err
	}
	return ring.RefreshKey(now), nil
}

// copyGrants makes so many rows of each grant: itself, and others after it that
// nobody renews. So what is renewed lies apart, and each person has as many. It
// needs no durability, and goes by SQLite itself.
func copyGrants(ctx context.Context, path string, each int) (err error) {
	conn, err := zombie.OpenConn(path, zombie.OpenReadWrite)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	conn.SetInterrupt(ctx.Done())
	for _, q := range []string{
		"PRAGMA journal_mode = OFF", "PRAGMA synchronous = OFF", "PRAGMA cache_size = -256000",
		"BEGIN",
		"CREATE TEMP TABLE active AS SELECT * FROM grants ORDER BY id",
		"DELETE FROM grants",
		fmt.Sprintf(`WITH RECURSIVE nth(n) AS (VALUES (0) UNION ALL SELECT n + 1 FROM nth WHERE n < %d)
			INSERT INTO grants SELECT tenant, substr(id, 1, length(id) - 6) || printf('%%06d', n), version, state,
				active, subject, client, resource, installation FROM active CROSS JOIN nth`, each-1),
		"COMMIT",
		"PRAGMA journal_mode = WAL",
	} {
		if err := sqlitex.ExecuteTransient(conn, q, nil); err != nil {
			return fmt.Errorf("%.60s: %w", q, err)
		}
	}
	return nil
}
