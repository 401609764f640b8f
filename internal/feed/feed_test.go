package feed

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"pgregory.net/rapid"
)

var t0 = time.Date(2026, 11, 24, 8, 0, 0, 123456000, time.UTC)

func encode(t interface{ Fatal(...any) }, events ...Event) []byte {
	var out []byte
	for _, e := range events {
		var err error
		switch e := e.(type) {
		case *Snapshot:
			out, err = AppendSnapshot(out, e)
		case *Revoked:
			out, err = AppendRevoked(out, e)
		case *Heartbeat:
			out, err = AppendHeartbeat(out, e)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return out
}

// The wire, to the byte.
func TestGolden(t *testing.T) {
	got := string(encode(
		t,
		&Snapshot{Sequence: 7, IssuedAt: t0, Grants: []Entry{{ID: "grt_a", Until: t0.Add(time.Minute)}, {ID: "grt_b", Until: t0}}, Tokens: []Entry{{ID: "jti_c", Until: t0}}},
		&Revoked{Sequence: 9, Prev: 7, At: t0, Grant: "grt_d", Until: t0},
		&Revoked{Sequence: 10, Prev: 9, At: t0, JTI: "jti_e", Until: t0},
		&Revoked{Sequence: 11, Prev: 10, At: t0, Grant: "grt_f", Before: t0, Until: t0},
		&Heartbeat{Sequence: 11, At: t0},
		&Snapshot{Sequence: 0, IssuedAt: t0, Grants: []Entry{{ID: "grt_f", Before: t0, Until: t0}}},
	))
	const at = `"2026-11-24T08:00:00.123456Z"`
	want := "event: snapshot\nid: 7\ndata: {\"seq\":7,\"issued_at\":" + at + `,"grants":[{"id":"grt_a","until":"2026-11-24T08:01:00.123456Z"},{"id":"grt_b","until":` + at + `}],"tokens":[{"jti":"jti_c","until":` + at + "}]}\n\n" +
		"event: revoked\nid: 9\ndata: {\"seq\":9,\"prev\":7,\"at\":" + at + `,"grant":"grt_d","until":` + at + "}\n\n" +
		"event: revoked\nid: 10\ndata: {\"seq\":10,\"prev\":9,\"at\":" + at + `,"jti":"jti_e","until":` + at + "}\n\n" +
		"event: revoked\nid: 11\ndata: {\"seq\":11,\"prev\":10,\"at\":" + at + `,"grant":"grt_f","before":` + at + `,"until":` + at + "}\n\n" +
		"event: heartbeat\nid: 11\ndata: {\"seq\":11,\"at\":" + at + "}\n\n" +
		"event: snapshot\nid: 0\ndata: {\"seq\":0,\"issued_at\":" + at + `,"grants":[{"id":"grt_f","before":` + at + `,"until":` + at + `}],"tokens":[]}` + "\n\n"
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestEncodersRefuse(t *testing.T) {
	long := strings.Repeat("a", MaxID+1)
	for name, err := range map[string]error{
		"neither":         second(AppendRevoked(nil, &Revoked{Sequence: 1, At: t0, Until: t0})),
		"both":            second(AppendRevoked(nil, &Revoked{Sequence: 1, At: t0, Until: t0, Grant: "a", JTI: "b"})),
		"before of one":   second(AppendRevoked(nil, &Revoked{Sequence: 1, At: t0, Until: t0, JTI: "a", Before: t0})),
		"backwards":       second(AppendRevoked(nil, &Revoked{Sequence: 1, Prev: 1, At: t0, Until: t0, Grant: "a"})),
		"line break":      second(AppendRevoked(nil, &Revoked{Sequence: 1, At: t0, Until: t0, Grant: "a\nb"})),
		"quote":           second(AppendRevoked(nil, &Revoked{Sequence: 1, At: t0, Until: t0, JTI: `a"b`})),
		"long":            second(AppendRevoked(nil, &Revoked{Sequence: 1, At: t0, Until: t0, JTI: long})),
		"no time":         second(AppendRevoked(nil, &Revoked{Sequence: 1, At: t0, JTI: "a"})),
		"snapshot's id":   second(AppendSnapshot(nil, &Snapshot{IssuedAt: t0, Grants: []Entry{{ID: "", Until: t0}}})),
		"snapshot's time": second(AppendSnapshot(nil, &Snapshot{IssuedAt: t0, Tokens: []Entry{{ID: "a", Until: time.Time{}}}})),
		"heartbeat":       second(AppendHeartbeat(nil, &Heartbeat{})),
	} {
		if !errors.Is(err, ErrFormat) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := second(AppendSnapshot(nil, &Snapshot{IssuedAt: t0, Grants: make([]Entry, MaxEntries+1)})); !errors.Is(err, ErrFull) {
		t.Errorf("too many: %v", err)
	}
}

func second(_ []byte, err error) error { return err }

// Whatever is encoded is decoded again, however the bytes arrive, with LF or
// CRLF, with comments in between.
func TestRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		id := rapid.StringMatching(`[A-Za-z0-9_.~-]{1,64}`)
		at := rapid.Custom(func(t *rapid.T) time.Time { return time.UnixMicro(rapid.Int64Range(1, 4e15).Draw(t, "at")).UTC() })
		entries := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) Entry { return Entry{ID: id.Draw(t, "id"), Until: at.Draw(t, "until")} }), 0, 200)
		var events []Event
		for range rapid.IntRange(1, 4).Draw(t, "n") {
			seq := rapid.Uint64Range(1, 1<<63).Draw(t, "seq")
			switch rapid.IntRange(0, 3).Draw(t, "kind") {
			case 0:
				events = append(events, &Snapshot{Sequence: seq, IssuedAt: at.Draw(t, "issued"), Grants: entries.Draw(t, "grants"), Tokens: entries.Draw(t, "tokens")})
			case 1:
				events = append(events, &Revoked{Sequence: seq, Prev: seq - 1, At: at.Draw(t, "at"), Grant: id.Draw(t, "grant"), Until: at.Draw(t, "until")})
			case 2:
				events = append(events, &Revoked{Sequence: seq, Prev: seq - 1, At: at.Draw(t, "at"), JTI: id.Draw(t, "jti"), Until: at.Draw(t, "until")})
			default:
				events = append(events, &Heartbeat{Sequence: seq, At: at.Draw(t, "at")})
			}
		}
		wire := encode(t, events...)
		if rapid.Bool().Draw(t, "crlf") {
			wire = bytes.ReplaceAll(wire, []byte("\n"), []byte("\r\n"))
		}
		if rapid.Bool().Draw(t, "comments") {
			wire = append([]byte(": hello\n\n\n"), wire...)
		}
		var r io.Reader = bytes.NewReader(wire)
		if rapid.Bool().Draw(t, "bytewise") {
			r = iotest.OneByteReader(r)
		}
		d := NewDecoder(r)
		for _, want := range events {
			got, err := d.Next()
			if err != nil {
				t.Fatal(err)
			}
			if g, w := encode(t, got), encode(t, want); !bytes.Equal(g, w) || got.Seq() != want.Seq() {
				t.Fatalf("got\n%s\nwant\n%s", g, w)
			}
		}
		if _, err := d.Next(); err != io.EOF {
			t.Fatalf("after the last: %v", err)
		}
	})
}

func TestDecoderRefuses(t *testing.T) {
	const good = "event: revoked\nid: 9\ndata: {\"seq\":9,\"prev\":7,\"at\":\"2026-11-24T08:00:00.123456Z\",\"grant\":\"grt_d\",\"until\":\"2026-11-24T08:00:00.123456Z\"}\n\n"
	if _, err := NewDecoder(strings.NewReader(good)).Next(); err != nil {
		t.Fatal(err)
	}
	const at = `"2026-11-24T08:00:00.123456Z"`
	put := func(old, with string) string {
		out := strings.Replace(good, old, with, 1)
		if out == good {
			t.Fatalf("%q is not there", old)
		}
		return out
	}
	for name, tt := range map[string]struct {
		in   string
		want error
	}{
		"unknown event":        {put("event: revoked", "event: burned"), ErrFormat},
		"no event":             {put("event: revoked\n", ""), ErrFormat},
		"two events":           {put("event: revoked\n", "event: revoked\nevent: revoked\n"), ErrFormat},
		"no id":                {put("id: 9\n", ""), ErrFormat},
		"two ids":              {put("id: 9\n", "id: 9\nid: 9\n"), ErrFormat},
		"other id":             {put("id: 9\n", "id: 8\n"), ErrFormat},
		"id with zero":         {put("id: 9\n", "id: 09\n"), ErrFormat},
		"unknown field":        {put("id: 9\n", "id: 9\nretry: 1\n"), ErrFormat},
		"field in other case":  {put("id: 9\n", "ID: 9\n"), ErrFormat},
		"no data":              {"event: revoked\nid: 9\n\n", ErrFormat},
		"not JSON":             {put(`{"seq"`, `seq"`), ErrFormat},
		"two objects":          {put("}\n", "}{}\n"), ErrFormat},
		"unknown member":       {put(`"prev"`, `"previous"`), ErrFormat},
		"one more member":      {put(`"prev"`, `"new":1,"prev"`), ErrFormat},
		"no seq":               {put(`"seq":9,`, ""), ErrFormat},
		"no prev":              {put(`"prev":7,`, ""), ErrFormat},
		"prev not before":      {put(`"prev":7`, `"prev":9`), ErrFormat},
		"negative":             {put(`"prev":7`, `"prev":-7`), ErrFormat},
		"grant and token":      {put(`"grant"`, `"jti":"a","grant"`), ErrFormat},
		"neither":              {put(`"grant":"grt_d",`, ""), ErrFormat},
		"empty grant":          {put(`"grt_d"`, `""`), ErrFormat},
		"grant is no id":       {put(`grt_d`, `grt d`), ErrFormat},
		"no until":             {put(`,"until":`+at, ""), ErrFormat},
		"no at":                {put(`"at":`+at+",", ""), ErrFormat},
		"time without micro":   {put(".123456Z", ".1Z"), ErrFormat},
		"revoked as heartbeat": {put("event: revoked", "event: heartbeat"), ErrFormat},
		"revoked as snapshot":  {put("event: revoked", "event: snapshot"), ErrFormat},
		"snapshot, no tokens":  {"event: snapshot\nid: 1\ndata: {\"seq\":1,\"issued_at\":" + at + ",\"grants\":[]}\n\n", ErrFormat},
		"snapshot, bad entry":  {"event: snapshot\nid: 1\ndata: {\"seq\":1,\"issued_at\":" + at + ",\"grants\":[{\"id\":\"a\"}],\"tokens\":[]}\n\n", ErrFormat},
		"long line":            {put("grt_d", strings.Repeat("a", MaxLine)), ErrFormat},
		"cut in an event":      {good[:len(good)-1], io.ErrUnexpectedEOF},
		"cut in a line":        {good[:20], io.ErrUnexpectedEOF},
		"nothing":              {"", io.EOF},
		"comment alone":        {": hello\n\n", io.EOF},
	} {
		if e, err := NewDecoder(strings.NewReader(tt.in)).Next(); !errors.Is(err, tt.want) || e != nil {
			t.Errorf("%s: %v %v, want %v", name, e, err, tt.want)
		}
	}
}

// A server cannot fill the reader's memory with one event.
func TestDecoderIsBounded(t *testing.T) {
	line := "data: " + strings.Repeat(" ", 99) + "\n"
	for n, want := range map[int]error{9: io.ErrUnexpectedEOF, 11: ErrFormat} {
		d := NewDecoder(strings.NewReader(strings.Repeat(line, n)))
		d.max = 1000
		if _, err := d.Next(); !errors.Is(err, want) {
			t.Errorf("%d lines: %v, want %v", n, err, want)
		}
	}
	if e := (&Snapshot{IssuedAt: t0, Grants: []Entry{{ID: strings.Repeat("a", MaxID), Before: t0, Until: t0}}}); len(encode(t, e))-len(encode(t, &Snapshot{IssuedAt: t0})) > MaxEvent/MaxEntries {
		t.Error("a snapshot of MaxEntries may be longer than MaxEvent")
	}
}

func snapshot(seq uint64, grants ...string) *Snapshot {
	e := &Snapshot{Sequence: seq, IssuedAt: t0}
	for _, g := range grants {
		e.Grants = append(e.Grants, Entry{ID: g, Until: t0.Add(time.Hour)})
	}
	return e
}

func revoked(seq, prev uint64, grant string) *Revoked {
	return &Revoked{Sequence: seq, Prev: prev, At: t0, Grant: grant, Until: t0.Add(time.Hour)}
}

// TestStateNoticesLoss leaves out events, one at a time.
//
// Invariant: RV-5
func TestStateNoticesLoss(t *testing.T) {
	for name, tt := range map[string]struct {
		events []Event
		want   error // of the last; all before are good
	}{
		"snapshot":                 {[]Event{snapshot(3)}, nil},
		"in order":                 {[]Event{snapshot(3), revoked(4, 3, "a"), revoked(9, 4, "b"), &Heartbeat{Sequence: 9}}, nil},
		"a second snapshot":        {[]Event{snapshot(3), snapshot(9), revoked(10, 9, "a")}, nil},
		"revoked before snapshot":  {[]Event{revoked(1, 0, "a")}, ErrGap},
		"heartbeat first":          {[]Event{&Heartbeat{}}, ErrGap},
		"one lost":                 {[]Event{snapshot(3), revoked(5, 4, "a")}, ErrGap},
		"one twice":                {[]Event{snapshot(3), revoked(4, 3, "a"), revoked(4, 3, "a")}, ErrGap},
		"heartbeat tells of a gap": {[]Event{snapshot(3), &Heartbeat{Sequence: 4}}, ErrGap},
		"heartbeat too old":        {[]Event{snapshot(3), revoked(4, 3, "a"), &Heartbeat{Sequence: 3}}, ErrGap},
		"no event":                 {[]Event{nil}, ErrFormat},
	} {
		var s State
		for i, e := range tt.events {
			now := t0.Add(time.Duration(i) * time.Second)
			err := s.Apply(e, now)
			if i < len(tt.events)-1 && err != nil {
				t.Fatalf("%s: event %d: %v", name, i, err)
			}
			if i == len(tt.events)-1 && (!errors.Is(err, tt.want) || s.Ready() != (tt.want == nil)) {
				t.Errorf("%s: %v, ready: %t", name, err, s.Ready())
			}
			if err == nil && (!s.LastHeard().Equal(now) || s.LastSeq() != e.Seq()) {
				t.Errorf("%s: heard at %v, sequence %d", name, s.LastHeard(), s.LastSeq())
			}
		}
	}
}

// What was revoked stays so through gaps and older snapshots, until its end.
//
// Invariant: RV-4
func TestStateForgetsNothingBeforeItsEnd(t *testing.T) {
	var s State
	if s.Ready() || s.Revoked("a", "a", t0) || s.Revoked("", "", t0) || !s.LastHeard().IsZero() {
		t.Error("the zero state knows something")
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(s.Apply(snapshot(3, "a"), t0))
	must(s.Apply(&Revoked{Sequence: 4, Prev: 3, At: t0, JTI: "j", Until: t0.Add(time.Minute)}, t0))
	if err := s.Apply(revoked(9, 8, "b"), t0); !errors.Is(err, ErrGap) {
		t.Fatal(err)
	}
	must(s.Apply(snapshot(2), t0))
	for _, tt := range []struct {
		grant, jti string
		want       bool
	}{{"a", "", true}, {"b", "x", true}, {"x", "j", true}, {"x", "x", false}, {"j", "a", false}, {"", "", false}} {
		if got := s.Revoked(tt.grant, tt.jti, t0); got != tt.want {
			t.Errorf("Revoked(%q, %q) = %t", tt.grant, tt.jti, got)
		}
	}
	must(s.Apply(&Heartbeat{Sequence: 2}, t0.Add(time.Minute+PruneGrace)))
	if !s.Revoked("", "j", t0) {
		t.Error("forgotten within the grace")
	}
	must(s.Apply(&Heartbeat{Sequence: 2}, t0.Add(3*time.Minute+PruneGrace)))
	if s.Revoked("", "j", t0) || s.Len() != 2 {
		t.Error("not pruned after its end")
	}
	// A later end wins, in whatever order they come.
	must(s.Apply(&Snapshot{Sequence: 2, Grants: []Entry{{ID: "a", Until: t0.Add(time.Minute)}}}, t0))
	s.Prune(t0.Add(50 * time.Minute))
	if !s.Revoked("a", "", t0) {
		t.Error("a shorter end shortened a longer one")
	}
}

// A grant that was locked: its tokens of before are over and those issued later
// are not, in whatever order entries of it come; a revocation takes all of them.
//
// Invariant: DC-6
func TestStateOfALock(t *testing.T) {
	var s State
	lock := func(seq uint64, before time.Time) *Revoked {
		return &Revoked{Sequence: seq, Prev: seq - 1, At: t0, Grant: "g", Before: before, Until: t0.Add(time.Minute)}
	}
	want := func(what string, issued time.Time, want bool) {
		t.Helper()
		if got := s.Revoked("g", "", issued); got != want {
			t.Errorf("%s: revoked %t", what, got)
		}
	}
	for _, e := range []Event{snapshot(1), lock(2, t0.Add(time.Second)), lock(3, t0)} {
		if err := s.Apply(e, t0); err != nil {
			t.Fatal(err)
		}
	}
	want("of before", t0, true)
	want("of no known time", time.Time{}, true)
	want("of after", t0.Add(time.Second), false)
	want("before a second lock", t0.Add(time.Second), false)
	for seq, e := range []Event{lock(4, t0.Add(time.Hour)), revoked(5, 4, "g"), lock(6, t0)} {
		if err := s.Apply(e, t0); err != nil {
			t.Fatal(err)
		}
		want("after the next entry", t0.Add(time.Minute), true)
		want("much later", t0.Add(2*time.Hour), seq > 0)
	}
}

func TestStateIsBounded(t *testing.T) {
	s := State{limit: 1000}
	full := &Snapshot{Sequence: 1, Grants: make([]Entry, s.limit)}
	for i := range full.Grants {
		full.Grants[i] = Entry{ID: fmt.Sprint("grt_", i), Until: t0.Add(time.Hour)}
	}
	if err := s.Apply(full, t0); err != nil {
		t.Fatal(err)
	}
	for i := range uint64(5) { // also for a caller who does not look at errors
		if err := s.Apply(revoked(i+2, i+1, fmt.Sprint("one more ", i)), t0); !errors.Is(err, ErrFull) || s.Ready() {
			t.Errorf("%v, ready: %t", err, s.Ready())
		}
	}
	if s.Len() > s.limit+1 {
		t.Errorf("%d entries", s.Len())
	}
	if err := s.Apply(snapshot(9), t0.Add(2*time.Hour)); err != nil || !s.Ready() || s.Len() != 0 {
		t.Errorf("after their end: %v, %d entries", err, s.Len())
	}
}

// server is what the issuer knows: every revocation so far.
type server struct {
	seq    uint64
	grants map[string]time.Time
	tokens map[string]time.Time
}

func (v *server) snapshot(now time.Time) *Snapshot {
	e := &Snapshot{Sequence: v.seq, IssuedAt: now}
	for id, until := range v.grants {
		if until.After(now) {
			e.Grants = append(e.Grants, Entry{ID: id, Until: until})
		}
	}
	for id, until := range v.tokens {
		if until.After(now) {
			e.Tokens = append(e.Tokens, Entry{ID: id, Until: until})
		}
	}
	return e
}

// A reader that was there all the time and one that has just come know the
// same.
func TestSnapshotEqualsHistory(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v := &server{grants: map[string]time.Time{}, tokens: map[string]time.Time{}}
		var old State
		now := t0
		apply := func(e Event) {
			got, err := NewDecoder(bytes.NewReader(encode(t, e))).Next()
			if err != nil {
				t.Fatal(err)
			}
			if err := old.Apply(got, now); err != nil {
				t.Fatal(err)
			}
		}
		apply(v.snapshot(now))
		for range rapid.IntRange(0, 30).Draw(t, "n") {
			now = now.Add(time.Duration(rapid.IntRange(0, 90).Draw(t, "s")) * time.Second)
			switch rapid.IntRange(0, 3).Draw(t, "kind") {
			case 0:
				apply(&Heartbeat{Sequence: v.seq, At: now})
			case 1:
				apply(v.snapshot(now))
			default:
				// A later revocation of the same thing does not end earlier.
				id := fmt.Sprint(rapid.IntRange(0, 9).Draw(t, "id"))
				e := &Revoked{Prev: v.seq, Sequence: v.seq + uint64(rapid.IntRange(1, 3).Draw(t, "step")), At: now, Until: now.Add(5 * time.Minute)}
				if rapid.Bool().Draw(t, "token") {
					e.JTI, v.tokens["jti_"+id] = "jti_"+id, e.Until
				} else {
					e.Grant, v.grants["grt_"+id] = "grt_"+id, e.Until
				}
				v.seq = e.Sequence
				apply(e)
			}
		}
		var fresh State
		if err := fresh.Apply(v.snapshot(now), now); err != nil {
			t.Fatal(err)
		}
		alive := func(m map[string]ended) map[string]ended {
			m = maps.Clone(m)
			maps.DeleteFunc(m, func(_ string, e ended) bool { return !e.until.After(now) })
			return m
		}
		if !maps.Equal(alive(old.grants), fresh.grants) || !maps.Equal(alive(old.tokens), fresh.tokens) ||
			old.LastSeq() != fresh.LastSeq() || !old.Ready() || !fresh.Ready() {
			t.Fatalf("old %+v\nfresh %+v", old, fresh)
		}
		for _, m := range []map[string]ended{old.grants, old.tokens} {
			for id, e := range m {
				if now.Sub(e.until) > PruneGrace+90*time.Second+time.Minute {
					t.Fatalf("%s is kept since %v at %v", id, e.until, now)
				}
			}
		}
	})
}

func FuzzDecoder(f *testing.F) {
	f.Add(encode(f, &Snapshot{Sequence: 7, IssuedAt: t0, Grants: []Entry{{ID: "grt_a", Until: t0}}, Tokens: []Entry{{ID: "jti_c", Until: t0}}}, &Heartbeat{Sequence: 7, At: t0}))
	f.Add(encode(f, &Revoked{Sequence: 9, Prev: 7, At: t0, Grant: "grt_d", Until: t0}))
	f.Add(encode(f, &Revoked{Sequence: 9, Prev: 7, At: t0, Grant: "grt_d", Before: t0, Until: t0}))
	f.Add([]byte(": c\r\nevent: heartbeat\r\nid: 1\r\ndata: {\"seq\":1,\r\ndata:\"at\":\"2026-11-24T08:00:00.123456Z\"}\r\n\r\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		d := NewDecoder(bytes.NewReader(b))
		var s State
		for {
			e, err := d.Next()
			if err != nil {
				if !errors.Is(err, ErrFormat) && !errors.Is(err, ErrFull) && err != io.EOF && err != io.ErrUnexpectedEOF {
					t.Fatalf("not a sentinel: %v", err)
				}
				return
			}
			again, err := NewDecoder(bytes.NewReader(encode(t, e))).Next()
			if err != nil || !bytes.Equal(encode(t, again), encode(t, e)) {
				t.Fatalf("%+v does not survive: %v", e, err)
			}
			_ = s.Apply(e, t0)
			if r, ok := e.(*Revoked); ok && !s.Revoked(r.Grant, r.JTI, time.Time{}) {
				t.Fatalf("%+v had no effect", e)
			}
		}
	})
}

func BenchmarkRevoked(b *testing.B) {
	var s State
	e := snapshot(1)
	for i := range 10_000 {
		e.Grants = append(e.Grants, Entry{ID: fmt.Sprint("grt_", i), Until: t0.Add(time.Hour)})
	}
	if err := s.Apply(e, t0); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if s.Revoked("grt_01ARZ3NDEKTSV4RRFFQ69G5FAV", "jti_01ARZ3NDEKTSV4RRFFQ69G5FAV", t0) {
			b.Fatal("revoked")
		}
	}
}
