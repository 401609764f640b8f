//go:build linux || darwin

package agentstart

import (
	"os/exec"
	"syscall"
)

const exeSuffix = ""

// envNames goes to a started agent. HOME and XDG say where things are, the rest is
// locale and time.
var envNames = []string{
	"HOME", "USER", "LOGNAME", "PATH", "LANG", "LC_ALL", "TZ", "TMPDIR",
	"CI", "GITHUB_ACTIONS", "GITLAB_CI", "JENKINS_URL", "TF_BUILD", "TEAMCITY_VERSION", "CODEBUILD_BUILD_ID",
	"KUBERNETES_SERVICE_HOST", "container", // what it must not outlive
	"XDG_RUNTIME_DIR", "XDG_CONFIG_HOME", "XDG_STATE_HOME", "XDG_DATA_HOME", "DBUS_SESSION_BUS_ADDRESS", "KEYTETHER_CONFIG",
}

func sameName(a, b string) bool { return a == b }

// startDir keeps no file system busy.
func startDir() string { return "/" }

// detach puts the agent in a session of its own, so that closing the terminal does not end it.
// Go opens all files close-on-exec, so it inherits none.
func detach(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} }
