package servercmd

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/keytether/keytether/internal/audit"
	"github.com/keytether/keytether/internal/authserver"
	"github.com/keytether/keytether/internal/config"
	"github.com/keytether/keytether/internal/grant"
	"github.com/keytether/keytether/internal/identity"
	"github.com/keytether/keytether/internal/sequencer"
	"github.com/keytether/keytether/internal/signer"
	"github.com/keytether/keytether/internal/store"
	"github.com/keytether/keytether/internal/store/sqlite"
)

// File names in the data folder.
const (
	databaseFile = "keytether.db"
	rootKeyFile  = "root.key"
)

// instance is one tenant's server, put together and not yet listening.
type instance struct {
	cfg    *config.Config
	store  *sqlite.Store
	root   *signer.Root
	server *authserver.Server
	seq    *sequencer.Sequencer
	log    *slog.Logger
}

// opened is the data folder with its keys.
type opened struct {
	store *sqlite.Store
	root  *signer.Root
	ring  *signer.Ring
}

// open opens (or makes) the data folder and its keys.
func open(ctx context.Context, cfg *config.Config, log *slog.Logger) (*opened, error) {
	if err := os.MkdirAll(cfg.Data, 0o700); err != nil {
		return nil, fmt.Errorf("the data folder cannot be made: %w", err)
	}
	st, err := sqlite.Open(ctx, sqlite.Options{Path: filepath.Join(cfg.Data, databaseFile), Log: log})
	if err != nil {
		return nil, fmt.Errorf("the data in %s cannot be opened: %w", cfg.Data, err)
	}
	o := &opened{store: st}
	if err := o.openKeys(ctx, cfg, log); err != nil {
		return nil, errors.Join(err, st.Close())
	}
	return o, nil
}

func (o *opened) openKeys(ctx context.Context, cfg *config.Config, log *slog.Logger) error {
	sealed, err := o.store.Keys(ctx, store.DefaultTenant)
	if err != nil {
		return err
	}
	ro := signer.RootOptions{File: filepath.Join(cfg.Data, rootKeyFile)}
	if dir := os.Getenv("CREDENTIALS_DIRECTORY"); dir != "" {
		ro.Credential = filepath.Join(dir, signer.CredentialName)
	}
	if o.root, err = signer.LoadRoot(ro, len(sealed), rand.Reader); err != nil {
		return err
	}
	if w := o.root.Warning(); w != "" {
		log.Warn(w)
	}
	o.ring, err = planKeys(ctx, o.store, o.root, nil)
	return err
}

// planKeys opens the keys and makes those that are missing.
func planKeys(ctx context.Context, st store.Store, root *signer.Root, former *signer.Ring) (*signer.Ring, error) {
	for {
		sealed, err := st.Keys(ctx, store.DefaultTenant)
		if err != nil {
			return nil, err
		}
		env := signer.Env{Root: root, Tenant: store.DefaultTenant, Now: time.Now().UTC().Truncate(time.Microsecond), Random: rand.Reader, Former: former}
		change, ring, err := signer.Plan(env, sealed)
		if err != nil {
			return nil, err
		}
		if change.IsEmpty() {
			return ring, nil
		}
		if err := st.Commit(ctx, store.DefaultTenant, change); !errors.Is(err, store.ErrConflict) {
			return ring, err
		}
	}
}

// assemble opens everything that a server is made of.
func assemble(ctx context.Context, cfg *config.Config, log *slog.Logger, version string) (*instance, error) {
	o, err := open(ctx, cfg, log)
	if err != nil {
		return nil, err
	}
	in := &instance{cfg: cfg, store: o.store, root: o.root, log: log}
	if err := in.build(ctx, o.ring, version); err != nil {
		return nil, errors.Join(err, o.store.Close())
	}
	return in, nil
}

func (in *instance) build(ctx context.Context, ring *signer.Ring, version string) error {
	people, err := identity.NewPasswords(time.Now, rand.Reader)
	if err != nil {
		return err
	}
	in.server, err = authserver.New(ctx, authserver.Options{
		Issuer: in.cfg.Issuer, Store: in.store, Keys: ring, Registry: registry(in.cfg), People: people,
		Attempts: identity.NewLimiter(time.Now), Now: time.Now, Random: rand.Reader, Log: in.log, Version: version,
	})
	if err != nil {
		return err
	}
	if err := in.newSequencer(ring); err != nil {
		return err
	}
	if err := in.server.Start(ctx); err != nil {
		return err
	}
	return in.server.Seed(ctx, named(in.cfg), seedAccounts(in.cfg))
}

// newSequencer makes the one that signs the audit log with the ring's keys.
func (in *instance) newSequencer(ring *signer.Ring) error {
	origin, err := audit.Origin(in.cfg.Issuer, store.DefaultTenant)
	if err != nil {
		return err
	}
	in.seq = &sequencer.Sequencer{
		Log: in.store, Tenant: store.DefaultTenant, Origin: origin, Clock: time.Now, Logger: in.log,
	}
	return in.signWith(ring)
}

// signWith has the audit log signed with the ring's keys from now on.
func (in *instance) signWith(ring *signer.Ring) error {
	signers, err := ring.NoteSigners(in.seq.Origin, time.Now())
	if err != nil {
		return err
	}
	keys, err := ring.NoteVerifierKeys(in.seq.Origin)
	if err != nil {
		return err
	}
	destroyed, err := ring.DestroyedNoteKeys(in.seq.Origin)
	if err != nil {
		return err
	}
	known, err := audit.Verifiers(append(keys, destroyed...)...)
	if err != nil {
		return err
	}
	in.seq.UseKeys(known, signers[0], signers[1:]...)
	return nil
}

// registry turns the config's words into the server's.
func registry(cfg *config.Config) *authserver.Registry {
	var clients []*authserver.Client
	for _, c := range cfg.Clients {
		clients = append(clients, &authserver.Client{
			ID: c.ID, Name: c.Name, RedirectURIs: c.RedirectURIs, GrantTypes: grantTypes(c.Grants),
			DefaultResource: c.DefaultResource, DefaultScopes: c.DefaultScopes, Scopes: c.Scopes, Resources: c.Resources,
			DPoPRequired: c.DPoP == config.Required, Handshake: c.Handshake == config.Required,
			PARRequired: c.PAR == config.Required || c.Handshake == config.Required, ResponseModes: c.ResponseModes,
			IDTokenAlg: c.IDTokenAlg, Lifetimes: lifetimes(c.Lifetimes),
			Device:         deviceRules(c.Device),
			Authentication: authserver.Authentication{Method: c.AuthMethod, Secret: c.Secret, Keys: c.Keys},
		})
	}
	var resources []*authserver.Resource
	for _, r := range cfg.Resources {
		if r.BuiltIn {
			resources = append(resources, authserver.APIResource(cfg.Issuer))
			continue
		}
		res := &authserver.Resource{ID: r.ID, Name: r.Name, Bearer: r.Bearer == config.BearerAllowed, Keys: r.Keys}
		for _, sc := range r.Scopes {
			res.Scopes = append(res.Scopes, authserver.Scope{Name: sc.Name, Words: sc.Words})
		}
		resources = append(resources, res)
	}
	return authserver.NewRegistry(clients, resources).WithTripRule(grant.TripRule(cfg.RevokeGrant)).WithRegistration(registration(cfg))
}

func lifetimes(l config.Lifetimes) grant.Lifetimes {
	out := grant.DefaultLifetimes()
	for _, set := range []struct {
		to   *time.Duration
		from time.Duration
	}{{&out.Access, l.Access}, {&out.Idle, l.Idle}, {&out.Grant, l.Grant}} {
		if set.from != 0 {
			*set.to = set.from
		}
	}
	return out
}

// named lists the config's entries for the seed.
func named(cfg *config.Config) []authserver.Named {
	var out []authserver.Named
	for _, a := range cfg.Accounts {
		out = append(out, authserver.Named{Kind: store.EntryAccount, ID: identity.FoldEmail(a.Email), Digest: config.Digest(a)})
	}
	for _, r := range cfg.Resources {
		out = append(out, authserver.Named{Kind: store.EntryResource, ID: r.ID, Digest: config.Digest(r)})
	}
	for _, c := range cfg.Clients {
		out = append(out, authserver.Named{Kind: store.EntryClient, ID: c.ID, Digest: config.Digest(c)})
	}
	return out
}

func seedAccounts(cfg *config.Config) []authserver.SeedAccount {
	var out []authserver.SeedAccount
	for _, a := range cfg.Accounts {
		out = append(out, authserver.SeedAccount{Email: a.Email, Roles: a.Roles, Password: a.Password})
	}
	return out
}
