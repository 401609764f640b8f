package edge_test

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/keytether/keytether/internal/authserver"
	"github.com/keytether/keytether/internal/edge/edgetest"
	"github.com/keytether/keytether/internal/event"
	"github.com/keytether/keytether/internal/grant"
	"github.com/keytether/keytether/internal/oauth"
	"github.com/keytether/keytether/internal/secret"
)

// behindProxy are options with which a browser can say where it is.
var behindProxy = edgetest.Options{TrustedProxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}}

// TestDeviceCodes: the device code has 256 random bits and is shown on no page;
// the user code is of RFC 8628 §6.1's alphabet.
//
// Invariant: DF-11a
func TestDeviceCodes(t *testing.T) {
	s := edgetest.NewServer(t, edgetest.Options{})
	seen := map[string]bool{}
	for range 50 {
		d := startDevice(t, s, edgetest.Bound)
		if !regexp.MustCompile(`^[BCDFGHJKLMNPQRSTVWXZ]{4}-[BCDFGHJKLMNPQRSTVWXZ]{4}$`).MatchString(d.UserCode) {
			t.Errorf("user code %s", d.UserCode)
		}
		if !strings.HasPrefix(d.DeviceCode, "ktd_") || len(d.DeviceCode) < 4+43+6 || seen[d.DeviceCode] || seen[d.UserCode] {
			t.Error("a device code that is short or came twice")
		}
		if _, err := secret.Parse(secret.Device, d.DeviceCode); err != nil {
			t.Error(err)
		}
		seen[d.DeviceCode], seen[d.UserCode] = true, true
	}
	d := startDevice(t, s, edgetest.Bound)
	b := s.NewBrowser()
	b.Open(d.VerificationURI)
	pages := b.Page.Body
	for _, press := range []func(){
		func() { b.Press("Continue", "user_code", d.UserCode) },
		func() { b.SignIn(edgetest.Email, edgetest.Password) },
		func() { b.Press("Allow") },
		func() { b.Open(s.Issuer + "/me") },
	} {
		press()
		pages += b.Page.Body + b.URL
	}
	if pages += s.Log.String(); strings.Contains(pages, d.DeviceCode) || strings.Contains(pages, d.UserCode) {
		t.Error("a code stands on a page, in a URL or in the log")
	}
}

// TestDeviceUserCodeInQuery: a code in the query is not taken, so that a link can
// do nothing but open the page.
//
// Invariant: DF-13b
func TestDeviceUserCodeInQuery(t *testing.T) {
	s := edgetest.NewServer(t, edgetest.Options{})
	tool := s.NewTool(edgetest.Bound)
	res := tool.Post(oauth.PathDevice, url.Values{"client_id": {tool.Client}, "scope": {"read"}})
	if strings.Contains(res.Body, "verification_uri_complete") {
		t.Error("a complete URI was given")
	}
	d := startDevice(t, s, edgetest.Bound)
	n := s.Size()
	b := s.NewBrowser()
	b.Open(d.VerificationURI)
	plain := csrf.ReplaceAllString(b.Page.Body, "")
	b.Open(d.VerificationURI + "?user_code=" + d.UserCode)
	if got := csrf.ReplaceAllString(b.Page.Body, ""); got != plain {
		t.Errorf("the page is another one:\n%s", got)
	}
	s.Expect(n)
}

var csrf = regexp.MustCompile(`value="[^"]*"`)

// TestDeviceTyped types codes as people do.
func TestDeviceTyped(t *testing.T) {
	s := edgetest.NewServer(t, edgetest.Options{})
	for name, as := range map[string]func(string) string{
		"as shown":   func(c string) string { return c },
		"lower case": strings.ToLower,
		"spaces":     func(c string) string { return "  " + strings.Join(strings.Split(c, ""), " ") + " " },
		"no dash":    func(c string) string { return strings.ReplaceAll(c, "-", "") },
		"look-alikes": func(c string) string {
			return strings.NewReplacer("B", "8", "G", "6", "L", "1", "S", "5", "V", "u", "Z", "2").Replace(c)
		},
		"long dash": func(c string) string { return strings.ReplaceAll(c, "-", "\u2013") },
	} {
		d := startDevice(t, s, edgetest.Bound)
		b := s.NewBrowser()
		b.Open(d.VerificationURI)
		b.Press("Continue", "user_code", as(d.UserCode))
		if b.Page.Status != http.StatusOK || !strings.Contains(b.Page.Body, "Sign in") {
			t.Errorf("%s: %q is not taken: %d", name, as(d.UserCode), b.Page.Status)
		}
	}
	n := s.Size()
	b := s.NewBrowser()
	for _, slip := range []string{"", "BCDF", "BCDF-GHJA", "1234-5678-9012", strings.Repeat("B", 65), "<script>"} {
		for range 10 { // slips are no guesses
			b.Open(s.Issuer + "/device")
			b.Press("Continue", "user_code", slip)
			b.Has(t, http.StatusBadRequest, "no login with this code")
			if slip != "" && strings.Contains(b.Page.Body, slip) {
				t.Errorf("%q comes back", slip)
			}
		}
	}
	s.Expect(n)
}

// wrongCodes are user codes that nobody was given.
func wrongCode(i int) string {
	const letters = "BCDFGHJKLMNPQRSTVWXZ"
	out := make([]byte, 8)
	for j := range out {
		out[j] = letters[i%20]
		i /= 20
	}
	return string(out[:4]) + "-" + string(out[4:])
}

// TestDeviceGuesses: wrong codes are limited per browser session, per network,
// and, by the arithmetic of RFC 8628 §5.1, for everybody together. An honest
// person is kept out by others for the window at most, and not at all once they
// have signed in.
//
// Invariant: DF-12a
func TestDeviceGuesses(t *testing.T) {
	s := edgetest.NewServer(t, behindProxy)
	d := startDevice(t, s, edgetest.Bound)
	guess := func(session secret.Value, address, code string) error {
		_, err := s.Auth.TypeDevice(context.Background(), code, authserver.Browser{Session: session, Address: address})
		return err
	}
	limited := func(err error) bool {
		var l *authserver.CodeLimitError
		return errors.As(err, &l) && l.After > 0 && l.After <= grant.UserCodeLife
	}

	// One session, wherever it is: five.
	one := s.Auth.NewSessionSecret()
	for i := range 5 {
		if err := guess(one, fmt.Sprintf("198.51.100.%d", i), wrongCode(i)); !errors.Is(err, oauth.Fail(oauth.UserCodeWrong)) {
			t.Fatalf("guess %d: %v", i, err)
		}
	}
	if err := guess(one, "198.51.100.99", d.UserCode); !limited(err) {
		t.Errorf("the sixth of a session: %v", err)
	}

	// One network, with as many sessions and addresses as it likes: thirty.
	taken := 0
	for i := range 60 {
		if err := guess(s.Auth.NewSessionSecret(), fmt.Sprintf("2001:db8:1:2::%x", i), wrongCode(i)); !limited(err) {
			taken++
		}
	}
	if taken != 30 {
		t.Errorf("%d guesses of one network", taken)
	}

	// Everybody together: never more than the budget, of 10,000 and more.
	taken = 0
	const tries = 26_000
	for i := range tries {
		if err := guess(s.Auth.NewSessionSecret(), netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}).String(), wrongCode(i)); !limited(err) {
			taken++
		}
	}
	if odds := float64(taken+35) / secret.UserCodes; taken == tries || odds > 1e-4 {
		t.Errorf("%d of %d guesses were taken: the odds are %g", taken, tries, odds)
	}

	// An honest person: kept out, told how long, and let in by signing in.
	b := s.NewBrowser()
	b.Header.Set("X-Forwarded-For", "203.0.113.50")
	b.Open(d.VerificationURI)
	b.Press("Continue", "user_code", d.UserCode)
	b.Has(t, http.StatusTooManyRequests, "Sign in first")
	if after := b.Page.Header.Get("Retry-After"); after == "" || after == "1" {
		t.Errorf("Retry-After: %s", after)
	}
	b.Open(s.Issuer + "/me")
	b.SignIn(edgetest.Email, edgetest.Password)
	b.Open(d.VerificationURI)
	b.Press("Continue", "user_code", d.UserCode)
	b.Has(t, http.StatusOK, "wants to act for you")

	// And the window ends.
	s.Clock.Advance(grant.UserCodeLife)
	if err := guess(s.Auth.NewSessionSecret(), "198.51.100.1", wrongCode(1)); limited(err) {
		t.Errorf("in the next window: %v", err)
	}
}

// TestDeviceGuessesAtManyCodes: the more codes are outstanding, the fewer guesses
// everybody together has.
//
// Invariant: DF-12b
func TestDeviceGuessesAtManyCodes(t *testing.T) {
	s := edgetest.NewServer(t, behindProxy)
	const outstanding = 300
	tool := s.NewTool(edgetest.Bound)
	for i := range outstanding {
		tool.From = fmt.Sprintf("10.200.%d.%d", i>>8, i&255)
		startDeviceBy(t, s, tool, "read")
	}
	odds := 1e-4
	taken, limit := 0, int(odds*secret.UserCodes/outstanding)
	for i := range limit + 10 {
		_, err := s.Auth.TypeDevice(context.Background(), wrongCode(i), authserver.Browser{
			Session: s.Auth.NewSessionSecret(), Address: netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}).String(),
		})
		if errors.Is(err, oauth.Fail(oauth.UserCodeWrong)) {
			taken++
		}
	}
	if taken != limit {
		t.Errorf("%d guesses were taken at %d outstanding codes, want %d", taken, outstanding, limit)
	}
}

// TestDeviceGuessesByAccount: who is signed in has five tries, in however many
// browsers, and right codes do not count.
//
// Invariant: DF-12a
func TestDeviceGuessesByAccount(t *testing.T) {
	s := edgetest.NewServer(t, edgetest.Options{})
	for i := range 7 {
		b := s.NewBrowser()
		b.Open(s.Issuer + "/me")
		b.SignIn(edgetest.Email, edgetest.Password)
		d := startDevice(t, s, edgetest.Bound)
		b.Open(s.Issuer + "/device")
		b.Press("Continue", "user_code", d.UserCode)
		want := http.StatusOK
		if i >= 5 {
			want = http.StatusTooManyRequests
		}
		if b.Page.Status != want {
			t.Errorf("a right code after %d wrong ones: %d", i, b.Page.Status)
		}
		b.Open(s.Issuer + "/device")
		b.Press("Continue", "user_code", wrongCode(i))
	}
}

// TestDeviceGuessesAtOnce: many guesses at the same moment are no way round the
// limits.
//
// Invariant: DF-12a
func TestDeviceGuessesAtOnce(t *testing.T) {
	s := edgetest.NewServer(t, edgetest.Options{})
	b := s.NewBrowser()
	b.Open(s.Issuer + "/device")
	form := b.Form("Continue")
	wrong := make(chan int, 40)
	for i := range cap(wrong) {
		form.Fields.Set("user_code", wrongCode(i))
		r := s.FormRequest("/device", form.Fields)
		for _, c := range b.Cookies() {
			r.AddCookie(c)
		}
		r.Header.Set("Sec-Fetch-Site", "same-origin")
		go func() { wrong <- s.Do(r).Status }()
	}
	got := map[int]int{}
	for range cap(wrong) {
		got[<-wrong]++
	}
	if got[http.StatusBadRequest] != 5 || got[http.StatusTooManyRequests] != 35 {
		t.Errorf("%v", got)
	}
}

// TestDeviceCodeOver: a code that is over, decided or another's is answered like
// one that there never was.
func TestDeviceCodeOver(t *testing.T) {
	s := edgetest.NewServer(t, edgetest.Options{})
	over := startDevice(t, s, edgetest.Bound)
	s.Clock.Advance(grant.UserCodeLife)
	decided := startDevice(t, s, edgetest.Bound)
	decided.decide(t, s.NewBrowser(), decided.UserCode, "Allow")
	n := s.Size()
	var pages []string
	for _, code := range []string{over.UserCode, decided.UserCode, wrongCode(1)} {
		b := s.NewBrowser()
		b.Open(s.Issuer + "/device")
		b.Press("Continue", "user_code", code)
		b.Has(t, http.StatusBadRequest, "no login with this code")
		pages = append(pages, csrf.ReplaceAllString(b.Page.Body, ""))
	}
	if pages[0] != pages[2] || pages[1] != pages[2] {
		t.Error("the page tells one from the other")
	}
	s.Expect(n, event.DeviceExpired)
	if got := decided.poll(t); got != "" {
		t.Error(got)
	}
}

// TestDeviceHandle: the handle that the pages name a login by is made of the user
// code, and nobody's guess at it is answered: a login that there is looks like one
// that there is not, in whatever state, to every browser but the one that typed its
// code. Such questions are not counted as guesses.
//
// Invariant: DF-12c
func TestDeviceHandle(t *testing.T) {
	s := edgetest.NewServer(t, edgetest.Options{})
	untyped, typed, denied := startDevice(t, s, edgetest.Bound), startDevice(t, s, edgetest.Bound), startDevice(t, s, edgetest.Bound)
	b := s.NewBrowser()
	b.Open(typed.VerificationURI)
	b.Press("Continue", "user_code", typed.UserCode)
	denied.decide(t, s.NewBrowser(), denied.UserCode, "Deny")
	n := s.Size()
	codes := []string{wrongCode(1), untyped.UserCode, typed.UserCode, denied.UserCode}
	for _, bound := range []bool{false, true} {
		first := ""
		for _, code := range codes {
			hash := secret.UserCodeHash(code)
			handle := base64.RawURLEncoding.EncodeToString(hash[:])
			guesser := s.NewBrowser()
			guesser.Open(s.Issuer + "/device")
			if bound { // a cookie of the right name and form can be made up
				cookie := guesser.Cookies()[0]
				name := strings.TrimSuffix(cookie.Name, "session") + "r-" + authserver.DeviceBindingName(handle)
				guesser.SetCookie(name, s.Auth.NewSessionSecret().Reveal())
			}
			guesser.Open(s.Issuer + "/device?device=" + handle)
			got := fmt.Sprint(guesser.Page.Status, guesser.Page.Body)
			if first == "" {
				first = got
			}
			if got != first || guesser.Page.Status != http.StatusBadRequest {
				t.Errorf("cookie %t, %s: %s, where a code that nobody has gives %s", bound, code, got, first)
			}
		}
	}
	s.Expect(n)
}
