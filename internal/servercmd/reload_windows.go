package servercmd

import "os"

// notifyReload does nothing: Windows has no SIGHUP. Restart the server.
func notifyReload(chan<- os.Signal) {}
