package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/keytether/keytether/internal/agentwire"
	"github.com/keytether/keytether/internal/audit"
	"github.com/keytether/keytether/login"
)

// apiPath is the issuer's own API, a resource like any other; its resource indicator is the
// issuer with this path.
const apiPath = "/api/v1"

func (a *app) auditExportCmd() *cobra.Command {
	var out string
	c := &cobra.Command{
		Use:   "export",
		Short: "Fetch a copy of the audit log from the server",
		Long: `Fetches the whole log, with every signed checkpoint, from the server that a profile is logged in
at. It needs a login for the server's own API with the scope admin. With --out the copy is verified
once it is written.`,
		Example: `  keytether login --profile admin --issuer https://auth.example.test \
      --resource https://auth.example.test/api/v1 --scope admin
  keytether audit export --profile admin --out log.jsonl`,
		Args: exactly(0, ""),
		RunE: func(c *cobra.Command, _ []string) error { return a.auditExport(c.Context(), out) },
	}
	c.Flags().StringVar(&out, "out", "", "file to write; without it, standard output")
	a.profileFlag(c)
	return c
}

func (a *app) auditExport(ctx context.Context, out string) error {
	ctx, stop := interruptible(ctx)
	defer stop()
	return cancelled(ctx, a.exportLog(ctx, out))
}

func (a *app) exportLog(ctx context.Context, out string) error {
	name, err := a.profileName()
	if err != nil {
		return err
	}
	agent, err := a.agent(ctx)
	if err != nil {
		return err
	}
	who, err := agent.Whoami(ctx, name)
	if err != nil {
		return err
	}
	api := strings.TrimSuffix(who.Issuer, "/") + apiPath
	socket, err := a.socket()
	if err != nil {
		return err
	}
	c, err := login.New(login.Options{Profile: name, Resource: api, Socket: socket})
	if err != nil {
		return err
	}
	body, err := fetch(ctx, c, api+"/audit/export")
	if err != nil {
		return exportError(err, name, who.Issuer, api)
	}
	defer body.Close()
	if out == "" {
		return copyOut(a.Stdout, body)
	}
	return a.exportTo(out, body)
}

func fetch(ctx context.Context, c *login.Client, target string) (io.ReadCloser, error) {
	tr := http.DefaultTransport.(*http.Transport).Clone()
	tr.ResponseHeaderTimeout = 30 * time.Second
	client := &http.Client{
		Transport:     c.RoundTripper(tr),
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, target, nil)
	if err != nil {
		return nil, err
	}
	res, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	if res.StatusCode == http.StatusOK {
		return res.Body, nil
	}
	_ = res.Body.Close()
	return nil, statusError(res.StatusCode)
}

type statusError int

func (e statusError) Error() string {
	return fmt.Sprintf("the server answered %d %s", int(e), http.StatusText(int(e)))
}

func exportError(err error, profile, issuer, api string) error {
	const what = "the audit log was not fetched"
	do := "Log in for it: keytether login --profile admin --issuer " + issuer + " --resource " + api + " --scope admin"
	var status statusError
	switch {
	case errors.As(err, &status) && status == http.StatusNotFound:
		return agentwire.NewError(agentwire.Failed, what, err.Error(), "This server has no such API; ask its administrator for an export", err)
	case errors.As(err, &status) && status >= 500:
		return agentwire.NewError(agentwire.Unreachable, what, err.Error(), "Try again in a moment", err)
	case errors.As(err, &status) && (status == http.StatusForbidden || status == http.StatusUnauthorized):
		return agentwire.NewError(agentwire.Denied, what, err.Error()+": profile "+profile+" may not", do, err)
	case errors.As(err, &status):
		return agentwire.NewError(agentwire.Failed, what, err.Error(), "", err)
	}
	if e, ok := errors.AsType[*agentwire.Error](err); ok {
		if e.Code == agentwire.ResourceNotAllowed || e.Code == agentwire.Scope {
			return agentwire.NewError(e.Code, what, "profile "+profile+" is logged in for another API", do, err)
		}
		return e
	}
	if errors.Is(err, context.Canceled) {
		return err
	}
	if u, ok := errors.AsType[*url.Error](err); ok {
		err = u.Err
	}
	return agentwire.NewError(agentwire.Unreachable, what, err.Error(), "Check the network, then try again", err)
}

func copyOut(w io.Writer, body io.Reader) error {
	read := &readError{r: body}
	_, err := io.Copy(w, read)
	if read.err != nil {
		return brokeOff(read.err)
	}
	return said(0, err)
}

func brokeOff(err error) error {
	return agentwire.NewError(agentwire.Unreachable, "the audit log was not fetched to its end", err.Error(), "Try again", err)
}

// readError tells an error of the reader from one of the writer.
type readError struct {
	r   io.Reader
	err error
}

func (r *readError) Read(p []byte) (int, error) {
	n, err := r.r.Read(p)
	if err != nil && err != io.EOF {
		r.err = err
	}
	return n, err
}

// exportTo writes the copy beside its place, verifies it, and puts it there only if it holds.
func (a *app) exportTo(path string, body io.Reader) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), ".keytether-export-*")
	if err != nil {
		return fail("the copy could not be written", cause(err), "Use --out with a folder that you may write to")
	}
	defer func() {
		if err != nil {
			_ = os.Remove(f.Name())
		}
	}()
	defer f.Close()
	if err := copyOut(f, body); err != nil {
		return err
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return fail("the copy could not be verified", err, "")
	}
	r, err := audit.Verify(f, audit.Options{})
	if err != nil {
		return agentwire.NewError(agentwire.Failed, "the copy does not hold: "+checkName(err), err.Error(), "Try again. If that repeats, the server's log is damaged: tell its administrator", err)
	}
	if err := f.Sync(); err != nil {
		return said(0, err)
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return fail("the copy could not be written", cause(err), "")
	}
	return said(fmt.Fprintf(a.Stderr, "%s written to %s; the copy holds\n", count(r.Size+r.Tail, "record"), clean(path)))
}
