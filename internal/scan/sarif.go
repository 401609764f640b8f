package scan

import (
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
)

// WriteSARIF writes a report as SARIF 2.1.0 (OASIS), which CI systems show beside the code.
func WriteSARIF(w io.Writer, version string, r Report) error {
	type text struct {
		Text string `json:"text"`
	}
	type rule struct {
		ID    string `json:"id"`
		Short text   `json:"shortDescription"`
		Help  text   `json:"help"`
	}
	type artifact struct {
		URI string `json:"uri"`
	}
	type region struct {
		Line   int64 `json:"startLine"`
		Column int   `json:"startColumn"`
	}
	type physical struct {
		Artifact artifact `json:"artifactLocation"`
		Region   region   `json:"region"`
	}
	type location struct {
		Physical physical `json:"physicalLocation"`
	}
	type result struct {
		RuleID       string            `json:"ruleId"`
		Level        string            `json:"level"`
		Message      text              `json:"message"`
		Locations    []location        `json:"locations"`
		Fingerprints map[string]string `json:"partialFingerprints"`
		Properties   map[string]string `json:"properties,omitempty"`
	}
	type driver struct {
		Name    string `json:"name"`
		Version string `json:"version"`
		Rules   []rule `json:"rules"`
	}
	type tool struct {
		Driver driver `json:"driver"`
	}
	type run struct {
		Tool    tool     `json:"tool"`
		Results []result `json:"results"`
	}
	type log struct {
		Schema  string `json:"$schema"`
		Version string `json:"version"`
		Runs    []run  `json:"runs"`
	}
	out := run{Tool: tool{driver{Name: "keytether scan", Version: version, Rules: []rule{}}}, Results: []result{}}
	for _, f := range r.Findings {
		id := "keytether/" + strings.ReplaceAll(string(f.Kind), "_", "-")
		if !slices.ContainsFunc(out.Tool.Driver.Rules, func(r rule) bool { return r.ID == id }) {
			out.Tool.Driver.Rules = append(out.Tool.Driver.Rules, rule{
				ID: id, Short: text{f.Kind.About()},
				Help: text{"Revoke it with keytether scan --burn, then remove it from where it lies and from the history."},
			})
		}
		res := result{
			RuleID: id, Level: "error",
			Message:      text{fmt.Sprintf("Found %s.", f.Kind.About())},
			Locations:    []location{{physical{artifact{uri(f.Source)}, region{f.Line, f.Column}}}},
			Fingerprints: map[string]string{"credential/v1": f.Fingerprint},
		}
		if f.Commit != "" {
			res.Properties = map[string]string{"commit": f.Commit}
		}
		out.Results = append(out.Results, res)
	}
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(log{
		Schema: "https://json.schemastore.org/sarif-2.1.0.json", Version: "2.1.0", Runs: []run{out},
	})
}

// uri is a path as a relative or a file URI.
func uri(path string) string {
	u := url.URL{Path: filepath.ToSlash(path)}
	if filepath.IsAbs(path) {
		u.Scheme = "file"
	}
	return u.String()
}
