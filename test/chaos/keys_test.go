//go:build linux

package chaos

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"io"
	"net/http"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/keytether/keytether/internal/event"
	"github.com/keytether/keytether/internal/jws"
	"github.com/keytether/keytether/internal/oauth"
	"github.com/keytether/keytether/internal/store"
	"github.com/keytether/keytether/internal/testkit/stage"
	"github.com/keytether/keytether/internal/token"
)

// TestKeysWhileRunning rotates keys of a running server: a new key is published
// before it signs, and what the old one made goes on; a compromised key is gone at
// once, and what it made is refused.
//
// Invariant: SC-3
func TestKeysWhileRunning(t *testing.T) {
	s := newStage(t, "info")
	p := meet(t, s)
	tool, out := p.login(t)
	api := newAPI(t, s)
	command := func(args ...string) string {
		t.Helper()
		stdout, stderr, code := serverCommand(t, s, append(args, "--config", s.Config())...)
		if code != 0 {
			t.Fatalf("%v: %d: %s", args, code, stderr)
		}
		return stdout
	}
	if said := command("check"); !strings.Contains(said, "config   ok") || !strings.Contains(said, "data     ok") || !strings.Contains(said, "keys     ok") {
		t.Errorf("check says: %s", said)
	}
	old := kid(t, out.AccessToken)

	command("keys", "rotate", "sign-es256")
	states := keyStates(t, command("keys", "list", "--json"), "sign-es256")
	if len(states) != 2 || states[old] != "active" {
		t.Fatalf("after a rotation: %v", states)
	}
	reload(t, s)
	if set := jwks(t, s); len(set) != len(states)+1 { // and the RS256 key
		t.Errorf("the JWKS has %d keys", len(set))
	} else if !verifies(s, set, out.AccessToken) || !api.active(t, out.AccessToken) {
		t.Error("a token from before the rotation is refused")
	}
	next, err := refresh(t.Context(), tool, out.RefreshToken)
	if err != nil {
		t.Fatal(err)
	}
	if kid(t, next.AccessToken) != old {
		t.Error("a key signs before anybody can know it")
	}
	if _, stderr, code := serverCommand(t, s, "keys", "rotate", "sign-es256", "--config", s.Config()); code != 1 || !strings.Contains(stderr, "rotation is under way") {
		t.Errorf("a second rotation: %d: %s", code, stderr)
	}

	command("keys", "rotate", "refresh-mac")
	reload(t, s)
	if again, err := refresh(t.Context(), tool, out.RefreshToken); err != nil || again.RefreshToken != next.RefreshToken {
		t.Errorf("a repetition across a rotation of the refresh key: %v", err)
	}

	command("keys", "rotate", "sign-es256", "--compromised")
	reload(t, s)
	set := jwks(t, s)
	if verifies(s, set, next.AccessToken) || api.active(t, next.AccessToken) {
		t.Error("a token by a compromised key is still good")
	}
	if out, err = refresh(t.Context(), tool, next.RefreshToken); err != nil {
		t.Fatalf("a refresh after a signing key was replaced: %v", err)
	}
	if kid(t, out.AccessToken) == old || !verifies(s, set, out.AccessToken) || !api.active(t, out.AccessToken) {
		t.Error("the new key's token is not good")
	}

	command("keys", "rotate", "refresh-mac", "--compromised")
	reload(t, s)
	_, err = refresh(t.Context(), tool, out.RefreshToken)
	wantRefused(t, "a refresh token under a compromised key", err, oauth.RefreshUnknown)
	p.login(t)

	p.leave()
	stop(t, s)
	log := readLog(t, s.Data(), s.Issuer)
	log.checkFamilies(t)
	if n := log.report.Events[event.KeyAdded]; n != 5+4 {
		t.Errorf("%d keys were added by the log, want 9", n)
	}
	if n := log.report.Events[event.KeyRetired]; n < 4 {
		t.Errorf("%d keys were retired by the log", n)
	}
}

// TestAuditKeyCompromised replaces the key that signs the audit log, of a server
// that runs and of one that does not: the next checkpoint is the new key's, what
// the old one signed still holds, and the server goes on.
//
// Invariant: AU-7
func TestAuditKeyCompromised(t *testing.T) {
	s := newStage(t, "info")
	p := meet(t, s)
	p.login(t)
	held := [][]byte{signedNow(t, s)}
	signers := map[string]bool{signature(t, held[0]): true}
	rotate := func(args ...string) {
		t.Helper()
		if _, stderr, code := serverCommand(t, s, append([]string{"keys", "rotate", "audit-note", "--config", s.Config()}, args...)...); code != 0 {
			t.Fatalf("rotate %v: %s", args, stderr)
		}
	}
	next := func(what string) {
		t.Helper()
		c := signedNow(t, s)
		if k := signature(t, c); signers[k] {
			t.Errorf("%s the log is still signed by the old key", what)
		} else {
			signers[k] = true
		}
		held = append(held, c)
	}

	rotate("--compromised")
	reload(t, s)
	p.login(t)
	next("after a rotation of a running server")

	p.leave()
	stop(t, s)
	rotate("--compromised")
	start(t, s)
	p.login(t)
	next("after a rotation of a stopped server")

	rotate() // planned: an hour from now
	reload(t, s)
	p.leave()
	stop(t, s)
	log := readLog(t, s.Data(), s.Issuer, held...)
	log.checkFamilies(t)
}

// signedNow waits until the log is signed to its end, and gives the checkpoint.
func signedNow(t *testing.T, s *stage.Stage) []byte {
	t.Helper()
	st := openStore(t, s.Data())
	defer st.Close()
	size, err := st.Size(t.Context(), store.DefaultTenant)
	if err != nil {
		t.Fatal(err)
	}
	for range 500 {
		c, err := st.Checkpoint(t.Context(), store.DefaultTenant)
		if err != nil {
			t.Fatal(err)
		}
		if lines := strings.Split(string(c), "\n"); len(lines) > 1 && lines[1] >= strconv.FormatInt(size, 10) && len(lines[1]) >= len(strconv.FormatInt(size, 10)) {
			return c
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatal("the log is not signed")
	return nil
}

// signature is the name and hash of the key of a note's first signature.
func signature(t *testing.T, checkpoint []byte) string {
	t.Helper()
	_, sigs, found := strings.Cut(string(checkpoint), "\n\n\u2014 ")
	name, sig, found2 := strings.Cut(sigs, " ")
	raw, err := base64.StdEncoding.DecodeString(strings.SplitN(sig, "\n", 2)[0])
	if !found || !found2 || err != nil || len(raw) < 4 {
		t.Fatalf("not a checkpoint: %q, %v", checkpoint, err)
	}
	return name + "+" + hex.EncodeToString(raw[:4])
}

// reload sends SIGHUP and waits until it is done: keys first, then the config.
func reload(t *testing.T, s *stage.Stage) {
	t.Helper()
	n := strings.Count(s.Server.Stderr(), "config read again")
	signal(t, s, syscall.SIGHUP)
	waitSaid(t, s, "config read again", n+1)
}

// jwks reads the published keys by their ids.
func jwks(t *testing.T, s *stage.Stage) map[string]json.RawMessage {
	t.Helper()
	resp, err := s.Client().Get(s.Issuer + oauth.PathJWKS)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%s, %v", resp.Status, err)
	}
	var doc struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(body, &doc); err != nil {
		t.Fatal(err)
	}
	out := map[string]json.RawMessage{}
	for _, k := range doc.Keys {
		var id struct {
			KeyID string `json:"kid"`
		}
		if err := json.Unmarshal(k, &id); err != nil {
			t.Fatal(err)
		}
		out[id.KeyID] = k
	}
	return out
}

// verifies reports whether an access token verifies under a key set.
func verifies(s *stage.Stage, keys map[string]json.RawMessage, access string) bool {
	var all []json.RawMessage
	for _, k := range keys {
		all = append(all, k)
	}
	doc, err := json.Marshal(map[string]any{"keys": all})
	if err != nil {
		return false
	}
	set, err := jws.ParseSet(doc)
	if err != nil {
		return false
	}
	_, err = token.Verify(access, set, token.Expectations{Issuer: s.Issuer, Audience: resource, Now: time.Now()})
	return err == nil
}

// kid reads the key id of a token, and proves nothing.
func kid(t *testing.T, access string) string {
	t.Helper()
	m, err := jws.Parse(access)
	if err != nil {
		t.Fatal(err)
	}
	return m.Header.KeyID
}

// keyStates reads `keys list --json` for one use: id to state.
func keyStates(t *testing.T, list, use string) map[string]string {
	t.Helper()
	var rows []struct {
		KeyID string `json:"kid"`
		Use   string `json:"use"`
		State string `json:"state"`
	}
	if err := json.Unmarshal([]byte(list), &rows); err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for _, r := range rows {
		if r.Use == use {
			out[r.KeyID] = r.State
		}
	}
	return out
}
