//go:build withc

package main

// static __thread long counted[24];
// static long count(long n) { return counted[n % 24] += n; }
import "C"

func init() {
	if C.count(3) != 3 {
		panic("C does not count")
	}
}
