package conformance

import (
	"net/url"
	"regexp"
	"time"
)

// aged is what was made when the tests began, and has expired when they are
// nearly over. A DPoP nonce lives longer than a test may take; package dpop has
// that.
type aged struct {
	since     time.Time
	std       *tool
	brief     *tool
	bound     *tool
	unused    *started // its code was not used
	token     answer   // lives 30 s
	first     answer   // of a bound grant
	last      answer   // its second successor
	nobody    answer   // the first of a grant without a key, whose successors were used
	lastOf    answer   // its last
	assertion string   // good for 10 s
}

// wait is longer than 30 s, the life of a code and the time for an honest repeat.
const wait = 31500 * time.Millisecond

func (w *world) startAging() (*aged, error) {
	a := &aged{since: time.Now(), std: w.std(), brief: w.named("brief"), bound: w.bound()}
	var err error
	steps := []func(){
		func() { a.unused, err = a.std.code() },
		func() { a.token, err = a.brief.login() },
		func() { a.first, err = a.bound.login() },
		func() { a.last, err = a.bound.refresh(a.first.str("refresh_token")) },
		func() { a.last, err = a.bound.refresh(a.last.str("refresh_token")) },
		func() { a.nobody, err = a.std.login() },
		func() { a.lastOf, err = a.std.refresh(a.nobody.str("refresh_token")) },
		func() { a.lastOf, err = a.std.refresh(a.lastOf.str("refresh_token")) },
	}
	for _, f := range steps {
		if f(); err != nil {
			return nil, err
		}
	}
	a.assertion = w.assertion(w.api, w.bearer, func(_, c jose) {
		c["iat"] = time.Now().Add(-40 * time.Second).Unix()
		c["exp"] = time.Now().Add(-31 * time.Second).Unix() // with the leeway of a minute it is good still
	})
	a.since = time.Now()
	return a, nil
}

// late waits until the time has come.
func late(f func(w *world, a *aged) error) func(w *world) error {
	return func(w *world) error {
		time.Sleep(time.Until(w.aged.since.Add(wait)))
		return f(w, w.aged)
	}
}

func lateRows() []row {
	return []row{
		{"6749 §4.1.2, §4.1.3", "code", "A code that is older than its life: invalid_grant.", late(func(w *world, a *aged) error {
			b, err := a.std.send(w.token(), a.std.codeForm(a.unused))
			return b.refusedBy(err, 400, "invalid_grant")
		})},
		{"7662 §2.2", "access-token", "An access token after exp is inactive; the refresh token still works.", late(func(w *world, a *aged) error {
			t := a.token.str("access_token")
			b, err := w.introspect(t, w.assertion(w.api, w.bearer))
			if err != nil {
				return err
			}
			if compactJSON(b.json) != `{"active":false}` {
				return wrong("%s", b)
			}
			b, err = a.brief.refresh(a.token.str("refresh_token"))
			return all(err, b.is(200))
		})},
		{"9700 §4.14.2; design", "old-refresh-token", "A refresh token of an earlier generation after half a minute, even by its own key: the family is revoked.", late(func(w *world, a *aged) error {
			b, err := a.bound.refresh(a.first.str("refresh_token"))
			if err := b.refusedBy(err, 400, "invalid_grant"); err != nil {
				return err
			}
			b, err = a.bound.refresh(a.last.str("refresh_token"))
			return b.refusedBy(err, 400, "invalid_grant")
		})},
		{"9700 §4.14.2; OAuth 2.1 §4.3.1", "old-refresh-token-no-key", "The same of a grant without a key.", late(func(w *world, a *aged) error {
			b, err := a.std.refresh(a.nobody.str("refresh_token"))
			if err := b.refusedBy(err, 400, "invalid_grant"); err != nil {
				return err
			}
			b, err = a.std.refresh(a.lastOf.str("refresh_token"))
			return b.refusedBy(err, 400, "invalid_grant")
		})},
		{"OWASP ASVS 7.1; design", "log", "After all this the server has not panicked, and its log at debug level has no code, no token, no session and no line that a stranger wrote.", late(func(w *world, _ *aged) error {
			log := w.Server.Stderr() + w.Server.Stdout()
			if len(log) < 1000 {
				return wrong("the log is not there: %s", log)
			}
			for what, re := range map[string]string{
				"a secret of ours": `kt[cdrsu]_[0-9A-Za-z]{40}`, "a JWT": `eyJ[\w-]{15,}\.[\w-]{15,}`, "a panic": `(?i)panic|goroutine \d+`, "an error": `level=ERROR`,
				"a stranger's line": `(?m)^X-Injected`, "the password": `correct horse`,
			} {
				if m := regexp.MustCompile(re).FindStringIndex(log); m != nil {
					return wrong("%s: …%s…", what, log[max(0, m[0]-200):min(len(log), m[1]+200)])
				}
			}
			return nil
		})},
		{"7523 §3 (4)", "assertion", "An assertion that is past exp by more than a minute: 401 invalid_client.", late(func(w *world, a *aged) error {
			b, err := w.post(w.at("introspection_endpoint"), url.Values{"token": {"x"}, "client_assertion_type": {assertionType}, "client_assertion": {a.assertion}})
			return b.refusedBy(err, 401, "invalid_client")
		})},
	}
}
