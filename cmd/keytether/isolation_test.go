//go:build linux

package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/keytether/keytether/internal/oauthclient/oauthclienttest"
)

// unixUser is a real user of this machine, made for one test.
type unixUser struct {
	t        *testing.T
	name     string
	uid, gid uint32
	home     string
	run      string // the runtime folder
	path     string // PATH
}

// newUsers makes users with homes and runtime folders below a folder that all may enter.
func newUsers(t *testing.T, n int) (list []*unixUser, base string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("this test makes Unix users: run it as root, in a container or as CI does")
	}
	base, err := os.MkdirTemp("", "ktu")
	must(t, err)
	must(t, os.Chmod(base, 0o755))
	t.Cleanup(func() { _ = os.RemoveAll(base) })
	program, err := exec.LookPath("keytether")
	must(t, err)
	b, err := os.ReadFile(program)
	must(t, err)
	must(t, os.Mkdir(filepath.Join(base, "bin"), 0o755))
	must(t, os.WriteFile(filepath.Join(base, "bin", "keytether"), b, 0o755))
	for i := range n {
		u := &unixUser{t: t, name: fmt.Sprintf("kt%d%c", time.Now().UnixNano()/1000%1e9, 'a'+i), path: filepath.Join(base, "bin") + ":/usr/bin:/bin"}
		u.home, u.run = filepath.Join(base, u.name), filepath.Join(base, "run-"+u.name)
		if out, err := exec.Command("useradd", "--create-home", "--home-dir", u.home, "--shell", "/bin/bash", u.name).CombinedOutput(); err != nil {
			t.Fatalf("useradd: %v: %s (install passwd)", err, out)
		}
		t.Cleanup(func() { _ = exec.Command("userdel", u.name).Run() })
		who, err := user.Lookup(u.name)
		must(t, err)
		uid, err := strconv.Atoi(who.Uid)
		must(t, err)
		gid, err := strconv.Atoi(who.Gid)
		must(t, err)
		u.uid, u.gid = uint32(uid), uint32(gid)
		must(t, os.Mkdir(u.run, 0o700))
		must(t, os.Chown(u.run, uid, gid))
		must(t, os.Chmod(u.home, 0o700))
		list = append(list, u)
	}
	return list, base
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// env is the user's own environment.
func (u *unixUser) env() []string {
	return []string{"HOME=" + u.home, "XDG_RUNTIME_DIR=" + u.run, "USER=" + u.name, "PATH=" + u.path}
}

// as runs a program as the user; a nil environment is the user's own.
func (u *unixUser) as(env []string, args ...string) (out string, code int) {
	u.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute) // cleanups call it too
	defer cancel()
	c := exec.CommandContext(ctx, "/usr/bin/env", args...)
	c.Env, c.Dir = env, "/"
	if env == nil {
		c.Env = u.env()
	}
	c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: u.uid, Gid: u.gid}}
	b, err := c.CombinedOutput()
	if c.ProcessState == nil {
		u.t.Fatal(err)
	}
	return string(b), c.ProcessState.ExitCode()
}

func (u *unixUser) want(code int, args ...string) string {
	u.t.Helper()
	out, got := u.as(nil, args...)
	if got != code {
		u.t.Fatalf("%s: exit code %d, want %d: %s", strings.Join(args, " "), got, code, out)
	}
	return out
}

// logIn logs the user in by a code, with logins kept in the kernel's keyring.
func (u *unixUser) logIn(s *oauthclienttest.Server) {
	u.t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range 200 {
			time.Sleep(20 * time.Millisecond)
			if len(s.Polls()) > 0 {
				s.Decide()
				return
			}
		}
	}()
	u.want(0, "keytether", "login", "--issuer", s.Issuer, "--flow", "device", "--scope", "read")
	<-done
}

func (u *unixUser) agentPID() int {
	u.t.Helper()
	m := regexp.MustCompile(`process (\d+)`).FindStringSubmatch(u.want(0, "keytether", "agent", "status"))
	if m == nil {
		u.t.Fatal("no agent runs")
	}
	pid, err := strconv.Atoi(m[1])
	must(u.t, err)
	return pid
}

// useKernel has the user's logins kept where they outlive the agent.
func (u *unixUser) useKernel() {
	u.t.Helper()
	dir := filepath.Join(u.home, ".config", "keytether")
	u.want(0, "mkdir", "-p", dir)
	u.want(0, "sh", "-c", "echo 'store: kernel' > "+dir+"/config.yaml")
}

// Another user of the host, and root as yet another one, reach neither the agent nor its store,
// and do not learn that there is a login.
//
// Invariant: IS-1
func TestUsersOfOneHost(t *testing.T) {
	users, base := newUsers(t, 3)
	alice, bob, carol := users[0], users[1], users[2]
	server := oauthclienttest.New(t, oauthclienttest.Keytether())
	alice.useKernel()
	alice.logIn(server)
	t.Cleanup(func() { alice.as(nil, "keytether", "logout", "--all"); alice.as(nil, "keytether", "agent", "stop") })
	if out := alice.want(0, "keytether", "status"); !strings.Contains(out, "kernel") {
		t.Errorf("not where it should be: %s", out)
	}
	pid := alice.agentPID()
	socket := filepath.Join(alice.run, "keytether", "agent.sock")

	for _, u := range []*unixUser{bob, carol} {
		// What it is told of nothing, with words and without a trace of the login.
		for what, args := range map[string][]string{
			"the folder":     {"ls", alice.run},
			"the home":       {"ls", alice.home},
			"the socket":     {"stat", socket},
			"its connection": {"python3", "-c", "import socket,sys; socket.socket(socket.AF_UNIX).connect(sys.argv[1])", socket},
			"the environ":    {"cat", fmt.Sprintf("/proc/%d/environ", pid)},
			"the memory":     {"cat", fmt.Sprintf("/proc/%d/maps", pid)},
			"the files":      {"ls", fmt.Sprintf("/proc/%d/fd", pid)},
			"its agent":      {"KEYTETHER_SOCKET=" + socket, "keytether", "whoami"},
		} {
			if out, code := u.as(nil, args...); code == 0 {
				t.Errorf("%s reaches %s: %s", u.name, what, out)
			}
		}
		for what, args := range map[string][]string{
			"ps":          {"cat", fmt.Sprintf("/proc/%d/cmdline", pid)},
			"the sockets": {"cat", "/proc/net/unix"},
			"the keys":    {"cat", "/proc/keys"},
		} {
			out, _ := u.as(nil, args...)
			for _, word := range []string{server.Issuer, "127.0.0.1", "grt_", "default", "key@", "keytether-"} {
				if strings.Contains(out, word) {
					t.Errorf("%s reads %q in %s: %s", u.name, word, what, out)
				}
			}
		}
		if out, _ := u.as(nil, "cat", "/proc/net/unix"); strings.Contains(out, "@keytether") {
			t.Errorf("there is an abstract socket: %s", out)
		}
		if out, _ := u.as(nil, "sh", "-c", "find /tmp /var/tmp /dev/shm -maxdepth 2 -user "+alice.name+" -not -path '"+base+"/*' 2>/dev/null"); out != "" {
			t.Errorf("something lies about: %s", out)
		}
		if out, _ := u.as(nil, "sh", "-c", "find "+alice.home+" "+alice.run+" -mindepth 1 2>/dev/null"); out != "" {
			t.Errorf("%s lists %s", u.name, out)
		}
		if out := u.want(0, "keytether", "status"); out != "No agent is running; nobody is logged in.\n" {
			t.Errorf("%s has %s", u.name, out)
		}
	}

	// What su without "-" leaves of another's environment.
	inherited := []string{"HOME=" + bob.home, "XDG_RUNTIME_DIR=" + alice.run, "PATH=" + bob.path}
	if out, code := bob.as(inherited, "keytether", "status"); code != 0 || out != "No agent is running; nobody is logged in.\n" {
		t.Errorf("with her runtime folder: %d, %s", code, out)
	}
	if out, code := bob.as([]string{"HOME=" + alice.home, "XDG_RUNTIME_DIR=" + alice.run, "PATH=" + bob.path}, "keytether", "whoami"); code == 0 || !strings.Contains(out, "belongs to another user") || !strings.Contains(out, "su -") {
		t.Errorf("with all her environment: %d, %s", code, out)
	}
	su := exec.CommandContext(t.Context(), "su", carol.name, "-c", filepath.Join(base, "bin", "keytether")+" status")
	su.Env = alice.env()
	if out, err := su.CombinedOutput(); err != nil || string(out) != "No agent is running; nobody is logged in.\n" {
		t.Errorf("root's su to a third: %v, %s", err, out)
	}

	// Root could read her memory. By way of the program it does not get there.
	root := &unixUser{t: t, path: bob.path}
	for name, env := range map[string][]string{
		"by her socket":           {"HOME=" + base, "KEYTETHER_SOCKET=" + socket, "PATH=" + bob.path},
		"by her environment":      {"HOME=" + alice.home, "XDG_RUNTIME_DIR=" + alice.run, "PATH=" + bob.path},
		"by her runtime folder":   {"HOME=" + base, "XDG_RUNTIME_DIR=" + alice.run, "PATH=" + bob.path},
		"by her home and nothing": {"HOME=" + alice.home, "PATH=" + bob.path},
	} {
		if out, code := root.as(env, "keytether", "whoami"); code == 0 {
			t.Errorf("root %s: %s", name, out)
		}
	}
	if out, _ := root.as(root.env(), "find", alice.home, alice.run, "-not", "-user", alice.name); out != "" {
		t.Errorf("root left things in her folders: %s", out)
	}
	alice.want(0, "keytether", "whoami")
}

// An agent that is killed leaves its logins in a store that lasts: the next call finds them, and
// one renewal works. The line of the guide for a login shell ends them at the server.
//
// Invariant: IS-2
func TestKilledAgentAndTheEndOfAShell(t *testing.T) {
	users, _ := newUsers(t, 1)
	alice := users[0]
	server := oauthclienttest.New(t, oauthclienttest.Keytether())
	alice.useKernel()
	alice.logIn(server)
	t.Cleanup(func() { alice.as(nil, "keytether", "logout", "--all"); alice.as(nil, "keytether", "agent", "stop") })
	who := alice.want(0, "keytether", "whoami")
	must(t, syscall.Kill(alice.agentPID(), syscall.SIGKILL))
	var out string
	for range 100 { // until the kernel has let go of the socket
		var code int
		if out, code = alice.as(nil, "keytether", "whoami"); code == 0 {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	if out != who {
		t.Errorf("the next agent says %s, not %s", out, who)
	}
	alice.want(0, "sh", "-c", "keytether token > /dev/null")
	if server.Count("refresh") != 1 || server.Count("reuse") != 0 {
		t.Errorf("%d renewals, %d reuses", server.Count("refresh"), server.Count("reuse"))
	}

	guide, err := os.ReadFile(filepath.Join("..", "..", "docs", "guides", "shared-hosts.md"))
	must(t, err)
	hook := regexp.MustCompile("(?s)`~/.bash_logout`.*?```sh\n(.*?)\n```").FindSubmatch(guide)
	if hook == nil {
		t.Fatal("the guide has no line for ~/.bash_logout")
	}
	must(t, os.WriteFile(filepath.Join(alice.home, ".bash_logout"), append(hook[1], '\n'), 0o644))
	must(t, os.WriteFile(filepath.Join(alice.home, ".bash_profile"), []byte("PATH="+alice.path+"\n"), 0o644))
	alice.want(0, "bash", "--login", "-c", "exit")
	alice.want(3, "keytether", "whoami")
	if server.Count("revoked") != 1 {
		t.Error("not revoked")
	}
}
