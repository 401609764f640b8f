package command

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/keytether/keytether/internal/agentwire"
	"github.com/keytether/keytether/internal/audit"
)

func (a *app) auditCmd() *cobra.Command {
	c := &cobra.Command{
		Use:   "audit",
		Short: "Verify, read and fetch the server's audit log",
		Long: `The audit log is a Merkle tree whose head the server signs. Whoever keeps a copy, or only one signed
head, can prove offline that nothing was changed, dropped or reordered since.`,
	}
	group(c)
	c.AddCommand(a.auditVerifyCmd(), a.auditShowCmd(), a.auditExportCmd())
	return c
}

func (a *app) auditVerifyCmd() *cobra.Command {
	var keys, checkpoints []string
	c := &cobra.Command{
		Use:   "verify FILE",
		Short: "Prove offline that a copy of the audit log is what was signed",
		Long: `Checks every record, signature and proof of an export, without the server. FILE is - for standard
input.

Bring a key or a checkpoint of your own: with neither, the file is only checked against the keys
that it brings itself, and somebody who can write the file can bring other keys. Exits with 1, and
says which check failed, if the file is not what was signed.`,
		Example: `  keytether audit verify log.jsonl --key log.vkey --checkpoint last-month.checkpoint`,
		Args:    exactly(1, "FILE, or - for standard input"),
		RunE: func(_ *cobra.Command, args []string) error {
			opt, err := verifyOptions(keys, checkpoints)
			if err != nil {
				return err
			}
			return a.auditVerify(args[0], opt)
		},
	}
	c.Flags().StringArrayVar(&keys, "key", nil, "verifier key you trust, or a file that holds it; may stand several times")
	c.Flags().StringArrayVar(&checkpoints, "checkpoint", nil, "file with a signed checkpoint that you kept; may stand several times")
	a.jsonFlag(c, "as JSON")
	return c
}

// verifyOptions reads what the auditor brings.
func verifyOptions(keys, checkpoints []string) (audit.Options, error) {
	var opt audit.Options
	for _, k := range keys {
		if _, err := audit.Verifiers(k); err != nil {
			b, rerr := readSmall(k)
			if rerr != nil {
				return opt, usage("--key is neither a verifier key nor a file that can be read", "A verifier key looks like NAME+12ab34cd+AZ…")
			}
			k = firstLine(b)
			if _, err := audit.Verifiers(k); err != nil {
				return opt, agentwire.NewError(agentwire.Usage, "--key is not usable", err.Error(), "A verifier key looks like NAME+12ab34cd+AZ…", err)
			}
		}
		opt.Keys = append(opt.Keys, k)
	}
	for _, path := range checkpoints {
		b, err := readSmall(path)
		if err != nil {
			return opt, usage("the checkpoint "+quote(path)+" cannot be read: "+cause(err).Error(), "Give a file that you kept")
		}
		opt.Held = append(opt.Held, b)
	}
	return opt, nil
}

// maxSmall bounds a file that holds a key or a checkpoint, in bytes.
const maxSmall = 64 << 10

func readSmall(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxSmall+1))
	if err == nil && len(b) > maxSmall {
		return nil, errors.New("it is too large")
	}
	return b, err
}

func (a *app) auditVerify(path string, opt audit.Options) error {
	f, err := a.openInput(path)
	if err != nil {
		return err
	}
	defer f.Close()
	r, err := audit.Verify(f, opt)
	if a.json {
		if werr := a.printJSON(verdictJSON(r, err)); werr != nil {
			return werr
		}
	}
	if err != nil {
		return agentwire.NewError(agentwire.Failed, "the audit log does not hold: "+checkName(err), err.Error(),
			"Keep this file and your checkpoint, and fetch another copy: either the copy was damaged or cut off, or the server's log was changed", err)
	}
	if a.json {
		return nil
	}
	if err := a.println(paint("The log holds", green, a.colour(a.Stdout))); err != nil {
		return err
	}
	if err := a.writeFields(a.Stdout, verdictFields(r)); err != nil {
		return err
	}
	if !r.Pinned && r.Held == 0 {
		_, _ = fmt.Fprintln(a.Stderr, "keytether: only the file's own keys were used. Bring --key or --checkpoint to know that it is the server's log.")
	}
	return nil
}

func (a *app) openInput(path string) (io.ReadCloser, error) {
	if path == "-" {
		return io.NopCloser(a.Stdin), nil
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, agentwire.NewError(agentwire.Usage, "the file "+quote(path)+" cannot be read", cause(err).Error(), "Give an export of `keytether audit export`", err)
	}
	return f, nil
}

// checks names each check, for scripts and for people.
var checks = []struct {
	err        error
	name, said string
}{
	{audit.ErrFormat, "format", "it is not an audit log of a version that this program knows"},
	{audit.ErrKey, "key", "it is not signed by a key that you trust"},
	{audit.ErrSignature, "signature", "a signature is wrong"},
	{audit.ErrChanged, "changed", "records were changed after they were signed"},
	{audit.ErrDropped, "dropped", "records are missing"},
	{audit.ErrReordered, "reordered", "records are out of order"},
	{audit.ErrForked, "forked", "the server signed two different histories"},
}

func checkName(err error) string {
	for _, c := range checks {
		if errors.Is(err, c.err) {
			return c.said
		}
	}
	return "it could not be read"
}

type verdict struct {
	OK          bool             `json:"ok"`
	Failed      string           `json:"failed,omitempty"` // format, key, signature, changed, dropped, reordered, forked or read
	Why         string           `json:"why,omitempty"`
	Origin      string           `json:"origin,omitempty"`
	Size        int64            `json:"size"`
	Root        string           `json:"root,omitempty"`
	SignedAt    time.Time        `json:"signed_at,omitzero"`
	Pinned      bool             `json:"pinned"`
	Checkpoints int              `json:"checkpoints"`
	Held        int              `json:"held"`
	Tail        int64            `json:"tail"`
	First       time.Time        `json:"first,omitzero"`
	Last        time.Time        `json:"last,omitzero"`
	Events      map[string]int64 `json:"events,omitempty"`
	Opened      int64            `json:"opened"`
	Erased      int64            `json:"erased"`
	Backwards   int64            `json:"backwards"`
}

func verdictJSON(r audit.Report, err error) verdict {
	v := verdict{
		OK: err == nil, Origin: r.Origin, Size: r.Size, SignedAt: r.SignedAt, Pinned: r.Pinned, Checkpoints: r.Checkpoints,
		Held: r.Held, Tail: r.Tail, First: r.First, Last: r.Last, Opened: r.Opened, Erased: r.Erased, Backwards: r.Backwards,
		Events: map[string]int64{},
	}
	for name, n := range r.Events {
		v.Events[string(name)] = n
	}
	if err == nil {
		v.Root = r.Root.String()
		return v
	}
	v.Failed, v.Why = "read", err.Error()
	for _, c := range checks {
		if errors.Is(err, c.err) {
			v.Failed = c.name
			break
		}
	}
	return v
}

func verdictFields(r audit.Report) []field {
	stamp := func(t time.Time) string {
		if t.IsZero() {
			return ""
		}
		return t.UTC().Format("2006-01-02 15:04:05") + " UTC"
	}
	keys := "the file's own"
	if r.Pinned {
		keys = "yours"
	}
	tail, backwards, erased := "", "", ""
	if r.Tail > 0 {
		tail = count(r.Tail, "record") + " at the end, not signed yet"
	}
	if r.Backwards > 0 {
		backwards = count(r.Backwards, "record") + ", the first is number " + strconv.FormatInt(r.FirstBackwards, 10) + ": the server's clock was set back"
	}
	if r.Erased > 0 {
		erased = "in " + count(r.Erased, "record")
	}
	span := ""
	if !r.First.IsZero() {
		span = stamp(r.First) + " to " + stamp(r.Last)
	}
	return []field{
		{"Log", r.Origin},
		{"Records", strconv.FormatInt(r.Size, 10) + " signed"},
		{"Times", span},
		{"Signed at", stamp(r.SignedAt)},
		{"Root", r.Root.String()},
		{"Keys", keys},
		{"Checkpoints", strconv.Itoa(r.Checkpoints) + " in the file, " + strconv.Itoa(r.Held) + " of yours"},
		{"Unsigned", tail},
		{"Erased facts", erased},
		{"Time goes back", backwards},
	}
}

func count(n int64, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return strconv.FormatInt(n, 10) + " " + what + "s"
}

func firstLine(b []byte) string {
	line, _, _ := strings.Cut(string(b), "\n")
	return strings.TrimSpace(line)
}
