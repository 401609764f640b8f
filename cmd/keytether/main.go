// Command keytether logs a person in with the browser and lets the tools on this computer call
// APIs as them. This package is wiring: package command is the program, package agent the agent
// that it starts.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/keytether/keytether/internal/command"
)

var version = "dev" // set by the linker

func main() { os.Exit(run()) }

func run() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // the second Ctrl-C ends the program whatever it does
	return command.Main(ctx, command.Program{
		Version: version, Args: os.Args[1:], Environ: os.Environ(),
		Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr,
	})
}
