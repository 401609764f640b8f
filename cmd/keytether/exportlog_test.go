//go:build linux

package main

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/keytether/keytether/internal/audit"
	"github.com/keytether/keytether/internal/event"
)

const logOrigin = "auth.example.test/default"

// cmdExportLog writes, always the same:
//
//	good.jsonl     five signed records with two checkpoints, and one that is not signed yet
//	changed.jsonl  the same with one record changed
//	dropped.jsonl  the same without its third record
//	short.jsonl    what the log was at the first checkpoint
//	forked.jsonl   another history by the same key
//	log.vkey, other.vkey     the log's key, and another's
//	first.checkpoint, last.checkpoint
func cmdExportLog(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: exportlog DIR")
	}
	dir := ts.MkAbs(args[0])
	ts.Check(os.MkdirAll(dir, 0o700))
	files, err := exportFiles()
	ts.Check(err)
	for name, b := range files {
		ts.Check(os.WriteFile(filepath.Join(dir, name), b, 0o600))
	}
}

func logRecords() []event.Record {
	at := time.Date(2026, time.March, 14, 9, 26, 53, 0, time.UTC)
	base := event.Record{Tenant: "default", Client: "keytether", Flow: "code", Resource: "https://api.example.test", Scope: "read"}
	var out []event.Record
	for i, n := range []event.Name{event.RequestOpened, event.RequestApproved, event.GrantCreated, event.TokenIssued, event.GrantRevoked, event.ServerStarted} {
		r := base
		r.Name, r.Time = n, at.Add(time.Duration(i)*time.Second)
		switch n {
		case event.RequestOpened:
			r.Request = "req_01J0000000000000000000000A"
			r.Facts = event.Facts{Host: "laptop", OSUser: "person", Address: "192.0.2.1"}
		case event.RequestApproved, event.GrantCreated:
			r.Request, r.Grant, r.Subject = "req_01J0000000000000000000000A", "grt_01J0000000000000000000000B", "acc_01J0000000000000000000000C"
			r.Facts = event.Facts{Email: "person@example.test"}
		case event.ServerStarted:
			r = event.Record{Name: n, Tenant: "default", Time: r.Time, Reason: event.ReasonVolatile}
		default:
			r.Grant, r.Subject = "grt_01J0000000000000000000000B", "acc_01J0000000000000000000000C"
		}
		if n == event.GrantRevoked {
			r.Reason = event.ReasonPerson
		}
		out = append(out, r)
	}
	return out
}

func exportFiles() (map[string][]byte, error) {
	signer, vkey, err := audit.NewSigner(logOrigin, sha256.Sum256([]byte("a log's key")))
	if err != nil {
		return nil, err
	}
	_, other, err := audit.NewSigner(logOrigin, sha256.Sum256([]byte("another key")))
	if err != nil {
		return nil, err
	}
	export := func(records []event.Record, sizes ...int) ([]byte, [][]byte, error) {
		var out bytes.Buffer
		size := sizes[len(sizes)-1]
		w, err := audit.NewWriter(&out, audit.Header{
			Origin: logOrigin, Keys: []string{vkey}, Size: int64(size), ExportedAt: records[0].Time.Add(time.Hour),
		})
		if err != nil {
			return nil, nil, err
		}
		var tree audit.Frontier
		var signed [][]byte
		for i, r := range records {
			key := sha256.Sum256(fmt.Append(nil, "record ", i))
			leaf, err := audit.EncodeLeaf(r, key)
			if err != nil {
				return nil, nil, err
			}
			if err := w.Leaf(leaf, audit.NewSidecar(r, key)); err != nil {
				return nil, nil, err
			}
			tree.Append(leaf)
			if len(sizes) > 0 && i+1 == sizes[0] {
				sizes = sizes[1:]
				msg, err := audit.SignCheckpoint(audit.Checkpoint{Origin: logOrigin, Size: int64(i + 1), Root: tree.Root(), Time: r.Time.Add(time.Second)}, signer)
				if err != nil {
					return nil, nil, err
				}
				signed = append(signed, msg)
				if err := w.Checkpoint(msg); err != nil {
					return nil, nil, err
				}
			}
		}
		err = w.Close()
		return out.Bytes(), signed, err
	}
	records := logRecords()
	good, signed, err := export(records, 3, 5)
	if err != nil {
		return nil, err
	}
	short, _, err := export(records[:3], 3)
	if err != nil {
		return nil, err
	}
	rewritten := logRecords()
	rewritten[0].Client = "example-cli"
	forked, _, err := export(rewritten, 3, 5)
	if err != nil {
		return nil, err
	}
	lines := strings.SplitAfter(string(good), "\n")
	forkedLines := strings.SplitAfter(string(forked), "\n")
	changed := append([]string(nil), lines...)
	changed[1] = forkedLines[1]
	dropped := append(append([]string(nil), lines[:3]...), lines[4:]...)
	return map[string][]byte{
		"good.jsonl": good, "short.jsonl": short, "forked.jsonl": forked,
		"changed.jsonl": []byte(strings.Join(changed, "")), "dropped.jsonl": []byte(strings.Join(dropped, "")),
		"log.vkey": []byte(vkey + "\n"), "other.vkey": []byte(other + "\n"),
		"first.checkpoint": signed[0], "last.checkpoint": signed[1],
	}, nil
}
