package agentwire

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
)

// onceTo gives a client whose every call dials s, and counts the connections that stay open.
func onceTo(t *testing.T, h http.HandlerFunc) (c *Client, open func() int) {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	var conns []net.Conn
	c = NewOnce(func(ctx context.Context) (net.Conn, error) {
		var d net.Dialer
		conn, err := d.DialContext(ctx, "tcp", s.Listener.Addr().String())
		conns = append(conns, conn)
		return conn, err
	})
	return c, func() int {
		n := 0
		for _, conn := range conns {
			if _, err := conn.Write(nil); !errors.Is(err, net.ErrClosed) {
				n++
			}
		}
		return n
	}
}

func TestOnceAsksOnAConnectionOfItsOwn(t *testing.T) {
	var bodies []string
	c, open := onceTo(t, func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		bodies = append(bodies, r.Method+" "+r.URL.Path+" "+string(b))
		if r.URL.Path == PathToken {
			_ = WriteResponse(w, TokenResponse{AccessToken: NewSecret("made-up"), TokenType: "DPoP"})
			return
		}
		_ = WriteError(w, NewError(Locked, "locked", "", "", nil))
	})
	for range 2 {
		if r, err := c.Token(t.Context(), TokenRequest{Scope: "read"}); err != nil || r.AccessToken.Reveal() != "made-up" {
			t.Fatal(r, err)
		}
	}
	if _, err := c.Whoami(t.Context(), ""); !errors.Is(err, Locked) {
		t.Errorf("an error of the agent: %v", err)
	}
	if len(bodies) != 3 || bodies[0] != `POST /v1/token {"scope":"read"}` || bodies[2] != "GET /v1/whoami " {
		t.Errorf("asked %q", bodies)
	}
	if n := open(); n != 0 {
		t.Errorf("%d connections are open", n)
	}
	c.Close()
}

func TestOnceEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	c, open := onceTo(t, func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // a server sees that its client went only after that
		cancel()
		<-r.Context().Done()
	})
	if _, err := c.Token(ctx, TokenRequest{}); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	if n := open(); n != 0 {
		t.Errorf("%d connections are open", n)
	}
	refused := errors.New("refused")
	c = NewOnce(func(context.Context) (net.Conn, error) { return nil, refused })
	if _, err := c.Token(t.Context(), TokenRequest{}); !errors.Is(err, AgentGone) || !errors.Is(err, refused) {
		t.Errorf("%v", err)
	}
}
