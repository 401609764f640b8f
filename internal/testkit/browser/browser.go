// Package browser drives Debian's Chromium through real pages, the way a
// person would: controls are found by their accessible name and pressed with
// the mouse, and what the address bar showed is remembered.
//
// Each browser has a home and a profile of its own. A private certificate
// authority is trusted through that profile's NSS database, as an
// administrator would do it, so no flag weakens TLS. It is for tests and for
// the demo only.
package browser

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sort"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/chromedp"
)

// Errors of this package.
var (
	// ErrNoBrowser says that no Chromium was found on this machine.
	ErrNoBrowser = errors.New("browser: no Chromium found; run `make setup` (as root, on Debian), or name one in KEYTETHER_CHROMIUM")
	// ErrNotFound says that no control has the asked accessible name.
	ErrNotFound = errors.New("browser: nothing on the page has that accessible name")
	// ErrAmbiguous says that several controls have the asked accessible name.
	ErrAmbiguous = errors.New("browser: more than one control has that accessible name")
)

// verbTimeout bounds each verb whose context has no earlier deadline.
const verbTimeout = 20 * time.Second

// Options says how a browser is set up. The zero value is a browser that knows
// no other host than the machine's own.
type Options struct {
	// Dir holds the home folder and the profile. It must exist and be empty;
	// the caller removes it.
	Dir string
	// Hosts maps host names to addresses with a port, for instance
	// "auth.test" to "127.0.0.1:38111". A URL of that host is opened there,
	// whatever port the URL itself has. Every other name but loopback fails
	// to resolve, so that a test never reaches the network.
	Hosts map[string]string
	// CA is a PEM certificate that this profile trusts for servers.
	CA []byte
	// Proxy, "host:port" of an HTTP proxy, is asked for every page, this machine's own included:
	// the rule `<-loopback>` takes away what browsers leave out by themselves.
	Proxy string
	// NoScript turns JavaScript off in the pages.
	NoScript bool
	// Width and Height are the window's size in CSS pixels; 1100 × 900 if zero.
	Width, Height int
}

// Browser is one running Chromium with one tab. Its methods may be called from
// one goroutine at a time; URLs, Requests and Console from any.
type Browser struct {
	opt    Options
	ctx    context.Context
	cancel context.CancelFunc
	pid    int

	closing sync.Once
	closed  error

	mu       sync.Mutex
	urls     []string
	requests []string
	console  []string
}

// Find returns the path of Chromium: KEYTETHER_CHROMIUM if it is set, else
// /usr/bin/chromium. It returns ErrNoBrowser if neither is there.
func Find() (string, error) {
	path := os.Getenv("KEYTETHER_CHROMIUM")
	if path == "" {
		path = "/usr/bin/chromium"
	}
	if _, err := os.Stat(path); err != nil {
		return "", fmt.Errorf("%w (looked at %s)", ErrNoBrowser, path)
	}
	return path, nil
}

// Start launches a browser for a test and closes it when the test ends. A
// machine without Chromium fails the test: a login that was not tried must not
// count as passed.
func Start(t testing.TB, opt Options) *Browser {
	t.Helper()
	if opt.Dir == "" {
		opt.Dir = t.TempDir()
	}
	b, err := Launch(context.Background(), opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("browser: address bar %q", b.URLs())
			t.Logf("browser: console %q", b.Console())
		}
		if err := b.Close(); err != nil {
			t.Errorf("browser: close: %v", err)
		}
	})
	return b
}

// Launch starts Chromium. The browser ends with ctx or by Close.
func Launch(ctx context.Context, opt Options) (*Browser, error) {
	bin, err := Find()
	if err != nil {
		return nil, err
	}
	if opt.Width == 0 || opt.Height == 0 {
		opt.Width, opt.Height = 1100, 900
	}
	home := filepath.Join(opt.Dir, "home")
	if err := os.MkdirAll(home, 0o700); err != nil {
		return nil, fmt.Errorf("browser: home: %w", err)
	}
	if len(opt.CA) > 0 {
		if err := trust(ctx, home, opt.CA); err != nil {
			return nil, err
		}
	}
	allocCtx, cancelAlloc := chromedp.NewExecAllocator(ctx, flags(bin, home, opt)...)
	tabCtx, cancelTab := chromedp.NewContext(allocCtx)
	b := &Browser{opt: opt, ctx: tabCtx, cancel: func() { cancelTab(); cancelAlloc() }}
	if err := b.start(); err != nil {
		b.cancel()
		return nil, fmt.Errorf("browser: start %s: %w", bin, err)
	}
	return b, nil
}

func (b *Browser) start() error {
	if err := chromedp.Do(b.ctx); err != nil {
		return err
	}
	if p := chromedp.FromContext(b.ctx).Browser.Process(); p != nil {
		b.pid = p.Pid
	}
	if err := b.watch(); err != nil {
		return err
	}
	if _, err := chromedp.Call(b.ctx, log.Enable, cdp.Empty{}); err != nil {
		return err
	}
	if b.opt.NoScript {
		off := emulation.SetScriptExecutionDisabledParams{Value: true}
		if _, err := chromedp.Call(b.ctx, emulation.SetScriptExecutionDisabled, off); err != nil {
			return err
		}
	}
	return nil
}

// Close ends Chromium and waits for it, the first time. The profile stays on
// disk.
func (b *Browser) Close() error {
	b.closing.Do(func() { b.closed = b.end() })
	return b.closed
}

func (b *Browser) end() error {
	ctx, cancel := context.WithTimeout(b.ctx, 10*time.Second)
	defer cancel()
	err := chromedp.Cancel(ctx)
	b.cancel()
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// PID returns the process id of Chromium's main process.
func (b *Browser) PID() int { return b.pid }

// Profile returns the folder with everything this browser wrote: history,
// cookies, caches and the NSS database.
func (b *Browser) Profile() string { return b.opt.Dir }

// flags lists how Chromium is started. Nothing here turns a check of TLS,
// cookies, CSP or origins off. The sandbox is off because containers and CI
// run as root, where Chromium refuses to start with it.
func flags(bin, home string, opt Options) []chromedp.ExecAllocatorOption {
	names := make([]string, 0, len(opt.Hosts))
	for name := range opt.Hosts {
		names = append(names, name)
	}
	sort.Strings(names)
	rules := make([]string, 0, len(names)+3)
	for _, name := range names {
		rules = append(rules, "MAP "+name+" "+opt.Hosts[name])
	}
	by := []chromedp.ExecAllocatorOption{chromedp.Flag("no-proxy-server", true)}
	if opt.Proxy != "" {
		by = []chromedp.ExecAllocatorOption{chromedp.Flag("proxy-server", opt.Proxy), chromedp.Flag("proxy-bypass-list", "<-loopback>")}
	}
	rules = append(rules, "MAP * ~NOTFOUND", "EXCLUDE 127.0.0.1", "EXCLUDE [::1]", "EXCLUDE localhost")
	return append(by,
		chromedp.ExecPath(bin),
		chromedp.NoInheritEnv,
		chromedp.Env(
			"PATH="+os.Getenv("PATH"),
			"HOME="+home,
			"TMPDIR="+home,
			"LANG=C.UTF-8",
			"XDG_CONFIG_HOME="+filepath.Join(home, ".config"),
			"XDG_CACHE_HOME="+filepath.Join(home, ".cache"),
			"XDG_DATA_HOME="+filepath.Join(home, ".local", "share"),
		),
		chromedp.UserDataDir(filepath.Join(opt.Dir, "profile")),
		chromedp.Flag("headless", "new"),
		chromedp.NoSandbox,
		chromedp.DisableGPU,
		chromedp.NoFirstRun,
		chromedp.NoDefaultBrowserCheck,
		chromedp.Flag("disable-quic", true),
		chromedp.Flag("disable-background-networking", true),
		chromedp.Flag("disable-component-update", true),
		chromedp.Flag("disable-sync", true),
		chromedp.Flag("disable-breakpad", true),
		chromedp.Flag("disable-dev-shm-usage", true),
		chromedp.Flag("password-store", "basic"),
		chromedp.Flag("force-color-profile", "srgb"),
		chromedp.Flag("lang", "en-US"),
		chromedp.Flag("host-resolver-rules", strings.Join(rules, ", ")),
		chromedp.Flag("window-size", fmt.Sprintf("%d,%d", opt.Width, opt.Height)),
	)
}

// trust makes an NSS database in the home folder that trusts the certificate
// for servers. Chromium on Linux reads $HOME/.pki/nssdb.
func trust(ctx context.Context, home string, ca []byte) error {
	tool, err := exec.LookPath("certutil")
	if err != nil {
		return fmt.Errorf("browser: certutil is needed to trust a private CA; run `make setup` (Debian: libnss3-tools): %w", err)
	}
	db := filepath.Join(home, ".pki", "nssdb")
	if err := os.MkdirAll(db, 0o700); err != nil {
		return fmt.Errorf("browser: NSS database: %w", err)
	}
	pem := filepath.Join(home, "ca.pem")
	if err := os.WriteFile(pem, ca, 0o600); err != nil {
		return fmt.Errorf("browser: CA: %w", err)
	}
	for _, args := range [][]string{
		{"-d", "sql:" + db, "-N", "--empty-password"},
		{"-d", "sql:" + db, "-A", "-t", "C,,", "-n", "test authority", "-i", pem},
	} {
		if out, err := exec.CommandContext(ctx, tool, args...).CombinedOutput(); err != nil {
			return fmt.Errorf("browser: certutil %s: %w: %s", strings.Join(args, " "), err, out)
		}
	}
	return nil
}
