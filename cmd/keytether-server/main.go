// Command keytether-server is the authorization server. See package servercmd.
package main

import (
	"context"
	"os"

	"github.com/keytether/keytether/internal/servercmd"
)

// version is set by the linker.
var version = "dev"

func main() {
	os.Exit(servercmd.Main(context.Background(), os.Args[1:], os.Stdout, os.Stderr, version))
}
