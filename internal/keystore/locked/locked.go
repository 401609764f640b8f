// Package locked has bytes in pages of their own that the system neither swaps out nor writes
// into a core dump, and that are overwritten and given back when they are freed. So on Linux; on
// other systems, and where the limit of locked memory is reached (RLIMIT_MEMLOCK), they are plain
// memory that is overwritten.
//
// A machine that hibernates writes all memory to disk, locked or not. Memory of memfd_secret(2)
// would not be written, but while there is any the machine cannot hibernate at all, which is not
// for us to decide.
package locked

// Bytes is a copy of what New was given. Whoever has it frees it once, and uses none of it after.
type Bytes struct {
	b    []byte
	free func()
}

// New copies b, which the caller may overwrite then.
func New(b []byte) *Bytes {
	mem, free := alloc(len(b))
	copy(mem, b)
	return &Bytes{mem, free}
}

// Bytes gives the bytes themselves, no copy.
func (l *Bytes) Bytes() []byte { return l.b }

// Free overwrites the bytes and gives their pages back.
func (l *Bytes) Free() {
	clear(l.b)
	l.b = nil
	l.free()
}
