// Command leaf spends its time in assembly that has no frame of its own, called from
// functions that are told apart by name. It prints "ready", works at the first line
// it reads, prints "done", and ends at the next.
package main

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"time"
)

func main() {
	in := bufio.NewReader(os.Stdin)
	fmt.Println("ready")
	wait(in)
	a, b := bytes.Repeat([]byte{'x'}, 4096), bytes.Repeat([]byte{'x'}, 4096)
	for _, work := range []func(a, b []byte) int{compare, find, move} {
		for end := time.Now().Add(700 * time.Millisecond); time.Now().Before(end); {
			for range 100 {
				found += through(work, a, b)
			}
		}
	}
	fmt.Println("done")
	wait(in)
}

func wait(in *bufio.Reader) {
	if _, err := in.ReadString('\n'); err != nil {
		os.Exit(0)
	}
}

var found int

// through is what a stack without the direct caller would show instead.
//
//go:noinline
func through(work func(a, b []byte) int, a, b []byte) int { return work(a, b) + 1 }

//go:noinline
func compare(a, b []byte) int {
	n := 0
	for range 100 {
		if bytes.Equal(a, b) {
			n++
		}
	}
	return n
}

//go:noinline
func find(a, _ []byte) int {
	n := 0
	for range 100 {
		n += bytes.IndexByte(a, 'y')
	}
	return n
}

//go:noinline
func move(a, b []byte) int {
	n := 0
	for range 100 {
		n += copy(a, b)
	}
	return n
}
