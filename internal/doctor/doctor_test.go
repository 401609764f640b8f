//go:build linux

package doctor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keytether/keytether/internal/oauth"
	"github.com/keytether/keytether/internal/peersock"
	"github.com/keytether/keytether/internal/testkit"
)

const issuer = "https://auth.test"

// site is an issuer with a certificate of a private authority. The second result is its file.
func site(t *testing.T, h http.HandlerFunc) (dial func(context.Context, string, string) (net.Conn, error), ca string) {
	t.Helper()
	authority, err := testkit.NewCA()
	must(t, err)
	conf, err := authority.TLS("auth.test")
	must(t, err)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	s := &http.Server{Handler: h, TLSConfig: conf, ErrorLog: log.New(io.Discard, "", 0)}
	go func() { _ = s.ServeTLS(l, "", "") }()
	t.Cleanup(func() { _ = s.Close() })
	ca = filepath.Join(t.TempDir(), "ca.pem")
	must(t, os.WriteFile(ca, authority.PEM(), 0o600))
	return func(ctx context.Context, network, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, l.Addr().String())
	}, ca
}

func metadata(w http.ResponseWriter, _ *http.Request) {
	_ = json.NewEncoder(w).Encode(oauth.MetadataFor(issuer, nil))
}

// well is a machine on which all is well. Tests then spoil one thing.
func well(t *testing.T) (Options, map[string]string) {
	t.Helper()
	home := t.TempDir()
	for _, dir := range []string{"state", "config", "run", "root/dev", "root/etc/chromium/policies/managed"} {
		must(t, os.MkdirAll(filepath.Join(home, dir), 0o700))
	}
	must(t, os.WriteFile(filepath.Join(home, "config/config.yaml"), nil, 0o600))
	must(t, os.WriteFile(filepath.Join(home, "root/dev/tpmrm0"), nil, 0o600))
	dial, ca := site(t, metadata)
	env := map[string]string{"SSL_CERT_FILE": ca, "XDG_RUNTIME_DIR": filepath.Join(home, "run")}
	return Options{
		GOOS: "linux", Getenv: func(n string) string { return env[n] }, Env: env, Now: time.Now, Version: "v1.0.0", Issuer: issuer,
		Config: filepath.Join(home, "config/config.yaml"), State: filepath.Join(home, "state"), Socket: filepath.Join(home, "run/agent.sock"),
		Agent: func(ctx context.Context) (Agent, error) {
			c, err := peersock.Dial(ctx, filepath.Join(home, "run/agent.sock"))
			if err == nil {
				_ = c.Close()
			}
			return Agent{Version: "v1.0.0", PID: 1}, err
		},
		Stores:   func(context.Context) []Store { return []Store{{Name: "keychain", Life: "machine"}} },
		LookPath: func(string) (string, error) { return "/usr/bin/it", nil },
		UID:      os.Geteuid(), Root: filepath.Join(home, "root"), DialContext: dial,
	}, env
}

func find(t *testing.T, all []Finding, name string) Finding {
	t.Helper()
	for _, f := range all {
		if f.Name == name {
			return f
		}
	}
	t.Fatalf("no %s in %+v", name, all)
	return Finding{}
}

// TestWell finds nothing wrong where nothing is.
func TestWell(t *testing.T) {
	o, _ := well(t)
	all := Run(t.Context(), o)
	for _, f := range all {
		if complete(t, f.Name, f); f.State != OK && f.Name != stepName {
			t.Errorf("%+v", f)
		}
	}
	if Bad(all) || !strings.Contains(find(t, all, stepTLS).Found, "Keytether test authority") {
		t.Errorf("%+v", all)
	}
}

// TestFinds spoils one thing at a time and wants it found, with its mend, and nothing else.
func TestFinds(t *testing.T) {
	answer := func(h http.HandlerFunc) func(*testing.T, *Options, map[string]string) {
		return func(t *testing.T, o *Options, env map[string]string) {
			o.DialContext, env["SSL_CERT_FILE"] = site(t, h)
		}
	}
	lacking := func(change func(*oauth.Metadata)) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			m := oauth.MetadataFor(issuer, nil)
			change(&m)
			_ = json.NewEncoder(w).Encode(m)
		}
	}
	dialing := func(err error) func(*testing.T, *Options, map[string]string) {
		return func(_ *testing.T, o *Options, _ map[string]string) {
			o.DialContext = func(context.Context, string, string) (net.Conn, error) { return nil, err }
		}
	}
	policy := func(name, text string) func(*testing.T, *Options, map[string]string) {
		return func(t *testing.T, o *Options, _ map[string]string) {
			path := filepath.Join(o.Root, name)
			must(t, os.MkdirAll(filepath.Dir(path), 0o700))
			must(t, os.WriteFile(path, []byte(text), 0o600))
		}
	}
	for name, tt := range map[string]struct {
		spoil func(*testing.T, *Options, map[string]string)
		check string
		state State
		say   string
	}{
		"a config that others write": {func(t *testing.T, o *Options, _ map[string]string) { must(t, os.Chmod(o.Config, 0o666)) }, "config", Problem, "chmod go-w"},
		"a config folder that others write": {
			func(t *testing.T, o *Options, _ map[string]string) {
				must(t, os.Chmod(filepath.Dir(o.Config), 0o777))
			}, "config", Problem, "chmod go-w",
		},
		"a config that is not understood": {func(_ *testing.T, o *Options, _ map[string]string) { o.ConfigErr = errors.New("line 3") }, "config", Problem, "line 3"},
		"no home":                         {func(_ *testing.T, o *Options, _ map[string]string) { o.Config = "" }, "config", Warning, "Set HOME"},
		"a state folder that others read": {func(t *testing.T, o *Options, _ map[string]string) { must(t, os.Chmod(o.State, 0o755)) }, "state", Warning, "chmod 700"},
		"a state folder of another's":     {func(t *testing.T, o *Options, _ map[string]string) { must(t, os.Chown(o.State, 4, 4)) }, "state", Problem, "another user's"},
		"a runtime folder of another's": {
			func(t *testing.T, o *Options, env map[string]string) {
				dir := t.TempDir()
				must(t, os.Chown(dir, 4, 4))
				env["XDG_RUNTIME_DIR"] = dir
			}, "runtime-dir", Warning, "belongs to user 4",
		},
		"a runtime folder that is gone": {func(_ *testing.T, _ *Options, env map[string]string) { env["XDG_RUNTIME_DIR"] = "/run/user/none" }, "runtime-dir", Problem, "not there"},
		"a socket's folder that is open": {
			func(t *testing.T, o *Options, _ map[string]string) {
				dir := filepath.Join(filepath.Dir(o.Socket), "open")
				must(t, os.Mkdir(dir, 0o755))
				o.Socket = filepath.Join(dir, "agent.sock")
				o.Agent = func(ctx context.Context) (Agent, error) {
					_, err := peersock.Dial(ctx, o.Socket)
					return Agent{}, err
				}
			}, "socket", Problem, "not safe",
		},
		"a stale socket": {
			func(t *testing.T, o *Options, _ map[string]string) {
				l, err := net.ListenUnix("unix", &net.UnixAddr{Name: o.Socket, Net: "unix"})
				must(t, err)
				l.SetUnlinkOnClose(false)
				must(t, os.Chmod(o.Socket, 0o600))
				must(t, l.Close())
			}, "socket", Warning, "stale",
		},
		"no place for a socket": {func(_ *testing.T, o *Options, _ map[string]string) { o.SocketErr = errors.New("no HOME") }, "socket", Problem, "no HOME"},
		"BROWSER is nonsense":   {func(_ *testing.T, o *Options, _ map[string]string) { o.Browsers, o.LookPath = []string{"no-such"}, nil }, "browser", Warning, "no-such, which is not installed"},
		"a rule of Chromium":    {policy("etc/chromium/policies/managed/x.json", `{"ProxyMode":"fixed_servers","ProxyBypassList":"a.test;<-loopback>"}`), "browser-proxy", Warning, "--flow device"},
		"a rule of Chrome":      {policy("etc/opt/chrome/policies/managed/x.json", `{"ProxySettings":{"ProxyBypassList":"<-loopback>"}}`), "browser-proxy", Warning, "<-loopback>"},
		"a rule of Firefox":     {policy("etc/firefox/policies/policies.json", `{"policies":{"Preferences":{"network.proxy.allow_hijacking_localhost":{"Value":true}}}}`), "browser-proxy", Warning, "allow_hijacking_localhost"},
		"no loopback": {func(_ *testing.T, o *Options, _ map[string]string) {
			o.Listen = func(string, string) (net.Listener, error) { return nil, errors.New("no") }
		}, "loopback", Problem, "ip link set lo up"},
		"a TPM of version 1.2": {func(t *testing.T, o *Options, _ map[string]string) {
			must(t, os.Rename(filepath.Join(o.Root, "dev/tpmrm0"), filepath.Join(o.Root, "dev/tpm0")))
		}, "tpm", Warning, "1.2"},
		"a store that is broken": {func(_ *testing.T, o *Options, _ map[string]string) {
			o.Stores = func(context.Context) []Store { return []Store{{Name: "keychain", Why: "it hangs"}} }
		}, "store-keychain", Problem, "it hangs"},
		"an unknown name":      {dialing(&net.DNSError{Name: "auth.test", IsNotFound: true}), stepName, Problem, "no address is known for auth.test"},
		"nobody listens":       {dialing(refused(t)), stepConnection, Problem, "connection refused"},
		"an unknown authority": {func(t *testing.T, o *Options, _ map[string]string) { o.DialContext, _ = site(t, metadata) }, stepTLS, Problem, "SSL_CERT_FILE"},
		"a sign-in page":       {answer(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "<html>Welcome") }), stepMetadata, Problem, "sign-in page"},
		"a redirect to one": {answer(func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://portal.test/?a=s3cret", http.StatusFound)
		}), stepMetadata, Problem, "http://portal.test/"},
		"no metadata":      {answer(http.NotFound), stepMetadata, Problem, "status 404"},
		"another issuer's": {answer(lacking(func(m *oauth.Metadata) { m.Issuer = "https://evil.test" })), stepMetadata, Problem, "names another issuer"},
		"no way to log in": {answer(lacking(func(m *oauth.Metadata) { m.AuthorizationEndpoint, m.DeviceAuthorizationEndpoint = "", "" })), stepMetadata, Problem, "nobody can log in"},
		"no DPoP":          {answer(lacking(func(m *oauth.Metadata) { m.DPoPAlgs = nil })), stepMetadata, Warning, "lacks DPoP"},
		"a wrong clock": {func(_ *testing.T, o *Options, _ map[string]string) {
			o.Now = func() time.Time { return time.Now().Add(-4 * time.Hour) }
		}, stepClock, Problem, "4h0m0s behind"},
		"a wrong proxy":              {func(_ *testing.T, _ *Options, env map[string]string) { env["HTTPS_PROXY"] = "http://me:s3cret@%zz" }, "proxy", Problem, "Correct it, or unset it"},
		"no certificate in it":       {func(_ *testing.T, _ *Options, env map[string]string) { env["SSL_CERT_FILE"] = os.DevNull }, "certificates", Problem, "unset it"},
		"certificates that are gone": {func(_ *testing.T, _ *Options, env map[string]string) { env["SSL_CERT_FILE"] = "/nowhere.pem" }, "certificates", Problem, "cannot be read"},
		"a proxy that wants more": {
			func(t *testing.T, o *Options, env map[string]string) {
				p, err := testkit.NewProxy(nil)
				must(t, err)
				t.Cleanup(func() { _ = p.Close() })
				env["HTTPS_PROXY"], o.DialContext = strings.Replace(p.URL(), "//", "//me:s3cret@", 1), nil
			}, stepConnection, Problem, "answers 403",
		},
		"plain http": {func(_ *testing.T, o *Options, _ map[string]string) { o.Issuer = "http://auth.test" }, "issuer", Problem, "https"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o, env := well(t)
			tt.spoil(t, &o, env)
			all := Run(t.Context(), o)
			f := find(t, all, tt.check)
			if text := f.Found + "\n" + f.Why + "\n" + f.Do; f.State != tt.state || !strings.Contains(text, tt.say) {
				t.Errorf("%+v, want %s with %q", f, tt.state, tt.say)
			}
			for _, other := range all {
				if complete(t, name, other); other.Name != tt.check && (other.State == Warning || other.State == Problem) {
					t.Errorf("found beside it: %+v", other)
				}
			}
		})
	}
}

func refused(t *testing.T) error {
	t.Helper()
	_, err := net.Dial("tcp", testkit.FreeAddr(t))
	if err == nil {
		t.Fatal("somebody listens")
	}
	return err
}

// TestSteps ends the trip at a step: those before it are well, those after it were not reached.
func TestSteps(t *testing.T) {
	o, _ := well(t)
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	o.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) { <-ctx.Done(); return nil, ctx.Err() }
	var states []string
	for _, f := range checkIssuer(ctx, &o) {
		states = append(states, fmt.Sprintf("%s %s", f.Name, f.State))
	}
	want := []string{"issuer ok", "issuer-name not_applicable", "issuer-connection problem", "issuer-tls not_applicable", "issuer-metadata not_applicable", "clock not_applicable"}
	if !slices.Equal(states, want) {
		t.Errorf("%q", states)
	}
}

// TestHangs ends in time whatever hangs.
//
// Invariant: OB-6
func TestHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		never := make(chan struct{})
		defer close(never)
		all := checks()
		for i := range all {
			all[i].run = func(context.Context, *Options) []Finding { <-never; return nil }
		}
		begun := time.Now()
		found := run(t.Context(), Options{}, all)
		if took := time.Since(begun); took > 10*time.Second {
			t.Errorf("it took %s", took)
		}
		if len(found) != len(all) || !Bad(found) {
			t.Errorf("%+v", found)
		}
		for _, f := range found {
			complete(t, f.Name, f)
		}
	})
}

// TestAsksNobodyElse reaches the issuer alone, twice.
//
// Invariant: OB-7
func TestAsksNobodyElse(t *testing.T) {
	o, env := well(t)
	env["HTTPS_PROXY"] = "http://me:s3cret@proxy.test:3128"
	var dialed []string
	o.DialContext = func(_ context.Context, _, addr string) (net.Conn, error) {
		dialed = append(dialed, addr)
		return nil, errors.New("no way")
	}
	all := Run(t.Context(), o)
	if !slices.Equal(slices.Compact(dialed), []string{"proxy.test:3128"}) {
		t.Errorf("dialed %q", dialed)
	}
	b, err := json.Marshal(all)
	must(t, err)
	if strings.Contains(string(b), "s3cret") || strings.Contains(string(b), "me:") || !strings.Contains(string(b), "http://proxy.test:3128, with a user name") {
		t.Errorf("%s", b)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
