package secretservice

// Pause does nothing: there is no Secret Service on Windows.
func (b *Bus) Pause() {}

// Resume does nothing.
func (b *Bus) Resume() {}
