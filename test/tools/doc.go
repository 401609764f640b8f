// Package tools runs the programs that cannot prove a key, as their users do: git, docker's
// credential calls, kubectl's exec plugin, botocore, pip, curl and Python. Each gets its
// credential from `keytether helper` or goes through `keytether proxy`, configured by the lines
// that docs/guides/tools.md shows; each speaks to a server that package verify guards. When all
// are done, no token of the run lies anywhere.
package tools
