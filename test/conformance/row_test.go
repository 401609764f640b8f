package conformance

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
)

// row is one thing that a document asks for.
type row struct {
	ref  string // "6749 §5.2": document and section
	name string // of the subtest
	what string // one sentence
	run  func(w *world) error
}

// group is the rows of one test function.
type group struct {
	test, title string
	rows        []row
}

// groups lists everything, for the document and for the search for doubles.
func groups() []group {
	return []group{
		{"TestMetadata", "Metadata and keys", metadataRows()},
		{"TestTransport", "HTTP: methods, content types, sizes, CORS", transportRows()},
		{"TestAuthorize", "Authorization endpoint", authorizeRows()},
		{"TestRedirect", "Redirect URIs and response modes", redirectRows()},
		{"TestPAR", "Pushed authorization requests", parRows()},
		{"TestToken", "Token endpoint: codes", tokenRows()},
		{"TestRefresh", "Token endpoint: refresh", refreshRows()},
		{"TestDPoP", "DPoP at the authorization server", dpopRows()},
		{"TestRevoke", "Revocation", revokeRows()},
		{"TestIntrospect", "Introspection and the identity of resource servers", introspectRows()},
		{"TestIDToken", "OpenID Connect", idTokenRows()},
		{"TestResource", "Resource servers", resourceRows()},
		{"TestForged", "Tokens that somebody else made", forgedRows()},
		{"TestHandshake", "The loopback handshake", handshakeRows()},
		{"TestOdd", "Between endpoints", oddRows()},
		{"TestPages", "Pages, cookies, CSRF", pageRows()},
		{"TestTLS", "Over https", tlsRows()},
		{"TestTwoPersons", "Two persons", personRows()},
		{"TestGuessing", "Guessing at sign-in", guessRows()},
		{"TestLate", "What has expired", lateRows()},
	}
}

// knownBugs lists rows that do not hold yet, "TestX/name" with what is wrong. A
// row that stands here must fail: when it is mended, it is taken out.
func knownBugs() map[string]string {
	return map[string]string{}
}

// mismatch is an expectation that did not hold; every other error of a row means
// that the test could not do its work.
type mismatch struct{ text string }

func (m *mismatch) Error() string { return m.text }

func wrong(format string, args ...any) error { return &mismatch{fmt.Sprintf(format, args...)} }

// run runs the rows of a group one after another.
func run(t *testing.T, w *world, rows []row) {
	t.Helper()
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) { judge(t, w, r) })
	}
}

func judge(t *testing.T, w *world, r row) {
	t.Helper()
	err := r.run(w)
	var m *mismatch
	bug, known := knownBugs()[t.Name()]
	switch {
	case known && err == nil:
		t.Errorf("RFC %s: this holds now; take it out of knownBugs (%s)", r.ref, bug)
	case known && errors.As(err, &m):
		t.Logf("known: %s: %v", bug, err)
	case errors.As(err, &m):
		t.Errorf("%s: %s\n%v", r.ref, r.what, err)
	case err != nil:
		t.Errorf("%s: %s\nthe test did not get there: %v", r.ref, r.what, err)
	}
}

var update = flag.Bool("update", false, "write docs/conformance.md")

const docFile = "../../docs/conformance.md"

// TestDocument writes or compares docs/conformance.md, and looks for rows that
// stand twice or say nothing.
func TestDocument(t *testing.T) {
	seen := map[string]bool{}
	var b strings.Builder
	b.WriteString("# Conformance\n\nWhat the documents ask of an authorization server and of an API, and the test that holds us to it. Written by\n`go test ./test/conformance -update`; do not edit.\n\n" +
		"A number alone is an RFC; OAuth 2.1 is draft-ietf-oauth-v2-1; OIDC is OpenID Connect; \"Fetch\", \"CSP\" and \"HTML\" are the WHATWG's and W3C's; \"design\" is a rule of our own.\n")
	total := 0
	for _, g := range groups() {
		fmt.Fprintf(&b, "\n## %s\n\n| source | what | test |\n|---|---|---|\n", g.title)
		for _, r := range g.rows {
			name := g.test + "/" + r.name
			if seen[name] || r.ref == "" || r.what == "" || r.run == nil || strings.ContainsAny(r.name, " /#") {
				t.Errorf("%s: stands twice, or says too little", name)
			}
			seen[name] = true
			total++
			note := ""
			if knownBugs()[name] != "" {
				note = " *(not yet)*"
			}
			fmt.Fprintf(&b, "| %s | %s%s | `%s` |\n", r.ref, strings.ReplaceAll(r.what, "|", "\\|"), note, name)
		}
	}
	fmt.Fprintf(&b, "\n%d rows.\n", total)
	for name := range knownBugs() {
		if !seen[name] {
			t.Errorf("knownBugs names %s, which is no row", name)
		}
	}
	if *update {
		if err := os.WriteFile(docFile, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	old, err := os.ReadFile(docFile)
	if err != nil || string(old) != b.String() {
		t.Errorf("docs/conformance.md is out of date (%v): run  go test ./test/conformance -update", err)
	}
}

// all gives the first error.
func all(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func sorted(rows []row) []row {
	slices.SortStableFunc(rows, func(a, b row) int { return strings.Compare(a.name, b.name) })
	return rows
}
