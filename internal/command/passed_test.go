package command

import (
	"slices"
	"testing"
)

func TestEachStoreThatWasPassedOverHasALine(t *testing.T) {
	got := passedOver("tpm: there is none; keychain: this is a container")
	want := []field{{"", "tpm: there is none"}, {"", "keychain: this is a container"}}
	if !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}
