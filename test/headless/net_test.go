//go:build linux

package headless

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"testing"

	"github.com/keytether/keytether/internal/testkit"
	"github.com/keytether/keytether/internal/testkit/netns"
)

// The places, each a network namespace. The hub joins them, as a router, and the
// server is there.
const (
	hub      = "hub"
	person   = "person"
	device   = "device"
	attacker = "attacker"
)

// The addresses, of the blocks for documentation (RFC 5737): to the server they
// are three customers' public networks.
var addresses = map[string]string{
	hub: "192.0.2.200", person: "203.0.113.7", device: "198.51.100.7", attacker: "192.0.2.66",
}

var legs = []struct{ place, gateway, net string }{
	{person, "203.0.113.1", "/24"}, {device, "198.51.100.1", "/24"}, {attacker, "192.0.2.1", "/25"},
}

// The environment of the second run: the names' prefix, and a folder, which has
// the programs in it and which the first run takes away.
const (
	envPrefix = "KEYTETHER_TEST_NETWORK"
	envFolder = "KEYTETHER_TEST_FOLDER"
)

// TestMain makes the networks, runs the tests within the person's, and takes the
// networks away.
func TestMain(m *testing.M) {
	if os.Getenv(envPrefix) != "" {
		os.Exit(play(m))
	}
	code, err := outside()
	if err != nil {
		fmt.Fprintln(os.Stderr, "test/headless:", err)
		code = 1
	}
	os.Exit(code)
}

func outside() (code int, err error) {
	if os.Getuid() != 0 {
		return 1, errors.New("these tests make network namespaces, which needs root: run them as root")
	}
	if _, err := exec.LookPath("ip"); err != nil {
		return 1, fmt.Errorf("these tests make network namespaces: install iproute2 (make setup does): %w", err)
	}
	dir, err := testkit.ShortDir()
	if err != nil {
		return 1, err
	}
	defer os.RemoveAll(dir)
	_, err = testkit.Build(context.Background(), dir, "github.com/keytether/keytether/cmd/keytether", "github.com/keytether/keytether/cmd/keytether-server")
	if err != nil {
		return 1, err
	}
	prefix := fmt.Sprintf("kt%d", os.Getpid())
	defer func() { err = errors.Join(err, removeNetworks(prefix)) }()
	if err := makeNetworks(prefix); err != nil {
		return 1, err
	}
	return netns.Again(prefix+person, envPrefix+"="+prefix, envFolder+"="+dir)
}

// makeNetworks makes the namespaces and joins them. Nothing is made outside of
// them but what `ip netns` itself keeps.
func makeNetworks(prefix string) error {
	hosts := "127.0.0.1 localhost\n::1 localhost\n" + addresses[hub] + " auth.test\n" + addresses[person] + " api.test\n"
	var commands []string
	for place := range addresses {
		if err := netns.Files(prefix+place, map[string]string{"hosts": hosts}); err != nil {
			return err
		}
		commands = append(commands, "netns add "+prefix+place, "-n "+prefix+place+" link set lo up")
	}
	in := "-n " + prefix + hub + " "
	commands = append(commands, in+"addr add "+addresses[hub]+"/32 dev lo")
	for _, l := range legs {
		there := "-n " + prefix + l.place + " "
		commands = append(commands,
			in+"link add "+l.place+" type veth peer name eth0 netns "+prefix+l.place,
			in+"addr add "+l.gateway+l.net+" dev "+l.place, in+"link set "+l.place+" up",
			there+"addr add "+addresses[l.place]+l.net+" dev eth0", there+"link set eth0 up",
			there+"route add default via "+l.gateway)
	}
	if err := netns.IP(commands...); err != nil {
		return err
	}
	route := exec.Command("ip", "netns", "exec", prefix+hub, "sh", "-c", "echo 1 >/proc/sys/net/ipv4/ip_forward")
	if out, err := route.CombinedOutput(); err != nil {
		return fmt.Errorf("the hub cannot route: %w: %s", err, out)
	}
	return nil
}

// removeNetworks ends what still runs in the namespaces, and takes them away.
func removeNetworks(prefix string) error {
	var names []string
	for place := range addresses {
		names = append(names, prefix+place)
	}
	return netns.Remove(names...)
}

// on is how a program is started at a place, on a computer with a host name.
func on(place, host string, argv ...string) []string {
	return append([]string{
		"ip", "netns", "exec", os.Getenv(envPrefix) + place,
		"unshare", "--uts", "sh", "-c", `hostname "$0" && exec "$@"`, host,
	}, argv...)
}
