package testkit

import (
	"crypto/tls"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"
)

func TestFrontBehindProxy(t *testing.T) {
	backend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, r.Host+" "+r.Header.Get("X-Forwarded-Proto")+" "+r.URL.Path)
	}))
	defer backend.Close()
	ca, err := NewCA()
	if err != nil {
		t.Fatal(err)
	}
	front, err := NewFront(ca, backend.Listener.Addr().String(), "auth.test")
	if err != nil {
		t.Fatal(err)
	}
	defer front.Close()
	proxy, err := NewProxy(map[string]string{"auth.test": front.Addr()})
	if err != nil {
		t.Fatal(err)
	}
	defer proxy.Close()
	via, err := url.Parse(proxy.URL())
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{Proxy: http.ProxyURL(via), TLSClientConfig: &tls.Config{RootCAs: ca.Pool()}}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport}
	res, err := client.Get("https://auth.test/path")
	if err != nil {
		t.Fatal(err)
	}
	body, _ := io.ReadAll(res.Body)
	res.Body.Close()
	if string(body) != "auth.test https /path" {
		t.Errorf("backend saw %q", body)
	}
	if _, err := client.Get("https://elsewhere.test/"); err == nil {
		t.Error("the proxy reached a name that it was not given")
	}
	if want := []string{"auth.test:443", "elsewhere.test:443"}; !slices.Equal(proxy.Seen(), want) {
		t.Errorf("Seen = %q, want %q", proxy.Seen(), want)
	}
}

func TestHome(t *testing.T) {
	dir, err := ShortDir()
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	if len(dir) > 40 {
		t.Logf("a long temporary folder: %s", dir)
	}
	h, err := NewHome(dir, "HOME=/elsewhere")
	if err != nil {
		t.Fatal(err)
	}
	for _, kv := range h.Env {
		name, path, _ := strings.Cut(kv, "=")
		if strings.HasPrefix(name, "XDG_") {
			if fi, err := os.Stat(path); err != nil || fi.Mode().Perm() != 0o700 || !strings.HasPrefix(path, dir) {
				t.Errorf("%s: %v", kv, err)
			}
		}
	}
	if h.Env[len(h.Env)-1] != "HOME=/elsewhere" {
		t.Error("what the caller adds does not win")
	}
}

func TestBuild(t *testing.T) {
	paths, err := Build(t.Context(), t.TempDir(), "github.com/keytether/keytether/internal/tools/testreport")
	if err != nil {
		t.Fatal(err)
	}
	if fi, err := os.Stat(paths[0]); err != nil || fi.Mode().Perm()&0o100 == 0 {
		t.Errorf("%v: %v", paths, err)
	}
	if _, err := Build(t.Context(), t.TempDir(), "./no/such/package"); err == nil || !strings.Contains(err.Error(), "no/such/package") {
		t.Errorf("a package that is not there: %v", err)
	}
}
