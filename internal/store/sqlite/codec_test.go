package sqlite

import (
	"bufio"
	"encoding/hex"
	"fmt"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/keytether/keytether/internal/grant"
	"github.com/keytether/keytether/internal/store"
	"github.com/keytether/keytether/internal/testkit"
)

// fillByName gives every field a value that follows from its name alone, so
// that a vector stays when other fields come.
func fillByName(v reflect.Value, name string) {
	n := int64(0)
	for _, c := range name {
		n = n*31 + int64(c)
	}
	switch v.Interface().(type) {
	case time.Time:
		v.Set(reflect.ValueOf(testkit.Epoch.Add(time.Duration(n%1_000_000) * time.Second)))
		return
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString(name)
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int64:
		v.SetInt(n)
	case reflect.Uint32, reflect.Uint8:
		v.SetUint(uint64(n) % 251)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		fallthrough
	case reflect.Array:
		for i := range v.Len() {
			fillByName(v.Index(i), fmt.Sprint(name, i))
		}
	case reflect.Struct:
		for i := range v.NumField() {
			fillByName(v.Field(i), v.Type().Field(i).Name)
		}
	default:
		panic(v.Type().String())
	}
}

// vector checks one state against its line in the golden file, both ways. The
// columns are not in the encoding and are cleared.
func vector[T any](t *testing.T, golden map[string]string, fields func(*coder, *T), clearColumns func(*T)) {
	t.Helper()
	var v, back T
	fillByName(reflect.ValueOf(&v).Elem(), "")
	clearColumns(&v)
	name := fmt.Sprintf("%T", v)
	got := encode(nil, &v, fields)
	if hex.EncodeToString(got) != golden[name] {
		t.Errorf("the encoding of %s changed; a new one needs a new version byte, and the old one's decoder beside it\ngot  %s %x", name, name, got)
	}
	want, err := hex.DecodeString(golden[name])
	if err != nil {
		t.Fatal(err)
	}
	if !decode(string(want), &back, fields) || !reflect.DeepEqual(v, back) {
		t.Errorf("%s: the golden vector reads as %+v", name, back)
	}
	for n := range want { // cut off anywhere, it is refused
		var cut T
		if decode(string(want[:n]), &cut, fields) {
			t.Errorf("%s: read from its first %d bytes", name, n)
		}
	}
	if decode(string(want)+"x", &back, fields) {
		t.Errorf("%s: read with something behind it", name)
	}
}

func TestStateVectors(t *testing.T) {
	f, err := os.Open("testdata/states-v1.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	golden := map[string]string{}
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if name, value, ok := strings.Cut(lines.Text(), " "); ok && !strings.HasPrefix(name, "#") {
			golden[name] = value
		}
	}
	vector(t, golden, requestFields, func(v *grant.Request) { v.Tenant, v.ID = "", "" })
	vector(t, golden, grantFields, func(v *grant.Grant) { v.Tenant, v.ID = "", "" })
	vector(t, golden, accountFields, func(v *store.Account) { v.ID = "" })
	before, err := hex.DecodeString(golden["store.Account.before"])
	if err != nil {
		t.Fatal(err)
	}
	var a store.Account
	if !decode(string(before), &a, accountFields) || !a.LoginsSeen.IsZero() || a.Email != "Email" || string(encode(nil, &a, accountFields)) != string(before) {
		t.Errorf("an account of before reads as %+v", a)
	}
	vector(t, golden, sessionFields, func(v *store.Session) { v.ID = "" })
	vector(t, golden, installationFields, func(v *store.Installation) { v.ID = "" })
	vector(t, golden, decoyFields, func(v *grant.Decoy) { v.Tenant, v.ID = "", "" })
	vector(t, golden, entryFields, func(v *store.Entry) { v.ID, v.Kind = "", "" })
	vector(t, golden, keyFields, func(v *store.SealedKey) { v.ID = "" })
}

// FuzzDecodeState: whatever stands in a row, reading it ends without a panic,
// and what is accepted is written again as it was.
func FuzzDecodeState(f *testing.F) {
	var g grant.Grant
	fillByName(reflect.ValueOf(&g).Elem(), "")
	f.Add(encode(nil, &g, grantFields))
	f.Add([]byte{stateVersion})
	f.Fuzz(func(t *testing.T, b []byte) {
		var g, again grant.Grant
		if decode(string(b), &g, grantFields) {
			if !decode(string(encode(nil, &g, grantFields)), &again, grantFields) || !reflect.DeepEqual(g, again) {
				t.Fatalf("%+v came back as %+v", g, again)
			}
		}
		var r grant.Request
		_ = decode(string(b), &r, requestFields)
		var k store.SealedKey
		_ = decode(string(b), &k, keyFields)
	})
}
