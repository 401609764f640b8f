package sqlite

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"zombiezen.com/go/sqlite"

	"github.com/keytether/keytether/internal/audit"
	"github.com/keytether/keytether/internal/store"
)

// job is one unit of writing: a change, or something else that a method does.
type job struct {
	tenant string
	change store.Change
	states [][]byte // of the change's states, in the order of writer.change
	leaves []leaf   // of the change's records
	other  func(*writer) error
	done   chan error
}

type leaf struct {
	data    []byte
	sidecar []byte // nil when there are no facts
}

// jobs recycles jobs that were answered.
var jobs = sync.Pool{New: func() any { return &job{done: make(chan error, 1)} }}

// Commit implements store.Committer. When ctx ends before the answer, the
// change may or may not have been applied, or may be applied yet: the error
// wraps store.ErrUnavailable and the context's.
func (s *Store) Commit(ctx context.Context, tenant string, c store.Change) error {
	if c.IsEmpty() {
		return nil
	}
	j := jobs.Get().(*job)
	j.tenant, j.change = tenant, c
	if err := s.encode(j); err != nil {
		j.release()
		return err
	}
	return s.submit(ctx, j)
}

// encode does on the caller's time what needs no database.
func (s *Store) encode(j *job) error {
	c := &j.change
	for i := range c.Requests {
		if c.Requests[i].Value.Tenant != j.tenant {
			return foreign(j.tenant, c.Requests[i].Value.Tenant)
		}
		j.states = append(j.states, encode(make([]byte, 0, 1024), &c.Requests[i].Value, requestFields))
	}
	for i := range c.Grants {
		if c.Grants[i].Value.Tenant != j.tenant {
			return foreign(j.tenant, c.Grants[i].Value.Tenant)
		}
		j.states = append(j.states, encode(make([]byte, 0, 512), &c.Grants[i].Value, grantFields))
	}
	for i := range c.Accounts {
		j.states = append(j.states, encode(nil, &c.Accounts[i].Value, accountFields))
	}
	for i := range c.Sessions {
		j.states = append(j.states, encode(nil, &c.Sessions[i].Value, sessionFields))
	}
	for i := range c.Installations {
		j.states = append(j.states, encode(nil, &c.Installations[i].Value, installationFields))
	}
	for i := range c.Entries {
		j.states = append(j.states, encode(nil, &c.Entries[i].Value, entryFields))
	}
	for i := range c.Keys {
		j.states = append(j.states, encode(nil, &c.Keys[i].Value, keyFields))
	}
	for i := range c.Devices {
		if c.Devices[i].Value.Tenant != j.tenant {
			return foreign(j.tenant, c.Devices[i].Value.Tenant)
		}
		j.states = append(j.states, encode(make([]byte, 0, 512), &c.Devices[i].Value, deviceFields))
	}
	for i := range c.Clients {
		j.states = append(j.states, encode(nil, &c.Clients[i].Value, clientFields))
	}
	for i := range c.Decoys {
		if c.Decoys[i].Value.Tenant != j.tenant {
			return foreign(j.tenant, c.Decoys[i].Value.Tenant)
		}
		j.states = append(j.states, encode(nil, &c.Decoys[i].Value, decoyFields))
	}
	for _, r := range c.Records {
		if r.Tenant != j.tenant {
			return foreign(j.tenant, r.Tenant)
		}
		var key [32]byte
		if !r.Facts.IsZero() {
			if _, err := io.ReadFull(s.rand, key[:]); err != nil {
				return fmt.Errorf("%w: no randomness: %w", store.ErrUnavailable, err)
			}
		}
		data, err := audit.EncodeLeaf(r, key)
		if err != nil {
			return fmt.Errorf("sqlite: a record cannot be kept: %w", err)
		}
		l := leaf{data: data}
		if side := audit.NewSidecar(r, key); side != nil {
			if l.sidecar, err = side.Encode(); err != nil {
				return fmt.Errorf("sqlite: facts cannot be kept: %w", err)
			}
		}
		j.leaves = append(j.leaves, l)
	}
	return nil
}

func foreign(tenant, other string) error {
	return fmt.Errorf("sqlite: something of tenant %q in a change of tenant %q", other, tenant)
}

func (j *job) release() {
	clear(j.states)
	clear(j.leaves)
	j.states, j.leaves = j.states[:0], j.leaves[:0]
	j.tenant, j.change, j.other = "", store.Change{}, nil
	jobs.Put(j)
}

// do has the committer do something in the order of commits.
func (s *Store) do(ctx context.Context, f func(*writer) error) error {
	j := jobs.Get().(*job)
	j.other = f
	return s.submit(ctx, j)
}

func (s *Store) submit(ctx context.Context, j *job) error {
	if err := ctx.Err(); err != nil {
		j.release()
		return fmt.Errorf("%w: %w", store.ErrUnavailable, err)
	}
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		j.release()
		return store.ErrClosed
	}
	s.queue = append(s.queue, j)
	poke := len(s.queue) == 1 || s.waking && len(s.queue) >= s.target
	if poke {
		s.waking = false
	}
	s.mu.Unlock()
	if poke {
		s.poke()
	}
	select {
	case err := <-j.done:
		j.release()
		return err
	case <-ctx.Done():
		// The job stays with the committer and is not used again.
		return fmt.Errorf("%w: not waited for: %w", store.ErrUnavailable, ctx.Err())
	}
}

func (s *Store) poke() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// commitLoop is the committer.
func (s *Store) commitLoop() {
	defer close(s.stopped)
	timer := time.NewTimer(time.Hour)
	timer.Stop()
	var batch []*job
	expect := 1
	for {
		batch = s.gather(batch[:0], expect, timer)
		if len(batch) == 0 {
			return
		}
		err := s.writer.commit(batch)
		expect = len(batch) + s.waiting() // before the answers: who is answered may come at once
		s.writer.answer(batch, err)
		clear(batch)
	}
}

func (s *Store) waiting() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.queue)
}

// gather waits for work and takes all of it; nothing means closed. Whoever was
// answered just now is likely to come again soon, so it lingers until as many
// have joined as were answered or came in the meantime, but no longer than
// s.linger. A lone caller never waits.
func (s *Store) gather(batch []*job, expect int, timer *time.Timer) []*job {
	s.mu.Lock()
	for len(s.queue) == 0 {
		if s.closed {
			s.mu.Unlock()
			return nil
		}
		s.mu.Unlock()
		<-s.wake
		s.mu.Lock()
	}
	if len(s.queue) < expect && !s.closed && s.linger > 0 {
		s.waking, s.target = true, expect
		s.mu.Unlock()
		select { // an old signal
		case <-s.wake:
		default:
		}
		timer.Reset(s.linger)
		s.waitFor(timer)
		timer.Stop()
		s.mu.Lock()
		s.waking = false
	}
	batch = append(batch, s.queue...)
	clear(s.queue)
	s.queue = s.queue[:0]
	s.mu.Unlock()
	return batch
}

func (s *Store) waitFor(timer *time.Timer) {
	for {
		s.mu.Lock()
		enough := !s.waking || s.closed
		s.mu.Unlock()
		if enough {
			return
		}
		select {
		case <-s.wake:
		case <-timer.C:
			return
		}
	}
}

// commit applies a group in one transaction. Without an error w.answers has
// each job's own answer.
func (w *writer) commit(batch []*job) error {
	w.groups.Add(1)
	w.answers = w.answers[:0]
	err := w.exec("BEGIN IMMEDIATE")
	for _, j := range batch {
		if err != nil {
			break
		}
		var refused error
		refused, err = w.apply(j)
		w.answers = append(w.answers, refused)
	}
	if err == nil {
		err = w.flushTails()
	}
	if err == nil {
		err = w.exec("COMMIT")
	}
	clear(w.tails)
	w.tails = w.tails[:0]
	if err != nil {
		// Nothing of the group was applied, unless the disk failed in the commit
		// itself and a restart finds it whole.
		if !w.conn.AutocommitEnabled() {
			if e := w.exec("ROLLBACK"); e != nil {
				err = errors.Join(err, e)
			}
		}
		err = classify(err)
	}
	return err
}

// answer answers everybody in a group. err is of the whole group.
func (w *writer) answer(batch []*job, err error) {
	for i, j := range batch {
		answer := err
		if err == nil {
			answer = w.answers[i]
		}
		w.recent.settle(j, answer)
		j.done <- answer
	}
}

// apply does one job whole or not at all. refused is the job's own answer;
// err says that the group cannot go on.
func (w *writer) apply(j *job) (refused, err error) {
	guard := j.other != nil || len(j.states) > 1
	if guard {
		if err := w.exec("SAVEPOINT job"); err != nil {
			return nil, err
		}
	}
	if j.other != nil {
		err = j.other(w)
	} else {
		err = w.change(j)
	}
	if isRefusal(err) {
		refused, err = classify(err), nil
		if guard {
			err = w.exec("ROLLBACK TO job")
		}
	}
	if guard && err == nil {
		err = w.exec("RELEASE job")
	}
	if err == nil && refused == nil && len(j.leaves) > 0 {
		// After everything that can be refused, so that no number is wasted.
		err = w.appendLeaves(j)
	}
	return refused, err
}

// isRefusal reports whether an error concerns one job alone.
func isRefusal(err error) bool {
	return err != nil && (errors.Is(err, store.ErrConflict) || errors.Is(err, store.ErrNotFound) ||
		sqlite.ErrCode(err).ToPrimary() == sqlite.ResultConstraint)
}
