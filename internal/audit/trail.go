package audit

import "github.com/keytether/keytether/internal/event"

// Trail selects, in order, the records of one login: those of the grant and of
// the authorization request that it came from. id is either of the two
// (grt_… or req_…).
func Trail(records []event.Record, id string) []event.Record {
	if id == "" {
		return nil
	}
	request, grant := id, id
	for _, r := range records {
		if r.Request == "" || r.Grant == "" {
			continue
		}
		switch id {
		case r.Grant:
			request = r.Request
		case r.Request:
			grant = r.Grant
		}
	}
	var out []event.Record
	for _, r := range records {
		if r.Request == request || r.Grant == grant {
			out = append(out, r)
		}
	}
	return out
}
