// Command keytether-server is the authorization server. See package servercmd.
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/keytether/keytether/internal/harden"
	"github.com/keytether/keytether/internal/servercmd"
)

// version is set by the linker.
var version = "dev"

func main() {
	if err := harden.Process(); err != nil {
		fmt.Fprintln(os.Stderr, "keytether-server: core dumps stay possible:", err)
	}
	os.Exit(servercmd.Main(context.Background(), os.Args[1:], os.Stdout, os.Stderr, version))
}
