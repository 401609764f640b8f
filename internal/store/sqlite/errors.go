package sqlite

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"zombiezen.com/go/sqlite"

	"github.com/keytether/keytether/internal/store"
)

// ErrCorrupt: the file is no database of ours, or is damaged. Stop the server
// and restore a backup. It comes together with store.ErrUnavailable.
var ErrCorrupt = errors.New("sqlite: the data file is damaged or not Keytether's")

// classify turns an error of SQLite into the store's.
func classify(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, store.ErrUnavailable), errors.Is(err, store.ErrNewerSchema), errors.Is(err, store.ErrClosed),
		errors.Is(err, store.ErrFull), errors.Is(err, store.ErrConflict), errors.Is(err, store.ErrNotFound), errors.Is(err, fs.ErrExist):
		return err
	case errors.Is(err, ErrCorrupt):
		return fmt.Errorf("%w: %w", store.ErrUnavailable, err)
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("%w: %w", store.ErrUnavailable, err)
	case isFull(err):
		return fmt.Errorf("%w: %w", store.ErrFull, err)
	}
	code := sqlite.ErrCode(err)
	switch code.ToPrimary() {
	case sqlite.ResultFull:
		return fmt.Errorf("%w: %w", store.ErrFull, err)
	case sqlite.ResultConstraint:
		return fmt.Errorf("%w: %w", store.ErrConflict, err)
	case sqlite.ResultCorrupt, sqlite.ResultNotADB, sqlite.ResultFormat:
		return fmt.Errorf("%w: %w: %w", store.ErrUnavailable, ErrCorrupt, err)
	}
	if code == sqlite.ResultIOErrSHMSize { // the index beside the WAL could not grow
		return fmt.Errorf("%w: %w", store.ErrFull, err)
	}
	return fmt.Errorf("%w: %w", store.ErrUnavailable, err)
}

func damaged(what string) error {
	return fmt.Errorf("%w: %w: %s", store.ErrUnavailable, ErrCorrupt, what)
}
