package oauthclienttest

import (
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/keytether/keytether/internal/oauth"
)

// Device says how the device flow goes (RFC 8628).
type Device struct {
	Interval   int64 // seconds; 0: none is named
	ExpiresIn  int64 // seconds; 0: 1200
	TypeWithin int64 // seconds in which the user code must be typed; 0: not named
	Wait       int64 // seconds that a poll may ask to wait; 0: the server does not know how

	// Answers are those to the polls, in turn; when they are over, AnswerAsk.
	Answers []Answer
}

// Answer is what becomes of one poll.
type Answer string

// The answers. What begins with "lost" never reaches who asked.
const (
	AnswerAsk      Answer = ""            // as Decide says; until then pending, kept back where that was preferred
	AnswerPending  Answer = "pending"     // at once
	AnswerHeld     Answer = "held"        // pending, after all the time that was preferred
	AnswerLate     Answer = "late"        // tokens, after 3 s
	AnswerTokens   Answer = "tokens"      // at once
	AnswerSlowDown Answer = "slow_down"   // RFC 8628 §3.5
	AnswerDenied   Answer = "denied"      // RFC 8628 §3.5
	AnswerExpired  Answer = "expired"     // RFC 8628 §3.5
	AnswerLost     Answer = "lost"        // the connection breaks
	AnswerSwallow  Answer = "lost tokens" // tokens were made, and the connection breaks
	AnswerHTML     Answer = "html"        // the network's sign-in page
	AnswerElse     Answer = "redirect"    // to the network's sign-in page
	AnswerBusy     Answer = "429"         // with Retry-After: 40
	AnswerLater    Answer = "503"         // with Retry-After as a time, 40 s ahead
	AnswerGarbage  Answer = "json that is not tokens"
)

// Poll is one poll that came.
type Poll struct {
	At     time.Time
	Code   string
	JKT    string
	Prefer string
	Alone  bool // no other was being answered
}

type device struct {
	form  url.Values
	jkt   string
	grant *grant
}

// Polls gives those that came so far.
func (s *Server) Polls() []Poll {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Poll(nil), s.polls...)
}

// Decide makes the person press Allow, or Deny after s.Deny.
func (s *Server) Decide() {
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case <-s.decided:
	default:
		close(s.decided)
	}
}

func (s *Server) startDevice(w http.ResponseWriter, r *http.Request) {
	if s.Device == nil {
		http.NotFound(w, r)
		return
	}
	if !s.knows(w, r) {
		return
	}
	jkt, ok := s.proof(w, r, "")
	if !ok {
		return
	}
	s.mu.Lock()
	code := s.mint("ktd_device")
	s.devices[code] = &device{form: s.values(r), jkt: jkt}
	s.mu.Unlock()
	out := oauth.DeviceResponse{
		DeviceCode: code, UserCode: "WDJB-MJHT", VerificationURI: s.Issuer + oauth.PathVerify,
		ExpiresIn: s.Device.ExpiresIn, Interval: s.Device.Interval, TypeWithin: s.Device.TypeWithin,
	}
	if out.ExpiresIn == 0 {
		out.ExpiresIn = 1200
	}
	writeJSON(w, http.StatusOK, out)
}

func (s *Server) poll(w http.ResponseWriter, r *http.Request, form url.Values) {
	s.mu.Lock()
	d := s.devices[form.Get("device_code")]
	s.mu.Unlock()
	if d == nil {
		fail(w, http.StatusBadRequest, "invalid_grant")
		return
	}
	jkt, ok := s.proof(w, r, d.jkt)
	if !ok {
		return
	}
	s.mu.Lock()
	n := len(s.polls)
	s.polls = append(s.polls, Poll{s.Now(), form.Get("device_code"), jkt, r.Header.Get("Prefer"), s.polling == 0})
	s.polling++
	a := AnswerAsk
	if n < len(s.Device.Answers) {
		a = s.Device.Answers[n]
	}
	s.mu.Unlock()
	defer func() { s.mu.Lock(); s.polling--; s.mu.Unlock() }()
	s.answerPoll(w, r, a, d)
}

func preferred(r *http.Request) time.Duration {
	n, _ := strconv.Atoi(strings.TrimPrefix(r.Header.Get("Prefer"), "wait="))
	return time.Duration(n) * time.Second
}

func (s *Server) answerPoll(w http.ResponseWriter, r *http.Request, a Answer, d *device) {
	switch a {
	case AnswerAsk:
		if s.asked(r) {
			s.deviceTokens(w, d)
			return
		}
		fail(w, http.StatusBadRequest, "authorization_pending")
	case AnswerPending:
		fail(w, http.StatusBadRequest, "authorization_pending")
	case AnswerHeld:
		time.Sleep(preferred(r))
		fail(w, http.StatusBadRequest, "authorization_pending")
	case AnswerLate:
		time.Sleep(3 * time.Second)
		s.deviceTokens(w, d)
	case AnswerTokens:
		s.deviceTokens(w, d)
	case AnswerSlowDown:
		fail(w, http.StatusBadRequest, "slow_down")
	case AnswerDenied:
		fail(w, http.StatusBadRequest, "access_denied")
	case AnswerExpired:
		fail(w, http.StatusBadRequest, "expired_token")
	case AnswerLost:
		panic(http.ErrAbortHandler)
	case AnswerSwallow:
		s.tokensOf(d)
		panic(http.ErrAbortHandler)
	case AnswerHTML:
		w.Header().Set("Content-Type", "text/html")
		_, _ = fmt.Fprint(w, "<html>Welcome to Hotel Wi-Fi")
	case AnswerElse:
		http.Redirect(w, r, "http://portal.test/login", http.StatusTemporaryRedirect)
	case AnswerBusy:
		w.Header().Set("Retry-After", "40")
		w.WriteHeader(http.StatusTooManyRequests)
	case AnswerLater:
		w.Header().Set("Retry-After", s.Now().Add(40*time.Second).UTC().Format(http.TimeFormat))
		w.WriteHeader(http.StatusServiceUnavailable)
	case AnswerGarbage:
		writeJSON(w, http.StatusOK, map[string]string{"hello": "world"})
	}
}

// asked waits for the decision as long as that was preferred, and says whether
// there is one.
func (s *Server) asked(r *http.Request) bool {
	t := time.NewTimer(preferred(r))
	defer t.Stop()
	select {
	case <-s.decided:
		return true
	default:
	}
	select {
	case <-s.decided:
		return true
	case <-t.C:
	case <-r.Context().Done():
	}
	return false
}

// tokensOf makes the grant, or finds the one that was made.
func (s *Server) tokensOf(d *device) *grant {
	if d.grant != nil {
		return d.grant
	}
	d.grant = s.newGrant(d.form, d.jkt)
	return d.grant
}

func (s *Server) deviceTokens(w http.ResponseWriter, d *device) {
	s.mu.Lock()
	deny := s.deny
	s.mu.Unlock()
	if deny {
		fail(w, http.StatusBadRequest, "access_denied")
		return
	}
	writeJSON(w, http.StatusOK, s.firstTokens(s.tokensOf(d), d.form.Get("client_id"), ""))
}
