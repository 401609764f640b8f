package audit

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/tlog"
	"pgregory.net/rapid"

	"github.com/keytether/keytether/internal/event"
)

var update = flag.Bool("update", false, "write the vectors anew; only for a new leaf version")

const vectors = "../../conformance/audit"

var t0 = time.Date(2026, 11, 24, 8, 0, 0, 123456000, time.UTC)

// login is the story of one login, with a neighbour's record in between.
func login() []event.Record {
	const (
		req, grt, ins = "req_01ARZ3NDEKTSV4RRFFQ69G5FAV", "grt_01ARZ3NDEKTSV4RRFFQ69G5FAW", "ins_01ARZ3NDEKTSV4RRFFQ69G5FAX"
		acc, ses      = "acc_01ARZ3NDEKTSV4RRFFQ69G5FAY", "ses_01ARZ3NDEKTSV4RRFFQ69G5FAZ"
		api           = "https://api.example.test"
	)
	facts := event.Facts{Address: "127.0.0.1", Host: "laptop", OSUser: "pat", Platform: "linux/amd64", Agent: "0.1.0"}
	person := event.Facts{Email: "person@example.test", Address: "127.0.0.1"}
	list := []event.Record{
		{Name: event.ServerStarted, Reason: event.ReasonVolatile},
		{Name: event.RequestOpened, Request: req, Client: "keytether", Flow: "code", Session: ses, Facts: facts},
		{Name: event.SignInSucceeded, Request: req, Subject: acc, Session: ses, Facts: person},
		{Name: event.RequestApproved, Request: req, Subject: acc, Client: "keytether", Resource: api, Scope: "read write"},
		{Name: event.SignInFailed, Reason: event.ReasonBadPassword, Facts: event.Facts{Address: "192.0.2.7", Agent: `Mozilla/5.0 "quoted" \ <b>`}},
		{Name: event.HandshakeNonce, Request: req, Client: "keytether"},
		{Name: event.CodeIssued, Request: req, Client: "keytether", Until: t0.Add(time.Minute)},
		{Name: event.CodeRedeemed, Request: req, Grant: grt, Client: "keytether"},
		{Name: event.GrantCreated, Request: req, Grant: grt, Subject: acc, Client: "keytether", Installation: ins, Resource: api, Scope: "read write", Flow: "code", Thumbprint: "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I", Until: t0.Add(24 * time.Hour)},
		{Name: event.TokenIssued, Grant: grt, Subject: acc, Client: "keytether", Resource: api, Scope: "read write", JTI: "jti_01ARZ3NDEKTSV4RRFFQ69G5FB0", Until: t0.Add(5 * time.Minute)},
		{Name: event.TokenIssued, Grant: grt, Subject: acc, Client: "keytether", Generation: 4294967295, Detail: `a "detail" with \ and é`},
		{Name: event.GrantRevoked, Grant: grt, Subject: acc, Client: "keytether", Reason: event.ReasonNotMe},
	}
	for i := range list {
		list[i].Tenant = "default"
		list[i].Time = t0.Add(time.Duration(i) * time.Second)
	}
	return list
}

func keyOf(i int) [32]byte { return [32]byte{byte(i + 1), 2, 3} }

type vector struct {
	Name    string          `json:"name"`
	Leaf    []byte          `json:"leaf"` // base64
	Text    string          `json:"text"` // the leaf after its version byte
	Sidecar json.RawMessage `json:"sidecar,omitempty"`
	Hash    string          `json:"leaf_hash"`
	Root    string          `json:"root"` // of the tree that ends with this leaf
}

type vectorFile struct {
	Comment string   `json:"comment"`
	Leaves  []vector `json:"leaves"`
}

// Version 1 never changes: logs outlive programs.
func TestGoldenLeaves(t *testing.T) {
	var made vectorFile
	made.Comment = "Leaves of version 1, in the order of one log. See README.md."
	var tree Frontier
	for i, rec := range login() {
		leaf, err := EncodeLeaf(rec, keyOf(i))
		if err != nil {
			t.Fatal(err)
		}
		tree.Append(leaf)
		root := tree.Root()
		v := vector{Name: string(rec.Name), Leaf: leaf, Text: string(leaf[1:]), Hash: tlog.RecordHash(leaf).String(), Root: root.String()}
		if s := NewSidecar(rec, keyOf(i)); s != nil {
			if v.Sidecar, err = s.Encode(); err != nil {
				t.Fatal(err)
			}
		}
		made.Leaves = append(made.Leaves, v)
	}
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(made); err != nil {
		t.Fatal(err)
	}
	golden(t, "leaf-v1.json", buf.Bytes())

	raw, err := os.ReadFile(filepath.Join(vectors, "leaf-v1.json"))
	if err != nil {
		t.Fatal(err)
	}
	var kept vectorFile
	if err := json.Unmarshal(raw, &kept); err != nil {
		t.Fatal(err)
	}
	for i, rec := range login() {
		got, err := DecodeLeaf(kept.Leaves[i].Leaf)
		if err != nil {
			t.Fatal(err)
		}
		if kept.Leaves[i].Sidecar != nil {
			s, err := DecodeSidecar(kept.Leaves[i].Sidecar)
			if err != nil {
				t.Fatal(err)
			}
			if err := OpenCommitments(got, *s); err != nil {
				t.Fatal(err)
			}
			got.Record.Facts = s.Facts
		}
		if got.Record != rec {
			t.Errorf("leaf %d decodes to\n%+v\nwant\n%+v", i, got.Record, rec)
		}
	}
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join(vectors, name)
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s: got\n%s\nwant\n%s", name, got, want)
	}
}

// A field that is added to event.Record or event.Facts must be in the leaf.
func TestEveryFieldIsInTheLeaf(t *testing.T) {
	base := event.Record{Name: event.TokenIssued, Tenant: "default", Time: t0}
	set := func(v reflect.Value) {
		switch v.Interface().(type) {
		case time.Time:
			v.Set(reflect.ValueOf(t0.Add(time.Hour)))
		case uint32:
			v.SetUint(7)
		case event.Name:
			v.SetString(string(event.GrantCreated))
		default:
			v.SetString("x")
		}
	}
	plain, err := EncodeLeaf(base, keyOf(0))
	if err != nil {
		t.Fatal(err)
	}
	check := func(name string, rec event.Record) {
		leaf, err := EncodeLeaf(rec, keyOf(0))
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Equal(leaf, plain) {
			t.Errorf("%s makes no difference to the leaf", name)
		}
		got, err := DecodeLeaf(leaf)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if !rec.Facts.IsZero() && got.Commit.IsZero() {
			t.Errorf("%s is not committed to", name)
		}
		rec.Facts = event.Facts{}
		if got.Record != rec {
			t.Errorf("%s is lost: %+v", name, got.Record)
		}
	}
	typ := reflect.TypeFor[event.Record]()
	for i := range typ.NumField() {
		if typ.Field(i).Type == reflect.TypeFor[event.Facts]() {
			continue
		}
		rec := base
		set(reflect.ValueOf(&rec).Elem().Field(i))
		check(typ.Field(i).Name, rec)
	}
	facts := reflect.TypeFor[event.Facts]()
	for i := range facts.NumField() {
		rec := base
		set(reflect.ValueOf(&rec.Facts).Elem().Field(i))
		check("Facts."+facts.Field(i).Name, rec)
	}
}

func drawRecord(t *rapid.T) event.Record {
	word := rapid.StringMatching(`[a-z]{0,6}["\\é世 <>&]{0,2}[a-z]{0,3}`)
	fact := rapid.OneOf(rapid.Just(""), rapid.String(), rapid.Just("a\xffb"))
	at := func(name string) time.Time {
		return time.UnixMicro(rapid.Int64Range(1, 4e15).Draw(t, name)).UTC()
	}
	rec := event.Record{
		Name: rapid.SampledFrom(event.All()).Draw(t, "name"), Tenant: "t" + word.Draw(t, "tenant"), Time: at("time"),
		Subject: word.Draw(t, "subject"), Client: word.Draw(t, "client"), Request: word.Draw(t, "request"),
		Grant: word.Draw(t, "grant"), Installation: word.Draw(t, "installation"), Session: word.Draw(t, "session"),
		Resource: word.Draw(t, "resource"), Scope: word.Draw(t, "scope"), Flow: word.Draw(t, "flow"),
		JTI: word.Draw(t, "jti"), Thumbprint: word.Draw(t, "thumbprint"), Generation: rapid.Uint32().Draw(t, "generation"),
		Reason: event.Reason(word.Draw(t, "reason")), Detail: word.Draw(t, "detail"),
		Facts: event.Facts{
			Email: fact.Draw(t, "email"), Address: fact.Draw(t, "address"), Host: fact.Draw(t, "host"),
			OSUser: fact.Draw(t, "os_user"), Platform: fact.Draw(t, "platform"), Agent: fact.Draw(t, "agent"),
		},
	}
	if rapid.Bool().Draw(t, "ends") {
		rec.Until = at("until")
	}
	return rec
}

func TestLeafRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rec := drawRecord(t)
		leaf, err := EncodeLeaf(rec, keyOf(1))
		if err != nil {
			t.Fatal(err)
		}
		if !json.Valid(leaf[1:]) {
			t.Fatalf("no JSON: %s", leaf[1:])
		}
		got, err := DecodeLeaf(leaf)
		if err != nil {
			t.Fatalf("%v: %s", err, leaf)
		}
		if s := NewSidecar(rec, keyOf(1)); s != nil {
			b, err := s.Encode()
			if err != nil {
				t.Fatal(err)
			}
			if s, err = DecodeSidecar(b); err != nil {
				t.Fatal(err)
			}
			if err := OpenCommitments(got, *s); err != nil {
				t.Fatal(err)
			}
		} else if !got.Commit.IsZero() {
			t.Fatal("commitments to nothing")
		}
		rec.Facts = event.Facts{}
		if got.Record != rec {
			t.Fatalf("got  %+v\nwant %+v", got.Record, rec)
		}
	})
}

// Erasing the sidecar erases the person: the leaf alone tells no fact, nor
// that two records are of the same person.
func TestFactsAreNotInTheLeaf(t *testing.T) {
	rec := event.Record{Name: event.SignInSucceeded, Tenant: "default", Time: t0, Facts: event.Facts{
		Email: "person@example.test", Address: "192.0.2.7", Host: "laptop", OSUser: "pat", Platform: "linux/amd64", Agent: "Mozilla/5.0",
	}}
	a, err := EncodeLeaf(rec, keyOf(1))
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []string{"person", "192.0.2.7", "laptop", "pat", "linux", "Mozilla", base64.RawURLEncoding.EncodeToString([]byte("person"))[:7]} {
		if bytes.Contains(a, []byte(s)) {
			t.Errorf("%q is in the leaf %s", s, a)
		}
	}
	rec.Facts.Host = rec.Facts.OSUser // the same value in two fields
	b, err := EncodeLeaf(rec, keyOf(2))
	if err != nil {
		t.Fatal(err)
	}
	la, _ := DecodeLeaf(a)
	lb, _ := DecodeLeaf(b)
	if la.Commit.Email == lb.Commit.Email {
		t.Error("two records of one person can be linked")
	}
	if lb.Commit.Host == lb.Commit.OSUser {
		t.Error("equal facts of one record can be linked")
	}
	if err := OpenCommitments(la, *NewSidecar(rec, keyOf(1))); !errors.Is(err, ErrChanged) {
		t.Errorf("another fact opens the commitment: %v", err)
	}
}

func TestDecodeLeafRefuses(t *testing.T) {
	const good = `{"name":"token.issued","tenant":"default","time":"2026-11-24T08:00:00.123456Z","jti":"a"}`
	if _, err := DecodeLeaf([]byte("\x01" + good)); err != nil {
		t.Fatal(err)
	}
	put := func(old, with string) string { return "\x01" + strings.Replace(good, old, with, 1) }
	for name, leaf := range map[string]string{
		"empty":             "",
		"version alone":     "\x01",
		"no version":        good,
		"version 2":         "\x02" + good,
		"unknown member":    put(`"jti"`, `"tji"`),
		"other case":        put(`"jti"`, `"JTI"`),
		"unknown event":     put("token.issued", "token.stolen"),
		"no tenant":         put(`"tenant":"default",`, ""),
		"no time":           put(`"time":"2026-11-24T08:00:00.123456Z",`, ""),
		"other zone":        put(`123456Z`, `123456+00:00`),
		"milliseconds":      put(`.123456Z`, `.123Z`),
		"nanoseconds":       put(`.123456Z`, `.123456789Z`),
		"white space":       put(`,"jti"`, `, "jti"`),
		"trailing space":    put(`"a"}`, `"a"} `),
		"two objects":       put(`"a"}`, `"a"}{}`),
		"twice a member":    put(`"jti":"a"`, `"jti":"b","jti":"a"`),
		"other order":       "\x01" + `{"tenant":"default","name":"token.issued","time":"2026-11-24T08:00:00.123456Z"}`,
		"escaped letter":    put(`"a"`, `"\u0061"`),
		"escaped slash":     put(`"a"`, `"\/"`),
		"control character": put(`"a"`, `"\u0000"`),
		"bad UTF-8":         put(`"a"`, "\"\xff\""),
		"empty member":      put(`"a"`, `""`),
		"null":              put(`"a"`, `null`),
		"zero generation":   put(`"jti":"a"`, `"generation":0`),
		"large generation":  put(`"jti":"a"`, `"generation":4294967296`),
		"float generation":  put(`"jti":"a"`, `"generation":1.0`),
		"empty commit":      put(`"jti":"a"`, `"commit":{}`),
		"short commit":      put(`"jti":"a"`, `"commit":{"email":"AAAA"}`),
		"loose commit":      put(`"jti":"a"`, `"commit":{"email":"`+strings.Repeat("A", 42)+`B"}`),
		"unknown fact":      put(`"jti":"a"`, `"commit":{"name":"`+strings.Repeat("A", 43)+`"}`),
		"facts in clear":    put(`"jti":"a"`, `"facts":{"email":"a"}`),
		"too long":          put(`"a"`, `"`+strings.Repeat("a", MaxLeaf)+`"`),
	} {
		if _, err := DecodeLeaf([]byte(leaf)); !errors.Is(err, ErrFormat) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestEncodeLeafRefuses(t *testing.T) {
	good := event.Record{Name: event.TokenIssued, Tenant: "default", Time: t0}
	for name, change := range map[string]func(*event.Record){
		"unknown event":     func(r *event.Record) { r.Name = "token.stolen" },
		"no tenant":         func(r *event.Record) { r.Tenant = "" },
		"no time":           func(r *event.Record) { r.Time = time.Time{} },
		"year 10000":        func(r *event.Record) { r.Time = r.Time.AddDate(8000, 0, 0) },
		"control character": func(r *event.Record) { r.Detail = "a\nb" },
		"bad UTF-8":         func(r *event.Record) { r.Client = "\xff" },
		"too long":          func(r *event.Record) { r.Scope = strings.Repeat("a", MaxLeaf) },
	} {
		rec := good
		change(&rec)
		if _, err := EncodeLeaf(rec, keyOf(0)); !errors.Is(err, ErrFormat) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzDecodeLeaf(f *testing.F) {
	for i, rec := range login() {
		leaf, err := EncodeLeaf(rec, keyOf(i))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(leaf)
	}
	f.Add([]byte("\x01{}"))
	f.Fuzz(func(t *testing.T, b []byte) {
		leaf, err := DecodeLeaf(b)
		if err != nil {
			if !errors.Is(err, ErrFormat) {
				t.Fatalf("not a sentinel: %v", err)
			}
			return
		}
		again, err := appendLeaf(nil, leaf.Record, leaf.Commit)
		if err != nil || !bytes.Equal(again, b) {
			t.Fatalf("%q is accepted in two spellings (%v)", b, err)
		}
	})
}

func BenchmarkEncodeLeaf(b *testing.B) {
	rec := login()[8]
	rec.Facts = event.Facts{Address: "127.0.0.1", Host: "laptop"}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := EncodeLeaf(rec, keyOf(1)); err != nil {
			b.Fatal(err)
		}
	}
}
