package storetest

import (
	"fmt"
	"reflect"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/keytether/keytether/internal/grant"
	"github.com/keytether/keytether/internal/store"
)

// drawAny draws a value for every field by reflection, so that a field that is
// added later is in the test on that day.
func drawAny[T any](t *rapid.T, label string) T {
	var v T
	draw(t, label, reflect.ValueOf(&v).Elem())
	return v
}

func draw(t *rapid.T, label string, v reflect.Value) {
	switch v.Interface().(type) {
	case time.Time:
		if rapid.IntRange(0, 3).Draw(t, label+" zero") > 0 {
			us := rapid.Int64Range(-62135596800000000+1, 253402300799999999).Draw(t, label)
			v.Set(reflect.ValueOf(time.UnixMicro(us).UTC()))
		}
		return
	case time.Duration:
		v.SetInt(rapid.Int64().Draw(t, label))
		return
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString(rapid.String().Draw(t, label))
	case reflect.Bool:
		v.SetBool(rapid.Bool().Draw(t, label))
	case reflect.Int, reflect.Int64:
		v.SetInt(rapid.Int64().Draw(t, label))
	case reflect.Uint32:
		v.SetUint(uint64(rapid.Uint32().Draw(t, label)))
	case reflect.Uint8:
		v.SetUint(uint64(rapid.Byte().Draw(t, label)))
	case reflect.Array:
		reflect.Copy(v, reflect.ValueOf(rapid.SliceOfN(rapid.Byte(), v.Len(), v.Len()).Draw(t, label)))
	case reflect.Slice:
		if n := rapid.IntRange(-1, 3).Draw(t, label+" length"); n >= 0 { // -1: nil
			v.Set(reflect.MakeSlice(v.Type(), n, n))
			for i := range n {
				draw(t, fmt.Sprintf("%s[%d]", label, i), v.Index(i))
			}
		}
	case reflect.Struct:
		for i := range v.NumField() {
			draw(t, label+"."+v.Type().Field(i).Name, v.Field(i))
		}
	default:
		panic("storetest: draw does not know " + v.Type().String())
	}
}

// testRoundTrip: every field of every state comes back as it was given, after
// its first commit and after a change of all fields.
func testRoundTrip(t *testing.T, s store.Store) {
	n := 0
	ctx := t.Context()
	rapid.Check(t, func(rt *rapid.T) {
		n++ // keys are new in every round
		key := fmt.Sprintf("%d-%s", n, rapid.StringMatching(`[a-z]{1,8}`).Draw(rt, "id"))
		request, request2 := drawAny[grant.Request](rt, "request"), drawAny[grant.Request](rt, "request2")
		roundTrip(rt, request, request2, func(v *grant.Request, second bool) {
			v.Tenant, v.ID, v.MaxAge = tenant, key, int(int32(v.MaxAge))
			uniqueHash(&v.HandleHash, n, second)
			uniqueHash(&v.CodeHash, n, second)
		}, func(v []store.Versioned[grant.Request]) error {
			return s.Commit(ctx, tenant, store.Change{Requests: v})
		}, func() (store.Versioned[grant.Request], error) { return s.Request(ctx, tenant, key) })

		roundTrip(rt, drawAny[grant.Grant](rt, "grant"), drawAny[grant.Grant](rt, "grant2"), func(v *grant.Grant, _ bool) {
			v.Tenant, v.ID = tenant, key
		}, func(v []store.Versioned[grant.Grant]) error {
			return s.Commit(ctx, tenant, store.Change{Grants: v})
		}, func() (store.Versioned[grant.Grant], error) { return s.Grant(ctx, tenant, key) })

		roundTrip(rt, drawAny[grant.Device](rt, "device"), drawAny[grant.Device](rt, "device2"), func(v *grant.Device, _ bool) {
			v.Tenant, v.ID = tenant, key
			uniqueHash(&v.CodeHash, n, false)
		}, func(v []store.Versioned[grant.Device]) error {
			return s.Commit(ctx, tenant, store.Change{Devices: v})
		}, func() (store.Versioned[grant.Device], error) {
			var h grant.Hash
			uniqueHash(&h, n, false)
			return s.DeviceByCode(ctx, tenant, h)
		})

		roundTrip(rt, drawAny[grant.Decoy](rt, "decoy"), drawAny[grant.Decoy](rt, "decoy2"), func(v *grant.Decoy, _ bool) {
			v.Tenant, v.ID = tenant, key
			uniqueHash(&v.Hash, n, false)
		}, func(v []store.Versioned[grant.Decoy]) error {
			return s.Commit(ctx, tenant, store.Change{Decoys: v})
		}, func() (store.Versioned[grant.Decoy], error) {
			var h grant.Hash
			uniqueHash(&h, n, false)
			return s.DecoyByHash(ctx, tenant, h)
		})

		roundTrip(rt, drawAny[store.Account](rt, "account"), drawAny[store.Account](rt, "account2"), func(v *store.Account, _ bool) {
			v.ID, v.Email = key, v.Email+fmt.Sprint(n)
		}, func(v []store.Versioned[store.Account]) error {
			return s.Commit(ctx, tenant, store.Change{Accounts: v})
		}, func() (store.Versioned[store.Account], error) { return s.Account(ctx, tenant, key) })

		roundTrip(rt, drawAny[store.Session](rt, "session"), drawAny[store.Session](rt, "session2"), func(v *store.Session, _ bool) {
			v.ID = key
			uniqueHash(&v.Hash, n, false)
		}, func(v []store.Versioned[store.Session]) error {
			return s.Commit(ctx, tenant, store.Change{Sessions: v})
		}, func() (store.Versioned[store.Session], error) {
			var h grant.Hash
			uniqueHash(&h, n, false)
			return s.SessionByHash(ctx, tenant, h)
		})

		roundTrip(rt, drawAny[store.Installation](rt, "installation"), drawAny[store.Installation](rt, "installation2"), func(v *store.Installation, _ bool) {
			v.ID, v.Thumbprint = key, v.Thumbprint+fmt.Sprint(n)
		}, func(v []store.Versioned[store.Installation]) error {
			return s.Commit(ctx, tenant, store.Change{Installations: v})
		}, func() (store.Versioned[store.Installation], error) { return s.Installation(ctx, tenant, key) })

		roundTrip(rt, drawAny[store.Entry](rt, "entry"), drawAny[store.Entry](rt, "entry2"), func(v *store.Entry, _ bool) {
			v.ID, v.Kind = key, store.EntryResource
		}, func(v []store.Versioned[store.Entry]) error {
			return s.Commit(ctx, tenant, store.Change{Entries: v})
		}, func() (store.Versioned[store.Entry], error) {
			list, err := s.Entries(ctx, tenant)
			return pick(list, func(v store.Entry) bool { return v.ID == key }), err
		})

		roundTrip(rt, drawAny[store.SealedKey](rt, "key"), drawAny[store.SealedKey](rt, "key2"), func(v *store.SealedKey, _ bool) {
			v.ID = key
		}, func(v []store.Versioned[store.SealedKey]) error {
			return s.Commit(ctx, tenant, store.Change{Keys: v})
		}, func() (store.Versioned[store.SealedKey], error) {
			list, err := s.Keys(ctx, tenant)
			return pick(list, func(v store.SealedKey) bool { return v.ID == key }), err
		})

		roundTrip(rt, drawAny[store.RegisteredClient](rt, "client"), drawAny[store.RegisteredClient](rt, "client2"), func(v *store.RegisteredClient, _ bool) {
			v.ID = key
		}, func(v []store.Versioned[store.RegisteredClient]) error {
			return s.Commit(ctx, tenant, store.Change{Clients: v})
		}, func() (store.Versioned[store.RegisteredClient], error) {
			list, err := s.Clients(ctx, tenant)
			return pick(list, func(v store.RegisteredClient) bool { return v.ID == key }), err
		})
	})
}

// uniqueHash makes a key that is looked up unlike those of other rounds.
func uniqueHash(h *grant.Hash, n int, second bool) {
	*h = grant.Hash{byte(n >> 16), byte(n >> 8), byte(n), 0xaa}
	if second {
		h[3] = 0xbb
	}
}

func pick[T any](list []store.Versioned[T], is func(T) bool) store.Versioned[T] {
	for _, v := range list {
		if is(v.Value) {
			return v
		}
	}
	return store.Versioned[T]{}
}

func roundTrip[T any](t *rapid.T, first, second T, fix func(*T, bool), commit func([]store.Versioned[T]) error, get func() (store.Versioned[T], error)) {
	fix(&first, false)
	fix(&second, true)
	for version, want := range []T{first, second} {
		if err := commit(read(want, uint64(version))); err != nil {
			t.Fatalf("%T: %v", want, err)
		}
		got, err := get()
		if err != nil {
			t.Fatalf("%T: %v", want, err)
		}
		if got.Version != uint64(version)+1 {
			t.Fatalf("%T: version %d, want %d", want, got.Version, version+1)
		}
		if !reflect.DeepEqual(got.Value, want) {
			t.Fatalf("%T came back differently\ngot  %+v\nwant %+v", want, got.Value, want)
		}
	}
}
