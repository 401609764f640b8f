package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/keytether/keytether/internal/testkit/stage"
)

// play is the story and what it has learned so far.
type play struct {
	stage  *stage.Stage
	shots  string
	person person
	grant  string
	token  string // the access token, as somebody could have copied it
}

// all plays every step in order.
func (p *play) all(ctx context.Context) error {
	for _, step := range []func(context.Context) error{
		p.login, p.call, p.copied, p.renew, p.audit, p.recall,
	} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (p *play) login(ctx context.Context) error {
	say("keytether login --resource %s --scope read", p.stage.Resource)
	res, err := p.stage.Login(ctx, func(url string) error { return p.person.allow(ctx, url, p.shots, "consent") },
		"--resource", p.stage.Resource, "--scope", "read")
	if err != nil {
		return err
	}
	if res.Code != 0 || res.Last().Event != "done" {
		return fmt.Errorf("the login ended with code %d: %s", res.Code, res.Stderr)
	}
	p.grant = res.Last().GrantID
	out, err := p.run(ctx, 0, "whoami")
	if err != nil {
		return err
	}
	for line := range strings.Lines(out) {
		show("%s", strings.TrimRight(line, "\n"))
	}
	return nil
}

// headers asks the agent for one request's headers, as a tool does.
func (p *play) headers(ctx context.Context, method, url string) (http.Header, error) {
	out, err := p.run(ctx, 0, "token", "--json", "--proof", method, url)
	if err != nil {
		return nil, err
	}
	var h struct{ Authorization, DPoP string }
	if err := json.Unmarshal([]byte(out), &h); err != nil {
		return nil, fmt.Errorf("token --proof: %w", err)
	}
	_, p.token, _ = strings.Cut(h.Authorization, " ")
	return http.Header{"Authorization": {h.Authorization}, "Dpop": {h.DPoP}}, nil
}

// get calls the API and gives its status and challenge.
func (p *play) get(ctx context.Context, h http.Header) (int, string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, p.stage.Resource+"/reports", nil)
	if err != nil {
		return 0, "", err
	}
	req.Header = h
	resp, err := p.stage.Client().Do(req)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	return resp.StatusCode, strings.Join(resp.Header.Values("WWW-Authenticate"), " "), nil
}

func (p *play) want(ctx context.Context, what string, h http.Header, status int) error {
	got, challenge, err := p.get(ctx, h)
	if err != nil {
		return err
	}
	show("%-46s %d %s", what, got, challenge)
	if got != status {
		return fmt.Errorf("%s was answered %d, not %d", what, got, status)
	}
	return nil
}

func (p *play) call(ctx context.Context) error {
	say("A tool calls the API with a token and a proof for this one request")
	h, err := p.headers(ctx, http.MethodGet, p.stage.Resource+"/reports")
	if err != nil {
		return err
	}
	if err := p.want(ctx, "token and proof", h, http.StatusOK); err != nil {
		return err
	}
	return p.want(ctx, "the same two again (replay)", h, http.StatusUnauthorized)
}

func (p *play) copied(ctx context.Context) error {
	say("Somebody copies the token out of a log and tries it")
	if err := p.want(ctx, "the token alone", http.Header{"Authorization": {"DPoP " + p.token}}, http.StatusUnauthorized); err != nil {
		return err
	}
	if err := p.want(ctx, "the token as Bearer", http.Header{"Authorization": {"Bearer " + p.token}}, http.StatusUnauthorized); err != nil {
		return err
	}
	proof, err := strangersProof(http.MethodGet, p.stage.Resource+"/reports", p.token)
	if err != nil {
		return err
	}
	return p.want(ctx, "the token with a proof by another key", http.Header{"Authorization": {"DPoP " + p.token}, "Dpop": {proof}}, http.StatusUnauthorized)
}

func (p *play) renew(ctx context.Context) error {
	say("The token lives 35 s here (5 min by default); the agent renews before it ends")
	before := p.token
	for p.token == before {
		select {
		case <-ctx.Done():
			return errors.New("the token was never renewed")
		case <-time.After(time.Second):
		}
		if _, err := p.headers(ctx, http.MethodGet, p.stage.Resource+"/reports"); err != nil {
			return err
		}
	}
	h, err := p.headers(ctx, http.MethodGet, p.stage.Resource+"/reports")
	if err != nil {
		return err
	}
	return p.want(ctx, "the renewed token", h, http.StatusOK)
}

func (p *play) audit(ctx context.Context) error {
	say("The security engineer logs in for the server's own API, exports the audit log and verifies it offline")
	api := p.stage.Issuer + "/api/v1"
	res, err := p.stage.Login(ctx, func(url string) error { return p.person.allow(ctx, url, p.shots, "consent-admin") },
		"--profile", "security", "--resource", api, "--scope", "admin")
	if err != nil {
		return err
	}
	if res.Code != 0 {
		return fmt.Errorf("the login for %s ended with code %d: %s", api, res.Code, res.Stderr)
	}
	file := filepath.Join(p.stage.Home.Dir, "audit.ndjson")
	if _, err := p.run(ctx, 0, "audit", "export", "--profile", "security", "--out", file); err != nil {
		return err
	}
	for _, args := range [][]string{{"audit", "verify", file}, {"audit", "show", file, "--grant", p.grant}} {
		show("$ keytether %s", strings.Join(append(args[:2:2], "audit.ndjson"), " "))
		out, err := p.run(ctx, 0, args...)
		if err != nil {
			return err
		}
		for line := range strings.Lines(out) {
			show("%s", strings.TrimRight(line, "\n"))
		}
	}
	return p.tampered(ctx, file)
}

// tampered changes one byte of a leaf and sees the verifier notice.
func (p *play) tampered(ctx context.Context, file string) error {
	raw, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	lines := strings.SplitAfter(string(raw), "\n")
	if len(lines) < 5 {
		return errors.New("the export is too short")
	}
	lines[2], lines[3] = lines[3], lines[2]
	forged := file + ".forged"
	if err := os.WriteFile(forged, []byte(strings.Join(lines, "")), 0o600); err != nil {
		return err
	}
	show("$ keytether audit verify audit.ndjson.forged      (two records swapped)")
	if _, err := p.run(ctx, 1, "audit", "verify", forged); err != nil {
		return err
	}
	show("refused, as it must be")
	return nil
}

func (p *play) recall(ctx context.Context) error {
	say("At /me the person presses “This wasn't me”; the API refuses within a second")
	stop := make(chan struct{})
	type seen struct {
		ok, refused time.Time
		err         error
	}
	done := make(chan seen, 1)
	h, err := p.headers(ctx, http.MethodGet, p.stage.Resource+"/reports")
	if err != nil {
		return err
	}
	if err := p.want(ctx, "before", h, http.StatusOK); err != nil {
		return err
	}
	go func() {
		var s seen
		defer func() { done <- s }()
		for s.refused.IsZero() {
			select {
			case <-stop:
				return
			case <-ctx.Done():
				s.err = ctx.Err()
				return
			default:
			}
			h, err := p.headers(ctx, http.MethodGet, p.stage.Resource+"/reports")
			if err != nil { // the agent itself has learned of it
				s.refused = time.Now()
				return
			}
			status, _, err := p.get(ctx, h)
			switch {
			case err != nil:
				s.err = err
				return
			case status == http.StatusOK:
				s.ok = time.Now()
			default:
				s.refused = time.Now()
			}
		}
	}()
	if err := p.person.disown(ctx, p.stage.Issuer+"/me", p.shots); err != nil {
		close(stop)
		return err
	}
	pressed := time.Now()
	s := <-done
	if s.err != nil {
		return s.err
	}
	gap := s.refused.Sub(s.ok)
	show("refused %d ms after the button was pressed; %d ms after the last call that was served",
		s.refused.Sub(pressed).Milliseconds(), gap.Milliseconds())
	if _, own := p.person.(*ownBrowser); !own && s.refused.Sub(pressed) > time.Second {
		return errors.New("that is more than a second")
	}
	return p.loggedOut(ctx)
}

// loggedOut waits until the agent has learned of it, at its next renewal.
func (p *play) loggedOut(ctx context.Context) error {
	begun := time.Now()
	for {
		r, err := p.stage.Run(ctx, "token", "--json")
		switch {
		case err != nil:
			return err
		case r.Code == 3:
			show("the agent learns of it at its next renewal, here %.0f s later:", time.Since(begun).Seconds())
			for line := range strings.Lines(r.Stderr) {
				show("  %s", strings.TrimRight(line, "\n"))
			}
			return nil
		case r.Code != 0 || time.Since(begun) > 45*time.Second:
			return fmt.Errorf("keytether token ended with code %d, not 3: %s", r.Code, r.Stderr)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(500 * time.Millisecond):
		}
	}
}

// run runs keytether and wants an exit code.
func (p *play) run(ctx context.Context, code int, args ...string) (string, error) {
	r, err := p.stage.Run(ctx, args...)
	if err != nil {
		return "", err
	}
	if r.Code != code {
		return "", fmt.Errorf("keytether %s ended with code %d, not %d:\n%s", strings.Join(args, " "), r.Code, code, r.Stderr) // what it printed may hold a token
	}
	return r.Stdout, nil
}
