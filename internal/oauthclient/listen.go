package oauthclient

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"syscall"
)

// ListenFunc is net.Listen's shape.
type ListenFunc func(network, address string) (net.Listener, error)

// The only addresses that are ever listened on (RFC 8252 §7.3, §8.3). They are
// literals: what "localhost" means is the resolver's to say.
const (
	loopback4 = "127.0.0.1"
	loopback6 = "::1"
)

// bound is the listener of one login: one port on both loopback addresses.
type bound struct {
	listeners []net.Listener
	host      string // of the redirect URI: 127.0.0.1 or [::1]
	port      int
	note      string // what was not to be had, in words
}

// bind takes one port, any free one for 0, on 127.0.0.1 and ::1. A machine may
// lack one of them, not both. Errors are ErrPort.
func bind(listen ListenFunc, port int) (bound, error) {
	for range bindTries {
		b, err, again := bindOnce(listen, port)
		if err == nil {
			return b, nil
		}
		if !again || port != 0 {
			return bound{}, err
		}
	}
	return bound{}, fmt.Errorf("%w: no port was free on both loopback addresses", ErrPort)
}

func bindOnce(listen ListenFunc, port int) (b bound, err error, again bool) {
	four, err4 := listen("tcp4", net.JoinHostPort(loopback4, strconv.Itoa(port)))
	if err4 != nil {
		if !missing(err4) {
			return bound{}, portError(port, err4), false
		}
		six, err6 := listen("tcp6", net.JoinHostPort(loopback6, strconv.Itoa(port)))
		if err6 != nil {
			return bound{}, portError(port, err6), false
		}
		return bound{[]net.Listener{six}, "[::1]", portOf(six), "this machine has no 127.0.0.1; the browser's answer is awaited on ::1 alone"}, nil, false
	}
	b = bound{listeners: []net.Listener{four}, host: loopback4, port: portOf(four)}
	six, err6 := listen("tcp6", net.JoinHostPort(loopback6, strconv.Itoa(b.port)))
	switch {
	case err6 == nil:
		b.listeners = append(b.listeners, six)
	case missing(err6):
		b.note = "this machine has no ::1; the browser's answer is awaited on 127.0.0.1 alone"
	default:
		// Somebody else has this port on ::1, and might get the answer.
		_ = four.Close()
		return bound{}, portError(b.port, err6), true
	}
	return b, nil, false
}

func portOf(l net.Listener) int {
	if a, ok := l.Addr().(*net.TCPAddr); ok {
		return a.Port
	}
	return 0
}

// missing: the machine does not have that address or protocol at all.
func missing(err error) bool {
	return errors.Is(err, syscall.EADDRNOTAVAIL) || errors.Is(err, syscall.EAFNOSUPPORT) ||
		errors.Is(err, syscall.EPROTONOSUPPORT)
}

func portError(port int, err error) error {
	if o, ok := errors.AsType[*net.OpError](err); ok {
		err = o.Err
	}
	return fmt.Errorf("%w: port %d: %w", ErrPort, port, err)
}

// hosts are the Host headers that are ours; any other is another site's name
// that was made to point here (DNS rebinding).
func (b bound) hosts() []string {
	p := ":" + strconv.Itoa(b.port)
	return []string{loopback4 + p, "[" + loopback6 + "]" + p, "localhost" + p}
}

func (b bound) base() string { return "http://" + b.host + ":" + strconv.Itoa(b.port) }

func (b bound) close() {
	for _, l := range b.listeners {
		_ = l.Close()
	}
}
