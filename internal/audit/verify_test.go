package audit

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"
	"pgregory.net/rapid"

	"github.com/keytether/keytether/internal/event"
)

// testLog is a log in memory, as a server has it.
type testLog struct {
	leaves   [][]byte
	sidecars []*Sidecar
}

func newLog(t interface{ Fatal(...any) }, records []event.Record) *testLog {
	l := &testLog{}
	for i, rec := range records {
		leaf, err := EncodeLeaf(rec, keyOf(i))
		if err != nil {
			t.Fatal(err)
		}
		l.leaves = append(l.leaves, leaf)
		l.sidecars = append(l.sidecars, NewSidecar(rec, keyOf(i)))
	}
	return l
}

func (l *testLog) clone() *testLog {
	return &testLog{leaves: slices.Clone(l.leaves), sidecars: slices.Clone(l.sidecars)}
}

// sign gives the checkpoint of the first size leaves.
func (l *testLog) sign(t interface{ Fatal(...any) }, s note.Signer, size int) []byte {
	var f Frontier
	for _, leaf := range l.leaves[:size] {
		f.Append(leaf)
	}
	msg, err := SignCheckpoint(Checkpoint{Origin: origin, Size: int64(size), Root: f.Root(), Time: t0.Add(time.Duration(size) * time.Hour)}, s)
	if err != nil {
		t.Fatal(err)
	}
	return msg
}

// export writes the log with the given checkpoints by size; the largest is the
// header's size.
func (l *testLog) export(t interface{ Fatal(...any) }, keys []string, checkpoints map[int][]byte) []byte {
	size := 0
	for n := range checkpoints {
		size = max(size, n)
	}
	var out bytes.Buffer
	w, err := NewWriter(&out, Header{Origin: origin, Keys: keys, Size: int64(size), ExportedAt: t0.Add(1000 * time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; ; i++ {
		if msg := checkpoints[i]; msg != nil {
			if err := w.Checkpoint(msg); err != nil {
				t.Fatal(err)
			}
		}
		if i == len(l.leaves) {
			break
		}
		if err := w.Leaf(l.leaves[i], l.sidecars[i]); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func verify(file []byte, opt Options) (Report, error) { return Verify(bytes.NewReader(file), opt) }

func TestVerifyGoldenExport(t *testing.T) {
	s, vkey := signer(t, 1)
	l := newLog(t, login())
	l.sidecars[4] = nil // erased
	held := l.sign(t, s, 5)
	file := l.export(t, []string{vkey}, map[int][]byte{5: held, 10: l.sign(t, s, 10)})
	golden(t, "export-v1.ndjson", file)
	golden(t, "held-v1.txt", held)
	golden(t, "key-v1.txt", []byte(vkey+"\n"))

	file, err := os.ReadFile(vectors + "/export-v1.ndjson")
	if err != nil {
		t.Fatal(err)
	}
	var seen []event.Record
	var unsigned []int64
	rep, err := verify(file, Options{Keys: []string{vkey}, Held: [][]byte{held, held}, Visit: func(i int64, rec event.Record, signed bool) {
		if int(i) != len(seen) {
			t.Errorf("record %d is visited as %d", len(seen), i)
		}
		if seen = append(seen, rec); !signed {
			unsigned = append(unsigned, i)
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	want := login()
	want[4].Facts = event.Facts{}
	if !slices.Equal(seen, want) {
		t.Errorf("visited\n%+v\nwant\n%+v", seen, want)
	}
	if !slices.Equal(unsigned, []int64{10, 11}) {
		t.Errorf("unsigned: %v", unsigned)
	}
	if rep.Origin != origin || rep.Size != 10 || rep.Root != mth(l.leaves[:10]) || !rep.SignedAt.Equal(t0.Add(10*time.Hour)) ||
		!rep.Pinned || rep.Checkpoints != 2 || rep.Held != 2 || rep.Tail != 2 || !rep.First.Equal(t0) || !rep.Last.Equal(t0.Add(11*time.Second)) ||
		rep.Opened != 2 || rep.Erased != 1 || rep.Backwards != 0 || rep.FirstBackwards != -1 ||
		rep.Events[event.TokenIssued] != 2 || len(rep.Events) != 11 {
		t.Errorf("report %+v", rep)
	}
	if rep, err = verify(file, Options{}); err != nil || rep.Pinned || rep.Held != 0 {
		t.Errorf("without anything pinned: %+v, %v", rep, err)
	}
}

func TestVerifyEmptyLog(t *testing.T) {
	s, vkey := signer(t, 1)
	l := newLog(t, nil)
	for name, checkpoints := range map[string]map[int][]byte{"never signed": nil, "signed": {0: l.sign(t, s, 0)}} {
		rep, err := verify(l.export(t, []string{vkey}, checkpoints), Options{Keys: []string{vkey}, Held: [][]byte{l.sign(t, s, 0)}})
		if err != nil || rep.Size != 0 || rep.Root != mth(nil) || rep.Held != 1 || rep.Checkpoints != len(checkpoints) {
			t.Errorf("%s: %+v, %v", name, rep, err)
		}
	}
	l = newLog(t, login()[:2]) // all is tail
	if rep, err := verify(l.export(t, []string{vkey}, nil), Options{}); err != nil || rep.Tail != 2 || rep.Size != 0 {
		t.Errorf("tail alone: %+v, %v", rep, err)
	}
}

func TestVerifyReportsTimesThatGoBackwards(t *testing.T) {
	s, vkey := signer(t, 1)
	records := login()
	records[5].Time = records[4].Time.Add(-time.Second)     // within the tolerance
	records[7].Time = records[6].Time.Add(-3 * time.Second) // not
	l := newLog(t, records)
	file := l.export(t, []string{vkey}, map[int][]byte{12: l.sign(t, s, 12)})
	if rep, err := verify(file, Options{}); err != nil || rep.Backwards != 1 || rep.FirstBackwards != 7 {
		t.Errorf("%+v, %v", rep, err)
	}
	if rep, err := verify(file, Options{Tolerance: time.Millisecond}); err != nil || rep.Backwards != 2 || rep.FirstBackwards != 5 {
		t.Errorf("%+v, %v", rep, err)
	}
}

// Whoever has the file, or even the server and its key, cannot change what
// stands before a checkpoint that the auditor holds.
//
// Invariant: AU-4
func TestVerifyNoticesEveryTampering(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s, vkey := signer(t, 1)
		n := rapid.IntRange(2, 24).Draw(t, "n")
		records := make([]event.Record, n)
		for i := range records {
			records[i] = event.Record{
				Name: rapid.SampledFrom(event.All()).Draw(t, "name"), Tenant: "default", Time: t0.Add(time.Duration(i) * time.Second),
				Detail: fmt.Sprint(i), Facts: event.Facts{Address: fmt.Sprint("192.0.2.", i)},
			}
		}
		honest := newLog(t, records)
		h := rapid.IntRange(1, n).Draw(t, "held at")
		size := rapid.IntRange(h, n).Draw(t, "signed at")
		held, last := honest.sign(t, s, h), honest.sign(t, s, size)
		opt := Options{Keys: []string{vkey}, Held: [][]byte{held}}
		if rapid.Bool().Draw(t, "not pinned") {
			opt.Keys = nil
		}
		if rep, err := verify(honest.export(t, []string{vkey}, map[int][]byte{size: last}), opt); err != nil || rep.Held != 1 || rep.Tail != int64(n-size) {
			t.Fatalf("the honest log: %+v, %v", rep, err)
		}

		evil := honest.clone()
		i := rapid.IntRange(0, h-1).Draw(t, "i")
		other := records[i]
		other.Detail = "forged"
		forged, err := EncodeLeaf(other, keyOf(i))
		if err != nil {
			t.Fatal(err)
		}
		kind := rapid.SampledFrom([]string{"changed", "dropped", "swapped", "inserted", "cut", "fact", "key"}).Draw(t, "tampering")
		switch kind {
		case "changed":
			evil.leaves[i] = forged
		case "dropped":
			evil.leaves = slices.Delete(evil.leaves, i, i+1)
			evil.sidecars = slices.Delete(evil.sidecars, i, i+1)
		case "swapped":
			j := rapid.IntRange(0, n-1).Filter(func(j int) bool { return j != i }).Draw(t, "j")
			evil.leaves[i], evil.leaves[j] = evil.leaves[j], evil.leaves[i]
			evil.sidecars[i], evil.sidecars[j] = evil.sidecars[j], evil.sidecars[i]
		case "inserted":
			evil.leaves = slices.Insert(evil.leaves, i, forged)
			evil.sidecars = slices.Insert(evil.sidecars, i, honest.sidecars[i])
		case "cut":
			evil.leaves, evil.sidecars = evil.leaves[:i], evil.sidecars[:i]
		case "fact":
			f := *evil.sidecars[i]
			f.Facts = rapid.SampledFrom([]event.Facts{{Address: "203.0.113.1"}, {}, {Address: f.Facts.Address, Host: "more"}, {Host: f.Facts.Address}}).Draw(t, "facts")
			evil.sidecars[i] = &f
		case "key":
			f := *evil.sidecars[i]
			f.Key = bytes.Clone(f.Key)
			f.Key[5] ^= 1
			evil.sidecars[i] = &f
		}
		checkpoints := map[int][]byte{}
		if rapid.Bool().Draw(t, "with the server's key") {
			size = len(evil.leaves)
			checkpoints[size] = evil.sign(t, s, size)
		} else if size <= len(evil.leaves) {
			checkpoints[size] = last
		} else {
			checkpoints[len(evil.leaves)] = last
		}
		rep, err := verify(evil.export(t, []string{vkey}, checkpoints), opt)
		if err == nil {
			t.Fatalf("%s at %d was not noticed: %+v", kind, i, rep)
		}
		if !errors.Is(err, ErrChanged) && !errors.Is(err, ErrDropped) && !errors.Is(err, ErrForked) && !errors.Is(err, ErrFormat) {
			t.Fatalf("%s: %v", kind, err)
		}
	})
}

// Each thing that can be wrong has its own sentinel.
//
// Invariant: AU-2
func TestVerifySentinels(t *testing.T) {
	s, vkey := signer(t, 1)
	thief, thiefKey := signer(t, 9)
	l := newLog(t, login())
	n := len(l.leaves)
	held, last := l.sign(t, s, 5), l.sign(t, s, n)
	good := l.export(t, []string{vkey}, map[int][]byte{n: last})
	lines := bytes.SplitAfter(good, []byte("\n"))
	lines = lines[:len(lines)-1]
	with := func(change func([][]byte) [][]byte) []byte {
		return bytes.Join(change(slices.Clone(lines)), nil)
	}
	replace := func(i int, old, with string) []byte {
		out := bytes.Replace(lines[i], []byte(old), []byte(with), 1)
		if bytes.Equal(out, lines[i]) {
			t.Fatalf("%q is not in line %d", old, i)
		}
		return bytes.Join(slices.Concat(lines[:i], [][]byte{out}, lines[i+1:]), nil)
	}
	rewritten := l.clone()
	rewritten.leaves[2], rewritten.sidecars[2] = l.leaves[3], l.sidecars[3]
	short := &testLog{leaves: l.leaves[:3], sidecars: l.sidecars[:3]}

	for name, tt := range map[string]struct {
		file []byte
		opt  Options
		want error
	}{
		"empty file":           {nil, Options{}, ErrFormat},
		"other format":         {replace(0, "keytether-audit/1", "keytether-audit/2"), Options{}, ErrFormat},
		"header without keys":  {replace(0, `"`+vkey+`"`, ""), Options{}, ErrFormat},
		"header with more":     {replace(0, `"size"`, `"new":1,"size"`), Options{}, ErrFormat},
		"key that is none":     {good, Options{Keys: []string{"x"}}, ErrKey},
		"not the pinned key":   {l.export(t, []string{thiefKey}, map[int][]byte{n: l.sign(t, thief, n)}), Options{Keys: []string{vkey}}, ErrKey},
		"thief's key, held":    {l.export(t, []string{thiefKey}, map[int][]byte{n: l.sign(t, thief, n)}), Options{Held: [][]byte{held}}, ErrKey},
		"another log":          {replace(0, origin, "127.0.0.1:8430/blue"), Options{Keys: []string{vkey}}, ErrKey},
		"bad signature":        {replace(n+1, `\n12\n`, `\n11\n`), Options{}, ErrSignature},
		"held, bad signature":  {good, Options{Held: [][]byte{bytes.Replace(held, []byte("\n5\n"), []byte("\n4\n"), 1)}}, ErrSignature},
		"held is no note":      {good, Options{Held: [][]byte{[]byte("x")}}, ErrFormat},
		"lines swapped":        {with(func(l [][]byte) [][]byte { l[3], l[4] = l[4], l[3]; return l }), Options{}, ErrDropped},
		"line twice":           {with(func(l [][]byte) [][]byte { return slices.Insert(l, 3, l[2]) }), Options{}, ErrReordered},
		"line dropped":         {with(func(l [][]byte) [][]byte { return slices.Delete(l, 3, 4) }), Options{}, ErrDropped},
		"cut after a leaf":     {with(func(l [][]byte) [][]byte { return l[:5] }), Options{}, ErrDropped},
		"last checkpoint gone": {with(func(l [][]byte) [][]byte { return l[:n+1] }), Options{}, ErrDropped},
		"checkpoint too early": {with(func(l [][]byte) [][]byte { l[n], l[n+1] = l[n+1], l[n]; return l }), Options{}, ErrDropped},
		"checkpoint too late":  {with(func(x [][]byte) [][]byte { return slices.Insert(x, n+1, checkpointLine(held)) }), Options{}, ErrChanged},
		"older than held":      {short.export(t, []string{vkey}, map[int][]byte{3: short.sign(t, s, 3)}), Options{Held: [][]byte{held}}, ErrDropped},
		"rewritten":            {rewritten.export(t, []string{vkey}, map[int][]byte{n: last}), Options{}, ErrChanged},
		"rewritten, held":      {rewritten.export(t, []string{vkey}, map[int][]byte{n: last}), Options{Held: [][]byte{held}}, ErrChanged},
		"rewritten and signed": {rewritten.export(t, []string{vkey}, map[int][]byte{n: rewritten.sign(t, s, n)}), Options{Held: [][]byte{held}}, ErrForked},
		"sidecar of another": {func() []byte {
			e := l.clone()
			e.sidecars[2] = e.sidecars[1]
			return e.export(t, []string{vkey}, map[int][]byte{n: last})
		}(), Options{}, ErrChanged},
		"sidecar for no facts": {func() []byte {
			e := l.clone()
			e.sidecars[3] = e.sidecars[1]
			return e.export(t, []string{vkey}, map[int][]byte{n: last})
		}(), Options{}, ErrChanged},
		"signed marked as tail":  {replace(2, `{"index"`, `{"tail":true,"index"`), Options{}, ErrFormat},
		"tail marked as signed":  {with(func(x [][]byte) [][]byte { return append(x, leafLine(n, l.leaves[0], "")) }), Options{}, ErrFormat},
		"tail number wrong":      {with(func(x [][]byte) [][]byte { return append(x, leafLine(n+1, l.leaves[0], `"tail":true,`)) }), Options{}, ErrDropped},
		"tail leaf malformed":    {with(func(x [][]byte) [][]byte { return append(x, leafLine(n, []byte("\x01{}"), `"tail":true,`)) }), Options{}, ErrFormat},
		"checkpoint in the tail": {with(func(x [][]byte) [][]byte { return append(x, leafLine(n, l.leaves[0], `"tail":true,`), x[n+1]) }), Options{}, ErrFormat},
		"both in one line":       {replace(2, `{"index"`, `{"checkpoint":"x","index"`), Options{}, ErrFormat},
		"two values in a line":   {replace(2, "}\n", "}{}\n"), Options{}, ErrFormat},
		"long line":              {replace(2, "}\n", strings.Repeat(" ", MaxLine)+"}\n"), Options{}, ErrFormat},
		"not JSON":               {with(func(x [][]byte) [][]byte { return append(x, []byte("hello\n")) }), Options{}, ErrFormat},
	} {
		if _, err := verify(tt.file, tt.opt); !errors.Is(err, tt.want) || err == nil {
			t.Errorf("%s: %v, want %v", name, err, tt.want)
		}
	}
	if _, err := verify(good, Options{Keys: []string{vkey}, Held: [][]byte{held, last}}); err != nil {
		t.Errorf("the good file: %v", err)
	}
}

func checkpointLine(msg []byte) []byte { return fmt.Appendf(nil, "{\"checkpoint\":%q}\n", msg) }

func leafLine(i int, leaf []byte, more string) []byte {
	return fmt.Appendf(nil, "{%s\"index\":%d,\"leaf\":\"%s\"}\n", more, i, b64(leaf))
}

func TestWriterRefusesAnotherOrder(t *testing.T) {
	s, vkey := signer(t, 1)
	l := newLog(t, login())
	if _, err := NewWriter(io.Discard, Header{Origin: origin, Size: 1, ExportedAt: t0}); !errors.Is(err, ErrFormat) {
		t.Errorf("without keys: %v", err)
	}
	w, err := NewWriter(io.Discard, Header{Origin: origin, Keys: []string{vkey}, Size: 1, ExportedAt: t0})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Leaf(l.leaves[0], nil); err != nil {
		t.Fatal(err)
	}
	if err := w.Leaf(l.leaves[1], nil); !errors.Is(err, ErrFormat) {
		t.Errorf("tail before the checkpoint: %v", err)
	}
	if err := w.Close(); !errors.Is(err, ErrFormat) {
		t.Errorf("closed without checkpoint: %v", err)
	}
	if err := w.Checkpoint(l.sign(t, s, 1)); err != nil {
		t.Fatal(err)
	}
	if err := w.Leaf(l.leaves[1], nil); err != nil {
		t.Fatal(err)
	}
	if err := w.Checkpoint(l.sign(t, s, 2)); !errors.Is(err, ErrFormat) {
		t.Errorf("checkpoint in the tail: %v", err)
	}
	if err := w.Close(); err != nil {
		t.Error(err)
	}
}

// A reader that fails is not a file that is wrong.
func TestVerifyPassesReadErrorsOn(t *testing.T) {
	broken := errors.New("disk")
	_, err := Verify(io.MultiReader(strings.NewReader(`{"format"`), errReader{broken}), Options{})
	if !errors.Is(err, broken) {
		t.Errorf("%v", err)
	}
}

type errReader struct{ err error }

func (r errReader) Read([]byte) (int, error) { return 0, r.err }

func FuzzVerify(f *testing.F) {
	s, vkey := signer(f, 1)
	l := newLog(f, login())
	held := l.sign(f, s, 3)
	honest := l.leaves
	f.Add(l.export(f, []string{vkey}, map[int][]byte{12: l.sign(f, s, 12)}))
	f.Add(l.export(f, []string{vkey}, map[int][]byte{3: held, 8: l.sign(f, s, 8)}))
	f.Add(newLog(f, nil).export(f, []string{vkey}, nil))
	f.Add([]byte("{}\n"))
	f.Fuzz(func(t *testing.T, file []byte) {
		var seen int
		rep, err := verify(file, Options{Keys: []string{vkey}, Held: [][]byte{held}, Visit: func(int64, event.Record, bool) { seen++ }})
		if err != nil {
			for _, want := range []error{ErrFormat, ErrKey, ErrSignature, ErrChanged, ErrDropped, ErrReordered, ErrForked} {
				if errors.Is(err, want) {
					return
				}
			}
			t.Fatalf("not a sentinel: %v", err)
		}
		if rep.Size < 3 || rep.Root != mth(honest[:rep.Size]) || int64(seen) != rep.Size+rep.Tail {
			t.Fatalf("accepted a history that was never signed: %+v", rep)
		}
	})
}
