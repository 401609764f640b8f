//go:build linux

package proxies

import (
	"context"
	"errors"
	"fmt"
	"os"
	"testing"

	"github.com/keytether/keytether/internal/testkit"
	"github.com/keytether/keytether/internal/testkit/netns"
)

// The servers' address, of a block for documentation (RFC 5737): 127.0.0.1 never goes through a
// proxy.
const (
	address  = "192.0.2.10"
	issuer   = "https://auth.test"
	resource = "https://api.test"
)

const hosts = "127.0.0.1 localhost\n::1 localhost\n" + address + " auth.test api.test named.corp.test portal.test\n"

// envFolder names, to the second run, the folder that has the programs in it.
const envFolder = "KEYTETHER_TEST_FOLDER"

// TestMain makes the network, runs the tests within, and takes it away.
func TestMain(m *testing.M) {
	if os.Getenv(envFolder) != "" {
		os.Exit(play(m))
	}
	code, err := outside()
	if err != nil {
		fmt.Fprintln(os.Stderr, "test/proxies:", err)
		code = 1
	}
	os.Exit(code)
}

func outside() (code int, err error) {
	if os.Getuid() != 0 {
		return 1, errors.New("these tests make a network namespace, which needs root: run them as root")
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
	name := fmt.Sprintf("ktp%d", os.Getpid())
	defer func() { err = errors.Join(err, netns.Remove(name)) }()
	if err := makeNetwork(name); err != nil {
		return 1, err
	}
	return netns.Again(name, envFolder+"="+dir)
}

func makeNetwork(name string) error {
	err := netns.Files(name, map[string]string{"hosts": hosts, "resolv.conf": "nameserver 127.0.0.1\noptions timeout:1 attempts:1\n"})
	if err != nil {
		return err
	}
	return netns.IP("netns add "+name, "-n "+name+" link set lo up", "-n "+name+" addr add "+address+"/32 dev lo")
}
