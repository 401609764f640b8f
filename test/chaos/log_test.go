//go:build linux

package chaos

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/keytether/keytether/internal/audit"
	"github.com/keytether/keytether/internal/event"
	"github.com/keytether/keytether/internal/secret"
	"github.com/keytether/keytether/internal/signer"
	"github.com/keytether/keytether/internal/store"
	"github.com/keytether/keytether/internal/store/sqlite"
)

// auditLog is a verified audit log.
type auditLog struct {
	export  []byte
	report  audit.Report
	records []event.Record
	last    []byte // the newest checkpoint
}

// openStore opens a data folder; the server may run beside it.
func openStore(t *testing.T, data string) *sqlite.Store {
	t.Helper()
	st, err := sqlite.Open(t.Context(), sqlite.Options{Path: filepath.Join(data, "keytether.db")})
	if err != nil {
		t.Fatal(err)
	}
	return st
}

// checkpoint reads the newest signed checkpoint of a data folder.
func checkpoint(t *testing.T, data string) []byte {
	t.Helper()
	st := openStore(t, data)
	c, err := st.Checkpoint(t.Context(), store.DefaultTenant)
	if err := closing(err, st); err != nil {
		t.Fatal(err)
	}
	return c
}

func closing(err error, st *sqlite.Store) error {
	if e := st.Close(); err == nil {
		err = e
	}
	return err
}

// readLog exports the log of a stopped server's data folder, verifies it against
// the checkpoints held, and wants no unsigned tail.
func readLog(t *testing.T, data, issuer string, held ...[]byte) auditLog {
	t.Helper()
	st := openStore(t, data)
	defer st.Close()
	var out auditLog
	keys, err := out.exportFrom(t, st, data, issuer)
	if err != nil {
		t.Fatal(err)
	}
	out.report, err = audit.Verify(bytes.NewReader(out.export), audit.Options{
		Keys: keys, Held: held,
		Visit: func(_ int64, r event.Record, _ bool) { out.records = append(out.records, r) },
	})
	if err != nil {
		t.Fatalf("the audit log does not verify: %v", err)
	}
	if out.report.Held != len(held) {
		t.Errorf("%d of %d checkpoints that were held are prefixes", out.report.Held, len(held))
	}
	if out.report.Tail != 0 {
		t.Errorf("%d records at the end of the log are not signed", out.report.Tail)
	}
	return out
}

func (l *auditLog) exportFrom(t *testing.T, st *sqlite.Store, data, issuer string) ([]string, error) {
	ctx, tenant := t.Context(), store.DefaultTenant
	origin, err := audit.Origin(issuer, tenant)
	if err != nil {
		return nil, err
	}
	sealed, err := st.Keys(ctx, tenant)
	if err != nil {
		return nil, err
	}
	root, err := signer.LoadRoot(signer.RootOptions{File: filepath.Join(data, "root.key")}, len(sealed), rand.Reader)
	if err != nil {
		return nil, err
	}
	_, ring, err := signer.Plan(signer.Env{Root: root, Tenant: tenant, Now: time.Now(), Random: rand.Reader}, sealed)
	if err != nil {
		return nil, err
	}
	keys, err := ring.NoteVerifierKeys(origin)
	if err != nil {
		return nil, err
	}
	destroyed, err := ring.DestroyedNoteKeys(origin) // an auditor who has seen all of them
	if err != nil {
		return nil, err
	}
	keys = append(keys, destroyed...)
	if l.last, err = st.Checkpoint(ctx, tenant); err != nil {
		return nil, err
	}
	known, err := audit.Verifiers(keys...)
	if err != nil {
		return nil, err
	}
	head, err := audit.OpenCheckpoint(l.last, origin, known)
	if err != nil {
		return nil, err
	}
	total, err := st.Size(ctx, tenant)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	w, err := audit.NewWriter(&b, audit.Header{Origin: origin, Keys: keys, Size: head.Size, ExportedAt: time.Now()})
	if err != nil {
		return nil, err
	}
	leaf := func(x store.Leaf) error { return w.Leaf(x.Data, nil) }
	if err := st.Leaves(ctx, tenant, 0, head.Size, leaf); err != nil {
		return nil, err
	}
	if err := w.Checkpoint(l.last); err != nil {
		return nil, err
	}
	if err := st.Leaves(ctx, tenant, head.Size, total, leaf); err != nil {
		return nil, err
	}
	err = w.Close()
	l.export = b.Bytes()
	return keys, err
}

// count counts the records that f accepts.
func (l auditLog) count(f func(event.Record) bool) (n int) {
	for _, r := range l.records {
		if f(r) {
			n++
		}
	}
	return n
}

// about counts a grant's records of one name and reason.
func (l auditLog) about(grant string, name event.Name, reason event.Reason) int {
	return l.count(func(r event.Record) bool { return r.Grant == grant && r.Name == name && r.Reason == reason })
}

// checkFamilies holds the whole log to what must be true of every family: its
// generations come one after the other, and nothing is issued after the end.
func (l auditLog) checkFamilies(t *testing.T) {
	t.Helper()
	generation, ended := map[string]uint32{}, map[string]bool{}
	for i, r := range l.records {
		switch r.Name {
		case event.GrantCreated:
			generation[r.Grant] = 0
		case event.GrantRevoked, event.GrantExpired:
			ended[r.Grant] = true
		case event.TokenIssued:
			was, known := generation[r.Grant]
			switch {
			case !known:
				t.Errorf("record %d: a token of %s, which was never created", i, r.Grant)
			case ended[r.Grant]:
				t.Errorf("record %d: a token of %s, which had ended", i, r.Grant)
			case r.Generation != was && r.Generation != was+1:
				t.Errorf("record %d: generation %d of %s follows %d", i, r.Generation, r.Grant, was)
			}
			generation[r.Grant] = r.Generation
		}
	}
}

// generation reads the generation out of a refresh token.
func generation(t *testing.T, token string) uint32 {
	t.Helper()
	body, err := secret.Parse(secret.Refresh, token)
	if err != nil {
		t.Errorf("not a refresh token: %v", err)
		return 0
	}
	return binary.BigEndian.Uint32(body[16:20])
}

// jti reads the identifier out of an access token, and proves nothing.
func jti(access string) (string, error) {
	parts := strings.Split(access, ".")
	if len(parts) != 3 {
		return "", fmt.Errorf("an access token has %d parts", len(parts))
	}
	raw, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return "", err
	}
	var claims struct {
		ID string `json:"jti"`
	}
	err = json.Unmarshal(raw, &claims)
	return claims.ID, err
}
