package oauthclient

import (
	"bufio"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net/netip"
	"os"
	"strconv"
	"strings"
)

// socketUID finds whose process has the socket that is bound to local and
// connected to remote, on this machine (proc_net(5): tcp and tcp6).
func socketUID(local, remote netip.AddrPort) (uid int, known bool) {
	file := "/proc/net/tcp6"
	if local.Addr().Is4() {
		file = "/proc/net/tcp"
	}
	f, err := os.Open(file)
	if err != nil {
		return 0, false
	}
	defer f.Close()
	from, to := procAddr(local), procAddr(remote)
	for sc := bufio.NewScanner(f); sc.Scan(); {
		col := strings.Fields(sc.Text()) // sl local rem st tx:rx tr:tm retrnsmt uid …
		if len(col) > 7 && col[1] == from && col[2] == to {
			uid, err := strconv.Atoi(col[7])
			return uid, err == nil
		}
	}
	return 0, false
}

// procAddr writes an address as those files do: words of 32 bits in the
// machine's order, in hexadecimal, and the port.
func procAddr(a netip.AddrPort) string {
	b := a.Addr().AsSlice()
	for i := 0; i+4 <= len(b); i += 4 {
		binary.NativeEndian.PutUint32(b[i:], binary.BigEndian.Uint32(b[i:]))
	}
	return fmt.Sprintf("%s:%04X", strings.ToUpper(hex.EncodeToString(b)), a.Port())
}
