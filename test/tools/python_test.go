//go:build linux

package tools

import (
	"crypto/rand"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keytether/keytether/internal/testkit/depot"
	"github.com/keytether/keytether/verify"
)

// botocoreScript asks three times for the keys of a profile.
const botocoreScript = `
import botocore.session
credentials = botocore.session.Session(profile="reports").get_credentials()
assert credentials.method == "custom-process", credentials.method
for _ in range(3):
    k = credentials.get_frozen_credentials()
    print(k.access_key, len(k.secret_key), len(k.token))
`

// testAWS has botocore, which is in every AWS SDK for Python and in the aws command, run the helper.
// The stand-in for AWS's token service checks the token's signature by the issuer's keys.
func testAWS(t *testing.T, w *world) {
	var asked atomic.Int32
	guarded := w.guard(t, "sts", verify.NewAcceptingBearerTokens).Handler(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		n := asked.Add(1)
		ends := time.Now().Add(map[bool]time.Duration{true: 30 * time.Second, false: time.Hour}[n == 1])
		key, session := rand.Text(), rand.Text()
		w.rec.Add("key", key)
		w.rec.Add("key", session)
		fmt.Fprintf(rw, `<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleWithWebIdentityResult><Credentials>
<AccessKeyId>ASIAEXAMPLE%d</AccessKeyId><SecretAccessKey>%s</SecretAccessKey><SessionToken>%s</SessionToken><Expiration>%s</Expiration>
</Credentials></AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>`, n, key, session, ends.UTC().Format(time.RFC3339))
	}))
	refuse := func(rw http.ResponseWriter, code string) {
		rw.WriteHeader(http.StatusBadRequest)
		fmt.Fprintf(rw, `<ErrorResponse><Error><Code>%s</Code></Error></ErrorResponse>`, code)
	}
	w.serve(t, "sts", http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		switch {
		case r.FormValue("Action") != "AssumeRoleWithWebIdentity" || r.FormValue("Version") != "2011-06-15" || r.FormValue("RoleSessionName") == "":
			refuse(rw, "InvalidAction")
		case r.FormValue("RoleArn") != "arn:aws:iam::123456789012:role/reports":
			refuse(rw, "AccessDenied")
		default:
			r.Header.Set("Authorization", "Bearer "+r.FormValue("WebIdentityToken"))
			guarded.ServeHTTP(rw, r)
		}
	}))
	home := w.folder(t, "aws")
	config := strings.ReplaceAll(guide(t, "ini", "credential_process"), "https://sts.amazonaws.com", w.url["sts"])
	config = strings.TrimSpace(config) + " --sts " + w.url["sts"] + "\n"
	do(t, os.Mkdir(filepath.Join(home, ".aws"), 0o700))
	do(t, os.WriteFile(filepath.Join(home, ".aws", "config"), []byte(config), 0o600))
	c := w.command(t, home, "/usr/bin/python3", "-c", botocoreScript)
	c.Env = append(c.Env, "HOME="+home, "AWS_EC2_METADATA_DISABLED=true")
	r := runs(t, c)
	// The first keys are as good as over, so the second ones are fetched before any is used, and
	// those are kept.
	if want := strings.Repeat("ASIAEXAMPLE2 26 26\n", 3); r.code != 0 || r.out != want || asked.Load() != 2 {
		t.Errorf("after %d calls botocore says %q\n%s", asked.Load(), r.out, r.errs)
	}

	line := strings.Replace(lineWith(t, config, "credential_process"), "credential_process = ", "", 1)
	c = w.command(t, home, "/bin/sh", "-c", strings.Replace(line, "role/reports", "role/other", 1))
	if r := runs(t, c); r.code != 4 || r.out != "" || !strings.Contains(r.errs, "AccessDenied") {
		t.Errorf("another role: code %d, %q\n%s", r.code, r.out, r.errs)
	}
}

// testPip installs from an index that wants a password, by a pip that has no keyring of its own and
// finds ours in PATH.
func testPip(t *testing.T, w *world) {
	home := w.folder(t, "pip")
	index, err := depot.Index("reports", "1.0")
	do(t, err)
	w.serveBasic(t, "pypi", index)
	venv := t.TempDir() // thousands of files, none of which pip writes when it runs
	w.sh(t, home, "/usr/bin/python3 -m venv "+venv+" && mkdir -p .local/bin")
	lines := w.replaced(t, guide(t, "sh", "pip install"), "pypi", "https://pypi.example.com")
	lines = strings.ReplaceAll(lines, "https://keytether@", "http://keytether@")
	link, install, _ := strings.Cut(lines, "\n")
	path := "PATH=" + venv + "/bin:" + home + "/.local/bin:" + w.links + ":/usr/bin:/bin"
	quiet := []string{"HOME=" + home, path, "PIP_DISABLE_PIP_VERSION_CHECK=1", "PYTHONDONTWRITEBYTECODE=1"}

	// Without the link pip gets nothing: the index does want a password.
	c := w.command(t, home, "/bin/sh", "-c", install)
	c.Env = append(c.Env, quiet...)
	if r := runs(t, c); r.code == 0 {
		t.Errorf("without keyring pip installed it:\n%s", r.out)
	}
	w.sh(t, home, link, quiet...)
	w.sh(t, home, install, quiet...)
	if out := w.sh(t, home, "python -c 'import reports; print(reports.total)'", quiet...).out; out != "42\n" {
		t.Errorf("what was installed says %q", out)
	}
	if text := w.sh(t, home, "pip --version", quiet...).out; !strings.HasPrefix(text, "pip 2") {
		t.Errorf("pip says %q", text)
	}
}
