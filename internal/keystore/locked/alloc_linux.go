package locked

import "golang.org/x/sys/unix"

func alloc(n int) ([]byte, func()) {
	if n == 0 {
		return nil, func() {}
	}
	mem, err := unix.Mmap(-1, 0, n, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		return make([]byte, n), func() {}
	}
	_ = unix.Mlock(mem)
	_ = unix.Madvise(mem, unix.MADV_DONTDUMP)
	return mem, func() { _ = unix.Munmap(mem) }
}
