//go:build linux

package tpm

import (
	"net"
	"os"
	"testing"
	"time"

	"github.com/creack/pty"
	"golang.org/x/term"

	"github.com/keytether/keytether/internal/testkit/swtpm"
)

// TestDevice reaches the chip as one reaches /dev/tpmrm0: by a device file that is written to and
// polled. A terminal's two ends stand in for the kernel's driver, with swtpm behind them.
//
// Invariant: TP-6
func TestDevice(t *testing.T) {
	chip := swtpm.Start(t)
	driver, device, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { driver.Close(); device.Close() })
	if _, err := term.MakeRaw(int(device.Fd())); err != nil {
		t.Fatal(err)
	}
	go drive(driver, chip.Socket)
	o := options(t, chip)
	o.Device = device.Name()
	s := open(t, o)
	k := login(t, s, "a")
	works(t, s, "a")

	chip.Pause()
	start := time.Now()
	_, err = k.Sign([]byte("x"))
	wantProblem(t, err, "does not answer")
	if d := time.Since(start); d > hangs+2*time.Second {
		t.Errorf("it held us for %v", d)
	}
	chip.Resume()
	for range 100 {
		if _, err = k.Sign([]byte("x")); err == nil {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	works(t, s, "a")
}

// drive carries commands and answers.
func drive(driver *os.File, socket string) {
	command, answer := make([]byte, 4096), make([]byte, 4096)
	for {
		n, err := driver.Read(command)
		if err != nil {
			return
		}
		c, err := net.Dial("unix", socket)
		if err != nil {
			return
		}
		_, _ = c.Write(command[:n])
		n, _ = c.Read(answer)
		c.Close()
		_, _ = driver.Write(answer[:n])
	}
}
