package sqlite

// syncDir has nothing to do: NTFS journals names, and folders cannot be
// flushed.
func syncDir(string) error { return nil }
