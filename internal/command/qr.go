package command

import (
	"runtime"
	"strings"

	"rsc.io/qr"
)

// quiet is the light margin around a QR code, in modules.
const quiet = 2

// canvas is what a QR code is drawn on.
type canvas struct {
	columns int  // of the terminal
	blocks  bool // it shows Unicode's half blocks, two modules one above the other
	colour  bool // it takes colours, so that light and dark are what they should be
}

// drawQR gives the lines of text's QR code, or none if it does not fit. Light
// modules are drawn and dark ones left out: most terminals are dark.
func drawQR(text string, on canvas) []string {
	code, err := qr.Encode(text, qr.L)
	if err != nil {
		return nil
	}
	size := code.Size + 2*quiet
	if width := size * (2 - b2i(on.blocks)); width > on.columns {
		return nil
	}
	light := func(x, y int) bool { return y < size && !code.Black(x-quiet, y-quiet) }
	var lines []string
	for y := 0; y < size; y += 1 + b2i(on.blocks) {
		var b strings.Builder
		for x := range size {
			switch {
			case on.blocks:
				b.WriteString([]string{" ", "▄", "▀", "█"}[2*b2i(light(x, y))+b2i(light(x, y+1))])
			case light(x, y) && on.colour:
				b.WriteString("\x1b[107m  \x1b[40m")
			case light(x, y):
				b.WriteString("##")
			default:
				b.WriteString("  ")
			}
		}
		line := b.String()
		if on.colour {
			line = "\x1b[97;40m" + line + "\x1b[0m"
		}
		lines = append(lines, line)
	}
	return lines
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

// unicodeTerminal says whether the locale's characters are UTF-8, by the first
// of its variables that is set (POSIX, XBD 8.2).
func (a *app) unicodeTerminal() bool {
	for _, name := range []string{"LC_ALL", "LC_CTYPE", "LANG"} {
		if v := strings.ToLower(a.getenv(name)); v != "" {
			return strings.Contains(v, "utf-8") || strings.Contains(v, "utf8")
		}
	}
	return runtime.GOOS == "windows" && a.getenv("WT_SESSION") != ""
}
