package authserver

import (
	"context"
	"io"
	"slices"

	"github.com/keytether/keytether/internal/audit"
	"github.com/keytether/keytether/internal/event"
	"github.com/keytether/keytether/internal/store"
)

// Sequencer turns committed leaves into signed checkpoints (package sequencer).
type Sequencer interface {
	// Sequence signs what is committed now and gives the size signed.
	Sequence(ctx context.Context) (int64, error)
}

// Export is what an audit export holds.
type Export struct {
	// Facts adds the personal facts that have not been erased.
	Facts bool
	// By is the account that asked, for the record.
	By     string
	Client string
	Grant  string
}

// ExportAudit writes the whole audit log with its newest checkpoint, in the
// form that `keytether audit verify` reads. That it was exported is itself
// recorded first, and so part of the export.
func (s *Server) ExportAudit(ctx context.Context, w io.Writer, seq Sequencer, e Export) error {
	detail := "ids"
	if e.Facts {
		detail = "facts"
	}
	err := s.apply(ctx, store.Change{Records: []event.Record{{
		Name: event.AuditExported, Tenant: s.tenant, Time: s.Now(), Subject: e.By, Client: e.Client, Grant: e.Grant, Detail: detail,
	}}})
	if err != nil {
		return err
	}
	if _, err := seq.Sequence(ctx); err != nil {
		return problem(err)
	}
	origin, err := audit.Origin(s.issuer, s.tenant)
	if err != nil {
		return err
	}
	keys, err := s.Keys().NoteVerifierKeys(origin)
	if err != nil {
		return problem(err)
	}
	slices.Reverse(keys) // oldest first
	checkpoint, err := s.store.Checkpoint(ctx, s.tenant)
	if err != nil {
		return problem(err)
	}
	known, err := audit.Verifiers(keys...)
	if err != nil {
		return err
	}
	signed, err := audit.OpenCheckpoint(checkpoint, origin, known)
	if err != nil {
		return err
	}
	h := audit.Header{Origin: origin, Keys: keys, Size: signed.Size, ExportedAt: s.Now()}
	return s.writeExport(ctx, w, h, checkpoint, e.Facts)
}

func (s *Server) writeExport(ctx context.Context, w io.Writer, h audit.Header, checkpoint []byte, facts bool) error {
	out, err := audit.NewWriter(w, h)
	if err != nil {
		return err
	}
	leaf := func(l store.Leaf) error {
		var side *audit.Sidecar
		if facts && l.Sidecar != nil {
			if side, err = audit.DecodeSidecar(l.Sidecar); err != nil {
				return err
			}
		}
		return out.Leaf(l.Data, side)
	}
	if err := s.store.Leaves(ctx, s.tenant, 0, h.Size, leaf); err != nil {
		return err
	}
	if len(checkpoint) > 0 {
		if err := out.Checkpoint(checkpoint); err != nil {
			return err
		}
	}
	total, err := s.store.Size(ctx, s.tenant)
	if err != nil {
		return problem(err)
	}
	if err := s.store.Leaves(ctx, s.tenant, h.Size, total, leaf); err != nil {
		return err
	}
	return out.Close()
}
