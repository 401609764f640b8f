package oauthclient

import (
	"errors"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// fakeNet is a machine's loopback: it lacks addresses, or has ports taken.
type fakeNet struct {
	asked []string
	fail  map[string]error // by network
	taken int              // how many ports are taken on ::1
	real  []net.Listener
}

func (f *fakeNet) listen(network, address string) (net.Listener, error) {
	f.asked = append(f.asked, network+" "+address)
	if err := f.fail[network]; err != nil {
		return nil, &net.OpError{Op: "listen", Net: network, Err: os.NewSyscallError("bind", err)}
	}
	if network == "tcp6" && f.taken > 0 {
		f.taken--
		return nil, &net.OpError{Op: "listen", Net: network, Err: os.NewSyscallError("bind", syscall.EADDRINUSE)}
	}
	// Any port will do: what is asked for is what counts.
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err == nil {
		f.real = append(f.real, l)
	}
	return l, err
}

// TestBindOnlyLoopback looks at the addresses, and knocks at all others of this
// machine.
//
// Invariant: CF-1c
func TestBindOnlyLoopback(t *testing.T) {
	b, err := bind(net.Listen, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer b.close()
	for _, l := range b.listeners {
		if a, ok := l.Addr().(*net.TCPAddr); !ok || !a.IP.IsLoopback() || a.Port != b.port {
			t.Errorf("listens on %v", l.Addr())
		}
	}
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range addrs {
		n, ok := a.(*net.IPNet)
		if !ok || n.IP.IsLoopback() || n.IP.IsLinkLocalUnicast() {
			continue
		}
		if c, err := net.Dial("tcp", net.JoinHostPort(n.IP.String(), strconv.Itoa(b.port))); err == nil {
			_ = c.Close()
			t.Errorf("the listener answers on %s", n.IP)
		}
	}
}

// TestBindTakesAFreePort: a login has a port of its own, which nobody can know
// before, and has it on both addresses or not at all: whoever holds a port on one
// of them cannot get the answer in the login's place.
//
// Invariant: LB-3
func TestBindTakesAFreePort(t *testing.T) {
	seen := map[int]bool{}
	for range 4 { // logins at the same time
		b, err := bind(net.Listen, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer b.close()
		if seen[b.port] || b.port < 1024 {
			t.Errorf("port %d", b.port)
		}
		seen[b.port] = true
		if b.note == "" && len(b.listeners) != 2 {
			t.Errorf("%d listeners, and nothing is said", len(b.listeners))
		}
	}
	other, err := net.Listen("tcp6", "[::1]:0")
	if err != nil {
		t.Fatalf("this test needs ::1: %v", err)
	}
	defer other.Close()
	if b, err := bind(net.Listen, portOf(other)); !errors.Is(err, ErrPort) {
		b.close()
		t.Errorf("a port that somebody has on ::1 was taken on 127.0.0.1: %v", err)
	}
}

// Whatever the machine lacks, no name and no other address is asked for.
//
// Invariant: CF-1c, LB-3
func TestBindAsksForLiteralsOnly(t *testing.T) {
	tests := []struct {
		name  string
		net   fakeNet
		port  int
		host  string
		note  bool
		fails bool
		binds int
	}{
		{"both", fakeNet{}, 0, "127.0.0.1", false, false, 2},
		{"no ::1", fakeNet{fail: map[string]error{"tcp6": syscall.EADDRNOTAVAIL}}, 0, "127.0.0.1", true, false, 1},
		{"no IPv6 at all", fakeNet{fail: map[string]error{"tcp6": syscall.EAFNOSUPPORT}}, 0, "127.0.0.1", true, false, 1},
		{"no 127.0.0.1", fakeNet{fail: map[string]error{"tcp4": syscall.EADDRNOTAVAIL}}, 0, "[::1]", true, false, 1},
		{"taken on ::1 a few times", fakeNet{taken: 3}, 0, "127.0.0.1", false, false, 2},
		{"taken on ::1 for ever", fakeNet{taken: 1000}, 0, "", false, true, 0},
		{"a fixed port is not exchanged", fakeNet{taken: 1}, 7777, "", false, true, 0},
		{"a fixed port that is taken", fakeNet{fail: map[string]error{"tcp4": syscall.EADDRINUSE}}, 7777, "", false, true, 0},
		{"nothing", fakeNet{fail: map[string]error{"tcp4": syscall.EADDRNOTAVAIL, "tcp6": syscall.EADDRNOTAVAIL}}, 0, "", false, true, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b, err := bind(tt.net.listen, tt.port)
			defer func() {
				for _, l := range tt.net.real {
					_ = l.Close()
				}
			}()
			for _, a := range tt.net.asked {
				if !strings.HasPrefix(a, "tcp4 127.0.0.1:") && !strings.HasPrefix(a, "tcp6 [::1]:") {
					t.Errorf("asked for %s", a)
				}
			}
			if tt.fails {
				if !errors.Is(err, ErrPort) {
					t.Errorf("got %v", err)
				}
				return
			}
			if err != nil || b.host != tt.host || (b.note != "") != tt.note || len(b.listeners) != tt.binds {
				t.Errorf("%v: host %s, note %q, %d listeners", err, b.host, b.note, len(b.listeners))
			}
			if tt.port != 0 && !slices.Contains(tt.net.asked, "tcp4 127.0.0.1:7777") {
				t.Errorf("asked %v", tt.net.asked)
			}
		})
	}
}
