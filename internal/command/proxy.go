package command

import (
	"context"
	"crypto/rand"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/keytether/keytether/internal/agentwire"
	"github.com/keytether/keytether/internal/localproxy"
	"github.com/keytether/keytether/internal/outbound"
	"github.com/keytether/keytether/internal/peersock"
	"github.com/keytether/keytether/internal/secret"
	"github.com/keytether/keytether/login"
)

// firstWord is how long a large body waits for the API to ask for it. An API that knows nothing of
// that (RFC 9110 section 10.1.1) costs each large upload so long.
const firstWord = 2 * time.Second

type proxyFlags struct {
	resource, scope string
	socket, listen  string
}

func (a *app) proxyCmd() *cobra.Command {
	var f proxyFlags
	c := &cobra.Command{
		Use:   "proxy --resource URL [--socket PATH | --listen ADDR]",
		Short: "Stand in for an API, for tools that cannot prove a key",
		Long: `Answers on a local socket as the API would: it adds the token and the proof to each request, renews,
and passes answers on as they come. Give its address to the tool as the address of the API; the
path after it is the path below the resource. It runs until you stop it.

By default that is a Unix socket which only programs of yours can open. With --listen it is a port
of 127.0.0.1 or [::1], which every process of this machine can reach: so the tool must show the
secret that is printed at the start, as a Bearer token or as the password of Basic.

A credential never goes anywhere but to the resource: a redirect elsewhere is the tool's to follow,
without it.`,
		Example: `  keytether proxy --resource https://api.example.test/v1
  curl --unix-socket $XDG_RUNTIME_DIR/keytether/proxy.sock http://api/reports
  keytether proxy --resource https://api.example.test --listen 127.0.0.1:8080`,
		Args: exactly(0, ""),
		RunE: func(c *cobra.Command, _ []string) error { return a.proxy(c.Context(), f) },
	}
	a.profileFlag(c)
	c.Flags().StringVar(&f.resource, "resource", "", "the API, as the login names it (RFC 8707)")
	c.Flags().StringVar(&f.scope, "scope", "", "less than the login's scope, names separated by spaces")
	c.Flags().StringVar(&f.socket, "socket", "", "path of the Unix socket; default: proxy.sock beside the agent's")
	c.Flags().StringVar(&f.listen, "listen", "", "address and port on the loopback interface; port 0 is any free one")
	a.jsonFlag(c, "the address as JSON: url or socket, secret, resource")
	return c
}

// ready is what `proxy --json` prints once it answers.
type proxyReady struct {
	URL      string           `json:"url,omitempty"`
	Socket   string           `json:"socket,omitempty"`
	Secret   agentwire.Secret `json:"secret,omitzero"`
	Resource string           `json:"resource"`
}

func (a *app) proxy(ctx context.Context, f proxyFlags) error {
	resource, err := f.check()
	if err != nil {
		return err
	}
	name, err := a.profileName()
	if err != nil {
		return err
	}
	socket, err := a.socket()
	if err != nil {
		return err
	}
	client, err := login.New(login.Options{Profile: name, Resource: f.resource, Scope: f.scope, Socket: socket})
	if err != nil {
		return proxyError(err)
	}
	holdsToken()
	if _, err := client.Token(ctx); err != nil { // better now than at the first request
		return proxyError(err)
	}
	tr, err := outbound.Transport(outbound.Options{Env: agentwire.CallerEnv(a.Environ)})
	if err != nil {
		return fail("the proxy was not started", err, "")
	}
	tr.DisableCompression = true // the tool's own affair
	tr.ExpectContinueTimeout = firstWord
	opt := localproxy.Options{Resource: resource, Through: client.RoundTripper(tr), Explain: explainProxied(resource)}
	ready := proxyReady{Resource: f.resource}
	ln, err := a.proxyListen(f, socket, &opt, &ready)
	if err != nil {
		return err
	}
	srv := &http.Server{Handler: localproxy.New(opt), ReadHeaderTimeout: 10 * time.Second, MaxHeaderBytes: 64 << 10}
	if err := a.showProxy(ready); err != nil {
		_ = ln.Close()
		return err
	}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(ln) }()
	select {
	case err := <-served:
		return fail("the proxy ended", err, "")
	case <-ctx.Done():
	}
	bye, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	if srv.Shutdown(bye) != nil {
		_ = srv.Close()
	}
	return nil
}

func (f proxyFlags) check() (*url.URL, error) {
	if f.resource == "" {
		return nil, usage("proxy wants --resource", "Name the API as the login does; see `keytether whoami`")
	}
	if f.socket != "" && f.listen != "" {
		return nil, usage("--socket and --listen are two ways to be reached", "Choose one; a socket is the safer one")
	}
	if err := checkURL("--resource", f.resource); err != nil {
		return nil, err
	}
	return url.Parse(f.resource)
}

// proxyListen opens the socket or the port, and says in opt and ready what that asks for.
func (a *app) proxyListen(f proxyFlags, agent string, opt *localproxy.Options, ready *proxyReady) (net.Listener, error) {
	if f.listen == "" {
		if f.socket == "" {
			f.socket = filepath.Join(filepath.Dir(agent), "proxy.sock")
		}
		path, err := filepath.Abs(f.socket)
		if err != nil {
			return nil, fail("the proxy was not started", err, "")
		}
		ln, err := peersock.Listen(path)
		if err != nil {
			return nil, fail("the proxy was not started", err, "Give another --socket, in a folder of yours that nobody else can enter")
		}
		ready.Socket = path
		return ln, nil
	}
	at, err := netip.ParseAddrPort(f.listen)
	if err != nil || !at.Addr().IsLoopback() {
		return nil, usage("--listen is not an address of the loopback interface with a port", "Write it as 127.0.0.1:8080 or [::1]:8080: every other address could be reached from outside")
	}
	ln, err := net.Listen("tcp", at.String())
	if err != nil {
		return nil, fail("the proxy was not started", cause(err), "Give another port, or port 0 for any free one")
	}
	var chance [32]byte
	if _, err := rand.Read(chance[:]); err != nil {
		_ = ln.Close()
		return nil, fail("the proxy was not started", err, "")
	}
	host := ln.Addr().String()
	opt.Hosts, opt.Secret = []string{host}, secret.Mint(secret.Proxy, chance)
	ready.URL, ready.Secret = "http://"+host, agentwire.NewSecret(opt.Secret.Reveal())
	return ln, nil
}

func (a *app) showProxy(r proxyReady) error {
	if a.json {
		return a.printJSON(r)
	}
	return a.writeFields(a.Stdout, []field{
		{"Address", r.URL}, {"Socket", r.Socket}, {"Secret", r.Secret.Reveal()}, {"Resource", r.Resource}, {"Stop", "with Ctrl-C"},
	})
}

// proxyError gives an error of package login its exit code.
func proxyError(err error) error {
	if e, ok := errors.AsType[*login.Error](err); ok {
		code := agentwire.Failed
		switch {
		case errors.Is(err, login.ErrNotLoggedIn):
			code = agentwire.NotLoggedIn
		case errors.Is(err, login.ErrDenied):
			code = agentwire.Denied
		case errors.Is(err, login.ErrUsage):
			code = agentwire.Usage
		case errors.Is(err, login.ErrUnreachable):
			code = agentwire.Unreachable
		}
		return agentwire.NewError(code, e.What, e.Why, e.Do, err)
	}
	return err
}

// explainProxied is what a tool is told of a request that came to nothing.
func explainProxied(resource *url.URL) func(*http.Request, error) (int, string) {
	return func(r *http.Request, err error) (int, string) {
		status := http.StatusBadGateway
		if errors.Is(err, login.ErrDenied) {
			status = http.StatusForbidden
		}
		if e, ok := errors.AsType[*login.Error](err); ok {
			return status, e.Error()
		}
		return status, outbound.Explain(r.Context(), resource, err).Error()
	}
}
