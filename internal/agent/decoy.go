package agent

import (
	"net/http"
	"slices"

	"github.com/keytether/keytether/internal/agentwire"
)

// maxDecoys bounds what is remembered; the oldest is forgotten.
const maxDecoys = 200

// noteDecoy remembers where a decoy was written, in memory alone.
func (a *agent) noteDecoy(r *http.Request) (any, error) {
	var req agentwire.Decoy
	if err := agentwire.ReadRequest(r, &req); err != nil {
		return nil, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.decoys = append(a.decoys, req)
	a.decoys = a.decoys[max(0, len(a.decoys)-maxDecoys):]
	return agentwire.Empty{}, nil
}

func (a *agent) listDecoys(*http.Request) (any, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return agentwire.DecoysResponse{Decoys: append([]agentwire.Decoy{}, slices.Clone(a.decoys)...)}, nil
}

// lockedError says that the server gives this installation nothing until its person
// unlocks it. The login stays.
func lockedError(issuer string, cause error) *agentwire.Error {
	return agentwire.NewError(agentwire.Denied, "this computer is locked at "+issuer,
		"a decoy that was planted on it was used, so somebody may have read its files",
		"Find out who, then sign in at "+issuer+"/me and press Unlock; nothing has to be logged in again", cause)
}
