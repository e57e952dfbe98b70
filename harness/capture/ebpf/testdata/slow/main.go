// Command slow waits in the kernel a known number of times, in a goroutine whose
// id it prints, so that a test can compare. It prints "ready", does its work at the
// first line it reads, prints its answer as JSON, and ends at the next line.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unsafe"
)

// Answer is what slow did. Times are CLOCK_MONOTONIC in nanoseconds.
type Answer struct {
	GoID  int64  `json:"goid"`
	Reads []Span `json:"reads"` // that blocked
	Quick int    `json:"quick"` // reads that did not
	Burn  int64  `json:"burn"`  // id of the goroutine that more than filled a CPU
	Rival int64  `json:"rival"` // id of the one that it had to share the CPU with
}

// Span is around one call.
type Span struct{ Before, After int64 }

func main() {
	in := bufio.NewReader(os.Stdin)
	fmt.Println("ready")
	wait(in)
	answers := make(chan Answer)
	go read(20, 200, answers)
	a := <-answers
	a.Burn, a.Rival = share(400 * time.Millisecond)
	if err := json.NewEncoder(os.Stdout).Encode(a); err != nil {
		panic(err)
	}
	wait(in)
}

func wait(in *bufio.Reader) {
	if _, err := in.ReadString('\n'); err != nil {
		os.Exit(0)
	}
}

// read reads from a pipe that another goroutine writes to 15 ms later, n times,
// and quick times from one that has something.
//
//go:noinline
func read(n, quick int, answers chan<- Answer) {
	var p [2]int
	if err := syscall.Pipe(p[:]); err != nil {
		panic(err)
	}
	a := Answer{GoID: goid(), Quick: quick}
	buf := make([]byte, 1)
	for range quick {
		must(syscall.Write(p[1], buf))
		must(syscall.Read(p[0], buf))
	}
	for range n {
		go func() {
			time.Sleep(15 * time.Millisecond)
			must(syscall.Write(p[1], []byte{1}))
		}()
		before := now()
		must(syscall.Read(p[0], buf)) // the slow one
		a.Reads = append(a.Reads, Span{before, now()})
	}
	answers <- a
}

// share lets two goroutines compute on one CPU for so long, each on a thread of
// its own, so that the kernel has to take the CPU from either.
func share(d time.Duration) (one, other int64) {
	ids := make(chan int64)
	for range 2 {
		go func() {
			runtime.LockOSThread()
			var first [16]uint64
			first[0] = 1 // CPU 0
			if _, _, errno := syscall.RawSyscall(syscall.SYS_SCHED_SETAFFINITY, 0, 128, address(&first)); errno != 0 {
				panic(errno)
			}
			burn(d)
			ids <- goid()
			// It ends locked, and its thread with it.
		}()
	}
	return <-ids, <-ids
}

//go:noinline
func burn(d time.Duration) {
	for end := time.Now().Add(d); time.Now().Before(end); {
		for i := range uint64(1 << 16) {
			sink += i * i
		}
	}
}

var sink uint64

func goid() int64 {
	buf := make([]byte, 64)
	id, err := strconv.ParseInt(strings.Fields(string(buf[:runtime.Stack(buf, false)]))[1], 10, 64)
	if err != nil {
		panic(err)
	}
	return id
}

func must(n int, err error) {
	if err != nil || n != 1 {
		panic(fmt.Sprint(n, err))
	}
}

func address(mask *[16]uint64) uintptr { return uintptr(unsafe.Pointer(mask)) }

func now() int64 {
	const monotonic = 1
	var ts syscall.Timespec
	if _, _, errno := syscall.RawSyscall(syscall.SYS_CLOCK_GETTIME, monotonic, uintptr(unsafe.Pointer(&ts)), 0); errno != 0 {
		panic(errno)
	}
	return ts.Nano()
}
