package notify

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"

	"github.com/keytether/keytether/internal/agentwire"
	"github.com/keytether/keytether/internal/testkit/secretservice"
)

// desktop is a notification server of our own on a bus of its own.
type desktop struct {
	conn *dbus.Conn
	can  []string
	hang bool

	mu      sync.Mutex
	summary string
	body    string
	actions []string
	shown   chan uint32
	closed  chan uint32
}

func (d *desktop) GetCapabilities() ([]string, *dbus.Error) {
	if d.hang {
		time.Sleep(callTime + time.Second)
	}
	return d.can, nil
}

func (d *desktop) Notify(_ string, _ uint32, _, summary, body string, actions []string, _ map[string]dbus.Variant, _ int32) (uint32, *dbus.Error) {
	d.mu.Lock()
	d.summary, d.body, d.actions = summary, body, actions
	d.mu.Unlock()
	d.shown <- 7
	return 7, nil
}

func (d *desktop) CloseNotification(id uint32) *dbus.Error { d.closed <- id; return nil }

func (d *desktop) emit(t *testing.T, conn *dbus.Conn, name string, body ...any) {
	t.Helper()
	if err := conn.Emit(path, service+"."+name, body...); err != nil {
		t.Fatal(err)
	}
}

func connect(t *testing.T, address string) *dbus.Conn {
	t.Helper()
	c, err := dbus.Connect(address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func start(t *testing.T, d *desktop) (asker func(context.Context, agentwire.Confirmation) (string, error), address string) {
	t.Helper()
	b := secretservice.StartBus(t)
	d.conn, d.shown, d.closed = connect(t, b.Address), make(chan uint32, 1), make(chan uint32, 1)
	if err := d.conn.Export(d, path, service); err != nil {
		t.Fatal(err)
	}
	if _, err := d.conn.RequestName(service, 0); err != nil {
		t.Fatal(err)
	}
	return Asker(func(name string) string {
		if name == "DBUS_SESSION_BUS_ADDRESS" {
			return b.Address
		}
		return ""
	}), b.Address
}

func question() agentwire.Confirmation {
	return agentwire.Confirmation{ID: "1", Profile: "work", Resource: "https://api.example.test", Executable: "/tmp/<b>x</b>", Script: "/home/mara/a\nb.py", PID: 4711}
}

// TestButtons presses real buttons of a notice, on a real bus. Only the server that shows the notice
// is believed.
//
// Invariant: WA-8
func TestButtons(t *testing.T) {
	for _, c := range []struct {
		what, name string
		body       []any
		want       string
	}{
		{"Allow", "ActionInvoked", []any{uint32(7), "allow"}, "allow"},
		{"Deny", "ActionInvoked", []any{uint32(7), "deny"}, "deny"},
		{"put away", "NotificationClosed", []any{uint32(7), uint32(2)}, ""},
	} {
		d := &desktop{can: []string{"actions", "body", "body-markup"}}
		ask, address := start(t, d)
		got := make(chan string, 1)
		go func() {
			s, err := ask(t.Context(), question())
			if err != nil {
				s = err.Error()
			}
			got <- s
		}()
		<-d.shown
		d.mu.Lock()
		if strings.Contains(d.body, "<b>") || !strings.Contains(d.body, "/tmp/&lt;b&gt;x") || !strings.Contains(d.body, "a?b.py (it says)") || !strings.Contains(d.body, "https://api.example.test") {
			t.Errorf("the notice says %q", d.body)
		}
		if strings.Join(d.actions, " ") != "allow Allow deny Deny" {
			t.Errorf("buttons: %q", d.actions)
		}
		d.mu.Unlock()
		d.emit(t, connect(t, address), "ActionInvoked", uint32(7), "allow") // somebody else's
		d.emit(t, d.conn, "ActionInvoked", uint32(8), "allow")              // of another notice
		d.emit(t, d.conn, "ActionInvoked", uint32(7), "default")            // a click on the text
		select {
		case s := <-got:
			t.Fatalf("%s: answered by what is no answer: %q", c.what, s)
		case <-time.After(200 * time.Millisecond):
		}
		d.emit(t, d.conn, c.name, c.body...)
		if s := <-got; s != c.want {
			t.Errorf("%s: %q", c.what, s)
		}
	}
}

// TestNoAnswer takes the notice away when nobody waits any more.
func TestNoAnswer(t *testing.T) {
	d := &desktop{}
	ask, _ := start(t, d)
	ctx, cancel := context.WithCancel(t.Context())
	got := make(chan error, 1)
	go func() { _, err := ask(ctx, question()); got <- err }()
	<-d.shown
	d.mu.Lock()
	if len(d.actions) != 0 || !strings.Contains(d.body, "keytether agent confirm") || !strings.Contains(d.body, "<b>") {
		t.Errorf("a server without buttons and markup shows %q, %q", d.body, d.actions)
	}
	d.mu.Unlock()
	cancel()
	if err := <-got; err == nil {
		t.Error("there was an answer")
	}
	select {
	case id := <-d.closed:
		if id != 7 {
			t.Errorf("notice %d was closed", id)
		}
	case <-time.After(5 * time.Second):
		t.Error("the notice stays")
	}
}

// TestNoDesktop: without a bus, without a server and with one that hangs nobody waits for long.
func TestNoDesktop(t *testing.T) {
	if Asker(func(string) string { return "" }) != nil {
		t.Error("there is somebody to ask without a bus")
	}
	gone := Asker(func(string) string { return "unix:path=/nonexistent/bus" })
	if _, err := gone(t.Context(), question()); err == nil {
		t.Error("a bus that is not there answered")
	}
	b := secretservice.StartBus(t)
	empty := Asker(func(string) string { return b.Address })
	if _, err := empty(t.Context(), question()); err == nil || !strings.Contains(err.Error(), "no notices are shown here") {
		t.Errorf("%v", err)
	}
	ask, _ := start(t, &desktop{hang: true})
	began := time.Now()
	if _, err := ask(t.Context(), question()); err == nil || time.Since(began) > callTime+2*time.Second {
		t.Errorf("%v after %v", err, time.Since(began))
	}
}

func TestWords(t *testing.T) {
	_, body := words(agentwire.Confirmation{Executable: "/tmp/" + strings.Repeat("é", 900) + "\u202egit", Profile: "x", Host: "build7"})
	if len([]rune(body)) > 400 || strings.ContainsRune(body, 0x202e) || !strings.Contains(body, "git") || !strings.Contains(body, "build7") {
		t.Errorf("%q", body)
	}
	if _, body := words(agentwire.Confirmation{}); !strings.Contains(body, "cannot be told") {
		t.Errorf("%q", body)
	}
}
