package doctor

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// chip is what was seen of a TPM.
type chip struct {
	managed bool // /dev/tpmrm0 is there: a TPM 2.0 that several programs can use
	raw     bool // /dev/tpm0 is there
	err     error
	group   string // that may use it
}

func checkTPM(_ context.Context, o *Options) []Finding {
	if o.GOOS != "linux" {
		return one(none("tpm", "looked for on Linux only"))
	}
	var c chip
	device := o.path("/dev/tpmrm0")
	if fi, err := os.Stat(device); err == nil {
		c.managed = true
		c.group = groupOf(fi)
		f, err := os.OpenFile(device, os.O_RDWR, 0)
		if err == nil {
			err = f.Close()
		}
		c.err = err
	}
	if _, err := os.Stat(o.path("/dev/tpm0")); err == nil {
		c.raw = true
	}
	return one(judgeTPM(c))
}

func judgeTPM(c chip) Finding {
	const without = "the proof key cannot be made in it"
	switch {
	case !c.managed && c.raw:
		return Finding{"tpm", Warning, "there is a TPM that only one program can use", without + ": it is of version 1.2, or the kernel is too old", "Look in the firmware for TPM 2.0, or go without"}
	case !c.managed:
		return none("tpm", "this machine shows none")
	case errors.Is(c.err, fs.ErrPermission):
		return Finding{"tpm", Warning, "this user may not use it", without, "Ask an administrator: usermod -aG " + or(c.group, "tss") + " $(id -un). Then sign out of the machine and in again"}
	case errors.Is(c.err, syscall.EBUSY):
		return Finding{"tpm", Warning, "another program holds it", without + " meanwhile", "End that program, or try again"}
	case c.err != nil:
		return Finding{"tpm", Warning, "it cannot be opened", c.err.Error(), "Restart the machine, or go without"}
	}
	return ok("tpm", "/dev/tpmrm0")
}

// openers are what opens a browser on Linux, first to last, where BROWSER names none.
var openers = [...]string{"xdg-open", "x-www-browser", "www-browser", "wslview"}

func checkBrowser(_ context.Context, o *Options) []Finding {
	names := o.Browsers
	if len(names) == 0 && o.GOOS == "linux" {
		names = openers[:]
	}
	first := ""
	for _, n := range names {
		if _, err := o.LookPath(n); err == nil {
			first = n
			break
		}
	}
	return one(judgeBrowser(o, first))
}

// judgeBrowser: first is the first of the programs that is installed.
func judgeBrowser(o *Options, first string) Finding {
	const link = "a login shows its link, and after a minute a code, but opens nothing"
	wsl := o.Getenv("WSL_DISTRO_NAME") != ""
	switch {
	case o.NoBrowser != "":
		return none("browser", o.NoBrowser+": a login shows a code instead")
	case len(o.Browsers) > 0 && first == "":
		return Finding{"browser", Warning, "BROWSER names " + strings.Join(bases(o.Browsers), ", ") + ", which is not installed", link, "Correct BROWSER, or unset it"}
	case len(o.Browsers) > 0:
		return ok("browser", filepath.Base(first)+" (by BROWSER)")
	case o.GOOS != "linux":
		return ok("browser", "the desktop's")
	case first == "" && wsl:
		return Finding{"browser", Warning, "nothing here opens a browser of Windows", link, "Install wslu (it has wslview), or set BROWSER"}
	case first == "":
		return Finding{"browser", Warning, "nothing here opens a browser", link, "Install xdg-utils, or set BROWSER"}
	case wsl && o.Getenv("DISPLAY") == "" && o.Getenv("WAYLAND_DISPLAY") == "" && first != "wslview":
		return Finding{"browser", Warning, first + ", without a display", "in WSL it opens the browser of Windows only if something tells it to", "Install wslu (it has wslview) and set BROWSER=wslview"}
	}
	return ok("browser", "by "+first)
}

func bases(paths []string) []string {
	var out []string
	for _, p := range paths {
		out = append(out, filepath.Base(p))
	}
	return out
}

// loopback is what came of listening as a login does.
type loopback struct{ four, six, dial error }

func checkLoopback(ctx context.Context, o *Options) []Finding {
	var l loopback
	port := "0"
	four, err := o.Listen("tcp4", "127.0.0.1:0")
	if l.four = err; err == nil {
		defer four.Close()
		if _, p, err := net.SplitHostPort(four.Addr().String()); err == nil {
			port = p
		}
		d := net.Dialer{Timeout: time.Second}
		c, err := d.DialContext(ctx, "tcp4", four.Addr().String())
		if l.dial = err; err == nil {
			_ = c.Close()
		}
	}
	six, err := o.Listen("tcp6", net.JoinHostPort("::1", port))
	if l.six = err; err == nil {
		_ = six.Close()
	}
	return one(judgeLoopback(l))
}

func judgeLoopback(l loopback) Finding {
	const why = "the browser comes back to a port of this machine"
	const code = "until then: keytether login --flow device"
	switch {
	case l.four != nil && l.six != nil:
		return Finding{"loopback", Problem, "no port of 127.0.0.1 or ::1 can be listened at", why + "; " + reason(l.four), "Bring the interface lo up (ip link set lo up), or let this program listen; " + code}
	case l.four != nil:
		return Finding{"loopback", Warning, "::1 alone", "127.0.0.1: " + reason(l.four), "Bring 127.0.0.1 up: ip addr add 127.0.0.1/8 dev lo"}
	case l.dial != nil:
		return Finding{"loopback", Problem, "127.0.0.1 does not answer to this machine itself", why + "; " + reason(l.dial), "See whether a firewall drops what goes over lo; " + code}
	case l.six != nil:
		return ok("loopback", "127.0.0.1 alone")
	}
	return ok("loopback", "127.0.0.1 and ::1")
}

// reason is an error without the operation and addresses around it.
func reason(err error) string {
	if op, ok := errors.AsType[*net.OpError](err); ok {
		err = op.Err
	}
	if s, ok := errors.AsType[*os.SyscallError](err); ok {
		err = s.Err
	}
	return err.Error()
}

// policies are where administrators set rules for browsers on Linux.
var policies = [...]string{
	"/etc/chromium/policies/managed/*.json", "/etc/opt/chrome/policies/managed/*.json", "/etc/opt/edge/policies/managed/*.json",
	"/etc/firefox/policies/policies.json", "/usr/lib/firefox/distribution/policies.json", "/usr/lib/firefox-esr/distribution/policies.json",
}

func checkBrowserProxy(_ context.Context, o *Options) []Finding {
	if o.GOOS != "linux" {
		return one(none("browser-proxy", "looked for on Linux only"))
	}
	for _, pattern := range policies {
		files, _ := filepath.Glob(o.path(pattern))
		for _, file := range files {
			if b, err := os.ReadFile(file); err == nil && swallows(b) {
				return one(Finding{
					"browser-proxy", Warning, "a rule of the browser sends even 127.0.0.1 to the proxy", file + ": the browser cannot come back to this machine",
					"Ask who manages it to take <-loopback> (Firefox: allow_hijacking_localhost) out; until then: keytether login --flow device",
				})
			}
		}
	}
	return one(ok("browser-proxy", "no rule sends 127.0.0.1 to a proxy"))
}

// swallows says whether a policy file has a browser send loopback to the proxy.
func swallows(b []byte) bool {
	var p struct {
		ProxyBypassList string
		ProxySettings   struct{ ProxyBypassList string }
		Policies        struct {
			Preferences map[string]json.RawMessage
		} `json:"policies"`
	}
	if json.Unmarshal(b, &p) != nil {
		return false
	}
	if strings.Contains(p.ProxyBypassList, "<-loopback>") || strings.Contains(p.ProxySettings.ProxyBypassList, "<-loopback>") {
		return true
	}
	return strings.Contains(string(p.Policies.Preferences["network.proxy.allow_hijacking_localhost"]), "true")
}
