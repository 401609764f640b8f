package agent

import (
	"os"
	"os/exec"
	"runtime"
	"strings"

	"github.com/keytether/keytether/internal/agentwire"
)

// machine is what decides about a browser and stands in no variable of the caller.
type machine struct {
	os        string // GOOS
	container string // what says that this is a container; empty: nothing does
	opener    bool   // WSL: a program is there that opens Windows' or a Linux browser
}

// chooseFlow answers --flow, with the reason in words. It is pure.
func chooseFlow(asked string, env agentwire.Env, at machine) (flow, reason string, err error) {
	switch asked {
	case agentwire.FlowBrowser, agentwire.FlowDevice:
		return asked, "it was asked for", nil
	case agentwire.FlowWorkload:
		return "", "", agentwire.NewError(agentwire.Unsupported, couldNot, "this version has no "+asked+" flow", "Use --flow browser or --flow device", nil)
	}
	device := func(why string) (string, string, error) { return agentwire.FlowDevice, why, nil }
	switch {
	case set(env["CI"]):
		return "", "", agentwire.NewError(agentwire.Unsupported, couldNot, "in CI (CI is set) there is no person to sign in, and this version has no workload flow", "If a person is there, use --flow device or --flow browser", nil)
	case env["BROWSER"] != "":
		return agentwire.FlowBrowser, "BROWSER names one", nil
	case env["SSH_CONNECTION"] != "" || env["SSH_TTY"] != "":
		return device("this is an SSH session")
	case env["container"] != "" || env["KUBERNETES_SERVICE_HOST"] != "":
		return device("this is a container")
	case at.container != "":
		return device("this is a container (" + at.container + ")")
	case env["WSL_DISTRO_NAME"] != "" && !at.opener:
		return device("this is WSL without a program that opens a browser")
	case env["WSL_DISTRO_NAME"] == "" && noDisplay(at.os) && env["DISPLAY"] == "" && env["WAYLAND_DISPLAY"] == "":
		return device("there is no display")
	}
	return agentwire.FlowBrowser, "a browser can be opened here", nil
}

// noDisplay: on these systems a desktop is where its variables are.
func noDisplay(os string) bool {
	switch os {
	case "windows", "darwin":
		return false
	}
	return true
}

func set(v string) bool {
	switch strings.ToLower(v) {
	case "", "0", "false", "no":
		return false
	}
	return true
}

// here looks where this process runs.
func here() machine {
	p := machine{os: runtime.GOOS}
	if p.os != "linux" {
		return p
	}
	for _, mark := range []string{"/.dockerenv", "/run/.containerenv"} {
		if _, err := os.Stat(mark); err == nil {
			p.container = "there is " + mark
			return p
		}
	}
	if b, err := os.ReadFile("/proc/1/cgroup"); err == nil {
		p.container = containerOf(string(b))
	}
	for _, name := range []string{"wslview", "xdg-open", "x-www-browser", "www-browser"} {
		if _, err := exec.LookPath(name); err == nil {
			p.opener = true
		}
	}
	return p
}

// containerOf reads /proc/1/cgroup: the first process of a container runs in a
// group that its manager named.
func containerOf(cgroup string) string {
	for _, name := range []string{"docker", "kubepods", "containerd", "libpod", "lxc", "podman"} {
		if strings.Contains(cgroup, "/"+name) {
			return "its first process is in a group of " + name + "'s"
		}
	}
	return ""
}

func join(warnings []string) string { return strings.Join(warnings, ". ") }
