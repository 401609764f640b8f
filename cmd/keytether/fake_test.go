//go:build linux

package main

import (
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/keytether/keytether/internal/agentwire"
	"github.com/keytether/keytether/internal/peersock"
)

// Tokens that the stand-in gives out: one that looks like a JWT, one that looks like nothing.
// They are made up and open nothing.
const (
	fakeJWT    = "eyJhbGciOiJFUzI1NiIsInR5cCI6ImF0K2p3dCJ9.eyJzdWIiOiJhY2NfMSJ9.c2lnbmF0dXJlLW1hZGUtdXAtc2lnbmF0dXJl"
	fakeOpaque = "opaque-made-up-token-0123456789"
)

// fakeAgent is a stand-in agent that says what a script wants it to.
type fakeAgent struct {
	socket string
	codes  chan struct{} // a code was asked for

	mu    sync.Mutex
	kind  string
	asked string // the last request: method, path and body
	srv   *http.Server
	ln    net.Listener
}

var fakeEnds = time.Date(2100, time.January, 2, 3, 4, 0, 0, time.UTC)

func (f *fakeAgent) start(kind string) error {
	f.stop()
	if err := os.MkdirAll(filepath.Dir(f.socket), 0o700); err != nil {
		return err
	}
	// A program that another script is just starting holds our lock between fork and exec.
	var l *peersock.Listener
	var err error
	for range 200 {
		if l, err = peersock.Listen(f.socket); !errors.Is(err, peersock.ErrInUse) {
			break
		}
		time.Sleep(5 * time.Millisecond)
	}
	if err != nil {
		return err
	}
	f.mu.Lock()
	f.kind, f.asked = kind, ""
	f.srv, f.ln = &http.Server{Handler: f}, l
	srv := f.srv
	f.mu.Unlock()
	go func() { _ = srv.Serve(l) }()
	return nil
}

func (f *fakeAgent) stop() {
	f.mu.Lock()
	srv, ln := f.srv, f.ln
	f.srv, f.ln = nil, nil
	f.mu.Unlock()
	if srv != nil {
		_ = ln.Close() // at once: the server closes it only when it has begun to serve
		_ = srv.Close()
	}
}

func whoami(kind, profile string) agentwire.Whoami {
	if profile == "" {
		profile = agentwire.DefaultProfile
	}
	w := agentwire.Whoami{
		ClientRegistered: kind == "foreign",
		Profile:          profile, Issuer: "https://auth.example.test", Subject: "acc_1", Username: "person@example.test",
		ClientID: "keytether", GrantID: "grt_1", Scope: "read write", Resource: "https://api.example.test",
		Flow: agentwire.FlowBrowser, ExpiresAt: fakeEnds,
	}
	if kind == "hostile" {
		w.Username = "person\x1b[2J\u202e@example.test\nAccount  root"
	}
	return w
}

// ServeHTTP answers the agent's wire.
func (f *fakeAgent) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	raw, _ := io.ReadAll(io.LimitReader(r.Body, agentwire.MaxBody))
	var body struct {
		Profile   string `json:"profile"`
		TokenType string `json:"token_type"`
	}
	_ = json.Unmarshal(raw, &body)
	if r.URL.Path == agentwire.PathVersion {
		_ = agentwire.WriteResponse(w, fakeVersion())
		return
	}
	f.mu.Lock()
	kind := f.kind
	f.asked = r.Method + " " + r.URL.String() + " " + string(raw)
	f.mu.Unlock()
	if code, ok := strings.CutPrefix(kind, "error:"); ok {
		_ = agentwire.WriteError(w, agentwire.NewError(agentwire.Code(code), "what happened", "the reason", "the remedy", nil))
		return
	}
	switch r.URL.Path {
	case agentwire.PathStatus:
		var questions []agentwire.Confirmation
		var callers []agentwire.Caller
		if kind == "confirm" {
			questions, callers = append(questions, fakeQuestion()), []agentwire.Caller{
				{Executable: "/tmp/\x1b[2Jevil", PID: 4711, Calls: 3, Refused: 3, LastAt: fakeEnds, Replaced: true, Host: "build7"},
				{Executable: "/usr/bin/python3.13", Script: "/home/mara/reports.py", Through: "/usr/bin/keytether", PID: 4712, Calls: 7, LastAt: fakeEnds},
				{PID: 1, Calls: 1, LastAt: fakeEnds},
				{PID: 2, Calls: 1, LastAt: fakeEnds},
				{PID: 3, Calls: 1, LastAt: fakeEnds},
				{PID: 4, Calls: 1, LastAt: fakeEnds},
			}
		}
		_ = agentwire.WriteResponse(w, agentwire.StatusResponse{
			Confirmations: questions,
			Agent:         agentwire.AgentStatus{Version: fakeVersion()},
			Profiles: []agentwire.ProfileStatus{
				{Whoami: whoami(kind, ""), AccessTokenExpiresAt: fakeEnds, TokenType: "DPoP", KeyStore: "memory", Callers: callers},
				{Whoami: whoami(kind, "work"), KeyStore: "memory", LastError: agentwire.NewError(agentwire.Unreachable, "not renewed", "no route", "", nil), Missing: fakeMissing(kind)},
			},
		})
	case agentwire.PathDecoys:
		decoys := []agentwire.Decoy{}
		if kind == "decoy" { // of testdata/script/scan.txt
			decoys = append(decoys, agentwire.Decoy{Issuer: "https://auth.example.test", ID: "dcy_1", Path: "/x", Fingerprint: "f93ca6407775a1940602ef0978cfc443"})
		}
		_ = agentwire.WriteResponse(w, agentwire.DecoysResponse{Decoys: decoys})
	case agentwire.PathConfirmations:
		if r.Method == http.MethodPost {
			_ = agentwire.WriteResponse(w, agentwire.Empty{})
			return
		}
		out := agentwire.ConfirmationsResponse{Confirmations: []agentwire.Confirmation{}}
		if kind == "confirm" {
			out.Confirmations = append(out.Confirmations, fakeQuestion())
		}
		_ = agentwire.WriteResponse(w, out)
	case agentwire.PathWhoami:
		_ = agentwire.WriteResponse(w, whoami(kind, r.URL.Query().Get("profile")))
	case agentwire.PathToken:
		token := fakeJWT
		if kind == "opaque" {
			token = fakeOpaque
		}
		kindOfToken := agentwire.TypeDPoP
		if body.TokenType != "" && kind != "old" {
			kindOfToken = body.TokenType
		}
		_ = agentwire.WriteResponse(w, agentwire.TokenResponse{
			AccessToken: agentwire.NewSecret(token), TokenType: kindOfToken, ExpiresAt: fakeEnds, Scope: "read", Resource: "https://api.example.test",
		})
	case agentwire.PathAuthorize:
		_ = agentwire.WriteResponse(w, agentwire.AuthorizeResponse{
			Authorization: agentwire.NewSecret("DPoP " + fakeJWT), DPoP: agentwire.NewSecret("made-up-proof"), TokenType: "DPoP", ExpiresAt: fakeEnds,
		})
	case agentwire.PathLogout:
		res := agentwire.LogoutResponse{Profiles: []string{"default"}, Revoked: true, Wiped: true}
		switch kind {
		case "unrevoked":
			res.Revoked, res.Warning = false, "the server does not answer; the grant lives on until it expires"
		case "foreign":
			res.Revoked, res.NoRevocation, res.Warning = false, true, "its server has no revocation endpoint"
		case "nobody":
			res.Profiles = []string{}
		case "unopened":
			res.Profiles, res.Wiped, res.Warning = []string{}, false, "the store keychain holds logins and cannot be opened"
		}
		_ = agentwire.WriteResponse(w, res)
	case agentwire.PathLogin:
		login(w, r, kind, body.Profile, f.codes)
	case agentwire.PathLoginCode:
		if kind == "nocode" {
			_ = agentwire.WriteError(w, agentwire.NewError(agentwire.Unreachable, "there is no code for this login", "the server is away", "", nil))
		} else {
			_ = agentwire.WriteResponse(w, agentwire.Empty{})
		}
		f.codes <- struct{}{}
	case agentwire.PathLock, agentwire.PathUnlock:
		_ = agentwire.WriteResponse(w, agentwire.Empty{})
	default:
		_ = agentwire.WriteError(w, agentwire.NewError(agentwire.Unsupported, "not here", "", "", nil))
	}
}

func fakeQuestion() agentwire.Confirmation {
	return agentwire.Confirmation{
		ID: "5", Profile: "default", Resource: "https://api.example.test", Scope: "read", Executable: "/tmp/\x1b[2Jevil",
		Script: "/tmp/setup.py", PID: 4711, AskedAt: fakeEnds, ExpiresAt: fakeEnds,
	}
}

// fakeMissing has a word of a newer agent in it.
func fakeMissing(kind string) []string {
	if kind != "foreign" {
		return nil
	}
	return []string{agentwire.LackDPoP, "newer", agentwire.LackRevocation}
}

func fakeVersion() agentwire.Version {
	return agentwire.Version{Version: testVersion, Protocol: agentwire.Protocol, PID: 0, StartedAt: fakeEnds, Grants: 2}
}

func login(w http.ResponseWriter, r *http.Request, kind, profile string, codes <-chan struct{}) {
	s := agentwire.NewEventWriter(w)
	code := agentwire.Event{
		Event: agentwire.EventDeviceCode, UserCode: "WDJB-MJHT", VerificationURI: "https://auth.example.test/device", ExpiresAt: fakeEnds,
		Interval: 5, Flow: agentwire.FlowDevice, Reason: "this is an SSH session",
	}
	switch kind {
	case "device", "hostile":
		if kind == "hostile" {
			code.Reason, code.UserCode = "because\x1b[2J", "A\x1b[2JB"
		}
		_ = s.Write(code)
		who := whoami("", profile)
		who.Flow, who.Issuer = agentwire.FlowDevice, "https://auth.example.test/t/lab"
		_ = s.Write(agentwire.Event{Event: agentwire.EventDone, Done: &who})
		return
	}
	browser := agentwire.Event{Event: agentwire.EventBrowser, URL: "http://127.0.0.1:40123/start/made-up", Flow: agentwire.FlowBrowser}
	if kind == "asks" || kind == "nocode" || kind == "slow" {
		browser.Login = "7"
	}
	_ = s.Write(browser)
	_ = s.Write(agentwire.Event{Event: agentwire.EventWaiting})
	switch kind {
	case "gone":
		panic(http.ErrAbortHandler)
	case "both":
		code.Reason = "the browser has not come back yet"
		_ = s.Write(code)
		who := whoami(kind, profile)
		_ = s.Write(agentwire.Event{Event: agentwire.EventDone, Done: &who})
	case "asks", "nocode":
		<-codes
		if kind == "asks" {
			code.Reason = "you asked for it"
			_ = s.Write(code)
		}
		time.Sleep(1200 * time.Millisecond) // of the person, and for the waiting line
		who := whoami(kind, profile)
		_ = s.Write(agentwire.Event{Event: agentwire.EventDone, Done: &who})
	case "waits":
		<-r.Context().Done()
	case "denied":
		_ = s.Write(agentwire.Event{Event: agentwire.EventError, Error: agentwire.NewError(agentwire.Denied, "the login was denied", "you pressed Deny", "", nil)})
	default:
		if kind == "slow" {
			time.Sleep(1500 * time.Millisecond) // long enough for a browser that fails at once, and for the waiting line
		}
		who := whoami(kind, profile)
		_ = s.Write(agentwire.Event{Event: agentwire.EventDone, Done: &who})
	}
}

func cmdFakeAgent(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) > 1 {
		ts.Fatalf("usage: fakeagent [KIND|stop]")
	}
	f := ts.Value("agent").(*fakeAgent)
	switch {
	case len(args) == 0:
		ts.Check(f.start(""))
	case args[0] == "stop":
		f.stop()
	default:
		ts.Check(f.start(args[0]))
	}
}

func cmdAsked(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 1 {
		ts.Fatalf("usage: asked PATTERN")
	}
	f := ts.Value("agent").(*fakeAgent)
	f.mu.Lock()
	defer f.mu.Unlock()
	re, err := regexp.Compile(args[0])
	ts.Check(err)
	if re.MatchString(f.asked) == neg {
		ts.Fatalf("the agent was asked %s", f.asked)
	}
}

func cmdAskedSoon(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: askedsoon PATTERN")
	}
	f := ts.Value("agent").(*fakeAgent)
	re, err := regexp.Compile(args[0])
	ts.Check(err)
	soon(ts, func() bool {
		f.mu.Lock()
		defer f.mu.Unlock()
		return re.MatchString(f.asked)
	}, "the agent was not asked "+args[0])
}
