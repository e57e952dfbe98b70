// Command calls makes system calls of several kinds whenever it reads a line, and
// prints a line of what one of each took its thread in nanoseconds, as "kind=ns".
package main

import (
	"bufio"
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

const each = 200_000

func main() {
	runtime.LockOSThread()
	again, err := unix.Eventfd(0, unix.EFD_NONBLOCK)
	check(err)
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK, 0)
	check(err)
	null, err := unix.Open("/dev/null", unix.O_RDONLY, 0)
	check(err)
	poll, err := unix.EpollCreate1(0)
	check(err)
	var (
		buffer [128]byte
		events [8]unix.EpollEvent
	)
	kinds := []struct {
		name  string
		calls int
		do    func()
	}{
		{"getppid", 1, func() { unix.Getppid() }},
		{"read-again", 1, func() { unix.Read(again, buffer[:8]) }},
		{"read-end", 1, func() { unix.Read(null, buffer[:8]) }},
		{"write-read", 2, func() { unix.Write(pair[0], buffer[:]); unix.Read(pair[1], buffer[:]) }},
		{"epoll-zero", 1, func() { unix.EpollWait(poll, events[:], 0) }},
	}
	in := bufio.NewScanner(os.Stdin)
	fmt.Println("ready")
	for in.Scan() {
		for _, k := range kinds {
			start := cpu()
			for range each {
				k.do()
			}
			fmt.Printf("%s=%.1f ", k.name, float64(cpu()-start)/float64(each*k.calls))
		}
		fmt.Println()
	}
}

// cpu is the thread's time on a CPU, in ns.
func cpu() int64 {
	var t unix.Timespec
	check(unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &t))
	return t.Nano()
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}
