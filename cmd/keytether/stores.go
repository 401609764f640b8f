package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"runtime"
	"sync"

	"github.com/keytether/keytether/internal/agent"
	"github.com/keytether/keytether/internal/agentstart"
	"github.com/keytether/keytether/internal/agentwire"
	"github.com/keytether/keytether/internal/command"
	"github.com/keytether/keytether/internal/keystore"
	"github.com/keytether/keytether/internal/keystore/stores"
)

// tpmDevice is where Linux has the chip that programs may share.
const tpmDevice = "/dev/tpmrm0"

// kinds gives every store that this system has, in the order in which a login tries them, and of
// those that it passes over by itself, why.
func kinds(getenv func(string) string, folder string) (list []keystore.Kind, passed map[string]string) {
	o := stores.Options{Service: service(folder), Folder: folder, Facts: stores.Facts{GOOS: runtime.GOOS}}
	o.Facts.Container, o.Facts.CI = agent.Surroundings(getenv)
	_, err := os.Stat(tpmDevice)
	o.Facts.TPM = err == nil || runtime.GOOS == "windows"
	passed = map[string]string{}
	for _, c := range stores.Auto(o.Facts) {
		o.Choose = c.Name
		k, err := stores.Kinds(o)
		if err != nil {
			continue // not of this system
		}
		list = append(list, k...)
		if !c.Use && c.Name != agentwire.StoreMemory {
			passed[c.Name] = c.Why
		}
	}
	return list, passed
}

// probeStores opens each store that a login would try, as the agent does, all at once.
func probeStores(ctx context.Context, getenv func(string) string, choose string) []command.StoreReport {
	list, passed := kinds(getenv, agentstart.StateDir(getenv))
	reports := make([]command.StoreReport, len(list))
	var all sync.WaitGroup
	for i, k := range list {
		r := &reports[i]
		r.Name, r.Life, r.Passed = k.Name, k.Life.String(), passed[k.Name]
		if choose != "" && choose != stores.AutoName {
			if r.Chosen, r.Passed = k.Name == choose, ""; !r.Chosen {
				r.Passed = "the config names " + choose
			}
		}
		if r.Passed != "" {
			continue
		}
		all.Go(func() {
			s, err := k.Open(ctx)
			if err == nil {
				if c, ok := s.(io.Closer); ok {
					_ = c.Close()
				}
				return
			}
			if errors.Is(err, keystore.ErrPassphrase) || errors.Is(err, keystore.ErrNewPassphrase) {
				return // it works, and a person opens it
			}
			r.Why = err.Error()
			if p, ok := errors.AsType[*keystore.Problem](keystore.AsProblem(k.Name, err)); ok {
				r.Why, r.Mend = p.Why, p.Mend
			}
		})
	}
	all.Wait()
	return reports
}

// service is what this installation files its items under: one keychain or keyring may serve
// several, told apart by their state folders.
func service(folder string) string {
	sum := sha256.Sum256([]byte(folder))
	return "keytether-" + hex.EncodeToString(sum[:4])
}
