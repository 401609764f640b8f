package doctor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/keytether/keytether/internal/peersock"
)

// TestJudge judges facts that cannot be made on every machine.
func TestJudge(t *testing.T) {
	env := func(kv ...string) *Options {
		m := map[string]string{}
		for i := 0; i+1 < len(kv); i += 2 {
			m[kv[i]] = kv[i+1]
		}
		return &Options{GOOS: "linux", Getenv: func(n string) string { return m[n] }, Env: m, UID: 1000, Socket: "/run/s", Version: "v2.0.0"}
	}
	wrap := func(err error) error { return fmt.Errorf("at /run/s: %w", err) }
	first := func(all []Finding) Finding { return all[0] }
	last := func(all []Finding) Finding { return all[len(all)-1] }
	browsers := env("WSL_DISTRO_NAME", "Debian")
	browsers.Browsers = []string{"/opt/no-such --flag"}
	headless := env()
	headless.NoBrowser = "this is an SSH session"
	dir := place{path: "/home/p", dir: true, mode: 0o700, owner: 1000}
	with := func(p place, change func(*place)) place { change(&p); return p }
	noon := time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)
	said := func(offsets ...time.Duration) (out []date) {
		for _, d := range offsets {
			out = append(out, date{noon.Add(d).Format("Mon, 02 Jan 2006 15:04:05 GMT"), noon, noon})
		}
		return out
	}
	for _, tt := range []struct {
		name  string
		got   Finding
		state State
		say   string
	}{
		{"a TPM", judgeTPM(chip{managed: true}), OK, "/dev/tpmrm0"},
		{"no TPM", judgeTPM(chip{}), None, "shows none"},
		{"an old TPM", judgeTPM(chip{raw: true}), Warning, "1.2"},
		{"a TPM for its group", judgeTPM(chip{managed: true, err: fs.ErrPermission, group: "tpmusers"}), Warning, "usermod -aG tpmusers"},
		{"a TPM whose group is not known", judgeTPM(chip{managed: true, err: fs.ErrPermission}), Warning, "usermod -aG tss"},
		{"a TPM that is held", judgeTPM(chip{managed: true, err: syscall.EBUSY}), Warning, "another program"},
		{"a TPM that fails", judgeTPM(chip{managed: true, err: syscall.EIO}), Warning, "input/output error"},

		{"an agent", last(judgeAgent(env(), Agent{Version: "v2.0.0", PID: 7}, nil, true)), OK, "version v2.0.0, process 7"},
		{"an older agent", last(judgeAgent(env(), Agent{Version: "v1.0.0", Notice: "the agent is older"}, nil, true)), Warning, "this program is v2.0.0"},
		{"a locked agent", last(judgeAgent(env(), Agent{Locked: true}, nil, true)), Warning, "agent unlock"},
		{"an agent that hangs", last(judgeAgent(env(), Agent{}, wrap(context.DeadlineExceeded), true)), Problem, "says nothing"},
		{"another protocol", last(judgeAgent(env(), Agent{}, errors.New("they do not speak the same protocol"), true)), Problem, "same protocol"},
		{"no agent", first(judgeAgent(env(), Agent{}, wrap(peersock.ErrNotRunning), false)), OK, "not there yet"},
		{"a stale socket", first(judgeAgent(env(), Agent{}, wrap(peersock.ErrNotRunning), true)), Warning, "stale"},
		{"an open folder", first(judgeAgent(env(), Agent{}, wrap(peersock.ErrInsecurePath), true)), Problem, "not safe"},
		{"another user's agent", first(judgeAgent(env(), Agent{}, wrap(peersock.ErrPeerUID), true)), Problem, "another user's process"},

		{"a browser of WSL", judgeBrowser(env("WSL_DISTRO_NAME", "Debian"), "wslview"), OK, "wslview"},
		{"WSL without a browser", judgeBrowser(env("WSL_DISTRO_NAME", "Debian"), ""), Warning, "wslu"},
		{"WSL with a browser for a display", judgeBrowser(env("WSL_DISTRO_NAME", "Debian"), "xdg-open"), Warning, "BROWSER=wslview"},
		{"WSL with a display", judgeBrowser(env("WSL_DISTRO_NAME", "Debian", "DISPLAY", ":0"), "xdg-open"), OK, "xdg-open"},
		{"no browser at all", judgeBrowser(env(), ""), Warning, "xdg-utils"},
		{"no display", judgeBrowser(headless, ""), None, "this is an SSH session"},
		{"BROWSER that is not there", judgeBrowser(browsers, ""), Warning, "Correct BROWSER"},
		{"BROWSER", judgeBrowser(browsers, "/opt/no-such"), OK, "no-such (by BROWSER)"},

		{"all of loopback", judgeLoopback(loopback{}), OK, "127.0.0.1 and ::1"},
		{"no ::1", judgeLoopback(loopback{six: syscall.EADDRNOTAVAIL}), OK, "127.0.0.1 alone"},
		{"no 127.0.0.1", judgeLoopback(loopback{four: syscall.EADDRNOTAVAIL}), Warning, "::1 alone"},
		{"no loopback", judgeLoopback(loopback{four: syscall.EPERM, six: syscall.EPERM}), Problem, "--flow device"},
		{"a firewall on loopback", judgeLoopback(loopback{dial: syscall.ETIMEDOUT}), Problem, "firewall"},

		{"two spellings", judgeProxy(env("HTTPS_PROXY", "http://a:1", "https_proxy", "http://b:1")), Warning, "differ"},
		{"ALL_PROXY", judgeProxy(env("ALL_PROXY", "socks5://a:1")), Warning, "HTTPS_PROXY"},
		{"no proxy", judgeProxy(env()), OK, "none"},
		{"not a proxy", judgeProxy(env("HTTPS_PROXY", "ftp://x:s3cret@y")), Problem, "not the URL of a proxy"},

		{"no authorities", judgeSystem(true), Problem, "ca-certificates"},

		{"a state folder", judgeState(env(), dir), OK, "/home/p"},
		{"another's state folder", judgeState(env(), with(dir, func(p *place) { p.owner = 0 })), Problem, "another user's"},
		{"a state folder that others read", judgeState(env(), with(dir, func(p *place) { p.mode = 0o750 })), Warning, "chmod 700 /home/p"},
		{"a state folder that others write", judgeState(env(), with(dir, func(p *place) { p.mode = 0o770 })), Problem, "chmod 700 /home/p"},
		{"a file in its place", judgeState(env(), with(dir, func(p *place) { p.dir = false })), Problem, "not a folder"},
		{"one that cannot be seen", judgeState(env(), place{path: "/x", err: fs.ErrPermission}), Problem, "permission"},
		{"a config of root's", judgeConfig(env(), dir, with(dir, func(p *place) { p.owner = 0 })), OK, "/home/p"},
		{"a config of another's", judgeConfig(env(), dir, with(dir, func(p *place) { p.owner = 4 })), Problem, "another user's"},
		{"a runtime folder of another's", judgeRuntimeDir(env(), "/run/user/7", with(dir, func(p *place) { p.owner = 7 })), Warning, "/run/user/1000"},
		{"a runtime folder that is not there", judgeRuntimeDir(env(), "/run/user/7", place{missing: true}), Problem, "not there"},
		{"a runtime folder that is open", judgeRuntimeDir(env(), "/run/user/7", with(dir, func(p *place) { p.mode = 0o777 })), Warning, "chmod 700"},
		{"a runtime folder by a relative path", judgeRuntimeDir(env(), "run", dir), Warning, "absolute"},

		{"the server's time", judgeClock(said(0, time.Second)), OK, "as the server's"},
		{"a minute behind", judgeClock(said(time.Minute)), Warning, "behind the server"},
		{"a day ahead", judgeClock(said(-24 * time.Hour)), Problem, "ahead of the server"},
		{"two times", judgeClock(said(0, time.Minute)), Warning, "two different times"},
		{"no time", judgeClock([]date{{"yesterday", noon, noon}}), None, "does not say"},
	} {
		all := strings.Join([]string{tt.got.Found, tt.got.Why, tt.got.Do}, "\n")
		if tt.got.State != tt.state || !strings.Contains(all, tt.say) {
			t.Errorf("%s: %+v, want %s with %q", tt.name, tt.got, tt.state, tt.say)
		}
		complete(t, tt.name, tt.got)
	}
}

// complete wants of every finding what it found, and of a bad one a mend, without a secret.
func complete(t *testing.T, what string, f Finding) {
	t.Helper()
	bad := f.State == Warning || f.State == Problem
	if f.Name == "" || f.Found == "" || strings.Contains(f.Found, "\n") || bad && (f.Why == "" || f.Do == "") {
		t.Errorf("%s: not all is said: %+v", what, f)
	}
	if strings.Contains(fmt.Sprint(f), "s3cret") {
		t.Errorf("%s: a secret in %+v", what, f)
	}
}

func TestJudgeStores(t *testing.T) {
	broken := Store{Name: "keychain", Life: "machine", Why: "D-Bus hangs", Mend: "Unlock it"}
	passed := Store{Name: "tpm", Life: "machine", Passed: "there is no TPM here"}
	kernel, memory := Store{Name: "kernel", Life: "session"}, Store{Name: "memory", Life: "process"}
	chosen := broken
	chosen.Chosen = true
	for _, tt := range []struct {
		name string
		all  []Store
		want string
	}{
		{"all work", []Store{{Name: "keychain", Life: "machine"}, kernel, memory}, "ok ok ok"},
		{"a lasting one comes after", []Store{passed, broken, kernel, memory}, "not_applicable not_applicable ok ok"},
		{"only memory, and one is broken", []Store{passed, broken, memory}, "not_applicable warning warning"},
		{"only memory, by choice of place", []Store{passed, memory}, "not_applicable ok"},
		{"the chosen one is broken", []Store{passed, chosen}, "not_applicable problem"},
		{"none works", []Store{broken}, "problem"},
	} {
		var states []string
		for _, f := range judgeStores(tt.all) {
			states = append(states, string(f.State))
			if complete(t, tt.name, f); f.State == Problem && len(tt.all) == 2 && !strings.Contains(f.Found, "the config names it") {
				t.Errorf("%s: %+v", tt.name, f)
			}
		}
		if got := strings.Join(states, " "); got != tt.want {
			t.Errorf("%s: %s, want %s", tt.name, got, tt.want)
		}
	}
}
