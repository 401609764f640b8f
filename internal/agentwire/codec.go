package agentwire

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
)

// Decode reads one JSON object of at most limit bytes into v, to the end of r. Unknown fields
// are skipped. It gives ErrTooLarge, or ErrMalformed with the field's name where one is known;
// the input itself is never repeated.
func Decode(r io.Reader, limit int64, v any) error {
	b, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err != nil {
		return fmt.Errorf("agentwire: reading the body: %w", err)
	}
	if int64(len(b)) > limit {
		return fmt.Errorf("%w: more than %d bytes", ErrTooLarge, limit)
	}
	return unmarshal(b, v)
}

func unmarshal(b []byte, v any) error {
	b = bytes.TrimLeft(b, " \t\r\n")
	if len(b) == 0 || b[0] != '{' {
		return ErrMalformed
	}
	err := json.Unmarshal(b, v)
	if t, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		return fmt.Errorf("%w: field %q is not of the expected type", ErrMalformed, t.Field)
	}
	if err != nil {
		return ErrMalformed
	}
	return nil
}

// ReadRequest decodes the body of r into v and, where v has a Validate method, calls it. The
// error is an *Error with code "usage". An empty body is an empty object.
func ReadRequest(r *http.Request, v any) error {
	b, err := io.ReadAll(io.LimitReader(r.Body, MaxBody+1))
	switch {
	case err != nil:
		return NewError(Usage, "the request could not be read", err.Error(), "", err)
	case len(b) > MaxBody:
		return NewError(Usage, "the request is too large", fmt.Sprintf("a body may have %d bytes", MaxBody), "", ErrTooLarge)
	}
	if len(bytes.TrimSpace(b)) == 0 {
		b = []byte("{}")
	}
	if err := unmarshal(b, v); err != nil {
		return NewError(Usage, "the request is not understood", err.Error(), "send one JSON object as the documentation of agentwire shows it", err)
	}
	if c, ok := v.(interface{ Validate() error }); ok {
		return c.Validate()
	}
	return nil
}

// WriteResponse answers 200 with v as JSON.
func WriteResponse(w http.ResponseWriter, v any) error { return write(w, http.StatusOK, v) }

// WriteError answers with the code's status and the error as JSON. An err that is no *Error is
// sent as "failed" without its words, which were not written for this wire.
func WriteError(w http.ResponseWriter, err error) error {
	e, ok := errors.AsType[*Error](err)
	if !ok {
		e = NewError(Failed, "the agent could not do this", "an unexpected error that the agent's log names", "", err)
	}
	return write(w, e.Code.HTTPStatus(), e)
}

func write(w http.ResponseWriter, status int, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, err = w.Write(append(b, '\n'))
	return err
}
