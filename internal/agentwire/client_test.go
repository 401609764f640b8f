package agentwire

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// serve runs h and gives a client whose dial reaches it, whatever the name.
func serve(t *testing.T, h http.HandlerFunc) *Client {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	c := NewClient(func(ctx context.Context) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "tcp", s.Listener.Addr().String())
	})
	t.Cleanup(c.Close)
	return c
}

func TestClientCallsMatchTheVectors(t *testing.T) {
	var f vectorFile
	vectors(t, "messages.json", &f)
	calls := map[string]func(*Client, vector) error{
		PathVersion: func(c *Client, _ vector) error { _, err := c.Version(t.Context()); return err },
		PathStatus:  func(c *Client, _ vector) error { _, err := c.Status(t.Context()); return err },
		PathWhoami:  func(c *Client, _ vector) error { _, err := c.Whoami(t.Context(), "work"); return err },
		PathLogin: func(c *Client, v vector) error {
			return c.Login(t.Context(), with[LoginRequest](t, v), func(Event) error { return nil })
		},
		PathLogout: func(c *Client, v vector) error {
			_, err := c.Logout(t.Context(), with[LogoutRequest](t, v))
			return err
		},
		PathToken: func(c *Client, v vector) error { _, err := c.Token(t.Context(), with[TokenRequest](t, v)); return err },
		PathAuthorize: func(c *Client, v vector) error {
			_, err := c.Authorize(t.Context(), with[AuthorizeRequest](t, v))
			return err
		},
		PathApproval: func(c *Client, v vector) error {
			_, err := c.Approval(t.Context(), with[ApprovalRequest](t, v))
			return err
		},
		PathDecoys: func(c *Client, v vector) error {
			if v.Method == http.MethodGet {
				_, err := c.Decoys(t.Context())
				return err
			}
			return c.NoteDecoy(t.Context(), with[Decoy](t, v))
		},
		PathLock:        func(c *Client, v vector) error { return c.Lock(t.Context(), with[LockRequest](t, v)) },
		PathUnlock:      func(c *Client, v vector) error { return c.Unlock(t.Context(), with[LockRequest](t, v)) },
		PathUnlockStore: func(c *Client, v vector) error { return c.UnlockStore(t.Context(), with[UnlockStoreRequest](t, v)) },
		PathStop:        func(c *Client, v vector) error { return c.Stop(t.Context(), with[StopRequest](t, v)) },
		PathLoginCode:   func(c *Client, v vector) error { return c.LoginCode(t.Context(), with[LoginCodeRequest](t, v)) },
		PathForward: func(c *Client, v vector) error {
			_, err := c.Forward(t.Context(), with[ForwardRequest](t, v))
			return err
		},
		PathConfirmations: func(c *Client, v vector) error {
			if v.Method == http.MethodGet {
				_, err := c.Confirmations(t.Context())
				return err
			}
			return c.Confirm(t.Context(), with[ConfirmationRequest](t, v))
		},
		PathForwardEnd: func(c *Client, v vector) error { return c.EndForward(t.Context(), with[ForwardEndRequest](t, v)) },
	}
	tried := map[string]bool{}
	for _, v := range f.Vectors {
		path, _, _ := strings.Cut(v.Path, "?")
		if path == "" {
			continue
		}
		tried[path] = true
		var method, uri, body string
		c := serve(t, func(w http.ResponseWriter, r *http.Request) {
			b, _ := io.ReadAll(r.Body)
			method, uri, body = r.Method, r.RequestURI, string(b)
			_ = WriteError(w, NewError(Locked, "locked", "", "", nil))
		})
		if err := calls[path](c, v); !errors.Is(err, Locked) {
			t.Errorf("%s: %v", path, err)
		}
		if method != v.Method || uri != v.Path {
			t.Errorf("sent %s %s, want %s %s", method, uri, v.Method, v.Path)
		}
		if v.Method == http.MethodPost && !sameJSON(t, []byte(body), v.JSON) {
			t.Errorf("%s sent %s, want %s", path, body, v.JSON)
		}
	}
	for p := range calls {
		if !tried[p] {
			t.Errorf("no vector for %s", p)
		}
	}
}

func with[T any](t *testing.T, v vector) T {
	t.Helper()
	var m T
	if err := json.Unmarshal(v.JSON, &m); err != nil {
		t.Fatal(err)
	}
	return m
}

func TestClientReadsAnswers(t *testing.T) {
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case PathToken:
			_ = WriteResponse(w, TokenResponse{AccessToken: NewSecret("a"), TokenType: "DPoP", Scope: "read"})
		case PathStop:
			_ = WriteResponse(w, Empty{})
		}
	})
	tok, err := c.Token(t.Context(), TokenRequest{})
	if err != nil || tok.AccessToken.Reveal() != "a" || tok.TokenType != "DPoP" || tok.Scope != "read" {
		t.Errorf("%v %v", tok, err)
	}
	if err := c.Stop(t.Context(), StopRequest{}); err != nil {
		t.Error(err)
	}
}

func TestClientRefusesBadAnswers(t *testing.T) {
	tests := []struct {
		name   string
		answer func(http.ResponseWriter)
		want   Code
	}{
		{"html", func(w http.ResponseWriter) { _, _ = io.WriteString(w, "<html>") }, Failed},
		{"huge", func(w http.ResponseWriter) { _, _ = io.WriteString(w, `{"x":"`+strings.Repeat("a", MaxBody)+`"}`) }, Failed},
		{"unknown call", func(w http.ResponseWriter) { http.Error(w, "404 page not found", http.StatusNotFound) }, Unsupported},
		{"status without body", func(w http.ResponseWriter) { w.WriteHeader(http.StatusTeapot) }, Failed},
		{"redirect", func(w http.ResponseWriter) { w.Header().Set("Location", "/v1/status"); w.WriteHeader(http.StatusFound) }, Failed},
		{"newer code", func(w http.ResponseWriter) { _ = WriteError(w, NewError("weather", "rain", "", "", nil)) }, "weather"},
		{"hang up", func(http.ResponseWriter) { panic(http.ErrAbortHandler) }, AgentGone},
		{"cut off", func(w http.ResponseWriter) {
			w.Header().Set("Content-Length", "100")
			_, _ = io.WriteString(w, "{")
			panic(http.ErrAbortHandler)
		}, AgentGone},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := serve(t, func(w http.ResponseWriter, _ *http.Request) { tt.answer(w) })
			_, err := c.Version(t.Context())
			if !errors.Is(err, tt.want) {
				t.Errorf("want %v, got %v", tt.want, err)
			}
		})
	}
}

func TestClientSaysWhyNobodyAnswers(t *testing.T) {
	cause := errors.New("no such socket")
	c := NewClient(func(context.Context) (net.Conn, error) { return nil, cause })
	_, err := c.Version(t.Context())
	if !errors.Is(err, AgentGone) || !errors.Is(err, cause) {
		t.Errorf("got %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.Version(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestClientRepeatsOnAConnectionThatDied(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	go func() { // an agent that answers once on each connection, and reads the next request before it dies
		for n := 0; ; n++ {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			br := bufio.NewReader(conn)
			if r, err := http.ReadRequest(br); err == nil {
				_, _ = io.Copy(io.Discard, r.Body)
				_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
			}
			if n == 0 {
				_, _ = br.Peek(1)
			}
			_ = conn.Close()
		}
	}()
	c := NewClient(func(ctx context.Context) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "tcp", ln.Addr().String())
	})
	defer c.Close()
	for i := range 2 {
		if _, err := c.Token(t.Context(), TokenRequest{Scope: "read"}); err != nil {
			t.Fatalf("call %d: %v", i, err)
		}
	}
}

// TestClientRepeatsAtAnAgentThatDies: the socket of a killed agent may still take
// connections when the others have ended.
func TestClientRepeatsAtAnAgentThatDies(t *testing.T) {
	for name, kind := range map[string]func(func(context.Context) (net.Conn, error)) *Client{"kept": NewClient, "once": NewOnce} {
		t.Run(name, func(t *testing.T) {
			for _, tt := range []struct{ dead, calls int }{{0, 1}, {1, 2}, {3, 4}, {9, 4}} {
				var calls atomic.Int32
				srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
					if int(calls.Add(1)) <= tt.dead {
						panic(http.ErrAbortHandler)
					}
					_ = WriteResponse(w, TokenResponse{Scope: "read"})
				}))
				c := kind(func(ctx context.Context) (net.Conn, error) {
					var d net.Dialer
					return d.DialContext(ctx, "tcp", srv.Listener.Addr().String())
				})
				got, err := c.Token(t.Context(), TokenRequest{})
				if tt.dead < tt.calls && (err != nil || got.Scope != "read") || tt.dead >= tt.calls && !errors.Is(err, AgentGone) {
					t.Errorf("after %d deaths: %v", tt.dead, err)
				}
				if int(calls.Load()) != tt.calls {
					t.Errorf("after %d deaths: %d calls, want %d", tt.dead, calls.Load(), tt.calls)
				}
				c.Close()
				srv.Close()
			}
		})
	}
}

func TestLoginStreamFromTheVector(t *testing.T) {
	b, err := os.ReadFile(filepath.Join("..", "..", "conformance", "agentwire", "login_stream.ndjson"))
	if err != nil {
		t.Fatal(err)
	}
	c := serve(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(b) })
	var got []string
	err = c.Login(t.Context(), LoginRequest{}, func(e Event) error { got = append(got, e.Event); return nil })
	if err != nil || !slices.Equal(got, []string{EventBrowser, EventWaiting, EventDone}) {
		t.Errorf("%v %v", got, err)
	}
}

func TestLoginEnds(t *testing.T) {
	stop := errors.New("stop")
	tests := []struct {
		name  string
		write func(*EventWriter)
		on    func(Event) error
		want  error
	}{
		{"with the event's error", func(e *EventWriter) {
			_ = e.Write(Event{Event: EventError, Error: NewError(Denied, "denied", "", "", nil)})
		}, nil, Denied},
		{"without a word", func(e *EventWriter) { _ = e.Write(Event{Event: EventWaiting}) }, nil, AgentGone},
		{"with an aborted stream", func(e *EventWriter) { _ = e.Write(Event{Event: EventWaiting}); panic(http.ErrAbortHandler) }, nil, AgentGone},
		{"with the caller's error", func(e *EventWriter) { _ = e.Write(Event{Event: EventWaiting}) }, func(Event) error { return stop }, stop},
		{"with a malformed line", func(e *EventWriter) { _, _ = io.WriteString(e.w, "{\n") }, nil, ErrMalformed},
		{"with a line that is too long", func(e *EventWriter) {
			_, _ = io.WriteString(e.w, `{"event":"`+strings.Repeat("a", MaxLine)+"\"}\n")
		}, nil, ErrTooLarge},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := serve(t, func(w http.ResponseWriter, _ *http.Request) { tt.write(NewEventWriter(w)) })
			on := tt.on
			if on == nil {
				on = func(Event) error { return nil }
			}
			if err := c.Login(t.Context(), LoginRequest{}, on); !errors.Is(err, tt.want) {
				t.Errorf("want %v, got %v", tt.want, err)
			}
		})
	}
}

func TestEndOfContextCancelsTheLoginAtTheAgent(t *testing.T) {
	seen := make(chan struct{})
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		_ = NewEventWriter(w).Write(Event{Event: EventWaiting})
		<-r.Context().Done()
		close(seen)
	})
	ctx, cancel := context.WithCancel(t.Context())
	err := c.Login(ctx, LoginRequest{}, func(Event) error { cancel(); return nil })
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	select {
	case <-seen:
	case <-time.After(10 * time.Second):
		t.Fatal("the agent never saw it")
	}
}

func TestLoginIsNeverSentTwice(t *testing.T) {
	var n atomic.Int32
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == PathLogin {
			n.Add(1)
			panic(http.ErrAbortHandler)
		}
		_ = WriteResponse(w, Version{})
	})
	if _, err := c.Version(t.Context()); err != nil { // so that a kept connection is there
		t.Fatal(err)
	}
	if err := c.Login(t.Context(), LoginRequest{}, func(Event) error { return nil }); !errors.Is(err, AgentGone) {
		t.Errorf("got %v", err)
	}
	if n.Load() != 1 {
		t.Errorf("sent %d times", n.Load())
	}
}
