package command

import "os"

// The console sends Ctrl-C to every process that is attached to it; we only must not die of it.
func childSignals() []os.Signal { return []os.Signal{os.Interrupt} }

func keyboard(os.Signal) bool { return true }

func childExit(s *os.ProcessState) int { return s.ExitCode() }
