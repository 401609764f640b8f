// Package secretservice runs a D-Bus session and a real Secret Service, Debian's dbus-daemon and
// gnome-keyring, for one test, with a home of their own. The bus starts nothing by itself. It is
// for tests only.
package secretservice

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/keytether/keytether/internal/testkit"
)

const login = "/org/freedesktop/secrets/collection/login"

// Bus is a D-Bus session.
type Bus struct {
	Address string // of DBUS_SESSION_BUS_ADDRESS
	Home    testkit.Home

	t       testing.TB
	daemon  *testkit.Process
	keyring *testkit.Process
}

// StartBus starts a bus with nothing on it. It ends with the test.
func StartBus(t testing.TB) *Bus {
	t.Helper()
	dir := shortDir(t)
	home, err := testkit.NewHome(dir)
	if err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(dir, "bus")
	b := &Bus{Address: "unix:path=" + socket, Home: home, t: t}
	b.Home.Env = append(b.Home.Env, "DBUS_SESSION_BUS_ADDRESS="+b.Address)
	conf := filepath.Join(dir, "bus.conf")
	text := fmt.Sprintf(`<busconfig><type>session</type><listen>%s</listen><auth>EXTERNAL</auth>
<policy context="default"><allow send_destination="*"/><allow receive_sender="*"/><allow own="*"/></policy></busconfig>`, b.Address)
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	b.daemon = b.start("dbus-daemon", "", "--nofork", "--config-file="+conf)
	t.Cleanup(b.Stop)
	b.await("the bus", func() bool { c, err := net.Dial("unix", socket); return err == nil && c.Close() == nil })
	return b
}

// Start is StartBus with a Secret Service whose login keychain is unlocked.
func Start(t testing.TB) *Bus {
	t.Helper()
	b := StartBus(t)
	b.StartKeyring()
	return b
}

// StartKeyring starts the Secret Service and unlocks its login keychain, which it makes if there
// is none. What it keeps, it keeps in the home.
func (b *Bus) StartKeyring() { b.startKeyring("--unlock") }

// StartLocked starts the Secret Service and leaves its keychain locked, as it is after a sign-in
// without a password.
func (b *Bus) StartLocked() { b.startKeyring("--start") }

func (b *Bus) startKeyring(how string) {
	b.t.Helper()
	args := []string{"--foreground", "--components=secrets"}
	if how == "--unlock" {
		args = append(args, how)
	}
	b.keyring = b.start("gnome-keyring-daemon", "the keychain's password", args...)
	b.await("the Secret Service", func() bool {
		out, err := b.send("/org/freedesktop/secrets", "org.freedesktop.DBus.Properties.Get",
			"string:org.freedesktop.Secret.Service", "string:Collections")
		return err == nil && (how != "--unlock" || strings.Contains(out, login))
	})
}

// StopKeyring ends the Secret Service.
func (b *Bus) StopKeyring() {
	if b.keyring != nil {
		b.keyring.Kill()
	}
}

// Lock locks the login keychain, as a person does who leaves.
func (b *Bus) Lock() {
	b.t.Helper()
	if out, err := b.send("/org/freedesktop/secrets", "org.freedesktop.Secret.Service.Lock", "array:objpath:"+login); err != nil {
		b.t.Fatalf("secretservice: lock: %v: %s", err, out)
	}
}

// Watch gives what is said on the bus from now on, in the words of dbus-monitor(1).
func (b *Bus) Watch() func() string {
	b.t.Helper()
	p := b.start("dbus-monitor", "", "--session")
	b.t.Cleanup(p.Kill)
	b.await("dbus-monitor", func() bool { return strings.Contains(p.Stdout(), "NameLost") })
	return p.Stdout
}

// Stop ends the bus and all on it.
func (b *Bus) Stop() {
	b.StopKeyring()
	b.daemon.Kill()
}

func (b *Bus) start(name, stdin string, args ...string) *testkit.Process {
	b.t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		b.t.Fatalf("secretservice: %v: install gnome-keyring, dbus and dbus-bin (scripts/setup does)", err)
	}
	p, err := testkit.StartProcess(testkit.Command{Path: path, Args: args, Env: b.Home.Env, Stdin: strings.NewReader(stdin)})
	if err != nil {
		b.t.Fatal(err)
	}
	return p
}

func (b *Bus) send(object, method string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, "dbus-send", append([]string{"--session", "--print-reply", "--dest=org.freedesktop.secrets", object, method}, args...)...)
	cmd.Env = b.Home.Env
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func (b *Bus) await(what string, ok func() bool) {
	b.t.Helper()
	for end := time.Now().Add(10 * time.Second); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			b.t.Fatalf("secretservice: %s does not answer", what)
		}
	}
}

// StartHung gives the address of a bus that takes connections and never says a word.
func StartHung(t testing.TB) string {
	t.Helper()
	socket := filepath.Join(shortDir(t), "bus")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		var held []net.Conn
		for {
			c, err := l.Accept()
			if err != nil {
				for _, c := range held {
					c.Close()
				}
				return
			}
			held = append(held, c)
		}
	}()
	t.Cleanup(func() {
		l.Close()
		<-done
	})
	return "unix:path=" + socket
}

func shortDir(t testing.TB) string {
	t.Helper()
	dir, err := testkit.ShortDir()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}
