package outbound

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// TestStream gives what arrives before the answer has ended, longer than the
// client's timeout would have it, until the request's context ends.
func TestStream(t *testing.T) {
	more := make(chan string)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for {
			select {
			case text := <-more:
				_, _ = io.WriteString(w, text)
				_ = http.NewResponseController(w).Flush()
			case <-r.Context().Done():
				return
			}
		}
	}))
	defer s.Close()
	c, err := New(Options{Timeout: 50 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ctx, cancel := context.WithCancel(t.Context())
	req, _ := http.NewRequestWithContext(ctx, http.MethodPost, s.URL, nil)
	go func() { more <- "one" }()
	res, err := c.Stream(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	var three [3]byte
	for _, text := range []string{"one", "two"} {
		if _, err := io.ReadFull(res.Body, three[:]); err != nil || string(three[:]) != text {
			t.Fatal(string(three[:]), err)
		}
		if text == "one" {
			time.Sleep(100 * time.Millisecond)
			more <- "two"
		}
	}
	cancel()
	if _, err := io.ReadFull(res.Body, three[:]); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
}

// TestStreamRefused: an answer other than 200 is read whole and bounded, and a
// redirect is not followed.
func TestStreamRefused(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/moved" {
			http.Redirect(w, r, "/elsewhere", http.StatusTemporaryRedirect)
			return
		}
		w.WriteHeader(http.StatusUnauthorized)
		_, _ = io.WriteString(w, strings.Repeat("a", 1000))
	}))
	defer s.Close()
	c, err := New(Options{MaxBody: 100})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	req, _ := http.NewRequestWithContext(t.Context(), http.MethodPost, s.URL, nil)
	res, err := c.Stream(req)
	if err != nil {
		t.Fatal(err)
	}
	if body, err := io.ReadAll(res.Body); err != nil || len(body) != 100 || res.StatusCode != http.StatusUnauthorized {
		t.Fatal(len(body), err, res.StatusCode)
	}
	req, _ = http.NewRequestWithContext(t.Context(), http.MethodPost, s.URL+"/moved", nil)
	if _, err := c.Stream(req); !errors.Is(err, ErrRedirect) {
		t.Fatal(err)
	}
	s.Close()
	req, _ = http.NewRequestWithContext(t.Context(), http.MethodPost, s.URL, nil)
	if _, err := c.Stream(req); !errors.Is(err, ErrUnreachable) {
		t.Fatal(err)
	}
}
