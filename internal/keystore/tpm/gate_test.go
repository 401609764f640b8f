package tpm

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// TestGate plays a chip that hangs for a while.
//
// Invariant: TP-6
func TestGate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate()
		start := time.Now()
		slow := func(d time.Duration) func(context.Context) (int, error) {
			return func(context.Context) (int, error) {
				time.Sleep(d)
				return 1, nil
			}
		}
		after := func(d time.Duration, want, err error) {
			t.Helper()
			if !errors.Is(err, want) || time.Since(start) != d {
				t.Errorf("%v after %v, want %v after %v", err, time.Since(start), want, d)
			}
		}
		// One leaves early; that says nothing about the chip, and the next one waits.
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := through(ctx, g, 3*time.Second, slow(2*time.Second))
		after(time.Second, context.DeadlineExceeded, err)
		_, err = through(t.Context(), g, 3*time.Second, slow(0))
		after(2*time.Second, nil, err)
		// One hangs: it is left in time, with all who wait, and the next are refused at once.
		done := make(chan error)
		go func() {
			_, err := through(t.Context(), g, 3*time.Second, slow(10*time.Second))
			done <- err
		}()
		synctest.Wait()
		_, err = through(t.Context(), g, 3*time.Second, slow(0))
		after(5*time.Second, errHangs, err)
		after(5*time.Second, errHangs, <-done)
		_, err = through(t.Context(), g, 3*time.Second, slow(0))
		after(5*time.Second, errHangs, err)
		// It comes back, and all is well.
		time.Sleep(8 * time.Second)
		_, err = through(t.Context(), g, 3*time.Second, slow(0))
		after(13*time.Second, nil, err)
	})
}
