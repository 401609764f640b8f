package command

import (
	"time"

	"github.com/spf13/cobra"

	"github.com/keytether/keytether/internal/agentwire"
	"github.com/keytether/keytether/internal/audit"
	"github.com/keytether/keytether/internal/event"
)

func (a *app) auditShowCmd() *cobra.Command {
	var grant, request string
	c := &cobra.Command{
		Use:   "show FILE",
		Short: "Read a copy of the audit log in plain words",
		Long: `Prints the records of an export, one a line, oldest first. --grant and --request select one login:
its authorization request and the grant that came of it. The file is verified against itself
first; nothing of a file that does not hold is shown.`,
		Example: "  keytether audit show log.jsonl --grant grt_…",
		Args:    exactly(1, "FILE, or - for standard input"),
		RunE: func(_ *cobra.Command, args []string) error {
			if grant != "" && request != "" {
				return usage("--grant and --request exclude each other", "Either finds the whole login")
			}
			return a.auditShow(args[0], grant+request)
		},
	}
	c.Flags().StringVar(&grant, "grant", "", "only the login of this grant (grt_…)")
	c.Flags().StringVar(&request, "request", "", "only the login of this authorization request (req_…)")
	a.jsonFlag(c, "one record a line as JSON")
	return c
}

func (a *app) auditShow(path, id string) error {
	f, err := a.openInput(path)
	if err != nil {
		return err
	}
	defer f.Close()
	var records []event.Record
	_, err = audit.Verify(f, audit.Options{Visit: func(_ int64, r event.Record, _ bool) { records = append(records, r) }})
	if err != nil {
		return agentwire.NewError(agentwire.Failed, "the audit log does not hold: "+checkName(err), err.Error(), "`keytether audit verify` says more", err)
	}
	if id != "" {
		if records = audit.Trail(records, id); len(records) == 0 {
			return agentwire.NewError(agentwire.Failed, "there is no record of "+quote(id), "no login in this file has that id", "Look for it with `keytether audit show FILE`", nil)
		}
	}
	for _, r := range records {
		if a.json {
			err = a.printJSON(recordJSON(r))
		} else {
			err = a.println(r.Time.UTC().Format("2006-01-02 15:04:05.000") + "  " + clean(audit.Describe(r)))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// record is one record as JSON; the names are those of the log's own leaves where it has them.
type record struct {
	Event        string      `json:"event"`
	Time         time.Time   `json:"time"`
	Tenant       string      `json:"tenant,omitempty"`
	Subject      string      `json:"subject,omitempty"`
	ClientID     string      `json:"client_id,omitempty"`
	RequestID    string      `json:"request_id,omitempty"`
	GrantID      string      `json:"grant_id,omitempty"`
	Installation string      `json:"installation,omitempty"`
	Session      string      `json:"session,omitempty"`
	Resource     string      `json:"resource,omitempty"`
	Scope        string      `json:"scope,omitempty"`
	Flow         string      `json:"flow,omitempty"`
	JTI          string      `json:"jti,omitempty"`
	JKT          string      `json:"jkt,omitempty"`
	Generation   uint32      `json:"generation,omitempty"`
	Until        time.Time   `json:"until,omitzero"`
	Reason       string      `json:"reason,omitempty"`
	Detail       string      `json:"detail,omitempty"`
	Facts        event.Facts `json:"facts,omitzero"`
	Words        string      `json:"words"`
}

func recordJSON(r event.Record) record {
	return record{
		string(r.Name), r.Time.UTC(), r.Tenant, r.Subject, r.Client, r.Request, r.Grant, r.Installation, r.Session, r.Resource,
		r.Scope, r.Flow, r.JTI, r.Thumbprint, r.Generation, r.Until, string(r.Reason), r.Detail, r.Facts, audit.Describe(r),
	}
}
