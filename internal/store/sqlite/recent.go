package sqlite

import (
	"sync"

	"github.com/keytether/keytether/internal/grant"
	"github.com/keytether/keytether/internal/store"
)

// recentHalf is how many grants each half of the cache holds: enough for
// 100,000 active ones, which at about half a kilobyte take 50 MB.
const recentHalf = 1 << 16

// recent keeps the encoded states of grants that were committed lately, because
// a reading connection loses its page cache with every commit and a refresh
// reads what was written at the last one.
//
// Only the committer puts, after the commit and before it answers, so that a
// read can never put back what a commit has replaced. A conflict drops the
// entry: should another process have written to the file, the next read
// finds it there.
type recent struct {
	mu         sync.Mutex
	young, old map[grantKey]recentGrant
}

type grantKey struct{ tenant, id string }

type recentGrant struct {
	version uint64
	state   string
}

func (r *recent) get(tenant, id string) (recentGrant, bool) {
	k := grantKey{tenant, id}
	r.mu.Lock()
	defer r.mu.Unlock()
	if g, ok := r.young[k]; ok {
		return g, true
	}
	g, ok := r.old[k]
	if ok {
		delete(r.old, k)
		r.add(k, g)
	}
	return g, ok
}

func (r *recent) add(k grantKey, g recentGrant) {
	if r.young == nil || len(r.young) >= recentHalf {
		r.young, r.old = make(map[grantKey]recentGrant, len(r.young)), r.young
	}
	r.young[k] = g
}

// settle takes over what became of a job.
func (r *recent) settle(j *job, err error) {
	grants := j.change.Grants
	if len(grants) == 0 {
		return
	}
	first := len(j.change.Requests) // in j.states
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range grants {
		k := grantKey{j.tenant, grants[i].Value.ID}
		delete(r.old, k)
		if err != nil {
			delete(r.young, k)
			continue
		}
		r.add(k, recentGrant{grants[i].Version + 1, string(j.states[first+i])})
	}
}

// grant reads a grant that was committed lately.
func (r *recent) grant(tenant, id string) (v store.Versioned[grant.Grant], ok bool) {
	g, ok := r.get(tenant, id)
	if !ok || !decode(g.state, &v.Value, grantFields) {
		return v, false
	}
	v.Version, v.Value.Tenant, v.Value.ID = g.version, tenant, id
	return v, true
}
