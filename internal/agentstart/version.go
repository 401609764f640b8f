package agentstart

import (
	"strconv"
	"strings"
)

// older says that version a comes before b, by the rules of semantic versioning for the three
// numbers; a release candidate comes before its release. What is no version ("", "devel") is
// never older nor newer: a build from a work tree leaves a running agent alone.
func older(a, b string) bool {
	x, xpre, ok1 := parse(a)
	y, ypre, ok2 := parse(b)
	if !ok1 || !ok2 {
		return false
	}
	for i := range x {
		if x[i] != y[i] {
			return x[i] < y[i]
		}
	}
	switch {
	case xpre == ypre, xpre == "":
		return false
	case ypre == "":
		return true
	}
	return xpre < ypre
}

func parse(v string) (n [3]int, pre string, ok bool) {
	v, _, _ = strings.Cut(strings.TrimPrefix(v, "v"), "+")
	v, pre, _ = strings.Cut(v, "-")
	parts := strings.Split(v, ".")
	if len(parts) != 3 {
		return n, "", false
	}
	for i, p := range parts {
		d, err := strconv.Atoi(p)
		if err != nil || d < 0 {
			return n, "", false
		}
		n[i] = d
	}
	return n, pre, true
}
