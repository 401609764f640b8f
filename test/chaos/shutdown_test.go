//go:build linux

package chaos

import (
	"bufio"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/keytether/keytether/bench/driver"
	"github.com/keytether/keytether/internal/dpop"
	"github.com/keytether/keytether/internal/feed"
	"github.com/keytether/keytether/internal/oauth"
	"github.com/keytether/keytether/internal/testkit/stage"
)

// half is a refresh of which the server has got the head and half of the body.
type half struct {
	conn net.Conn
	rest string
}

// begin sends the first half of a refresh, over a connection of its own.
func begin(t *testing.T, s *stage.Stage, tool *driver.Tool, token string) half {
	t.Helper()
	endpoint := tool.Server.Metadata.TokenEndpoint
	resp, err := tool.Server.HTTP.PostForm(endpoint, url.Values{})
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	proof, err := dpop.New(tool.Signer, dpop.Request{
		Method: http.MethodPost, URL: endpoint, Nonce: resp.Header.Get("DPoP-Nonce"), IssuedAt: time.Now(), ID: rand.Text(),
	})
	if err != nil {
		t.Fatal(err)
	}
	body := url.Values{"grant_type": {"refresh_token"}, "client_id": {client}, "refresh_token": {token}}.Encode()
	host := strings.TrimPrefix(s.Issuer, "http://")
	conn, err := net.Dial("tcp", host)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(15 * time.Second)); err != nil {
		t.Fatal(err)
	}
	_, err = fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: %s\r\nContent-Type: application/x-www-form-urlencoded\r\nDPoP: %s\r\nContent-Length: %d\r\n\r\n%s",
		oauth.PathToken, host, proof, len(body), body[:len(body)/2])
	if err != nil {
		t.Fatal(err)
	}
	return half{conn, body[len(body)/2:]}
}

// finish sends the second half and reads the answer.
func (h half) finish(t *testing.T) (out oauth.TokenResponse) {
	t.Helper()
	if _, err := io.WriteString(h.conn, h.rest); err != nil {
		t.Fatalf("the second half: %v", err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(h.conn), nil)
	if err != nil {
		t.Fatalf("no answer: %v", err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%s, %v: %s", resp.Status, err, body)
	}
	if err := json.Unmarshal(body, &out); err != nil {
		t.Fatal(err)
	}
	return out
}

// TestGracefulShutdown: SIGTERM in the middle of requests. Those under way are
// answered as if nothing had happened, new ones find nobody, the revocation feed
// ends as a stream should, the audit log is signed to its end, and the exit code
// is 0.
//
// Invariant: AU-5
func TestGracefulShutdown(t *testing.T) {
	s := newStage(t, "info")
	p := meet(t, s)
	const many = 8
	var halves [many]half
	var tools [many]*driver.Tool
	for i := range halves {
		tool, out := p.login(t)
		tools[i] = tool
		halves[i] = begin(t, s, tool, out.RefreshToken)
	}
	stream := newAPI(t, s).post(t, oauth.PathRevocations, url.Values{})
	lines := bufio.NewReader(stream.Body)
	if line, err := lines.ReadString('\n'); err != nil || !strings.Contains(line, "snapshot") {
		t.Fatalf("the feed begins with %q, %v", line, err)
	}
	began := time.Now()
	signal(t, s, syscall.SIGTERM)
	waitSaid(t, s, "stopping", 1)
	if _, err := io.ReadAll(lines); err != nil {
		t.Errorf("the feed broke off instead of ending: %v", err)
	}
	if took := time.Since(began); took > 2*feed.HeartbeatEvery+time.Second {
		t.Errorf("the feed ended after %v", took)
	}
	waitRefusesConnections(t, s)
	var answers [many]oauth.TokenResponse
	for i, h := range halves {
		answers[i] = h.finish(t)
	}
	waitEnd(t, s)
	if took := time.Since(began); took > 8*time.Second {
		t.Errorf("it took %v to stop", took)
	}
	log := readLog(t, s.Data(), s.Issuer) // fails on an unsigned tail
	log.checkFamilies(t)
	start(t, s)
	for i, a := range answers {
		if _, err := refresh(t.Context(), tools[i], a.RefreshToken); err != nil {
			t.Errorf("what was answered last does not work after the restart: %v", err)
		}
	}
}

// TestShutdownWithAStuckClient: a client that never finishes its request holds the
// server up for a while, and spoils nothing.
//
// Invariant: AU-5
func TestShutdownWithAStuckClient(t *testing.T) {
	t.Parallel()
	s := newStage(t, "info")
	tool, out := meet(t, s).login(t)
	begin(t, s, tool, out.RefreshToken) // and no finish
	if _, err := refresh(t.Context(), tool, out.RefreshToken); err != nil {
		t.Fatal(err)
	}
	stop(t, s)
	readLog(t, s.Data(), s.Issuer).checkFamilies(t)
}

// waitRefusesConnections waits until the server takes no new connections.
func waitRefusesConnections(t *testing.T, s *stage.Stage) {
	t.Helper()
	for range 300 {
		conn, err := net.Dial("tcp", strings.TrimPrefix(s.Issuer, "http://"))
		if err != nil {
			return
		}
		_ = conn.Close()
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatal("a server that is stopping still takes connections")
}
