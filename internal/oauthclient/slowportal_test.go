package oauthclient_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keytether/keytether/internal/oauth"
	"github.com/keytether/keytether/internal/oauthclient"
	"github.com/keytether/keytether/internal/oauthclient/oauthclienttest"
)

// memListener listens without a network, so that time can be the test's.
type memListener struct {
	conns chan net.Conn
	gone  chan struct{}
	once  sync.Once
}

func (l *memListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.gone:
		return nil, net.ErrClosed
	}
}

func (l *memListener) Close() error { l.once.Do(func() { close(l.gone) }); return nil }
func (l *memListener) Addr() net.Addr {
	return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 40123}
}

func (l *memListener) dial(context.Context, string, string) (net.Conn, error) {
	near, far := net.Pipe()
	select {
	case l.conns <- far:
		return near, nil
	case <-l.gone:
		return nil, syscall.ECONNREFUSED
	}
}

// portal stands between a browser and the server's pages: it answers in their
// place three times, and takes ten minutes.
type portal struct {
	server *oauthclienttest.Server
	local  http.RoundTripper
	hops   int
}

func (p *portal) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Host == "127.0.0.1:40123" {
		return p.local.RoundTrip(r)
	}
	w := httptest.NewRecorder()
	if strings.HasSuffix(r.URL.Path, oauth.PathAuthorize) && p.hops < 3 {
		p.hops++
		time.Sleep(200 * time.Second)
		http.Redirect(w, r, r.URL.String(), http.StatusSeeOther)
		return w.Result(), nil
	}
	if r.Body == nil {
		r.Body = http.NoBody
	}
	p.server.ServeHTTP(w, r)
	return w.Result(), nil
}

// TestSlowPortal: the browser comes back after ten minutes and three redirects.
//
// Invariant: CF-12
func TestSlowPortal(t *testing.T) {
	for name, config := range configs() {
		t.Run(name, func(t *testing.T) {
			s := oauthclienttest.New(t, config)
			synctest.Test(t, func(t *testing.T) {
				began := time.Now()
				c := newClient(t, s, oauthclient.Env{HTTP: inside{s}})
				listener := &memListener{conns: make(chan net.Conn), gone: make(chan struct{})}
				ctx, cancel := context.WithTimeout(t.Context(), 15*time.Minute) // what the agent gives a person
				defer cancel()
				l, err := c.StartLogin(ctx, oauthclient.LoginRequest{Listen: func(network, _ string) (net.Listener, error) {
					if network == "tcp6" {
						return nil, syscall.EADDRNOTAVAIL
					}
					return listener, nil
				}})
				if err != nil {
					t.Fatal(err)
				}
				local := &http.Transport{DialContext: listener.dial, DisableKeepAlives: true}
				page, err := oauthclienttest.NewBrowserOver(&portal{server: s, local: local}).Finish(l.URL())
				if err != nil || !strings.Contains(page.Body, "Signed in") {
					t.Errorf("%v: %s", err, page.Body)
				}
				if g, err := l.Wait(); err != nil || g.Access.IsZero() {
					t.Errorf("after %v: %v", time.Since(began), err)
				}
				if took := time.Since(began); took < 10*time.Minute {
					t.Errorf("the portal took only %v", took)
				}
				<-l.Closed()
			})
		})
	}
}

// TestPortalThatNeverEnds: the time that a person has is over at its end, and the
// listener with it.
func TestPortalThatNeverEnds(t *testing.T) {
	s := oauthclienttest.New(t, oauthclienttest.Keytether())
	synctest.Test(t, func(t *testing.T) {
		c := newClient(t, s, oauthclient.Env{HTTP: inside{s}})
		listener := &memListener{conns: make(chan net.Conn), gone: make(chan struct{})}
		ctx, cancel := context.WithTimeout(t.Context(), 15*time.Minute)
		defer cancel()
		l, err := c.StartLogin(ctx, oauthclient.LoginRequest{Listen: func(network, _ string) (net.Listener, error) {
			if network == "tcp6" {
				return nil, syscall.EADDRNOTAVAIL
			}
			return listener, nil
		}})
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		if _, err := l.Wait(); !errors.Is(err, oauthclient.ErrExpired) || time.Since(began) != 15*time.Minute {
			t.Errorf("after %v: %v", time.Since(began), err)
		}
		<-l.Closed()
		if _, err := listener.dial(t.Context(), "", ""); err == nil {
			t.Error("the listener is still there")
		}
	})
}
