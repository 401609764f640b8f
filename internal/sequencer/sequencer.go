// Package sequencer turns committed audit leaves into Merkle hashes and signed
// checkpoints. One sequencer runs per tenant's log.
//
// It believes nothing that it finds: before it signs for the first time, it
// checks that the stored checkpoint is signed for this log, that the stored
// hashes have the signed root, and that the last signed leaf is the one that
// was hashed. If not, it refuses to sign anything more (ErrDisagree): a
// checkpoint over a log that was rewritten would make the rewriting official.
// (All leaves are checked by `keytether audit verify`, on an export.)
package sequencer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/keytether/keytether/internal/audit"
	"github.com/keytether/keytether/internal/store"
)

// ErrDisagree: the log and its signed checkpoint disagree. It is final; nothing
// is signed any more. A person must compare with a backup and with what
// auditors hold.
var ErrDisagree = errors.New("sequencer: the audit log does not match its signed checkpoint")

const (
	// DefaultEvery is how often new leaves are signed for: a record is covered
	// by a checkpoint within a second.
	DefaultEvery = 500 * time.Millisecond
	// maxLeaves bounds what one checkpoint adds, and with it memory.
	maxLeaves = 1 << 15
	// lastWords bounds the last checkpoint when Run is told to stop.
	lastWords = 5 * time.Second
)

// Sequencer of one tenant's log. Set the exported fields, then do not change
// them but by UseKeys. Its methods may be called from many goroutines.
type Sequencer struct {
	Log    store.Log
	Tenant string
	Origin string         // audit.Origin
	Signer note.Signer    // the key that signs now
	Former []note.Signer  // sign as well, so that who holds their keys alone sees the new one vouched for
	Known  note.Verifiers // the verifier keys of Signer and of former signers
	Clock  func() time.Time
	Every  time.Duration // 0 means DefaultEvery
	Logger *slog.Logger  // may be nil

	mu     sync.Mutex
	loaded bool
	edge   edge  // of the tree up to the stored checkpoint
	final  error // ErrDisagree, once it was found
}

// UseKeys replaces the keys after a rotation, beginning with the next checkpoint.
func (s *Sequencer) UseKeys(known note.Verifiers, signer note.Signer, former ...note.Signer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.Known, s.Signer, s.Former = known, signer, former
}

// Run sequences until ctx ends, and once more then, so that an orderly
// shutdown leaves no unsigned tail. It returns nil after that, or an error that
// is ErrDisagree. Other errors (a full disk) are logged and tried again.
func (s *Sequencer) Run(ctx context.Context) error {
	every := s.Every
	if every == 0 {
		every = DefaultEvery
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		if _, err := s.Sequence(ctx); errors.Is(err, ErrDisagree) {
			return err
		} else if err != nil && ctx.Err() == nil {
			s.warn(err)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastWords)
			defer cancel()
			if _, err := s.Sequence(last); errors.Is(err, ErrDisagree) {
				return err
			} else if err != nil {
				s.warn(err)
			}
			return nil
		}
	}
}

func (s *Sequencer) warn(err error) {
	if s.Logger != nil {
		s.Logger.Warn("the audit log could not be signed; trying again", "tenant", s.Tenant, "error", err)
	}
}

// Sequence signs for all leaves that were committed before the call and
// returns how many leaves the checkpoint covers now. With nothing new it signs
// nothing.
func (s *Sequencer) Sequence(ctx context.Context) (int64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.final != nil {
		return 0, s.final
	}
	size, err := s.sequence(ctx)
	if errors.Is(err, store.ErrConflict) { // an answer that was lost, or another sequencer
		s.loaded = false
		size, err = s.sequence(ctx)
	}
	if err != nil {
		// What was stored is not certain.
		s.loaded = false
		if errors.Is(err, ErrDisagree) {
			s.final = err
		}
		return 0, err
	}
	return size, nil
}

func (s *Sequencer) sequence(ctx context.Context) (int64, error) {
	if !s.loaded {
		if err := s.load(ctx); err != nil {
			return 0, err
		}
		s.loaded = true
	}
	size, err := s.Log.Size(ctx, s.Tenant)
	if err != nil {
		return 0, err
	}
	if size < s.edge.size {
		return 0, fmt.Errorf("%w: %d leaves were signed, %d are there", ErrDisagree, s.edge.size, size)
	}
	for s.edge.size < size {
		if err := s.extend(ctx, min(size, s.edge.size+maxLeaves)); err != nil {
			return 0, err
		}
	}
	return s.edge.size, nil
}

// extend signs for the leaves up to size.
func (s *Sequencer) extend(ctx context.Context, size int64) error {
	first, next := s.edge.hashes(), s.edge.clone()
	fresh := make([][32]byte, 0, 2*(size-next.size)+1)
	err := s.Log.Leaves(ctx, s.Tenant, next.size, size, func(l store.Leaf) error {
		if l.Index != next.size {
			return fmt.Errorf("%w: leaf %d came where %d was due", ErrDisagree, l.Index, next.size)
		}
		fresh = next.append(l.Data, fresh)
		return nil
	})
	if err != nil {
		return err
	}
	if next.size != size {
		return fmt.Errorf("%w: leaf %d is missing", ErrDisagree, next.size)
	}
	signed, err := audit.SignCheckpoint(audit.Checkpoint{
		Origin: s.Origin, Size: size, Root: next.root(), Time: s.Clock().UTC().Truncate(time.Microsecond),
	}, append([]note.Signer{s.Signer}, s.Former...)...)
	if err != nil {
		return err
	}
	if err := s.Log.Sequenced(ctx, s.Tenant, signed, first, fresh); err != nil {
		return err
	}
	s.edge = next
	return nil
}
