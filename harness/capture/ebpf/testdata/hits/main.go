// Command hits calls two functions as often as its argument says when it reads a
// line, and prints how many nanoseconds the calls took.
package main

import (
	"bufio"
	"fmt"
	"os"
	"strconv"
	"time"
)

func main() {
	n, err := strconv.Atoi(os.Args[1])
	if err != nil {
		panic(err)
	}
	in := bufio.NewReader(os.Stdin)
	fmt.Println("ready")
	if _, err := in.ReadString('\n'); err != nil {
		return
	}
	start := time.Now()
	for i := range n {
		hit(i)
	}
	fmt.Println(time.Since(start).Nanoseconds())
	in.ReadString('\n')
}

var sink int

//go:noinline
func hit(n int) { leaf(n) }

//go:noinline
func leaf(n int) { sink += n }
