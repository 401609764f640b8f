// Package realproxy starts proxies that people really have between them and a server: squid,
// which may want a password, and mitmproxy, which looks into TLS. All listen on loopback. It is
// for tests only.
package realproxy

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/keytether/keytether/internal/testkit"
)

// What the proxies that want a password take.
const (
	User     = "worker"
	Password = "pr0xy:s3cret@home"

	SOCKSPassword = "s0cks-s3cret"
)

// Squid is one squid with several doors, each "127.0.0.1:PORT". None of them lets anybody to
// 127.0.0.1, as a company's proxy would not.
type Squid struct {
	Open     string // takes everybody
	Auth     string // wants User and Password (RFC 7617)
	TLS      string // takes everybody, over TLS
	SignIn   string // sends everybody to SignInPage, as a network's sign-in page does
	Refusing string // refuses everybody

	p *testkit.Process
}

// SignInPage is where the door SignIn sends everybody.
const SignInPage = "http://portal.test/sign-in"

// StartSquid starts a squid whose door TLS has the certificate of files. dir must be empty; other
// users are let through it, since squid gives up its rights.
func StartSquid(dir string, files testkit.CAFiles) (*Squid, error) {
	bin, err := lookPath("squid", "/usr/sbin/squid")
	if err != nil {
		return nil, err
	}
	s := &Squid{}
	for _, door := range []*string{&s.Open, &s.Auth, &s.TLS, &s.SignIn, &s.Refusing} {
		if *door, err = testkit.FreeLoopback(); err != nil {
			return nil, err
		}
	}
	port := func(addr string) string { _, p := splitAddr(addr); return p }
	helper := filepath.Join(dir, "password.sh")
	script := "while read -r user password; do\n" + // as squid writes them: with or without percent signs
		"  case \"$user $password\" in\n  '" + User + " " + Password + "'|'" + User + " pr0xy%3As3cret%40home') echo OK;;\n  *) echo ERR;;\n  esac\ndone\n"
	conf := strings.Join([]string{
		"http_port " + s.Open,
		"http_port " + s.Auth,
		"https_port " + s.TLS + " tls-cert=" + files.Cert + " tls-key=" + files.Key,
		"http_port " + s.SignIn,
		"http_port " + s.Refusing,
		"auth_param basic program /bin/sh " + helper,
		"auth_param basic realm proxy",
		"acl wants_password localport " + port(s.Auth),
		"acl signs_in localport " + port(s.SignIn),
		"acl refuses localport " + port(s.Refusing),
		"acl worker proxy_auth REQUIRED",
		"acl here dst 127.0.0.0/8 ::1",
		"deny_info 302:" + SignInPage + " signs_in",
		"http_access deny signs_in",
		"http_access deny refuses",
		"http_access deny here",
		"http_access deny wants_password !worker",
		"http_access allow all",
		"cache deny all", "cache_mem 0 MB", "access_log none", "cache_log /dev/null", "pid_filename none",
		"coredump_dir " + dir, "pinger_enable off", "shutdown_lifetime 0 seconds", "max_filedescriptors 1024",
		"visible_hostname proxy.test", "err_page_stylesheet /dev/null", "dns_nameservers 127.0.0.1", "hosts_file /etc/hosts",
	}, "\n") + "\n"
	if err := errors.Join(
		os.Chmod(dir, 0o755), os.WriteFile(helper, []byte(script), 0o644),
		os.WriteFile(filepath.Join(dir, "squid.conf"), []byte(conf), 0o644),
	); err != nil {
		return nil, err
	}
	s.p, err = testkit.StartProcess(testkit.Command{
		Path: bin, Args: []string{"-N", "-d", "1", "-f", filepath.Join(dir, "squid.conf")},
		Env: []string{"PATH=" + os.Getenv("PATH")}, Dir: dir,
	})
	if err != nil {
		return nil, err
	}
	if err := listens(s.p, s.Open, s.Auth, s.TLS, s.SignIn, s.Refusing); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// Close ends it.
func (s *Squid) Close() error { return end(s.p) }

func splitAddr(addr string) (host, port string) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return addr, ""
	}
	return host, port
}

func lookPath(name, otherwise string) (string, error) {
	if path, err := exec.LookPath(name); err == nil {
		return path, nil
	}
	if _, err := os.Stat(otherwise); err == nil {
		return otherwise, nil
	}
	return "", fmt.Errorf("realproxy: %s is missing: run scripts/setup", name)
}

// listens waits until all addresses take connections.
func listens(p *testkit.Process, addrs ...string) error {
	late := time.After(30 * time.Second)
	for _, addr := range addrs {
		for {
			c, err := net.DialTimeout("tcp", addr, time.Second)
			if err == nil {
				_ = c.Close()
				break
			}
			select {
			case <-p.Done():
				return fmt.Errorf("realproxy: it ended: %s%s", p.Stdout(), p.Stderr())
			case <-late:
				return fmt.Errorf("realproxy: it does not listen at %s: %s%s", addr, p.Stdout(), p.Stderr())
			case <-time.After(20 * time.Millisecond):
			}
		}
	}
	return nil
}

func end(p *testkit.Process) error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	err := p.Stop(ctx)
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return nil
	}
	return err
}
