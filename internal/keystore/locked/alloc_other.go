//go:build !linux

package locked

func alloc(n int) ([]byte, func()) { return make([]byte, n), func() {} }
