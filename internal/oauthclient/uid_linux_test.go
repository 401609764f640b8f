package oauthclient

import (
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
)

// A connection's other end is known by its user, on both loopback addresses.
//
// Invariant: LB-2
func TestSocketUID(t *testing.T) {
	for _, address := range []string{"127.0.0.1:0", "[::1]:0"} {
		ln, err := net.Listen("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		defer ln.Close()
		_, port, err := net.SplitHostPort(ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		host, _, _ := strings.Cut(strings.Trim(address, "[]"), "]")
		host = strings.TrimSuffix(host, ":0")
		want := os.Getuid()
		c := exec.CommandContext(t.Context(), "bash", "-c", "exec 3<>/dev/tcp/"+host+"/"+port+"; read -r -u 3")
		if want == 0 {
			want = 65534
			c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
		}
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		conn, err := ln.Accept()
		if err != nil {
			t.Fatal(err)
		}
		local := netip.MustParseAddrPort(conn.LocalAddr().String())
		remote := netip.MustParseAddrPort(conn.RemoteAddr().String())
		uid, known := socketUID(remote, local)
		if uid != want || !known {
			t.Errorf("%s: uid %d (known %t), want %d", address, uid, known, want)
		}
		_ = conn.Close()
		_ = c.Wait()
		if _, known := socketUID(netip.MustParseAddrPort("127.0.0.1:1"), local); known {
			t.Error("a socket that does not exist has a user")
		}
	}
}

// Invariant: LB-2
func TestStranger(t *testing.T) {
	for _, c := range []struct {
		own, peer int
		known     bool
		want      bool
	}{
		{1000, 1000, true, false},
		{1000, 1001, true, true},
		{1000, 65534, true, true},
		{1000, 0, true, false},
		{0, 1000, true, false},
		{1000, 0, false, false},
		{1000, 1001, false, false},
	} {
		if got := stranger(c.own, c.peer, c.known); got != c.want {
			t.Errorf("%+v: %t", c, got)
		}
	}
}
