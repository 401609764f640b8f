package notify

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/godbus/dbus/v5"

	"github.com/keytether/keytether/internal/agentwire"
)

const (
	service = "org.freedesktop.Notifications"
	path    = "/org/freedesktop/Notifications"

	// callTime bounds what is asked of the bus: a daemon that hangs holds nothing up.
	callTime = 3 * time.Second
)

// Asker gives what shows a question on the desktop of this session; nil where the environment
// names no session bus. It starts no bus. What it gives returns with ctx at the latest, and takes
// its notice away.
func Asker(getenv func(string) string) func(context.Context, agentwire.Confirmation) (string, error) {
	address := getenv("DBUS_SESSION_BUS_ADDRESS")
	if address == "" || address == "autolaunch:" {
		dir := getenv("XDG_RUNTIME_DIR")
		if !filepath.IsAbs(dir) {
			return nil
		}
		if _, err := os.Stat(filepath.Join(dir, "bus")); err != nil {
			return nil
		}
		address = "unix:path=" + dbus.EscapeBusAddressValue(filepath.Join(dir, "bus"))
	}
	return func(ctx context.Context, q agentwire.Confirmation) (string, error) { return ask(ctx, address, q) }
}

func ask(ctx context.Context, address string, q agentwire.Confirmation) (string, error) {
	// The connection outlives ctx by the call that takes the notice away.
	life, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	late := time.AfterFunc(callTime, end)
	conn, err := dbus.Connect(address, dbus.WithContext(life))
	if err != nil {
		return "", fmt.Errorf("notify: the session bus: %w", err)
	}
	defer conn.Close()
	if !late.Stop() {
		return "", fmt.Errorf("notify: the session bus: %w", context.DeadlineExceeded)
	}
	// Nor are these calls cut short by ctx: a notice whose number is not known cannot be closed.
	short, cancel := context.WithTimeout(life, callTime)
	defer cancel()
	object := conn.Object(service, path)
	var can []string
	if err := object.CallWithContext(short, service+".GetCapabilities", 0).Store(&can); err != nil {
		return "", fmt.Errorf("notify: no notices are shown here: %w", err)
	}
	// Any program on the bus can send a signal that looks like an answer. Only that of the one
	// that was asked counts.
	var owner string
	if err := conn.BusObject().CallWithContext(short, "org.freedesktop.DBus.GetNameOwner", 0, service).Store(&owner); err != nil {
		return "", fmt.Errorf("notify: %w", err)
	}
	object = conn.Object(owner, path)
	if err := conn.AddMatchSignalContext(short, dbus.WithMatchSender(owner), dbus.WithMatchInterface(service), dbus.WithMatchObjectPath(path)); err != nil {
		return "", fmt.Errorf("notify: %w", err)
	}
	signals := make(chan *dbus.Signal, 16)
	conn.Signal(signals)

	summary, body := words(q)
	var actions []string
	if slices.Contains(can, "actions") {
		actions = []string{agentwire.DecisionAllow, "Allow", agentwire.DecisionDeny, "Deny"}
	} else {
		body += "\nAnswer with: keytether agent confirm"
	}
	if slices.Contains(can, "body-markup") {
		body = escape(body)
	}
	hints := map[string]dbus.Variant{"urgency": dbus.MakeVariant(byte(2)), "category": dbus.MakeVariant("device")}
	var id uint32
	err = object.CallWithContext(short, service+".Notify", 0, "Keytether", uint32(0), "dialog-password", summary, body, actions, hints, int32(0)).Store(&id)
	if err != nil {
		return "", fmt.Errorf("notify: the notice was not shown: %w", err)
	}
	decision, err := answer(ctx, signals, owner, id)
	if err != nil {
		bye, cancel := context.WithTimeout(life, callTime)
		defer cancel()
		_ = object.CallWithContext(bye, service+".CloseNotification", 0, id).Err
	}
	return decision, err
}

var errGone = errors.New("notify: the session bus is gone")

// answer waits for a button. A notice that was put away decides nothing.
func answer(ctx context.Context, signals <-chan *dbus.Signal, owner string, id uint32) (string, error) {
	for {
		select {
		case <-ctx.Done():
			return "", ctx.Err()
		case s, ok := <-signals:
			if !ok {
				return "", errGone
			}
			if s.Sender != owner || len(s.Body) < 2 || s.Body[0] != id {
				continue
			}
			switch s.Name {
			case service + ".ActionInvoked":
				if key, _ := s.Body[1].(string); key == agentwire.DecisionAllow || key == agentwire.DecisionDeny {
					return key, nil
				}
			case service + ".NotificationClosed":
				return "", nil
			}
		}
	}
}
