package agent

import (
	"strings"
	"testing"

	"github.com/keytether/keytether/internal/agentwire"
)

// TestChooseFlow goes through the places in which people log in.
//
// Invariant: DF-17, DF-22
func TestChooseFlow(t *testing.T) {
	linux, mac := machine{os: "linux", opener: true}, machine{os: "darwin"}
	box := machine{os: "linux", container: "there is /.dockerenv"}
	for name, tt := range map[string]struct {
		asked  string
		env    agentwire.Env
		at     machine
		flow   string
		within string
	}{
		"a desktop":               {"", agentwire.Env{"DISPLAY": ":0"}, linux, "browser", "can be opened"},
		"Wayland":                 {"auto", agentwire.Env{"WAYLAND_DISPLAY": "w"}, linux, "browser", "can be opened"},
		"a Mac":                   {"auto", nil, mac, "browser", "can be opened"},
		"Windows":                 {"auto", nil, machine{os: "windows"}, "browser", "can be opened"},
		"no display":              {"auto", nil, linux, "device", "no display"},
		"no display, BROWSER":     {"auto", agentwire.Env{"BROWSER": "lynx"}, linux, "browser", "BROWSER"},
		"ssh":                     {"auto", agentwire.Env{"SSH_CONNECTION": "x"}, linux, "device", "SSH"},
		"ssh, by its terminal":    {"auto", agentwire.Env{"SSH_TTY": "/dev/pts/1"}, mac, "device", "SSH"},
		"ssh with X":              {"auto", agentwire.Env{"SSH_CONNECTION": "x", "DISPLAY": ":10"}, linux, "device", "SSH"},
		"an editor's remote host": {"auto", agentwire.Env{"SSH_CONNECTION": "x", "BROWSER": "helper.sh"}, linux, "browser", "BROWSER"},
		"a container":             {"auto", agentwire.Env{"DISPLAY": ":0"}, box, "device", "/.dockerenv"},
		"podman says so":          {"auto", agentwire.Env{"container": "podman"}, linux, "device", "container"},
		"a pod":                   {"auto", agentwire.Env{"KUBERNETES_SERVICE_HOST": "10.0.0.1"}, linux, "device", "container"},
		"WSL":                     {"auto", agentwire.Env{"WSL_DISTRO_NAME": "Debian"}, linux, "browser", "can be opened"},
		"WSL without a browser":   {"auto", agentwire.Env{"WSL_DISTRO_NAME": "Debian"}, machine{os: "linux"}, "device", "WSL"},
		"CI":                      {"auto", agentwire.Env{"CI": "1", "DISPLAY": ":0"}, linux, "", ""},
		"CI with BROWSER":         {"auto", agentwire.Env{"CI": "1", "BROWSER": "x"}, linux, "", ""},
		"CI over ssh":             {"", agentwire.Env{"CI": "true", "SSH_CONNECTION": "x"}, linux, "", ""},
		"CI=false":                {"auto", agentwire.Env{"CI": "false"}, mac, "browser", "can be opened"},
		"CI, browser by word":     {"browser", agentwire.Env{"CI": "1"}, linux, "browser", "asked for"},
		"browser by word":         {"browser", agentwire.Env{"SSH_CONNECTION": "x"}, linux, "browser", "asked for"},
		"device by word":          {"device", agentwire.Env{"DISPLAY": ":0"}, linux, "device", "asked for"},
		"workload":                {"workload", nil, linux, "", ""},
	} {
		flow, reason, err := chooseFlow(tt.asked, tt.env, tt.at)
		if flow != tt.flow || (err == nil) != (tt.flow != "") || !strings.Contains(reason, tt.within) {
			t.Errorf("%s: %q %q %v", name, flow, reason, err)
		}
	}
}

func TestContainerOf(t *testing.T) {
	for cgroup, want := range map[string]bool{
		"0::/\n": false, "0::/init.scope\n": false, "12:pids:/docker/0123\n0::/\n": true, "0::/kubepods/besteffort/pod1\n": true,
		"1:name=systemd:/user.slice\n": false, "0::/machine.slice/x\n": false, "4:cpu:/lxc/box\n": true,
	} {
		if got := containerOf(cgroup); (got != "") != want {
			t.Errorf("%q: %q", cgroup, got)
		}
	}
}
