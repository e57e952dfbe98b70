//go:build withc

package main

// int one(void) { return 1; }
import "C"

// one makes C code part of the program, so that a C linker makes it.
func init() { one = int(C.one()) }
