//go:build linux || darwin

package agentstart

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/keytether/keytether/internal/agentwire"
	"github.com/keytether/keytether/internal/peersock"
)

// plan is what the agent that this test binary plays does; it lies beside the socket, since
// nothing of a test's environment reaches an agent.
type plan struct {
	Version  agentwire.Version
	Hang     bool // never listen
	Die      bool // end at once
	LateBusy bool // say idle, and be busy when asked to stop
}

func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == "agent" && os.Args[2] == "run" {
		playAgent()
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func playAgent() {
	sock := os.Getenv("KEYTETHER_SOCKET")
	dir := filepath.Dir(sock)
	b, err := os.ReadFile(filepath.Join(dir, "plan.json"))
	var p plan
	if err != nil || json.Unmarshal(b, &p) != nil || p.Die {
		os.Exit(3)
	}
	time.AfterFunc(30*time.Second, func() { os.Exit(4) }) // never outlives a broken test for long
	if p.Hang {
		select {}
	}
	wd, _ := os.Getwd()
	sid, _, _ := syscall.RawSyscall(syscall.SYS_GETSID, 0, 0, 0)
	report := fmt.Sprintf("pid=%d sid=%d wd=%s\n%s\n", os.Getpid(), sid, wd, strings.Join(os.Environ(), "\n"))
	_ = os.WriteFile(filepath.Join(dir, fmt.Sprintf("started-%d", os.Getpid())), []byte(report), 0o600)
	ln, err := peersock.Listen(sock)
	if err != nil {
		os.Exit(5)
	}
	p.Version.PID = os.Getpid()
	mux := http.NewServeMux()
	mux.HandleFunc(agentwire.PathVersion, func(w http.ResponseWriter, _ *http.Request) { _ = agentwire.WriteResponse(w, p.Version) })
	done := make(chan struct{})
	mux.HandleFunc(agentwire.PathStop, func(w http.ResponseWriter, r *http.Request) {
		var req agentwire.StopRequest
		_ = agentwire.ReadRequest(r, &req)
		if req.IfIdle && (p.LateBusy || p.Version.Grants+p.Version.Logins > 0) {
			_ = agentwire.WriteError(w, agentwire.NewError(agentwire.Busy, "busy", "", "", nil))
			return
		}
		_ = agentwire.WriteResponse(w, agentwire.Empty{})
		close(done)
	})
	srv := &http.Server{Handler: mux}
	go func() { _ = srv.Serve(ln) }()
	<-done
	_ = srv.Shutdown(context.Background())
}

func setUp(t *testing.T, p plan) Options {
	t.Helper()
	dir, err := os.MkdirTemp("", "as") // short: a socket's path is
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	o := Options{Socket: filepath.Join(dir, "agent.sock"), Binary: self, Version: "1.2.0", Env: []string{"HOME=/home/person", "GITHUB_TOKEN=no", "HTTPS_PROXY=http://u:pw@p", "LD_PRELOAD=x"}}
	setPlan(t, o, p)
	t.Cleanup(func() {
		if c, _, err := Find(context.Background(), o); err == nil {
			_ = c.Stop(context.Background(), agentwire.StopRequest{})
			c.Close()
		}
		_ = os.RemoveAll(dir)
	})
	return o
}

func setPlan(t *testing.T, o Options, p plan) {
	t.Helper()
	b, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(filepath.Dir(o.Socket), "plan.json"), b, 0o600); err != nil {
		t.Fatal(err)
	}
}

func version(v string) agentwire.Version {
	return agentwire.Version{Version: v, Protocol: 1, ProtocolMin: 1}
}

func starts(t *testing.T, o Options) []string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(filepath.Dir(o.Socket), "started-*"))
	if err != nil {
		t.Fatal(err)
	}
	return names
}

func ensure(t *testing.T, o Options) (agentwire.Version, Notice) {
	t.Helper()
	c, n, err := Ensure(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	v, err := c.Version(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return v, n
}

func TestStartedAgentIsDetachedAndKnowsNoSecrets(t *testing.T) {
	o := setUp(t, plan{Version: version("1.2.0")})
	if _, _, err := Find(t.Context(), o); !errors.Is(err, peersock.ErrNotRunning) {
		t.Errorf("Find: %v", err)
	}
	v, n := ensure(t, o)
	if n != "" || v.PID == os.Getpid() {
		t.Errorf("%v %q", v, n)
	}
	files := starts(t, o)
	if len(files) != 1 {
		t.Fatalf("%d agents", len(files))
	}
	b, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	if pid := strconv.Itoa(v.PID); lines[0] != "pid="+pid+" sid="+pid+" wd=/" {
		t.Errorf("not detached: %s", lines[0])
	}
	if env := lines[1:]; !slices.Equal(env, []string{"KEYTETHER_SOCKET=" + o.Socket, "HOME=/home/person"}) {
		t.Errorf("the agent's environment is %q", env)
	}
	if again, _ := ensure(t, o); again.PID != v.PID {
		t.Error("a second agent was started")
	}
}

func TestManyCallersStartOneAgent(t *testing.T) {
	o := setUp(t, plan{Version: version("1.2.0")})
	var wg sync.WaitGroup
	var mu sync.Mutex
	pids := map[int]bool{}
	for range 8 {
		wg.Go(func() {
			c, _, err := Ensure(t.Context(), o)
			if err != nil {
				t.Error(err)
				return
			}
			defer c.Close()
			v, err := c.Version(t.Context())
			if err != nil {
				t.Error(err)
			}
			mu.Lock()
			pids[v.PID] = true
			mu.Unlock()
		})
	}
	wg.Wait()
	if len(pids) != 1 || len(starts(t, o)) != 1 {
		t.Errorf("agents %v, started %d", pids, len(starts(t, o)))
	}
}

func TestVersions(t *testing.T) {
	held := version("1.1.0")
	held.Grants = 1
	logging := version("1.1.0")
	logging.Logins = 1
	foreign := version("1.1.0")
	foreign.Grants, foreign.Protocol, foreign.ProtocolMin = 1, 9, 9
	tests := []struct {
		name     string
		running  plan
		replaced bool
		notice   bool
		err      error
	}{
		{"same", plan{Version: version("1.2.0")}, false, false, nil},
		{"newer agent", plan{Version: version("1.3.0")}, false, false, nil},
		{"older and idle", plan{Version: version("1.1.9")}, true, false, nil},
		{"older with a grant", plan{Version: held}, false, true, nil},
		{"older with a login in progress", plan{Version: logging}, false, true, nil},
		{"older, and busy when asked", plan{Version: version("1.1.0"), LateBusy: true}, false, true, nil},
		{"another protocol, with a grant", plan{Version: foreign}, false, false, ErrIncompatible},
		{"a build from a work tree", plan{Version: version("devel")}, false, false, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			o := setUp(t, tt.running)
			if err := start(t.Context(), o); err != nil {
				t.Fatal(err)
			}
			first, err := connectVersion(t, o)
			if err != nil {
				t.Fatal(err)
			}
			setPlan(t, o, plan{Version: version("1.2.0")})
			c, n, err := Ensure(t.Context(), o)
			if !errors.Is(err, tt.err) {
				t.Fatalf("got %v", err)
			}
			if err == nil {
				c.Close()
			}
			now, err := connectVersion(t, o)
			if err != nil {
				t.Fatal(err)
			}
			if (now.PID != first.PID) != tt.replaced || (n != "") != tt.notice {
				t.Errorf("process %d became %d, notice %q", first.PID, now.PID, n)
			}
			if tt.err != nil { // Find refuses it, so the clean-up would not end it
				if err := syscall.Kill(now.PID, syscall.SIGKILL); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

func connectVersion(t *testing.T, o Options) (agentwire.Version, error) {
	t.Helper()
	c, v, err := connect(t.Context(), o)
	if err == nil {
		c.Close()
	}
	return v, err
}

func TestAgentThatDoesNotStart(t *testing.T) {
	o := setUp(t, plan{Die: true})
	if _, _, err := Ensure(t.Context(), o); !errors.Is(err, ErrNotReady) || !strings.Contains(err.Error(), "exit status 3") {
		t.Errorf("dies: %v", err)
	}
	setPlan(t, o, plan{Hang: true})
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if _, _, err := Ensure(ctx, o); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("hangs: %v", err)
	}
	o.Binary = filepath.Join(t.TempDir(), "missing")
	if _, _, err := Ensure(t.Context(), o); !errors.Is(err, ErrNotReady) || !errors.Is(err, os.ErrNotExist) {
		t.Errorf("missing: %v", err)
	}
}

func TestBinaryIsFoundInThePathOfTheCaller(t *testing.T) {
	dir := t.TempDir()
	bin := filepath.Join(dir, "keytether")
	if err := os.WriteFile(bin, nil, 0o755); err != nil {
		t.Fatal(err)
	}
	if got, err := binary(Options{Env: []string{"PATH=/nowhere:" + dir}}); err != nil || got != bin {
		t.Errorf("%q %v", got, err)
	}
	t.Chdir(dir)
	for _, path := range []string{"", "/nowhere", ".", ":", "/nowhere:."} {
		_, err := binary(Options{Env: []string{"PATH=" + path}})
		if !errors.Is(err, ErrNoBinary) || !strings.Contains(err.Error(), "Install Keytether") {
			t.Errorf("PATH=%s: %v", path, err)
		}
	}
}

func TestOlder(t *testing.T) {
	tests := []struct {
		a, b string
		want bool
	}{
		{"1.2.3", "1.2.4", true},
		{"1.2.4", "1.2.3", false},
		{"1.2.3", "1.2.3", false},
		{"v1.9.0", "1.10.0", true},
		{"1.0.0-rc1", "1.0.0", true},
		{"1.0.0", "1.0.0-rc1", false},
		{"1.0.0-rc1", "1.0.0-rc2", true},
		{"1.0.0+a", "1.0.0+b", false},
		{"devel", "1.0.0", false},
		{"1.0.0", "devel", false},
		{"", "1.0.0", false},
		{"1.0", "1.1", false},
	}
	for _, tt := range tests {
		if got := older(tt.a, tt.b); got != tt.want {
			t.Errorf("older(%q, %q) = %v", tt.a, tt.b, got)
		}
	}
}
