// Package stage puts a whole Keytether on one machine for a test, a benchmark
// or the demo: the built binaries, a server with a config, a sample API that
// package verify guards, a person's home with an agent, and browsers.
package stage

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/keytether/keytether/internal/testkit"
	"github.com/keytether/keytether/internal/testkit/browser"
)

// The person that every stage has.
const (
	Email    = "person@example.test"
	Password = "correct horse battery staple"
)

// Options say what a stage has. The zero value is plain http on loopback.
type Options struct {
	// TLS puts the server at https://auth.test and the API at https://api.test,
	// with certificates of a private authority. Programs find the names through
	// a proxy, browsers by a host rule.
	TLS bool
	// Clients and Resources are further YAML list items of the config, each
	// beginning with "- ".
	Clients, Resources string
	// LogLevel of the server; "debug" if empty.
	LogLevel string
	// Log gets what every process says; may be nil.
	Log io.Writer
	// NoAPI leaves the sample API out.
	NoAPI bool
	// Between stands between everybody and the server, if it is not nil: it may
	// look at what goes by, or be in the way. With TLS it is then a front that ends
	// the TLS, and the server behind it speaks plain http.
	Between func(server http.Handler) http.Handler
}

// Stage is a running Keytether. Close it.
type Stage struct {
	Dir      string
	Issuer   string
	Resource string      // the sample API's identifier
	CA       *testkit.CA // nil without TLS
	Server   *testkit.Process
	API      *testkit.Process
	*Machine // the person's first

	opt        Options
	bin        string
	config     string
	serverAddr string // where the issuer is reached
	listen     string // where the server listens: the same, or behind Between
	apiAddr    string
	env        []string // how programs find the servers
	proxy      *testkit.Proxy
	front      *testkit.Front
	between    *http.Server

	mu       sync.Mutex
	browsers int
	machines []*Machine
}

// Binaries builds the programs into dir, which then serves any number of stages.
func Binaries(ctx context.Context, dir string) error {
	_, err := testkit.Build(ctx, dir,
		"github.com/keytether/keytether/cmd/keytether",
		"github.com/keytether/keytether/cmd/keytether-server",
		"github.com/keytether/keytether/examples/go/api")
	return err
}

// New makes a stage below a folder of its own and starts server and API. bin is
// where Binaries put the programs.
func New(ctx context.Context, bin string, opt Options) (*Stage, error) {
	dir, err := testkit.ShortDir()
	if err != nil {
		return nil, err
	}
	if opt.LogLevel == "" {
		opt.LogLevel = "debug"
	}
	s := &Stage{Dir: dir, opt: opt, bin: bin}
	if err := s.build(ctx); err != nil {
		return nil, errors.Join(err, s.Close(ctx))
	}
	return s, nil
}

func (s *Stage) build(ctx context.Context) error {
	var err error
	if s.serverAddr, err = testkit.FreeLoopback(); err != nil {
		return err
	}
	if s.apiAddr, err = testkit.FreeLoopback(); err != nil {
		return err
	}
	s.Issuer, s.Resource, s.listen = "http://"+s.serverAddr, "http://"+s.apiAddr, s.serverAddr
	if s.opt.TLS {
		if err := s.buildTLS(); err != nil {
			return err
		}
	}
	if s.opt.Between != nil {
		if err := s.buildBetween(); err != nil {
			return err
		}
	}
	if s.Machine, err = s.NewMachine("person"); err != nil {
		return err
	}
	if err := s.writeConfig(); err != nil {
		return err
	}
	if err := s.StartServer(ctx); err != nil {
		return err
	}
	if s.opt.NoAPI {
		return nil
	}
	return s.StartAPI(ctx)
}

func (s *Stage) writeConfig() error {
	write := func(name, text string) error {
		return os.WriteFile(filepath.Join(s.Dir, name), []byte(text), 0o600)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "issuer: %s\nlisten: %s\ndata: ./data\n", s.Issuer, s.listen)
	if s.opt.TLS && s.between == nil {
		b.WriteString("tls: {cert_file: cert.pem, key_file: key.pem}\n")
	}
	fmt.Fprintf(&b, "accounts:\n  - {email: %s, password_file: person.pw, roles: [admin]}\n", Email)
	fmt.Fprintf(&b, "resources:\n  - {id: %q, name: Sample API, scopes: {read: Read reports, write: Change reports}, bearer: refused, jwks_file: api.jwks.json}\n", s.Resource)
	indent(&b, s.opt.Resources)
	b.WriteString("clients:\n  - id: example-cli\n    name: Example CLI\n" +
		"    redirect_uris: [\"http://127.0.0.1/callback\", \"http://[::1]/callback\"]\n" +
		"    grants: [authorization_code, refresh_token]\n    default_resource: " + s.Resource + "\n" +
		"    dpop: required\n    handshake: required\n")
	indent(&b, s.opt.Clients)
	key, jwks, err := apiKey()
	if err != nil {
		return err
	}
	s.config = filepath.Join(s.Dir, "keytether.yaml")
	return errors.Join(write("person.pw", Password+"\n"), write("api.key.pem", key), write("api.jwks.json", jwks),
		write("keytether.yaml", b.String()))
}

func indent(b *strings.Builder, items string) {
	for line := range strings.Lines(items) {
		b.WriteString("  " + strings.TrimRight(line, "\n") + "\n")
	}
}

// Config is the path of the server's config file.
func (s *Stage) Config() string { return s.config }

// Data is the server's data folder.
func (s *Stage) Data() string { return filepath.Join(s.Dir, "data") }

// StartServer starts the server, or starts it again.
func (s *Stage) StartServer(ctx context.Context) error {
	p, err := testkit.StartProcess(testkit.Command{
		Path: filepath.Join(s.bin, "keytether-server"),
		Args: []string{"serve", "--config", s.config, "--log-level", s.opt.LogLevel},
		Env:  []string{"PATH=" + os.Getenv("PATH"), "HOME=" + s.Dir, "TZ=UTC"},
		Dir:  s.Dir, Log: s.opt.Log,
	})
	if err != nil {
		return err
	}
	s.Server = p
	return p.WaitReady(ctx, s.Client(), s.Issuer+"/readyz")
}

// StopServer ends the server in good order. StartServer starts it again.
func (s *Stage) StopServer(ctx context.Context) error {
	end, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	return ignoreSignal(s.Server.Stop(end))
}

// StartAPI starts the sample API, or starts it again.
func (s *Stage) StartAPI(ctx context.Context) error {
	env := append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + s.Dir}, s.env...)
	p, err := testkit.StartProcess(testkit.Command{
		Path: filepath.Join(s.bin, "api"),
		Args: []string{"--issuer", s.Issuer, "--resource", s.Resource, "--key", filepath.Join(s.Dir, "api.key.pem"), "--listen", s.apiAddr},
		Env:  env, Dir: s.Dir, Log: s.opt.Log,
	})
	if err != nil {
		return err
	}
	s.API = p
	return p.WaitReady(ctx, nil, "http://"+s.apiAddr+"/readyz")
}

// Client is an HTTP client that finds and trusts the stage's servers.
func (s *Stage) Client() *http.Client {
	return &http.Client{Timeout: 30 * time.Second, Transport: s.transport(), CheckRedirect: func(*http.Request, []*http.Request) error {
		return http.ErrUseLastResponse
	}}
}

// Browser starts a browser with a fresh profile that finds the stage's servers.
func (s *Stage) Browser(ctx context.Context, opt browser.Options) (*browser.Browser, error) {
	s.mu.Lock()
	s.browsers++
	opt.Dir = filepath.Join(s.Dir, fmt.Sprintf("browser%d", s.browsers))
	s.mu.Unlock()
	if err := os.Mkdir(opt.Dir, 0o700); err != nil {
		return nil, err
	}
	if s.opt.TLS {
		opt.CA = s.CA.PEM()
		hosts := map[string]string{"auth.test": s.serverAddr, "api.test": s.front.Addr()}
		maps.Copy(hosts, opt.Hosts)
		opt.Hosts = hosts
	}
	return browser.Launch(ctx, opt)
}

// Close ends everything the stage started and removes its folder.
func (s *Stage) Close(ctx context.Context) error {
	var errs []error
	for _, m := range s.machines {
		errs = append(errs, m.close(ctx))
	}
	for _, p := range []*testkit.Process{s.API, s.Server} {
		if p != nil {
			end, cancel := context.WithTimeout(ctx, 15*time.Second)
			errs = append(errs, ignoreSignal(p.Stop(end)))
			cancel()
		}
	}
	if s.between != nil {
		errs = append(errs, s.between.Close())
	}
	if s.front != nil {
		errs = append(errs, s.front.Close())
	}
	if s.proxy != nil {
		errs = append(errs, s.proxy.Close())
	}
	return errors.Join(append(errs, os.RemoveAll(s.Dir))...)
}

// ignoreSignal passes over how a process ended that was told to.
func ignoreSignal(err error) error {
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return nil
	}
	return err
}
