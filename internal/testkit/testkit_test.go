package testkit

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"testing"
	"time"
)

func TestMain(m *testing.M) {
	switch os.Getenv("TESTKIT_CHILD") {
	case "serve":
		child()
	case "fail":
		os.Stderr.WriteString("out of paper\n")
		os.Exit(3)
	}
	os.Exit(m.Run())
}

// child listens where it is told and never ends by itself.
func child() {
	os.Stdout.WriteString("child is up\n")
	_ = http.ListenAndServe(os.Getenv("ADDR"), http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	os.Exit(1)
}

func TestClock(t *testing.T) {
	c := NewClock()
	if got := c.Advance(time.Hour); !got.Equal(Epoch.Add(time.Hour)) || !c.Now().Equal(got) {
		t.Errorf("Advance = %v, Now = %v", got, c.Now())
	}
	if got := c.Advance(-2 * time.Hour); !got.Equal(Epoch.Add(-time.Hour)) {
		t.Errorf("backwards = %v", got)
	}
}

func TestRandRepeatsAndDiffers(t *testing.T) {
	read := func(r io.Reader, sizes ...int) []byte {
		var out []byte
		for _, n := range sizes {
			p := make([]byte, n)
			if _, err := io.ReadFull(r, p); err != nil {
				t.Fatal(err)
			}
			out = append(out, p...)
		}
		return out
	}
	whole := read(Rand("a"), 100)
	if !bytes.Equal(whole, read(Rand("a"), 1, 31, 33, 35)) {
		t.Error("the same seed read in pieces gives other bytes")
	}
	if bytes.Equal(whole, read(Rand("b"), 100)) || bytes.Equal(whole[:32], whole[32:64]) {
		t.Error("bytes repeat")
	}
}

func TestCA(t *testing.T) {
	ca, err := NewCA()
	if err != nil {
		t.Fatal(err)
	}
	files, err := ca.WriteFiles(t.TempDir(), "auth.test", "127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	pair, err := tls.LoadX509KeyPair(files.Cert, files.Key)
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewUnstartedServer(http.NotFoundHandler())
	srv.TLS = &tls.Config{Certificates: []tls.Certificate{pair}}
	srv.StartTLS()
	defer srv.Close()
	for name, ok := range map[string]bool{"auth.test": true, "127.0.0.1": true, "evil.test": false} {
		client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: ca.Pool(), ServerName: name}}}
		res, err := client.Get(srv.URL)
		if err == nil {
			res.Body.Close()
		}
		client.CloseIdleConnections()
		if (err == nil) != ok {
			t.Errorf("as %s: %v", name, err)
		}
	}
}

func TestProcess(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	addr := FreeAddr(t)
	p, err := StartProcess(Command{Path: self, Env: []string{"TESTKIT_CHILD=serve", "ADDR=" + addr}})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Kill()
	if err := p.WaitReady(ctx, nil, "http://"+addr+"/readyz"); err != nil {
		t.Fatal(err)
	}
	if p.Stdout() != "child is up\n" {
		t.Errorf("stdout = %q", p.Stdout())
	}
	if err := p.Stop(ctx); err == nil {
		t.Error("a process that died of the interrupt ended without an error")
	}
	if code, err := p.Wait(ctx); err != nil || code != -1 {
		t.Errorf("exit code = %d, %v; want -1", code, err)
	}

	p, err = StartProcess(Command{Path: self, Env: []string{"TESTKIT_CHILD=fail"}})
	if err != nil {
		t.Fatal(err)
	}
	if err := p.WaitReady(ctx, nil, "http://"+addr+"/readyz"); !errors.Is(err, ErrExited) {
		t.Errorf("WaitReady = %v; want ErrExited", err)
	}
	if code, err := p.Wait(ctx); err != nil || code != 3 {
		t.Errorf("exit code = %d, %v; want 3", code, err)
	}
}
