//go:build !linux

package agent

import (
	"net/http/httptest"
	"testing"
)

type recorder = httptest.ResponseRecorder

func dumpable() string { return "" }

func checkClosed(*testing.T, string) {}
