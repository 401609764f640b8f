package agent

import (
	"strings"

	"github.com/keytether/keytether/internal/agentwire"
)

// chooseFlow answers --flow, with the reason in words. This agent has the
// browser's; the device's and the workload's are refused by name.
func chooseFlow(asked string, env agentwire.Env) (flow, reason string, err error) {
	switch asked {
	case agentwire.FlowBrowser:
		return asked, "it was asked for", nil
	case agentwire.FlowDevice, agentwire.FlowWorkload:
		return "", "", agentwire.NewError(agentwire.Unsupported, couldNot, "this version has no "+asked+" flow", "Use --flow browser", nil)
	}
	switch {
	case set(env["CI"]):
		return "", "", agentwire.NewError(agentwire.Unsupported, couldNot, "in CI there is no person to sign in, and this version has no workload flow", "If a person is there, use --flow browser", nil)
	case remote(env) && !display(env):
		return agentwire.FlowBrowser, "this is a remote session without a display: open the link in a browser on your own machine, with the link's port forwarded to here", nil
	}
	return agentwire.FlowBrowser, "a browser can be opened here", nil
}

func set(v string) bool {
	switch strings.ToLower(v) {
	case "", "0", "false", "no":
		return false
	}
	return true
}

func remote(env agentwire.Env) bool { return env["SSH_CONNECTION"] != "" || env["SSH_TTY"] != "" }

func display(env agentwire.Env) bool { return env["DISPLAY"] != "" || env["WAYLAND_DISPLAY"] != "" }

func join(warnings []string) string { return strings.Join(warnings, ". ") }
