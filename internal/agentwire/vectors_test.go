package agentwire

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
)

func vectors(t testing.TB, name string, v any) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("..", "..", "conformance", "agentwire", name))
	if err != nil {
		t.Fatal(err)
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
}

type vector struct {
	Type   string          `json:"type"`
	Method string          `json:"method"`
	Path   string          `json:"path"`
	JSON   json.RawMessage `json:"json"`
	SameAs json.RawMessage `json:"same_as"`
	Body   string          `json:"body"`
	Why    string          `json:"why"`
}

type vectorFile struct {
	Vectors []vector `json:"vectors"`
}

func newOf(t testing.TB, name string) any {
	t.Helper()
	for _, v := range messages() {
		if reflect.TypeOf(v).Elem().Name() == name {
			return v
		}
	}
	t.Fatalf("no type %s", name)
	return nil
}

func messages() []any {
	return []any{
		new(Version), new(LoginRequest), new(LoginCodeRequest), new(LogoutRequest), new(LogoutResponse), new(Whoami),
		new(StatusResponse), new(TokenRequest), new(TokenResponse), new(AuthorizeRequest),
		new(AuthorizeResponse), new(ApprovalRequest), new(ApprovalResponse), new(Notice), new(Decoy), new(DecoysResponse), new(LockRequest), new(UnlockStoreRequest), new(StopRequest),
		new(ForwardRequest), new(Forward), new(ForwardEndRequest),
		new(Caller), new(Confirmation), new(ConfirmationsResponse), new(ConfirmationRequest), new(Error), new(Event),
	}
}

func sameJSON(t *testing.T, a, b []byte) bool {
	t.Helper()
	var x, y any
	if err := json.Unmarshal(a, &x); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, &y); err != nil {
		t.Fatal(err)
	}
	return reflect.DeepEqual(x, y)
}

func TestMessagesReadAndWriteTheVectors(t *testing.T) {
	var f vectorFile
	vectors(t, "messages.json", &f)
	seen := map[string]bool{}
	for _, v := range f.Vectors {
		seen[v.Type] = true
		m := newOf(t, v.Type)
		if err := Decode(bytes.NewReader(v.JSON), MaxBody, m); err != nil {
			t.Errorf("%s %s: %v", v.Type, v.JSON, err)
			continue
		}
		if c, ok := m.(interface{ Validate() error }); ok {
			if err := c.Validate(); err != nil {
				t.Errorf("%s %s: %v", v.Type, v.JSON, err)
			}
		}
		out, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		if !sameJSON(t, out, v.JSON) {
			t.Errorf("%s\n got %s\nwant %s", v.Type, out, v.JSON)
		}
	}
	for _, m := range messages() {
		if n := reflect.TypeOf(m).Elem().Name(); !seen[n] {
			t.Errorf("no vector for %s", n)
		}
	}
}

func TestEveryFieldHasAVector(t *testing.T) {
	var f vectorFile
	vectors(t, "messages.json", &f)
	have := map[string]string{}
	for _, v := range f.Vectors {
		have[v.Type] += string(v.JSON)
	}
	for _, m := range messages() {
		typ := reflect.TypeOf(m).Elem()
		if typ == reflect.TypeFor[Event]() {
			continue
		}
		for i := range typ.NumField() {
			name, _, _ := strings.Cut(typ.Field(i).Tag.Get("json"), ",")
			if name != "" && !strings.Contains(have[typ.Name()], `"`+name+`"`) {
				t.Errorf("%s.%s is in no vector", typ.Name(), name)
			}
		}
	}
}

func TestReaderToleratesNewerWriters(t *testing.T) {
	var f vectorFile
	vectors(t, "tolerated.json", &f)
	for _, v := range f.Vectors {
		got, want := newOf(t, v.Type), newOf(t, v.Type)
		if err := Decode(bytes.NewReader(v.JSON), MaxBody, got); err != nil {
			t.Errorf("%s: %v", v.JSON, err)
		}
		if err := Decode(bytes.NewReader(v.SameAs), MaxBody, want); err != nil {
			t.Errorf("%s: %v", v.SameAs, err)
		}
		a, _ := json.Marshal(got)
		b, _ := json.Marshal(want)
		if !bytes.Equal(a, b) {
			t.Errorf("%s means %s, want %s", v.JSON, a, b)
		}
	}
}

func TestReaderRefusesWrongShapes(t *testing.T) {
	var f vectorFile
	vectors(t, "refused.json", &f)
	if len(f.Vectors) == 0 {
		t.Fatal("no vectors")
	}
	for _, v := range f.Vectors {
		err := Decode(strings.NewReader(v.Body), MaxBody, newOf(t, v.Type))
		if err == nil {
			t.Errorf("%s accepted although it is %s", v.Body, v.Why)
		}
	}
}

func TestErrorCodesAreTheClosedList(t *testing.T) {
	var f struct {
		Codes []struct {
			Code   Code `json:"code"`
			Status int  `json:"status"`
			Exit   int  `json:"exit"`
		} `json:"codes"`
	}
	vectors(t, "errors.json", &f)
	src, err := os.ReadFile("errors.go")
	if err != nil {
		t.Fatal(err)
	}
	var got []Code
	for _, c := range f.Codes {
		got = append(got, c.Code)
		if c.Code.HTTPStatus() != c.Status {
			t.Errorf("%s: status %d, want %d", c.Code, c.Code.HTTPStatus(), c.Status)
		}
		if !c.Code.Known() {
			t.Errorf("%s is not known", c.Code)
		}
		// The exit code stands in the comment of the constant, and nowhere else in this package.
		documented := false
		for line := range strings.Lines(string(src)) {
			if strings.Contains(line, `= "`+string(c.Code)+`"`) {
				documented = strings.Contains(line, "// ["+string(rune('0'+c.Exit))+"]")
			}
		}
		if !documented {
			t.Errorf("the comment of %s does not say exit code %d", c.Code, c.Exit)
		}
	}
	if !slices.Equal(got, Codes()) {
		t.Errorf("vectors %v, code %v", got, Codes())
	}
	if Code("weather").Known() {
		t.Error("an unknown code is known")
	}
}

func TestCallerEnvPicksTheClosedList(t *testing.T) {
	var f struct {
		Environ []string          `json:"environ"`
		Env     map[string]string `json:"env"`
	}
	vectors(t, "caller_env.json", &f)
	if got := CallerEnv(f.Environ); !reflect.DeepEqual(map[string]string(got), f.Env) {
		t.Errorf("got %v, want %v", map[string]string(got), f.Env)
	}
	for _, n := range CallerNames() {
		if strings.Contains(n, "TOKEN") || strings.Contains(n, "SECRET") || strings.Contains(n, "PASSWORD") {
			t.Errorf("%s looks like a credential", n)
		}
	}
}
