package edge_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/keytether/keytether/internal/edge/edgetest"
	"github.com/keytether/keytether/internal/oauth"
)

// TestOneNetworkLeavesRoom: whoever makes as many authorization requests as the
// limits let, and opens none, keeps nobody else from logging in. An IPv6
// network is one stranger, however many addresses it has.
func TestOneNetworkLeavesRoom(t *testing.T) {
	s := edgetest.NewServer(t, edgetest.Options{})
	p, err := oauth.ParseParams(s.NewTool(edgetest.Plain).Params().Encode())
	if err != nil {
		t.Fatal(err)
	}
	begin := func(from string) error {
		_, err := s.Auth.BeginPlain(t.Context(), p, from)
		return err
	}
	taken := 0
	for second := range 9 * 60 {
		for i := range 100 {
			if begin(fmt.Sprintf("2001:db8::%x:%x", second, i)) == nil {
				taken++
			}
		}
		s.Clock.Advance(time.Second)
	}
	if err := begin("198.51.100.9"); err != nil {
		t.Errorf("%d requests of one network, and another gets %v", taken, err)
	}
	s.Clock.Advance(10 * time.Minute)
	if err := begin("2001:db8::1"); err != nil {
		t.Errorf("the network gets %v for ever", err)
	}
}
