// Package keytether has no code of its own. Its tests hold the house together:
// who may import whom (this file), and that every promise of INVARIANTS.md is
// kept by a function and proved by a test (invariants_test.go).
package keytether

import (
	"fmt"
	"os/exec"
	"slices"
	"sort"
	"strings"
	"testing"
)

const module = "github.com/keytether/keytether"

// rule says what the files of one package, tests aside, may import. A pattern
// that ends in "/..." is for a folder and all below it.
type rule struct {
	pkg   string
	own   string // our own packages; @pure and @server are groups, * is all
	third string // prefixes of other modules' import paths
	why   string // the reason, printed when the rule is broken
}

// pure packages decide and format. They get time and randomness as arguments,
// so that each decision can be replayed, fuzzed and proved.
const pure = "secret id event oauth grant policy jws token dpop feed audit redact"

const server = "store store/sqlite sequencer signer identity authserver console edge config outbound"

// table is the import table of ARCHITECTURE.md. Short names are below internal/.
var table = []rule{
	{"internal/secret", "", "", "every package holds secrets, so the type must drag nothing along"},
	{"internal/id", "", "", "ids are wanted everywhere, so they must drag nothing along"},
	{"internal/event", "", "", "the list of audit events is closed and stands at the bottom of everything"},
	{"internal/oauth", "", "", "wire names and errors are facts, not decisions"},
	{"internal/grant", "event id", "", "the machines see hashes and events; what they do not import they cannot leak"},
	{"internal/policy", "event", "", "policy answers from its arguments alone"},
	{"internal/jws", "", "", "the parser of hostile input is small and depends on the standard library alone"},
	{"internal/token", "jws oauth id", "", "claims are checked where they are read, without I/O"},
	{"internal/dpop", "jws", "", "a proof is judged by its bytes, a key and a time"},
	{"internal/feed", "", "", "both ends of the feed share its wire and nothing else"},
	{"internal/audit", "event id", "golang.org/x/mod/sumdb", "an auditor verifies a log offline, with no server code"},
	{"internal/redact", "secret", "", "redaction runs in every process, the smallest too"},

	{"internal/store", "grant event id", "", "interfaces and their guarantees; drivers are elsewhere"},
	{"internal/store/sqlite", "store grant event id secret audit", "zombiezen.com/go/sqlite modernc.org golang.org/x/sys", "a driver keeps state and decides nothing; it encodes the leaves, in the same transaction"},
	{"internal/store/storetest", "store grant event id secret audit testkit/...", "pgregory.net/rapid", "one suite for every driver, so it may know none of them"},
	{"internal/sequencer", "store audit event id jws secret", "golang.org/x/mod/sumdb", "it signs what was committed and changes none of it"},
	{"internal/signer", "jws secret id event store", "golang.org/x/crypto golang.org/x/mod/sumdb/note", "private keys are reached by this package alone; a rotation is a store.Change that somebody else commits"},
	{"internal/identity", "secret outbound id store", "golang.org/x/crypto", "who somebody is does not depend on what they are allowed; of the store it knows what an account is"},
	{"internal/authserver", "@pure store sequencer signer identity", "golang.org/x/mod/sumdb golang.org/x/sync", "the one place that loads, decides and commits; it knows no HTTP pages"},
	{"internal/console", "@pure authserver", "", "pages change state through the use cases of authserver only"},
	{"internal/edge", "oauth secret id feed authserver console", "golang.org/x/time", "HTTP in, HTTP out: a handler that reached the store could change state without a record"},
	{"internal/edge/edgetest", "edge authserver @pure store store/sqlite sequencer signer identity testkit/...", "", "a whole server in a test, and a small tool of its own that logs in at it"},
	{"internal/config", "secret jws identity", "github.com/goccy/go-yaml", "what a config may say must not depend on who reads it; it refuses a bad address, password or key with its line"},
	{"internal/servercmd", "@pure @server", "github.com/spf13 golang.org/x/sync", "wires the server; the client is another program"},

	{"internal/outbound", "", "golang.org/x/net", "one HTTP client with one set of limits, for every part"},
	{"internal/agentwire", "", "", "documented as an API; any language speaks it, so nothing of ours may hide in it"},
	{"internal/peersock", "", "golang.org/x/sys github.com/Microsoft/go-winio", "who is at the other end is the kernel's word; no protocol belongs here"},
	{"internal/agentstart", "agentwire peersock", "golang.org/x/sys", "it starts the agent as a process and must not link it"},
	{"internal/keystore", "jws secret id keystore/softkey keystore/locked", "", "stores keep secrets and speak to no network"},
	{"internal/keystore/softkey", "jws", "", "a key that can be copied must be nothing but a key"},
	{"internal/keystore/locked", "", "golang.org/x/sys", "bytes that are not swapped out, whatever they mean"},
	{"internal/keystore/records", "keystore keystore/softkey jws secret", "", "how keys and entries are written down does not depend on where"},
	{"internal/keystore/keychain", "keystore keystore/records secret jws", "github.com/zalando/go-keyring", "one library speaks to the keychains, under a time limit"},
	{"internal/keystore/kernel", "keystore keystore/records secret jws", "golang.org/x/sys", "a store in the kernel's memory asks the kernel alone"},
	{"internal/keystore/file", "keystore keystore/locked keystore/records keystore/safefile secret jws", "filippo.io/age", "a file that is never plain; what holds its key is a Sealer, which this package does not know"},
	{"internal/keystore/stores", "keystore keystore/keychain keystore/kernel keystore/file keystore/tpm secret", "", "the list and the order of the stores, and nothing that opens one itself"},
	{"internal/keystore/safefile", "", "golang.org/x/sys", "what makes a file safe to believe is one question with one answer, for every store with a file"},
	{"internal/keystore/tpm", "keystore keystore/safefile jws secret", "github.com/google/go-tpm golang.org/x/crypto/chacha20poly1305 golang.org/x/sys", "the one package that speaks to a chip; what it knows of TPMs stays in it"},
	{"internal/keystore/keystoretest", "keystore jws secret testkit/...", "pgregory.net/rapid", "one suite for every store"},
	{"internal/oauthclient", "oauth dpop jws token secret id outbound", "", "flows against any server; keys stay behind a signer"},
	{"internal/oauthclient/oauthclienttest", "dpop jws oauth token id secret testkit/...", "pgregory.net/rapid", "a fake server checks what it is sent with nothing of the client's"},
	{"internal/harden", "", "", "every process of ours that holds a secret calls it"},
	{"internal/agent", "agentwire peersock keystore oauthclient oauth dpop jws redact secret id harden", "golang.org/x/sync golang.org/x/sys", "the only holder of keys and refresh tokens"},
	{"internal/notify", "agentwire", "github.com/godbus/dbus/v5", "it shows a question and reads a button; what the answer is for is not its business"},
	{"internal/helper", "secret", "", "protocols of other programs are formats; whose token it is is decided elsewhere"},
	{"internal/localproxy", "secret", "", "it passes requests on; what adds the credentials is handed to it"},
	{"internal/scan", "redact secret oauth outbound", "", "it reads what lies about and speaks to issuers; it holds no login"},
	{"internal/doctor", "outbound oauth peersock", "", "it looks and judges; what needs a key or the agent is asked for it"},
	{"internal/command", "login agentwire agentstart redact audit event secret scan doctor outbound localproxy peersock helper harden", "github.com/spf13 github.com/goccy/go-yaml github.com/cli/browser github.com/creack/pty rsc.io/qr golang.org/x/sys golang.org/x/term golang.org/x/mod/sumdb/note", "the command shows and asks; it never sees a key or a refresh token"},

	{"login", "agentwire agentstart peersock", "", "public, linked into other people's tools: small, and without OAuth"},
	{"verify", "token dpop jws oauth feed secret outbound", "", "public, linked into other people's servers: checks, and keeps no state of ours"},
	{"cmd/keytether", "command agent agentwire agentstart peersock keystore oauthclient outbound keystore/stores notify", "", "wiring: it injects the agent into the command"},
	{"cmd/keytether-server", "servercmd harden", "", "wiring"},

	{"internal/testkit/stage", "testkit/... jws", "github.com/chromedp", "it starts the built programs and speaks to them as anybody would"},
	{"internal/testkit/...", "testkit/...", "github.com/chromedp golang.org/x/sys", "fakes know nothing of what they help to test"},
	{"internal/tools/...", "", "", "tools of the Makefile run before anything else builds"},
	{"cmd/demo", "login verify dpop jws testkit/...", "github.com/cli/browser", "the demo tells the story from outside, with the two programs and the public packages; its thief makes proofs of his own"},
	{"examples/...", "login verify", "", "an example is copied into other people's programs, where only the public packages are to be had"},
	{"bench/...", "*", "*", "measures everything"},
	{"test/...", "*", "*", "tests from end to end"},
	{"conformance/...", "*", "*", "vectors and the tests that read them"},
}

// never lists what must not come about by any way, however the table grows.
var never = []struct {
	from, to   string
	throughAny bool // true: not through other packages either
	why        string
}{
	{"internal/edge", "internal/store", false, "a handler with the store in its hand can skip decision and audit"},
	{"internal/edge", "internal/store/sqlite", false, "a handler with the store in its hand can skip decision and audit"},
	{"internal/identity", "internal/store/sqlite", true, "values of the store are shared; the database is not"},
	{"internal/signer", "internal/store/sqlite", true, "values of the store are shared; the database is not"},
	{"internal/authserver", "internal/store/sqlite", true, "a driver is chosen by servercmd alone"},
	{"internal/console", "internal/store", false, "pages change state through authserver's use cases only"},
	{"internal/command", "internal/keystore", true, "the command line process must never hold a key"},
	{"internal/command", "internal/oauthclient", true, "the agent runs the flows; a command that could would need the keys"},
	{"internal/command", "internal/agent", true, "the agent is injected by cmd/keytether, so that login stays small"},
	{"login", "internal/keystore", true, "a tool gets tokens and proofs from the agent, never keys"},
	{"login", "internal/oauthclient", true, "a tool contains no OAuth"},
	{"verify", "internal/store", true, "a resource server is not an authorization server"},
	{"verify", "internal/signer", true, "a resource server holds no signing key"},
	{"internal/agent", "internal/store", true, "the client has no database"},
	{"cmd/keytether", "internal/servercmd", true, "the client is small and quick to start"},
}

// notLinked lists what the small program must not contain, whoever asked for it.
var notLinked = map[string]string{
	"github.com/chromedp":                    "a browser driver is for tests",
	"zombiezen.com":                          "the client has no database",
	"modernc.org":                            "the client has no database",
	"database/sql":                           "the client has no database",
	"github.com/jackc":                       "the client has no database",
	"github.com/google/cel-go":               "policy is the server's",
	"cel.dev":                                "policy is the server's",
	"github.com/prometheus":                  "metrics are the server's",
	"go.opentelemetry.io":                    "traces are the server's",
	"golang.org/x/crypto/argon2":             "passwords are the server's",
	"testing":                                "tests do not ship",
	module + "/internal/testkit":             "tests do not ship",
	module + "/internal/servercmd":           "the server is another program",
	module + "/internal/store":               "the client has no database",
	"github.com/go-jose":                     "our own jws is on the client's path; the library is the oracle of its fuzzing",
	"honnef.co":                              "a linter does not ship",
	"pgregory.net/rapid":                     "tests do not ship",
	"github.com/rogpeppe/go-internal":        "tests do not ship",
	"net/http/pprof":                         "an open profile shows memory, and memory holds keys",
	"expvar":                                 "it serves on the default mux, which nobody guards",
	"golang.org/x/crypto/x509roots/fallback": "the machine's own roots decide whom it trusts",
	"golang.org/x/tools":                     "tools do not ship",
}

func TestArchImports(t *testing.T) {
	for _, p := range packages(t) {
		r, ok := ruleFor(p.path)
		if !ok {
			if p.path == "." {
				continue // tests only
			}
			t.Errorf("%s is not in the import table of arch_test.go: add its rule there and to ARCHITECTURE.md, with the reason", p.path)
			continue
		}
		for _, imp := range p.imports {
			rel, own := strings.CutPrefix(imp, module+"/")
			switch {
			case own && !r.allows(rel):
				t.Errorf("%s imports %s, and may import only [%s]: %s", p.path, rel, r.own, r.why)
			case !own && isThirdParty(imp) && !hasPrefix(imp, r.third):
				t.Errorf("%s imports %s, and of others may import only [%s]: %s", p.path, imp, r.third, r.why)
			}
		}
	}
}

func TestArchNever(t *testing.T) {
	byPath := map[string]*pkg{}
	for _, p := range packages(t) {
		byPath[p.path] = p
	}
	for _, n := range never {
		from := byPath[n.from]
		if from == nil {
			continue
		}
		if way := find(byPath, n.from, n.to, n.throughAny); way != nil {
			t.Errorf("never %s -> %s, yet %s: %s", n.from, n.to, strings.Join(way, " -> "), n.why)
		}
	}
	// Nothing pure may reach anything that is not, by any way.
	isPure := map[string]bool{}
	for _, name := range strings.Fields(pure) {
		isPure["internal/"+name] = true
	}
	for path := range isPure {
		for other := range byPath {
			if isPure[other] || byPath[path] == nil {
				continue
			}
			if way := find(byPath, path, other, true); way != nil {
				t.Errorf("%s is pure and %s is not, yet %s: a decision must be replayable from its arguments", path, other, strings.Join(way, " -> "))
			}
		}
	}
}

// TestArchLinked reads what the linker would: a library of a library counts.
func TestArchLinked(t *testing.T) {
	for _, goos := range []string{"linux", "windows", "darwin"} {
		cmd := exec.Command("go", "list", "-deps", "./cmd/keytether")
		cmd.Env = append(cmd.Environ(), "GOOS="+goos, "CGO_ENABLED=0")
		var words strings.Builder
		cmd.Stderr = &words
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("go list -deps for %s: %v: %s", goos, err, words.String())
		}
		for _, dep := range strings.Fields(string(out)) {
			for bad, why := range notLinked {
				if dep == bad || strings.HasPrefix(dep, bad+"/") || strings.HasPrefix(dep, bad+".") {
					t.Errorf("cmd/keytether for %s links %s: %s", goos, dep, why)
				}
			}
		}
	}
}

// TestArchTable checks the table itself, since a typing error there allows or
// forbids nothing.
func TestArchTable(t *testing.T) {
	seen := map[string]bool{}
	for _, r := range table {
		if seen[r.pkg] {
			t.Errorf("two rules for %s", r.pkg)
		}
		seen[r.pkg] = true
		if r.why == "" {
			t.Errorf("the rule for %s gives no reason", r.pkg)
		}
	}
	for _, r := range table {
		for _, name := range r.names() {
			if forTests(name) && !forTests(r.pkg) {
				t.Errorf("the rule for %s allows %s, which is for tests: what ships must not know how it is tested", r.pkg, name)
			}
			if name == "*" || strings.HasSuffix(name, "/...") {
				continue
			}
			if !seen[name] {
				t.Errorf("the rule for %s allows %s, which has no rule itself", r.pkg, name)
			}
		}
	}
}

// forTests says whether a package, or a pattern, is of or for tests.
func forTests(path string) bool {
	switch strings.SplitN(path, "/", 2)[0] {
	case "test", "bench", "conformance", "*":
		return true
	}
	return path == "cmd/demo" || strings.HasPrefix(path, "internal/testkit") || strings.HasSuffix(path, "test")
}

// names returns the allowed packages of ours, groups resolved, by their paths.
func (r rule) names() []string {
	var out []string
	for _, name := range strings.Fields(r.own) {
		switch name {
		case "@pure":
			out = append(out, rule{own: pure}.names()...)
		case "@server":
			out = append(out, rule{own: server}.names()...)
		case "*", "login", "verify":
			out = append(out, name)
		default:
			out = append(out, "internal/"+name)
		}
	}
	return out
}

func (r rule) allows(path string) bool {
	return slices.ContainsFunc(r.names(), func(name string) bool { return name == "*" || match(name, path) })
}

func match(pattern, path string) bool {
	if dir, ok := strings.CutSuffix(pattern, "/..."); ok {
		return path == dir || strings.HasPrefix(path, dir+"/")
	}
	return pattern == path
}

func ruleFor(path string) (rule, bool) {
	for _, r := range table {
		if match(r.pkg, path) {
			return r, true
		}
	}
	return rule{}, false
}

func isThirdParty(imp string) bool {
	first, _, _ := strings.Cut(imp, "/")
	return strings.Contains(first, ".")
}

func hasPrefix(imp, prefixes string) bool {
	return slices.ContainsFunc(strings.Fields(prefixes), func(p string) bool {
		return p == "*" || imp == p || strings.HasPrefix(imp, p+"/")
	})
}

// find returns the shortest way by which from imports to, or nil: one step, or
// any number of them.
func find(all map[string]*pkg, from, to string, any bool) []string {
	type step struct {
		path string
		way  []string
	}
	seen := map[string]bool{from: true}
	for queue := []step{{from, []string{from}}}; len(queue) > 0; queue = queue[1:] {
		p := all[queue[0].path]
		if p == nil || (!any && p.path != from) {
			continue
		}
		for _, imp := range p.imports {
			rel, own := strings.CutPrefix(imp, module+"/")
			if !own || seen[rel] {
				continue
			}
			seen[rel] = true
			way := append(slices.Clone(queue[0].way), rel)
			if rel == to {
				return way
			}
			queue = append(queue, step{rel, way})
		}
	}
	return nil
}

// TestArchFindsWays breaks the rules on purpose, in a house made up for it.
func TestArchFindsWays(t *testing.T) {
	all := map[string]*pkg{}
	for from, to := range map[string]string{"a": "b", "b": "c", "c": "a"} {
		all[from] = &pkg{path: from, imports: []string{module + "/" + to}}
	}
	for _, tt := range []struct {
		from, to string
		any      bool
		want     string
	}{
		{"a", "b", false, "[a b]"},
		{"a", "c", false, "[]"},
		{"a", "c", true, "[a b c]"},
		{"a", "d", true, "[]"},
	} {
		if got := fmt.Sprint(find(all, tt.from, tt.to, tt.any)); got != tt.want {
			t.Errorf("find(%s, %s, %v) = %s, want %s", tt.from, tt.to, tt.any, got, tt.want)
		}
	}
	if r, _ := ruleFor("internal/edge"); r.allows("internal/store") || !r.allows("internal/oauth") {
		t.Error("the rule for edge is not read as it stands")
	}
	if r, _ := ruleFor("internal/testkit/browser"); !hasPrefix("github.com/chromedp/cdproto/page", r.third) || hasPrefix("github.com/chromedpx", r.third) {
		t.Error("prefixes are not compared by path elements")
	}
	names := rule{own: "@pure"}.names()
	sort.Strings(names)
	if len(names) != 12 || names[0] != "internal/audit" {
		t.Errorf("@pure = %v", names)
	}
}
