package servercmd

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"reflect"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/keytether/keytether/internal/authserver"
	"github.com/keytether/keytether/internal/config"
	"github.com/keytether/keytether/internal/edge"
	"github.com/keytether/keytether/internal/feed"
	"github.com/keytether/keytether/internal/grant"
	"github.com/keytether/keytether/internal/identity"
	"github.com/keytether/keytether/internal/signer"
	"github.com/keytether/keytether/internal/store"
	"github.com/spf13/cobra"
)

// firstEmail is the account that a server without a config makes for itself.
const firstEmail = "admin@localhost.localdomain"

// drainTime is how long requests under way may take when the server stops.
const drainTime = 10 * time.Second

// pruneEvery is how often ended requests and sessions are dropped, and
// keepEnded how long they stay: a code's reuse must be recognised for as long
// as a grant that came of it can live.
const (
	pruneEvery = 10 * time.Minute
	keepEnded  = config.MaxGrant + 24*time.Hour
)

func serveCommand(o *options) *cobra.Command {
	c := &cobra.Command{
		Use:   "serve",
		Short: "Run the server",
		Long: "Run the server, with a config or with a data folder alone. Without either it keeps its data in\n" +
			"$XDG_STATE_HOME/keytether-server, listens on 127.0.0.1:8430, and makes a first account whose\n" +
			"password it prints, once. SIGHUP reads the config again; SIGTERM stops in good order.",
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			log, err := o.logger(c.ErrOrStderr())
			if err != nil {
				return err
			}
			cfg, fresh, err := o.load()
			if err != nil {
				return err
			}
			for _, w := range cfg.Warnings {
				log.Warn(w.String())
			}
			in, err := assemble(c.Context(), cfg, log, o.version)
			if err != nil {
				return err
			}
			ln, err := in.listen() // before a password is shown that nobody could use yet
			if err != nil {
				return errors.Join(err, in.store.Close())
			}
			if fresh {
				if err := in.firstAccount(c.Context(), c.OutOrStdout()); err != nil {
					return errors.Join(err, ln.Close(), in.store.Close())
				}
			}
			return in.serve(c.Context(), o, ln)
		},
	}
	o.flags(c)
	c.Flags().StringVar(&o.listen, "listen", "", "loopback `ADDR` to listen on, with --data")
	o.logFlags(c)
	return c
}

// firstAccount makes an account where there is none, and prints its password,
// once: it is kept nowhere.
func (in *instance) firstAccount(ctx context.Context, out io.Writer) error {
	have, err := in.store.Accounts(ctx, store.DefaultTenant)
	if err != nil || len(have) > 0 {
		return err
	}
	var random [32]byte
	if _, err := rand.Read(random[:]); err != nil {
		return err
	}
	pw := identity.OneTimePassword(random)
	err = in.server.Seed(ctx, named(in.cfg), []authserver.SeedAccount{{
		Email: firstEmail, Roles: []string{authserver.RoleAdmin}, Password: pw, OneTime: true,
	}})
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(out, "A first account was made. Its password is shown this once:\n\n  Email     %s\n  Password  %s\n\nLog in with:  keytether login --issuer %s\n\n",
		firstEmail, pw.Reveal(), in.cfg.Issuer)
	return err
}

// serve answers at ln until a signal or the end of ctx, then lets what is under way
// finish, signs the rest of the audit log and closes the store.
func (in *instance) serve(ctx context.Context, o *options, ln net.Listener) error {
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	srv := &http.Server{
		Handler: edge.New(edge.Options{
			Server: in.server, Sequencer: in.seq, TrustedProxies: in.cfg.TrustedProxies, Log: in.log,
		}),
	}
	edge.ConfigureServer(srv)

	var background sync.WaitGroup
	work, endWork := context.WithCancel(context.Background())
	fatal := make(chan error, 1)
	background.Go(func() {
		if err := in.seq.Run(work); err != nil {
			fatal <- err
		}
	})
	hup := make(chan os.Signal, 1)
	notifyReload(hup) // before anybody is told that we are ready: an unheard SIGHUP ends a process
	defer signal.Stop(hup)
	background.Go(func() { in.housekeeping(work, o, hup) })

	served := make(chan error, 1)
	go func() { served <- srv.Serve(ln) }()
	in.log.Info("ready", "issuer", in.cfg.Issuer, "listen", ln.Addr().String(), "version", o.version)

	var err error
	select {
	case <-ctx.Done():
	case err = <-served:
	case err = <-fatal:
	}
	in.log.Info("stopping")
	end, cancel := context.WithTimeout(context.Background(), drainTime)
	defer cancel()
	err = errors.Join(ignoreClosed(err), in.drain(end, srv))
	endWork()
	background.Wait()
	return errors.Join(err, in.store.Close())
}

// drain waits for requests under way. Who has not finished in time is a client
// that does not go on: that is no failure of ours.
func (in *instance) drain(end context.Context, srv *http.Server) error {
	err := srv.Shutdown(end)
	if errors.Is(err, context.DeadlineExceeded) {
		in.log.Warn("a client has not finished its request in time; its connection is closed")
		return srv.Close()
	}
	return err
}

func ignoreClosed(err error) error {
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

// listen opens the listening socket, with TLS where the config has it.
func (in *instance) listen() (net.Listener, error) {
	ln, err := net.Listen("tcp", in.cfg.Listen)
	if err != nil {
		return nil, fmt.Errorf("cannot listen on %s: %w. Is another server running? Choose another address", in.cfg.Listen, err)
	}
	if in.cfg.TLS == nil {
		return ln, nil
	}
	cert, err := tls.LoadX509KeyPair(in.cfg.TLS.CertFile, in.cfg.TLS.KeyFile)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("the TLS certificate cannot be used: %w", err), ln.Close())
	}
	return tls.NewListener(ln, &tls.Config{
		Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"},
	}), nil
}

// housekeeping drops what has ended, reads keys that a command has rotated, and
// the config at SIGHUP.
func (in *instance) housekeeping(ctx context.Context, o *options, hup <-chan os.Signal) {
	prune := time.NewTicker(pruneEvery)
	defer prune.Stop()
	keys := time.NewTicker(signer.ReloadEvery)
	defer keys.Stop()
	collect := time.NewTicker(collectEvery)
	defer collect.Stop()
	var c collector
	for {
		select {
		case <-ctx.Done():
			return
		case <-hup:
			in.report("reading the keys again", in.reloadKeys(ctx))
			in.report("reading the config again", in.reload(ctx, o))
		case <-collect.C:
			c.adapt()
		case <-keys.C:
			in.report("reading the keys again", in.reloadKeys(ctx))
		case <-prune.C:
			in.prune(ctx, time.Now())
		}
	}
}

// prune drops what has ended and is not asked for any more.
func (in *instance) prune(ctx context.Context, now time.Time) {
	for _, p := range []struct {
		what   string
		drop   func(context.Context, string, time.Time) (int, error)
		before time.Time
	}{
		{"authorization requests", in.store.PruneRequests, now.Add(-keepEnded)},
		{"sessions", in.store.PruneSessions, now.Add(-grant.SessionLife)},
		{"decoys", in.store.PruneDecoys, now.Add(-grant.DecoyLife)},
		{"device authorizations", in.store.PruneDevices, now.Add(-grant.DeviceCodeLife)},
		{"revocations", in.store.PruneRevoked, now.Add(-feed.PruneGrace)},
	} {
		_, err := p.drop(ctx, store.DefaultTenant, p.before)
		in.report("dropping old "+p.what, err)
	}
}

func (in *instance) report(what string, err error) {
	if err != nil && !errors.Is(err, context.Canceled) {
		in.log.Error(what+" failed; the server goes on as it was", "error", err)
	}
}

func (in *instance) reloadKeys(ctx context.Context) error {
	ring, err := planKeys(ctx, in.store, in.root, in.server.Keys())
	if err != nil {
		return err
	}
	in.server.UseKeys(ring)
	return in.signWith(ring)
}

// reload takes what the config says of accounts, resources and clients. A file
// that does not parse changes nothing.
func (in *instance) reload(ctx context.Context, o *options) error {
	cfg, fresh, err := o.load()
	if err != nil || fresh {
		return err
	}
	if cfg.Issuer != in.cfg.Issuer || cfg.Listen != in.cfg.Listen || cfg.Data != in.cfg.Data ||
		!reflect.DeepEqual(cfg.TLS, in.cfg.TLS) || !slices.Equal(cfg.TrustedProxies, in.cfg.TrustedProxies) {
		return errors.New("issuer, listen, data, tls and trusted_proxies cannot change while the server runs; restart it")
	}
	// Who is named no longer is refused from here on, before it is recorded.
	in.server.UseRegistry(registry(cfg))
	if err := in.server.Seed(ctx, named(cfg), seedAccounts(cfg)); err != nil {
		return fmt.Errorf("the new clients and resources are in force, but what was removed or added could not all be recorded; send SIGHUP again: %w", err)
	}
	in.cfg = cfg
	in.log.Info("config read again")
	return nil
}
