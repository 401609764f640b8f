package swtpm

// Pause does nothing: there is no swtpm on Windows.
func (s *TPM) Pause() {}

// Resume does nothing.
func (s *TPM) Resume() {}
