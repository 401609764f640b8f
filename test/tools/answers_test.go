//go:build linux

package tools

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/keytether/keytether/verify"
)

// ask runs a line of a shell with a question on standard input, and wants an answer.
func (w *world) ask(t *testing.T, line, question string, env ...string) string {
	t.Helper()
	c := w.command(t, w.work, "/bin/sh", "-euc", line)
	c.Env = append(c.Env, env...)
	c.Stdin = strings.NewReader(question)
	r := runs(t, c)
	if r.code != 0 {
		t.Fatalf("%s: code %d\n%s", line, r.code, r.errs)
	}
	return r.out
}

// newServer serves a handler at an address of its own.
func newServer(t *testing.T, h http.HandlerFunc) string {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s.URL
}

func sleep(t *testing.T, d time.Duration) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	<-ctx.Done()
	return t.Context().Err()
}

// testDocker makes the four calls of docker, by the program that it looks for, and uses the answer.
func testDocker(t *testing.T, w *world) {
	w.serveBasic(t, "registry", http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) { rw.WriteHeader(http.StatusOK) }))
	home := w.folder(t, "docker")
	do(t, os.MkdirAll(filepath.Join(home, ".local", "bin"), 0o700))
	w.sh(t, home, guide(t, "sh", "docker-credential"), "HOME="+home)
	var config struct {
		CredHelpers map[string]string `json:"credHelpers"`
	}
	do(t, json.Unmarshal([]byte(w.replaced(t, guide(t, "json", "credHelpers"), "registry", "https://registry.example.com")), &config))
	server := strings.TrimPrefix(w.url["registry"], "http://")
	call := filepath.Join(home, ".local", "bin", "docker-credential-"+config.CredHelpers[server])

	var got struct{ ServerURL, Username, Secret string }
	do(t, json.Unmarshal([]byte(w.ask(t, call+" get", server)), &got))
	if got.ServerURL != server || got.Username == "" || got.Username == "<token>" { // that means a token of another kind
		t.Errorf("get answers %s as %s", got.ServerURL, got.Username)
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, w.url["registry"]+"/v2/", nil)
	do(t, err)
	req.SetBasicAuth(got.Username, got.Secret)
	resp, err := http.DefaultClient.Do(req)
	do(t, err)
	do(t, resp.Body.Close())
	if resp.StatusCode != http.StatusOK {
		t.Errorf("the registry answers %s", resp.Status)
	}
	var list map[string]string
	do(t, json.Unmarshal([]byte(w.ask(t, call+" list", "")), &list))
	if list[w.url["registry"]] == "" {
		t.Errorf("list gives %v", list)
	}
	w.ask(t, call+" erase", server)

	// docker's client takes exactly this text, on standard output, for "none is kept".
	c := w.command(t, home, call, "get")
	c.Stdin = strings.NewReader("registry.elsewhere.test")
	if r := runs(t, c); r.code == 0 || strings.TrimSpace(r.out) != "credentials not found in native keychain" {
		t.Errorf("another registry: code %d, %q", r.code, r.out)
	}
	c = w.command(t, home, call, "store")
	c.Stdin = strings.NewReader(`{"ServerURL":"` + server + `","Username":"somebody","Secret":"a password of somebody"}`)
	if r := runs(t, c); r.code == 0 || !strings.Contains(r.errs, "keytether login") {
		t.Errorf("store: code %d, %s", r.code, r.errs)
	}
}

// testKubectl is asked as kubectl asks, and its answer is what the protocol's schema describes and
// what a cluster takes.
func testKubectl(t *testing.T, w *world) {
	guarded := w.guard(t, "cluster", verify.NewAcceptingBearerTokens).Require("use")
	w.serve(t, "cluster", guarded(http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) { rw.WriteHeader(http.StatusOK) })))
	exec := guide(t, "yaml", "client.authentication.k8s.io")
	_, args, _ := strings.Cut(strings.TrimSpace(lineWith(t, exec, "args:")), ": ")
	line := "keytether " + strings.NewReplacer("[", "", "]", "", ",", "").Replace(args)
	for _, version := range []string{"v1", "v1beta1"} {
		group := "client.authentication.k8s.io/" + version
		info, err := json.Marshal(map[string]any{"apiVersion": group, "kind": "ExecCredential", "spec": map[string]any{
			"interactive": false, "cluster": map[string]any{"server": w.url["cluster"], "config": nil},
		}})
		do(t, err)
		answer := w.ask(t, line, "", "KUBERNETES_EXEC_INFO="+string(info))
		c := w.command(t, w.work, "/usr/bin/python3", "-c", `import json, sys, jsonschema
schema = json.load(open(sys.argv[1]))
jsonschema.Draft202012Validator.check_schema(schema)
jsonschema.validate(json.load(sys.stdin), schema, format_checker=jsonschema.FormatChecker())`, here(t, "testdata/execcredential.schema.json"))
		c.Stdin = strings.NewReader(answer)
		if r := runs(t, c); r.code != 0 {
			t.Errorf("%s: the schema says:\n%s", version, r.errs)
		}
		var got struct {
			APIVersion string `json:"apiVersion"`
			Status     struct {
				Token   string    `json:"token"`
				Expires time.Time `json:"expirationTimestamp"`
			} `json:"status"`
		}
		do(t, json.Unmarshal([]byte(answer), &got))
		if left := time.Until(got.Status.Expires); got.APIVersion != group || left < time.Minute || left > 6*time.Minute {
			t.Errorf("%s, which ends in %v", got.APIVersion, left)
		}
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, w.url["cluster"]+"/api/v1/pods", nil)
		do(t, err)
		req.Header.Set("Authorization", "Bearer "+got.Status.Token)
		resp, err := http.DefaultClient.Do(req)
		do(t, err)
		do(t, resp.Body.Close())
		if resp.StatusCode != http.StatusOK {
			t.Errorf("the cluster answers %s", resp.Status)
		}
	}
}

// testLent is what a container has: the socket that was made for it, and nothing else of the person's.
// What it gets is the named login's, by the tools too.
func testLent(t *testing.T, w *world) {
	md, err := os.ReadFile("../../docs/guides/containers.md")
	do(t, err)
	line := lineWith(t, string(md), "keytether agent forward devbox --profile git")
	var lent struct{ Socket string }
	do(t, json.Unmarshal([]byte(w.ask(t, strings.TrimSpace(line)+" --json", "")), &lent))
	home := w.folder(t, "container")
	inside := func(line, question string) result {
		c := w.command(t, home, "/bin/sh", "-euc", line)
		c.Env = []string{"PATH=" + w.links + ":/usr/bin:/bin", "HOME=" + home, "KEYTETHER_SOCKET=" + lent.Socket}
		c.Stdin = strings.NewReader(question)
		return runs(t, c)
	}
	host := func(name string) string {
		return "protocol=http\nhost=" + strings.TrimPrefix(w.url[name], "http://") + "\n"
	}
	if r := inside("keytether token --profile git", ""); r.code != 0 || !strings.HasPrefix(r.out, "eyJ") {
		t.Errorf("the lent login: code %d\n%s", r.code, r.errs)
	}
	if r := inside("keytether helper git get", host("git")); r.code != 0 || !strings.Contains(r.out, "password=eyJ") {
		t.Errorf("git's helper: code %d, %d bytes\n%s", r.code, len(r.out), r.errs)
	}
	for _, line := range []string{"keytether token --profile pypi", "keytether logout --all"} {
		if r := inside(line, ""); r.code == 0 || r.out != "" {
			t.Errorf("%s: code %d, %q", line, r.code, r.out)
		}
	}
	if r := inside("keytether helper git get", host("pypi")); strings.Contains(r.out, "eyJ") {
		t.Error("another login than the lent one is had by git's helper")
	}
	w.ask(t, "keytether agent forward devbox --end", "")
	if r := inside("keytether token --profile git", ""); r.code == 0 {
		t.Error("what was ended is still lent")
	}
}

// here is the whole path of a file of this folder.
func here(t *testing.T, name string) string {
	t.Helper()
	path, err := filepath.Abs(name)
	do(t, err)
	return path
}
