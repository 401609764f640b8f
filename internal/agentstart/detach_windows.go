package agentstart

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
)

const exeSuffix = ".exe"

// envNames goes to a started agent: what Windows itself needs, and where things are.
var envNames = []string{
	"SystemRoot", "SystemDrive", "USERPROFILE", "USERNAME", "APPDATA", "LOCALAPPDATA", "TEMP", "TMP", "PATH", "KEYTETHER_CONFIG",
}

func sameName(a, b string) bool { return strings.EqualFold(a, b) }

// startDir is the root of the system's drive.
func startDir() string { return filepath.VolumeName(os.Getenv("SystemRoot")) + `\` }

// detach gives the agent no console and a process group of its own (DETACHED_PROCESS is 0x8).
func detach(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{CreationFlags: syscall.CREATE_NEW_PROCESS_GROUP | 0x8, NoInheritHandles: true}
}
