//go:build withc

package main

// static __thread int counters[40];
// static int count(int n) { return counters[n % 40] += n; }
import "C"

// extra has C code linked in, with thread-local variables beside Go's.
func extra() {
	if C.count(3) != 3 {
		panic("C does not count")
	}
	leaf(1)
}
