package peersock

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestProcessThatEnded: what runs under a number that was another process's is not taken for it.
//
// Invariant: WA-7
func TestProcessThatEnded(t *testing.T) {
	c := exec.Command("sleep", "60")
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	fd, err := unix.PidfdOpen(c.Process.Pid, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	p := Peer{PID: c.Process.Pid}
	p.read(fd, self{})
	if !strings.HasSuffix(p.Executable, "sleep") && !strings.HasSuffix(p.Executable, "coreutils") || p.Ours || p.Replaced || time.Since(p.StartedAt).Abs() > time.Minute {
		t.Errorf("a living one: %+v", p)
	}
	_ = c.Process.Kill()
	_ = c.Wait()
	// Its number is free, and this process has it now, so to speak.
	p = Peer{PID: os.Getpid()}
	p.read(fd, findSelf())
	if p.Executable != "" || p.Ours || p.Parent.Executable != "" || p.ParentPID != 0 {
		t.Errorf("another process was taken for it: %+v", p)
	}
}

// TestPeerByPidfd: the connection itself names the process.
//
// Invariant: WA-7
func TestPeerByPidfd(t *testing.T) {
	path := sockPath(t)
	ln := listen(t, path)
	got := make(chan *Conn, 1)
	go func() {
		if c, err := ln.Accept(); err == nil {
			got <- c.(*Conn)
		}
	}()
	c, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	there := <-got
	defer there.Close()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p := there.Peer()
	if p.Executable != exe || !p.Ours || p.ParentPID != os.Getppid() || p.Parent.Executable == "" || p.StartedAt.IsZero() {
		t.Errorf("%+v", p)
	}
	// An older kernel has none, and the number does.
	if fd, err := peerPIDFD(there.Conn); err == nil {
		if !alive(fd) {
			t.Error("this process does not live")
		}
		_ = unix.Close(fd)
	}
}

func TestClaimedScript(t *testing.T) {
	for _, c := range []struct {
		exe, argv, want string
	}{
		{"/usr/bin/python3.13", "python3 reports.py --all", "/home/mara/reports.py"},
		{"/usr/bin/python3.13", "python3 -I -W ignore -X dev /opt/reports.py", "/opt/reports.py"},
		{"/usr/bin/python3.13", "python3 -m pip install x", "-m pip"},
		{"/usr/bin/python3.13", "python3 -c print(1)", "-c"},
		{"/usr/bin/python3.13", "python3 -m", ""},
		{"/usr/bin/python3.13", "python3", ""},
		{"/usr/bin/node", "node --require ./x.js tool.js", "/home/mara/tool.js"},
		{"/usr/bin/bash", "bash -eu deploy.sh", "/home/mara/deploy.sh"},
		{"/usr/bin/git", "git push", ""},
		{"/home/mara/python-like", "x y", ""},
	} {
		if got := claimedScript(c.exe, strings.Split(c.argv, " "), "/home/mara"); got != c.want {
			t.Errorf("%s: %q, want %q", c.argv, got, c.want)
		}
	}
	if got := claimedScript("/usr/bin/perl", nil, "/"); got != "" {
		t.Errorf("no arguments: %q", got)
	}
	if got := claimedScript("/usr/bin/perl", []string{"perl", filepath.Join("/", strings.Repeat("x", 9000))}, "/"); len(got) > maxScript {
		t.Errorf("%d bytes", len(got))
	}
}

// FuzzClaimedScript: what a process writes as its arguments does no harm.
func FuzzClaimedScript(f *testing.F) {
	f.Add("python3\x00-m\x00pip")
	f.Add("\x00\x00-W")
	f.Add("python3\x00-W")
	f.Fuzz(func(t *testing.T, argv string) {
		for _, exe := range []string{"/usr/bin/python3", "/bin/bash", "/bin/node", "3.1"} {
			if got := claimedScript(exe, strings.Split(argv, "\x00"), "/home"); len(got) > maxScript+3 {
				t.Errorf("%q", got)
			}
		}
	})
}
