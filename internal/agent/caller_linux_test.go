package agent

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/keytether/keytether/internal/agentwire"
	"github.com/keytether/keytether/internal/oauthclient/oauthclienttest"
	"github.com/keytether/keytether/internal/peersock"
)

// toolVar has this binary, or a copy of it, be a program that asks the agent at that socket.
const toolVar = "KEYTETHER_TEST_TOOL"

// tool does what the lines of its standard input say, over one connection as long as that is kept,
// and says how each went on a line.
func tool(socket string) {
	dial := func(ctx context.Context) (net.Conn, error) { return peersock.Dial(ctx, socket) }
	c := agentwire.NewClient(dial)
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		word, rest, _ := strings.Cut(in.Text(), " ")
		var err error
		switch word {
		case "token":
			_, err = c.Token(context.Background(), agentwire.TokenRequest{})
		case "authorize":
			_, err = c.Authorize(context.Background(), agentwire.AuthorizeRequest{Method: "GET", URL: resource})
		case "connect":
			c = agentwire.NewClient(dial)
		case "allow":
			err = c.Confirm(context.Background(), agentwire.ConfirmationRequest{ID: rest, Decision: agentwire.DecisionAllow})
		case "bind": // in a mount namespace of its own: show one file at the path of another, and run that
			from, to, _ := strings.Cut(rest, " ")
			if err = syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""); err == nil {
				err = syscall.Mount(from, to, "", syscall.MS_BIND, "")
			}
			if err == nil {
				run(to, "token")
				continue
			}
		case "shell": // the same through a shell that stays
			out, err := exec.Command("sh", "-c", "echo token | "+rest+"; true").CombinedOutput()
			fmt.Println(strings.TrimSpace(string(out)))
			if err == nil {
				continue
			}
		case "run": // another program that asks for a token
			run(rest, "token")
			continue
		}
		if e, ok := errors.AsType[*agentwire.Error](err); ok {
			fmt.Println(string(e.Code) + ": " + e.Error())
		} else if err != nil {
			fmt.Println("error: " + err.Error())
		} else {
			fmt.Println("ok")
		}
	}
}

func run(path, line string) {
	c := exec.Command(path)
	c.Stdin, c.Stdout, c.Stderr = strings.NewReader(line+"\n"), os.Stdout, os.Stderr
	if err := c.Run(); err != nil {
		fmt.Println("error: " + err.Error())
	}
}

// copyTool puts a copy of this binary at a path: another file, so another program.
func copyTool(t *testing.T, path string) string {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	in, err := os.Open(self)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	tmp := path + ".new"
	out, err := os.OpenFile(tmp, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o755)
	if err != nil {
		t.Fatal(err)
	}
	_, err = io.Copy(out, in)
	if err := errors.Join(err, out.Close(), os.Rename(tmp, path)); err != nil {
		t.Fatal(err)
	}
	return path
}

// asking is a program that runs.
type asking struct {
	t   *testing.T
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
}

func (r *rig) launch(t *testing.T, path string, change ...func(*exec.Cmd)) *asking {
	t.Helper()
	c := exec.Command(path)
	c.Env = append(os.Environ(), toolVar+"="+r.socket, "GORACE=atexit_sleep_ms=0")
	c.Stderr = os.Stderr
	for _, f := range change {
		f(c)
	}
	in, err := c.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	p := &asking{t, c, in, bufio.NewReader(out)}
	t.Cleanup(p.stop)
	return p
}

func (p *asking) stop() {
	_ = p.in.Close()
	_ = p.cmd.Wait()
}

// do has it do one thing and gives how that went.
func (p *asking) do(line string) string {
	p.t.Helper()
	if _, err := io.WriteString(p.in, line+"\n"); err != nil {
		p.t.Fatal(err)
	}
	s, err := p.out.ReadString('\n')
	if err != nil {
		p.t.Fatalf("%s: %v", line, err)
	}
	return strings.TrimSpace(s)
}

// once runs a program for one thing.
func (r *rig) once(t *testing.T, path, line string, change ...func(*exec.Cmd)) string {
	t.Helper()
	p := r.launch(t, path, change...)
	defer p.stop()
	return p.do(line)
}

func wants(t *testing.T, what, got string, parts ...string) {
	t.Helper()
	for _, p := range parts {
		if !strings.Contains(got, p) {
			t.Errorf("%s: %q has no %q", what, got, p)
		}
	}
}

func (r *rig) callers(t *testing.T) []agentwire.Caller {
	t.Helper()
	s, err := r.Status(t.Context())
	if err != nil || len(s.Profiles) != 1 {
		t.Fatalf("%+v %v", s, err)
	}
	return s.Profiles[0].Callers
}

func findCaller(all []agentwire.Caller, executable string) agentwire.Caller {
	for _, c := range all {
		if c.Executable == executable {
			return c
		}
	}
	return agentwire.Caller{}
}

// TestCallersAreRecorded has real programs ask: status and log name their files, whatever they say
// of themselves, and whom keytether asked for.
//
// Invariant: WA-1
func TestCallersAreRecorded(t *testing.T) {
	r := newRig(t, oauthclienttest.Keytether())
	r.mustLogIn()
	dir := t.TempDir()
	evil, good := copyTool(t, filepath.Join(dir, "evil")), copyTool(t, filepath.Join(dir, "good"))
	p := r.launch(t, evil, func(c *exec.Cmd) { c.Args[0] = "/usr/bin/git" })
	wants(t, "a program with another's name", p.do("token"), "ok")
	wants(t, "again", p.do("authorize"), "ok")
	got := findCaller(r.callers(t), evil)
	if got.Calls != 2 || got.PID != p.cmd.Process.Pid || got.Script != "" || got.Through != "" || got.LastAt.IsZero() {
		t.Errorf("%+v", got)
	}
	if c := findCaller(r.callers(t), "/usr/bin/git"); c.Calls != 0 {
		t.Error("the name that a program gives itself was believed")
	}
	wants(t, "the log", r.log.String(), "a program asks for the first time", "executable="+evil)

	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	wants(t, "through keytether", r.once(t, good, "run "+self), "ok")
	if c := findCaller(r.callers(t), good); c.Through != self || c.Calls != 1 {
		t.Errorf("%+v", c)
	}

	script := filepath.Join(dir, "reports.py")
	err = os.WriteFile(script, []byte(`
import socket, sys
s = socket.socket(socket.AF_UNIX)
s.connect(sys.argv[1])
s.sendall(b"POST /v1/token HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}")
print(s.recv(15).decode())
`), 0o644)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("python3", "reports.py", r.socket)
	cmd.Dir = dir
	out, err := cmd.Output()
	wants(t, "python", string(out), "HTTP/1.1 200")
	found := false
	for _, c := range r.callers(t) {
		found = found || strings.Contains(c.Executable, "python3") && c.Script == script && c.Calls == 1
	}
	if err != nil || !found {
		t.Errorf("%v: no row for the script: %+v", err, r.callers(t))
	}
}

// TestAllowList holds a profile to a list of programs.
//
// Invariant: WA-2
func TestAllowList(t *testing.T) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	good := copyTool(t, filepath.Join(dir, "bin", "good"))
	evil := copyTool(t, filepath.Join(dir, "evil"))
	link := filepath.Join(dir, "bin", "link")
	back := filepath.Join(dir, "bin", "back") // in the folder, and yet another program
	begins := filepath.Join(dir, "bin", "goo")
	if err := errors.Join(os.Symlink(good, link), os.Symlink("../evil", back), os.WriteFile(begins, nil, 0o755)); err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	var rules Rules
	var broken error
	r := newRig(t, oauthclienttest.Keytether(), func(o *Options) {
		o.Rules = func(string) (Rules, error) { return rules, broken }
	})
	r.mustLogIn()
	folder := filepath.Join(dir, "bin") + "/"
	for _, c := range []struct {
		what  string
		allow []Allow
		run   string
		do    string
		want  string
	}{
		{"no list", nil, evil, "token", "ok"},
		{"named", []Allow{{Executable: good}}, good, "token", "ok"},
		{"named, a proof", []Allow{{Executable: good}}, good, "authorize", "ok"},
		{"not named", []Allow{{Executable: good}}, evil, "token", "denied: nothing was given to this program: " + evil + " may not use profile default: the profile's list (allow) does not name it"},
		{"not named, a proof", []Allow{{Executable: good}}, evil, "authorize", "denied"},
		{"by a link", []Allow{{Executable: link}}, good, "token", "ok"},
		{"in a folder", []Allow{{Executable: folder}}, good, "token", "ok"},
		{"a link out of the folder", []Allow{{Executable: folder}}, back, "token", "denied"},
		{"a name that begins so", []Allow{{Executable: begins}}, good, "token", "denied"},
		{"a file, written as a folder", []Allow{{Executable: good + "/"}}, good, "token", "denied"},
		{"another resource", []Allow{{Executable: good, Resources: []string{"https://other.example.test"}}}, good, "token", "does not give it this resource"},
		{"this resource", []Allow{{Executable: good, Resources: []string{"https://other.example.test", resource}}}, good, "token", "ok"},
		{"a file that is not there", []Allow{{Executable: filepath.Join(dir, "none")}}, good, "token", "denied"},
		{"a relative path", []Allow{{Executable: "good"}}, good, "token", "denied"},
		{"through keytether, by a program that is named", []Allow{{Executable: good}}, good, "run " + self, "ok"},
		{"through a shell and keytether, by a program that is named", []Allow{{Executable: good}}, good, "shell " + self, "ok"},
		{"through a shell and keytether, by another", []Allow{{Executable: good}}, evil, "shell " + self, "denied: nothing was given to this program: " + evil},
		{"through keytether, by another", []Allow{{Executable: good}}, evil, "run " + self, "denied"},
		{"through keytether, which is in a folder that is named", []Allow{{Executable: filepath.Dir(self) + "/"}}, evil, "run " + self, "denied"},
		{"through keytether, which is named itself", []Allow{{Executable: self}}, evil, "run " + self, "ok"},
	} {
		rules = Rules{Allow: c.allow}
		wants(t, c.what, r.once(t, c.run, c.do), c.want)
	}
	if c := findCaller(r.callers(t), evil); c.Refused == 0 || c.Refused == c.Calls {
		t.Errorf("status does not count what was refused: %+v", c)
	}

	broken = errors.New("config.yaml:3:5: unknown field")
	wants(t, "a config that cannot be read", r.once(t, good, "token"), "denied: ", "config.yaml:3:5: unknown field")
}

// TestReplacedProgram: a list names the file that is there, not what ran from that path once or
// seems to in a file system of its own.
//
// Invariant: WA-3
func TestReplacedProgram(t *testing.T) {
	dir := t.TempDir()
	good, evil := copyTool(t, filepath.Join(dir, "good")), copyTool(t, filepath.Join(dir, "evil"))
	r := newRig(t, oauthclienttest.Keytether(), func(o *Options) {
		o.Rules = func(string) (Rules, error) { return Rules{Allow: []Allow{{Executable: good}}}, nil }
	})
	r.mustLogIn()
	p := r.launch(t, good)
	wants(t, "before", p.do("token"), "ok")
	copyTool(t, good) // as an update does
	wants(t, "a connection from before", p.do("token"), "ok")
	p.do("connect")
	wants(t, "a new one", p.do("token"), "denied", "is another one than what runs", "Start it again")
	wants(t, "the new file", r.once(t, good, "token"), "ok")
	if c := r.callers(t); !c[1].Replaced && !c[0].Replaced {
		t.Errorf("status does not say so: %+v", c)
	}

	if err := os.Rename(evil, evil+" (deleted)"); err != nil {
		t.Fatal(err)
	}
	odd := r.once(t, evil+" (deleted)", "token")
	wants(t, "a name like the kernel's mark", odd, "denied", evil+" (deleted)")

	alone := func(c *exec.Cmd) {
		c.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS}
		if uid := os.Geteuid(); uid != 0 {
			c.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
			c.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: uid, HostID: uid, Size: 1}}
			c.SysProcAttr.AmbientCaps = []uintptr{21} // CAP_SYS_ADMIN, in its own user namespace
		}
	}
	if err := os.Rename(evil+" (deleted)", evil); err != nil {
		t.Fatal(err)
	}
	got := r.once(t, evil, "bind "+evil+" "+good, alone)
	wants(t, "a file shown at the path of another", got, "denied", "is another one than what runs")
}

// TestOpenPlaces: what others could change names nobody.
//
// Invariant: WA-4
func TestOpenPlaces(t *testing.T) {
	dir := t.TempDir()
	good := copyTool(t, filepath.Join(dir, "bin", "good"))
	bin := filepath.Dir(good)
	var rules Rules
	r := newRig(t, oauthclienttest.Keytether(), func(o *Options) { o.Rules = func(string) (Rules, error) { return rules, nil } })
	r.mustLogIn()
	named, folder := []Allow{{Executable: good}}, []Allow{{Executable: bin + "/"}}
	link := filepath.Join(dir, "open", "link")
	if err := errors.Join(os.Mkdir(filepath.Dir(link), 0o755), os.Symlink(good, link)); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		what  string
		path  string
		mode  os.FileMode
		allow []Allow
		want  string
	}{
		{"as it should be", good, 0o755, named, "ok"},
		{"the file", good, 0o757, named, "denied"},
		{"the file, in a folder that is named", good, 0o757, folder, "denied"},
		{"the folder", bin, 0o757, named, "denied"},
		{"the folder that is named", bin, 0o757, folder, "denied"},
		{"a sticky folder that is named", bin, 0o757 | os.ModeSticky, folder, "denied"},
		{"a sticky folder on the way", bin, 0o757 | os.ModeSticky, named, "ok"},
		{"the folder of a link", filepath.Dir(link), 0o757, []Allow{{Executable: link}}, "denied"},
	} {
		if err := os.Chmod(c.path, c.mode); err != nil {
			t.Fatal(err)
		}
		rules = Rules{Allow: c.allow}
		r.clock.Advance(listedTime)
		got := r.once(t, good, "token")
		wants(t, c.what, got, c.want)
		if c.want != "ok" {
			wants(t, c.what, got, "can be written by others", "chmod go-w "+c.path)
		}
		if err := os.Chmod(c.path, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if os.Geteuid() == 0 {
		if err := os.Chown(good, 65534, 65534); err != nil {
			t.Fatal(err)
		}
		rules = Rules{Allow: named}
		r.clock.Advance(listedTime)
		wants(t, "another user's file", r.once(t, good, "token"), "denied", "belongs to another user")
	}
}

// TestOnlyTheCommandAnswers: a program cannot answer the question that is asked about it.
//
// Invariant: WA-5
func TestOnlyTheCommandAnswers(t *testing.T) {
	r := newRig(t, oauthclienttest.Keytether(), confirming()...)
	r.mustLogIn()
	evil := copyTool(t, filepath.Join(t.TempDir(), "evil"))
	asks, answers := r.launch(t, evil), r.launch(t, evil)
	got := make(chan string, 1)
	go func() { got <- asks.do("token") }()
	q := r.waiting(t, 1)[0]
	if q.Executable != evil || q.PID != asks.cmd.Process.Pid {
		t.Errorf("%+v", q)
	}
	wants(t, "an answer of its own", answers.do("allow "+q.ID), "denied", "`keytether agent confirm` alone")
	if err := r.Confirm(t.Context(), agentwire.ConfirmationRequest{ID: q.ID, Decision: agentwire.DecisionDeny}); err != nil {
		t.Fatal(err)
	}
	wants(t, "the person's no", <-got, "denied", evil, "you said no")
	_, err := r.Token(t.Context(), agentwire.TokenRequest{TokenType: "none"})
	if errors.Is(err, agentwire.Denied) {
		t.Error("the no is for another program")
	}
}
