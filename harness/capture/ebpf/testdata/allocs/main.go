// Command allocs allocates a known number of times when told to. It prints "ready",
// does its work at the first line it reads, prints how often it allocated, and ends at
// the next line.
package main

import (
	"bufio"
	"fmt"
	"os"
)

// size is one that nothing else in the program asks for.
const size = 100_003

var sink [][]byte

func main() {
	in := bufio.NewReader(os.Stdin)
	fmt.Println("ready")
	wait(in)
	const n = 1000
	for range n {
		allocate(size)
		allocate(size + 1) // which a filter must tell apart
	}
	fmt.Println(n)
	wait(in)
}

//go:noinline
func allocate(bytes int) {
	sink = append(sink[:min(len(sink), 7)], make([]byte, bytes))
}

func wait(in *bufio.Reader) {
	if _, err := in.ReadString('\n'); err != nil {
		os.Exit(0)
	}
}
