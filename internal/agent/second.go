package agent

import (
	"net/http"
	"time"

	"github.com/keytether/keytether/internal/agentwire"
)

// watchBrowser offers a device login when the browser has been away for long: it
// did not open the link, or opened it and did not come back.
func (s *attempt) watchBrowser() {
	l := s.ways[0].login
	if l == nil || s.ways[0].event.Login == "" {
		return
	}
	s.a.mu.Lock()
	s.a.attempts[s.id] = s
	s.a.mu.Unlock()
	s.a.background(func() {
		t := time.NewTimer(s.a.opt.FallTime)
		defer t.Stop()
		opened := l.Opened()
		for {
			select {
			case <-opened:
				opened = nil
				t.Reset(s.a.opt.FallTime)
				continue
			case <-s.ctx.Done():
				return
			case <-l.Closed():
				return
			case <-t.C:
			}
			break
		}
		if l.CameBack() {
			return
		}
		reason := "the link was not opened yet"
		if opened == nil {
			reason = "the browser has not come back yet"
		}
		if err := s.offer(reason); err != nil {
			s.a.log.Info("no second way for a login", "err", err)
		}
	})
}

// loginCode offers a device login beside the browser because somebody asks for it.
func (a *agent) loginCode(r *http.Request) (any, error) {
	var req agentwire.LoginCodeRequest
	if err := agentwire.ReadRequest(r, &req); err != nil {
		return nil, err
	}
	a.mu.Lock()
	s := a.attempts[req.Login]
	a.mu.Unlock()
	const noCode = "there is no code for this login"
	if s == nil {
		return nil, agentwire.NewError(agentwire.Usage, noCode, "no login of that name waits for a browser that was the agent's choice", "Run `keytether login --flow device`", nil)
	}
	if err := s.offer("you asked for it"); err != nil {
		return nil, wireError(err, noCode)
	}
	return agentwire.Empty{}, nil
}

// offer makes the device login of a browser's login, once.
func (s *attempt) offer(reason string) error {
	select {
	case s.turn <- struct{}{}:
	case <-s.ctx.Done():
		return s.ctx.Err()
	}
	defer func() { <-s.turn }()
	if s.offered || s.ctx.Err() != nil {
		return s.ctx.Err()
	}
	w, err := s.device()
	if err != nil {
		return err
	}
	w.event.Reason, s.offered = reason, true
	s.second <- w
	return nil
}

// endWays waits until the device logins of a login that is over have ended, and
// until nothing can begin any more; not longer than the time that is given.
func (s *attempt) endWays(late <-chan time.Time) {
	give := func() { s.a.log.Warn("a login that was called off does not end", "profile", s.name) }
	select {
	case s.turn <- struct{}{}:
		defer func() { <-s.turn }() // what waits for it finds that the login is over
	case <-late:
		give()
		return
	}
	select {
	case w := <-s.second: // nobody follows it
		s.ways = append(s.ways, w)
		unseen := make(chan result, 1)
		go func() { g, err := w.wait(); unseen <- result{w, g, err} }()
		s.rest(unseen, 1)
	default:
	}
	for _, w := range s.ways {
		if w.flow != agentwire.FlowDevice {
			continue
		}
		select {
		case <-w.closed:
		case <-late:
			give()
			return
		}
	}
}

// settle waits for what runs beside the calls, for a time.
func (a *agent) settle() {
	done := make(chan struct{})
	go func() { a.wait.Wait(); close(done) }()
	t := time.NewTimer(a.opt.endTime)
	defer t.Stop()
	select {
	case <-done:
	case <-t.C:
		a.log.Warn("the agent ends although something still runs")
	}
}
