//go:build unix

package tpm

import (
	"bytes"
	"encoding/binary"
	"net"
	"sync"
	"testing"

	"github.com/google/go-tpm/tpm2"
)

// bus is a wire to the chip on which somebody listens, and may answer.
type bus struct {
	socket string
	mu     sync.Mutex
	heard  bytes.Buffer
	answer func(command []byte) []byte // nil: the chip answers
}

func newBus(t testing.TB, chip string) *bus {
	t.Helper()
	b := &bus{socket: chip + ".bus"}
	l, err := net.Listen("unix", b.socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			b.serve(c, chip)
			c.Close()
		}
	}()
	return b
}

func (b *bus) serve(c net.Conn, chip string) {
	command := make([]byte, 4096)
	n, err := c.Read(command)
	if err != nil {
		return
	}
	command = command[:n]
	b.mu.Lock()
	defer b.mu.Unlock()
	b.heard.Write(command)
	if b.answer != nil {
		if out := b.answer(command); out != nil {
			_, _ = c.Write(out)
			return
		}
	}
	up, err := net.Dial("unix", chip)
	if err != nil {
		return
	}
	defer up.Close()
	_, _ = up.Write(command)
	out := make([]byte, 4096)
	n, _ = up.Read(out)
	b.heard.Write(out[:n])
	_, _ = c.Write(out[:n])
}

func codeOf(command []byte) tpm2.TPMCC { return tpm2.TPMCC(binary.BigEndian.Uint32(command[6:])) }

// fail makes the chip answer the next n commands of that code with rc; 0 for any command.
func (b *bus) fail(n int, code tpm2.TPMCC, rc uint32) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.answer = func(command []byte) []byte {
		if n == 0 || code != 0 && codeOf(command) != code {
			return nil
		}
		n--
		out := binary.BigEndian.AppendUint16(nil, uint16(tpm2.TPMSTNoSessions))
		return binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(out, 10), rc)
	}
}
