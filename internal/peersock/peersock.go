// Package peersock is the local socket between the agent and the programs of one user: a Unix
// socket in a folder that only this user may enter, on Windows a named pipe that only this
// user may open. Folder and permissions are the first fence. The second is that both ends ask
// the kernel who the other is, on every connection, and hang up on any other user: so that a
// wrong permission alone gives nothing away, root's processes included.
//
// One file per system holds what differs; Linux, macOS and Windows are supported.
package peersock

import (
	"context"
	"errors"
	"net"
	"sync"
)

// Sentinels, for errors.Is. The wrapping error says which path, and what to do.
var (
	ErrPeerUID      = errors.New("peersock: the other end belongs to another user")
	ErrInsecurePath = errors.New("peersock: the socket's path is not safe")
	ErrInUse        = errors.New("peersock: another agent listens there")
	ErrNotRunning   = errors.New("peersock: no agent listens there")
)

// Peer is the process at the other end, as the kernel tells it.
type Peer struct {
	UID string // decimal user id; on Windows the SID
	PID int    // 0 if the kernel does not say

	// Program is what the process ran when its connection was accepted. Only accepted connections
	// have it and what follows; see Identifies.
	Program

	// Ours says that it is the listener's own program, which acts for whoever started it: Parent.
	Ours      bool
	ParentPID int
	Parent    Program
}

// Conn is a connection whose other end was checked.
type Conn struct {
	net.Conn
	peer Peer
}

// Peer says who is at the other end.
func (c *Conn) Peer() Peer { return c.peer }

type peerKey struct{}

// ConnContext is for http.Server.ConnContext: handlers then find the peer with PeerFrom.
func ConnContext(ctx context.Context, c net.Conn) context.Context {
	if pc, ok := c.(*Conn); ok {
		return context.WithValue(ctx, peerKey{}, pc.peer)
	}
	return ctx
}

// PeerFrom gives the peer that ConnContext stored.
func PeerFrom(ctx context.Context) (Peer, bool) {
	p, ok := ctx.Value(peerKey{}).(Peer)
	return p, ok
}

// Listener accepts connections of this user's own processes only.
type Listener struct {
	net.Listener
	refused func(error)
	release func() error
	gone    func() bool // nil: it cannot go
	once    sync.Once
	self    self
}

// OnRefused sets what is told about each connection that was refused; the error wraps
// ErrPeerUID or says why the kernel did not name the peer. Call it before Accept.
func (l *Listener) OnRefused(f func(error)) { l.refused = f }

// Accept gives the next connection (a *Conn) of the same user. Others are closed and do not end it.
func (l *Listener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		p, err := checkPeer(c, accepted)
		if err == nil {
			p.identify(c, l.own())
			return &Conn{Conn: c, peer: p}, nil
		}
		_ = c.Close()
		if l.refused != nil {
			l.refused(err)
		}
	}
}

// Gone says that nobody can reach the listener any more: its socket was removed or replaced,
// as happens to a runtime folder when the session ends.
func (l *Listener) Gone() bool { return l.gone != nil && l.gone() }

// Close ends the listener and takes its socket away.
func (l *Listener) Close() error {
	return errors.Join(l.release(), ignoreClosed(l.Listener.Close()))
}

func ignoreClosed(err error) error {
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// side says which end of a connection we are: Windows asks the kernel differently for each.
type side int

const (
	accepted side = iota
	dialed
)
