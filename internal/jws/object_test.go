package jws

import (
	"encoding/json"
	"errors"
	"strconv"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func members(raw string) (map[string]string, error) {
	out := map[string]string{}
	err := EachMember([]byte(raw), func(name string, v Value) error {
		out[name] = string(v)
		return nil
	})
	return out, err
}

func TestEachMember(t *testing.T) {
	for _, c := range []struct {
		raw string
		ok  bool
	}{
		{`{}`, true},
		{" {\t}\r\n", true},
		{`{"a":1}`, true},
		{` { "a" : [ 1 , { "b" : null } ] , "c" : "d" } `, true},
		{`{"a":-0.5e+3}`, true},
		{`{"a":0}`, true},
		{`{"a":"\ud83d\ude00\u0000"}`, true},
		{`{"a":{"b":1,"b":2}}`, true},
		{``, false},
		{`{`, false},
		{`{"a"}`, false},
		{`{"a":}`, false},
		{`{"a":1,}`, false},
		{`{,}`, false},
		{`{"a":1}{}`, false},
		{`{"a":01}`, false},
		{`{"a":1.}`, false},
		{`{"a":.5}`, false},
		{`{"a":+1}`, false},
		{`{"a":1e}`, false},
		{`{"a":-}`, false},
		{`{"a":tru}`, false},
		{`{"a":True}`, false},
		{`{"a":nul`, false},
		{`{'a':1}`, false},
		{`{a:1}`, false},
		{`{"a":"\x"}`, false},
		{`{"a":"\u12"}`, false},
		{`{"a":"\u12g4"}`, false},
		{"{\"a\":\"\n\"}", false},
		{`{"a":"`, false},
		{`{"a":"\ud83d"}`, false},
		{`{"a":"\ude00"}`, false},
		{`{"a":"\ud83dx"}`, false},
		{`{"a":"\ud83d\ud83d"}`, false},
		{"{\"a\":\"\xff\"}", false},
		{"{\"a\":\"\xc0\x80\"}", false},
		{"{\"\xed\xa0\x80\":1}", false},
		{`{"a":1,"a":1}`, false},
		{`{"a":1,"\u0061":1}`, false},
		{`{"a":[1,]}`, false},
		{`{"a":[1}`, false},
		{`{"a":{"b"}}`, false},
		{"\xef\xbb\xbf{}", false},
		{"{}\x00", false},
		{`[]`, false},
		{`"a"`, false},
		{`null`, false},
		{`{"a":` + strings.Repeat("[", maxDepth) + strings.Repeat("]", maxDepth) + `}`, true},
		{`{"a":` + strings.Repeat("[", maxDepth+1) + strings.Repeat("]", maxDepth+1) + `}`, false},
	} {
		_, err := members(c.raw)
		if (err == nil) != c.ok || err != nil && !errors.Is(err, ErrMalformed) {
			t.Errorf("%q: %v", c.raw, err)
		}
	}
	var b strings.Builder
	for i := range maxMembers + 1 {
		b.WriteString(`,"` + strconv.Itoa(i) + `":0`)
	}
	if _, err := members("{" + b.String()[1:] + "}"); !errors.Is(err, ErrMalformed) {
		t.Errorf("too many members: %v", err)
	}
}

func TestValueTypes(t *testing.T) {
	m, err := members(`{"s":"a\u00e9\n","n":12,"b":true,"x":null,"a":["p","q"]}`)
	if err != nil {
		t.Fatal(err)
	}
	if s, err := Value(m["s"]).Text(); err != nil || s != "aé\n" {
		t.Errorf("%q, %v", s, err)
	}
	for _, name := range []string{"n", "b", "x", "a"} {
		if _, err := Value(m[name]).Text(); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s is a string: %v", name, err)
		}
	}
	if b, err := Value(m["b"]).Bool(); err != nil || !b {
		t.Errorf("%v, %v", b, err)
	}
	if _, err := Value(m["s"]).Bool(); !errors.Is(err, ErrMalformed) {
		t.Errorf("a string is a boolean: %v", err)
	}
	if !Value(m["a"]).IsArray() || Value(m["s"]).IsArray() {
		t.Error("IsArray")
	}
	for _, bad := range []string{`[1,]`, `[`, `[1 2]`, `{}`, `[1]x`, ``} {
		if err := EachElement([]byte(bad), func(Value) error { return nil }); !errors.Is(err, ErrMalformed) {
			t.Errorf("%q: %v", bad, err)
		}
	}
	stop := errors.New("stop")
	if err := EachElement([]byte(`[1]`), func(Value) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("%v", err)
	}
}

func TestValueTime(t *testing.T) {
	for raw, want := range map[string]int64{
		"0": 0, "1562262616": 1562262616, "1562262616.9": 1562262616, "1.5e9": 1500000000, "253402300799": maxNumericDate,
	} {
		if got, err := Value(raw).Time(); err != nil || !got.Equal(time.Unix(want, 0)) {
			t.Errorf("%s: %v, %v", raw, got, err)
		}
	}
	for _, raw := range []string{"-1", "-0.5", "253402300800", "1e300", "1e400", `"1562262616"`, "null", "true", "", "18446744073709551616"} {
		if got, err := Value(raw).Time(); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %v, %v", raw, got, err)
		}
	}
}

// What AppendString writes, we and encoding/json read back.
func TestAppendStringRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := rapid.String().Draw(t, "s")
		raw := AppendString(nil, s)
		var theirs string
		if err := json.Unmarshal(raw, &theirs); err != nil || theirs != s {
			t.Fatalf("%q: %q, %v", s, theirs, err)
		}
		if ours, err := Value(raw).Text(); err != nil || ours != s {
			t.Fatalf("%q: %q, %v", s, ours, err)
		}
	})
}

// Whatever we read, encoding/json reads in the same way.
func FuzzEachMember(f *testing.F) {
	for _, seed := range []string{`{}`, `{"a":[1,{"b":null}],"c":"\ud83d\ude00"}`, `{"a":1,"a":2}`, `{"a":-1.5E-7}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		ours := map[string]Value{}
		if EachMember(raw, func(name string, v Value) error { ours[name] = v; return nil }) != nil {
			return
		}
		var theirs map[string]json.RawMessage
		if err := json.Unmarshal(raw, &theirs); err != nil {
			t.Fatalf("encoding/json refuses %q: %v", raw, err)
		}
		if len(ours) != len(theirs) {
			t.Fatalf("%d members, encoding/json sees %d", len(ours), len(theirs))
		}
		for name, v := range ours {
			if string(theirs[name]) != string(v) {
				t.Fatalf("%q: %q, encoding/json sees %q", name, v, theirs[name])
			}
			var s string
			if got, err := v.Text(); err == nil {
				if json.Unmarshal(v, &s) != nil || s != got {
					t.Fatalf("%q: %q, encoding/json sees %q", name, got, s)
				}
			}
		}
	})
}
