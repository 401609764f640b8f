package agentwire

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
)

// NewOnce is NewClient for a program that makes one call and ends: each call has a connection of
// its own and is written and read where it is made, without a transport's goroutines and tables.
// A short program starts and ends sooner so.
func NewOnce(dial func(context.Context) (net.Conn, error)) *Client {
	return &Client{http: &http.Client{
		Transport:     once(dial),
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

type once func(context.Context) (net.Conn, error)

// RoundTrip sends r on a connection of its own, which closes with the answer's body or when the
// request's context ends.
func (dial once) RoundTrip(r *http.Request) (*http.Response, error) {
	ctx := r.Context()
	conn, err := dial(ctx)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	res, err := exchange(conn, r)
	if err != nil {
		stop()
		_ = conn.Close()
		return nil, err
	}
	res.Body = &onceBody{res.Body, stop, conn}
	return res, nil
}

func exchange(conn net.Conn, r *http.Request) (*http.Response, error) {
	out := r.Clone(r.Context())
	out.Close = true
	w := bufio.NewWriter(conn)
	if err := out.Write(w); err != nil {
		return nil, err
	}
	if err := w.Flush(); err != nil {
		return nil, err
	}
	return http.ReadResponse(bufio.NewReader(conn), out)
}

type onceBody struct {
	io.ReadCloser
	stop func() bool
	conn net.Conn
}

// Close closes the connection too.
func (b *onceBody) Close() error {
	b.stop()
	return b.conn.Close()
}
