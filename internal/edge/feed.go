package edge

import (
	"net/http"
	"time"

	"github.com/keytether/keytether/internal/feed"
	"github.com/keytether/keytether/internal/oauth"
)

// revocations is the revocation feed (package feed): a resource server
// authenticates as for introspection and gets a stream that ends when the
// server shuts down or the reader is too slow.
func (h *Handler) revocations(w *answer, r *http.Request) error {
	c, err := h.call(w, r, h.issuer+oauth.PathRevocations)
	if err != nil {
		return err
	}
	res, err := h.server.ResourceServer(c)
	if err != nil {
		return err
	}
	place, snapshot := h.server.Listen(res.ID)
	defer place.Close()
	first, err := feed.AppendSnapshot(nil, &snapshot)
	if err != nil {
		return oauth.Fail(oauth.ServerError).Because(err)
	}
	head := w.Header()
	head.Set("Content-Type", feed.ContentType)
	head.Set("X-Accel-Buffering", "no") // nginx and its like must not hold the stream back
	s := stream{w: w, ctl: http.NewResponseController(w)}
	s.open()
	w.WriteHeader(http.StatusOK)
	if !s.send(first) {
		return nil
	}

	beat := time.NewTicker(feed.HeartbeatEvery)
	defer beat.Stop()
	last := snapshot.Sequence
	var buf []byte
	for {
		select {
		case e := <-place.Next():
			last = e.Sequence
			buf, err = feed.AppendRevoked(buf[:0], &e)
		case <-beat.C:
			// What is queued goes first: a heartbeat names the last event that
			// was sent, and must not be early.
			if len(place.Next()) > 0 {
				continue
			}
			b := h.server.Heartbeat(last)
			buf, err = feed.AppendHeartbeat(buf[:0], &b)
		case <-place.Lost():
			return nil
		case <-h.stopping:
			return nil
		case <-r.Context().Done():
			return nil
		}
		if err != nil || !s.send(buf) {
			return nil // the reader begins again with a snapshot
		}
	}
}

// stream writes without the server's time limits, but with one for each write.
type stream struct {
	w   http.ResponseWriter
	ctl *http.ResponseController
}

func (s stream) open() {
	// Not every writer has deadlines; those of net/http do.
	_ = s.ctl.SetReadDeadline(time.Time{})
	_ = s.ctl.SetWriteDeadline(time.Now().Add(streamTime))
}

func (s stream) send(b []byte) bool {
	_, err := s.Write(b)
	return err == nil && s.ctl.Flush() == nil
}

// Write implements io.Writer.
func (s stream) Write(b []byte) (int, error) {
	_ = s.ctl.SetWriteDeadline(time.Now().Add(streamTime))
	return s.w.Write(b)
}
