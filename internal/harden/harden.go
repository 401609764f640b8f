// Package harden closes a process that holds secrets to others, as far as its system lets it.
// Process is for one that holds them for long; Memory is the part of it that a program which it
// starts does not inherit.
package harden
