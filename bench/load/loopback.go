package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"syscall"
	"time"
)

// errLoopback: the load is for one's own machine.
var errLoopback = errors.New("only servers on loopback are put under load")

// client speaks to loopback addresses alone, whatever a name resolves to, and uses
// no proxy. It follows no redirect.
func client(tools int) *http.Client {
	d := &net.Dialer{Timeout: 10 * time.Second, Control: func(_, address string, _ syscall.RawConn) error {
		to, err := netip.ParseAddrPort(address)
		if err != nil || !to.Addr().Unmap().IsLoopback() {
			return fmt.Errorf("%w: not %s", errLoopback, address)
		}
		return nil
	}}
	return &http.Client{
		Timeout:       time.Minute,
		Transport:     &http.Transport{DialContext: d.DialContext, MaxIdleConnsPerHost: tools, TLSHandshakeTimeout: 10 * time.Second},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// onLoopback refuses a URL whose host has any other address, before anything is
// sent.
func onLoopback(ctx context.Context, raw string) error {
	u, err := url.Parse(raw)
	if err != nil || u.Hostname() == "" {
		return fmt.Errorf("%w: %q is no URL of a server", errUsage, raw)
	}
	addrs, err := net.DefaultResolver.LookupNetIP(ctx, "ip", u.Hostname())
	if err != nil {
		return err
	}
	for _, a := range addrs {
		if !a.Unmap().IsLoopback() {
			return fmt.Errorf("%w: %s is %s", errLoopback, u.Hostname(), a)
		}
	}
	return nil
}
