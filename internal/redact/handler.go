package redact

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
)

// Handler masks secrets in all that passes to h: messages, keys, group names
// and values of every kind, at every level.
func Handler(h slog.Handler) slog.Handler { return handler{inner: h} }

type handler struct{ inner slog.Handler }

func (h handler) Enabled(ctx context.Context, l slog.Level) bool { return h.inner.Enabled(ctx, l) }

func (h handler) Handle(ctx context.Context, r slog.Record) error {
	out := slog.NewRecord(r.Time, r.Level, String(r.Message), r.PC)
	r.Attrs(func(a slog.Attr) bool {
		out.AddAttrs(attr(a))
		return true
	})
	return h.inner.Handle(ctx, out)
}

func (h handler) WithAttrs(list []slog.Attr) slog.Handler {
	return handler{inner: h.inner.WithAttrs(attrs(list))}
}

func (h handler) WithGroup(name string) slog.Handler {
	return handler{inner: h.inner.WithGroup(String(name))}
}

func attrs(list []slog.Attr) []slog.Attr {
	out := make([]slog.Attr, len(list))
	for i, a := range list {
		out[i] = attr(a)
	}
	return out
}

func attr(a slog.Attr) slog.Attr {
	return slog.Attr{Key: String(a.Key), Value: value(a.Value.Resolve())}
}

func value(v slog.Value) slog.Value {
	switch v.Kind() {
	case slog.KindString:
		return slog.StringValue(String(v.String()))
	case slog.KindGroup:
		return slog.GroupValue(attrs(v.Group())...)
	case slog.KindAny:
		return anyValue(v)
	}
	return v // numbers, times: nothing of ours
}

// anyValue looks at both ways in which a handler may print the value, as text
// and as JSON; if there is a secret in either, the masked text takes its place.
func anyValue(v slog.Value) slog.Value {
	x := v.Any()
	if b, ok := x.([]byte); ok {
		x = string(b)
		if masked := String(string(b)); masked != x {
			return slog.StringValue(masked)
		}
		return v
	}
	text := fmt.Sprintf("%+v", x) // also survives a method that panics
	if masked := String(text); masked != text {
		return slog.StringValue(masked)
	}
	if _, ok := x.(error); ok {
		return v // every handler prints Error()
	}
	if j, err := marshal(x); err == nil {
		if masked := String(j); masked != j {
			return slog.StringValue(masked)
		}
	}
	return v
}

func marshal(x any) (s string, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("redact: %T panics when it is marshalled", x)
		}
	}()
	b, err := json.Marshal(x)
	return string(b), err
}
