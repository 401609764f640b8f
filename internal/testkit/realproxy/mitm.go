package realproxy

import (
	"errors"
	"os"
	"path/filepath"

	"github.com/keytether/keytether/internal/testkit"
)

// MitmOptions say what a mitmproxy does.
type MitmOptions struct {
	// SOCKS makes it a SOCKS5 proxy that passes TLS on as it is and wants User and SOCKSPassword.
	// Otherwise it is an HTTP proxy that looks into TLS.
	SOCKS bool
	// UpstreamCA is the file of the authority that it trusts for servers.
	UpstreamCA string
}

// Mitm is one mitmproxy.
type Mitm struct {
	Addr string // "127.0.0.1:PORT"
	CA   string // file of the authority that it signs certificates with, in place of the server's

	mode string
	p    *testkit.Process
}

// Modes of a network that has not let somebody in yet.
const (
	PortalOff      = ""
	PortalPage     = "page"     // every answer is 200 with a page of HTML
	PortalRedirect = "redirect" // every answer sends to SignInPage
)

// portal is the mitmproxy addon that plays such a network, by the word in a file.
const portal = `
import os
from mitmproxy import http

FILE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "mode")

def request(flow):
    with open(FILE) as f:
        mode = f.read()
    if mode == "page":
        flow.response = http.Response.make(200, b"<!DOCTYPE html><title>Welcome</title>Please sign in", {"Content-Type": "text/html"})
    elif mode == "redirect":
        flow.response = http.Response.make(302, b"", {"Location": "` + SignInPage + `?from=abc"})
`

// StartMitm starts a mitmproxy, whose files are in dir.
func StartMitm(dir string, o MitmOptions) (*Mitm, error) {
	bin, err := lookPath("mitmdump", "/usr/bin/mitmdump")
	if err != nil {
		return nil, err
	}
	m := &Mitm{CA: filepath.Join(dir, "mitmproxy-ca-cert.pem"), mode: filepath.Join(dir, "mode")}
	if m.Addr, err = testkit.FreeLoopback(); err != nil {
		return nil, err
	}
	addon := filepath.Join(dir, "portal.py")
	if err := errors.Join(m.Portal(PortalOff), os.WriteFile(addon, []byte(portal), 0o600)); err != nil {
		return nil, err
	}
	host, port := splitAddr(m.Addr)
	args := []string{
		"--quiet", "--listen-host", host, "--listen-port", port, "--set", "confdir=" + dir, "--set", "connection_strategy=lazy",
		"--set", "ssl_verify_upstream_trusted_ca=" + o.UpstreamCA,
	}
	if o.SOCKS {
		args = append(args, "--mode", "socks5", "--ignore-hosts", ".*", "--proxyauth", User+":"+SOCKSPassword)
	} else {
		args = append(args, "--scripts", addon)
	}
	m.p, err = testkit.StartProcess(testkit.Command{Path: bin, Args: args, Env: []string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir}, Dir: dir})
	if err != nil {
		return nil, err
	}
	if err := listens(m.p, m.Addr); err != nil {
		return nil, errors.Join(err, m.Close())
	}
	return m, nil
}

// Portal makes it play a network that has not let somebody in, or stop to.
func (m *Mitm) Portal(mode string) error {
	next := m.mode + ".next"
	if err := os.WriteFile(next, []byte(mode), 0o600); err != nil {
		return err
	}
	return os.Rename(next, m.mode)
}

// Close ends it.
func (m *Mitm) Close() error { return end(m.p) }
