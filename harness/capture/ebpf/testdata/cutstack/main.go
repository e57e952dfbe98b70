// Command cutstack sleeps while a frame of its stack cannot be read, as when the
// frame's page has been paged out. It prints "ready", sleeps at the first line it
// reads, prints how often, and ends at the next line.
package main

import (
	"bufio"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"syscall"
	"unsafe"
)

const page = 4096

func main() {
	debug.SetGCPercent(-1) // nobody else is to look at this stack meanwhile
	runtime.LockOSThread()
	in := bufio.NewReader(os.Stdin)
	fmt.Println("ready")
	wait(in)
	deep(64 << 10) // so that the stack need not grow, and so move, later on
	for range 20 {
		whole()
		hides()
	}
	fmt.Println("20")
	wait(in)
}

func wait(in *bufio.Reader) {
	if _, err := in.ReadString('\n'); err != nil {
		os.Exit(0)
	}
}

//go:noinline
func deep(bytes int) int {
	var b [1024]byte
	b[bytes%len(b)] = 1
	if bytes <= 0 {
		return 0
	}
	return deep(bytes-len(b)) + int(b[bytes%len(b)])
}

// whole sleeps with a stack that can be read.
//
//go:noinline
func whole() { sleep() }

// hides sleeps while the upper end of its own frame cannot be read, where its caller's
// frame pointer and its return address are. What it keeps lies between that and the
// frames of what it calls.
//
//go:noinline
func hides() {
	var between [4 * page]byte
	const room = 256 // what else the compiler may keep above
	end := uintptr(unsafe.Pointer(&between[len(between)-1]))
	from := end &^ (page - 1)
	hidden(from, (end+room)&^(page-1)+page-from, &between)
}

//go:noinline
func hidden(at, size uintptr, between *[4 * page]byte) {
	between[0] = 1
	protect(at, size, syscall.PROT_NONE)
	sleep()
	protect(at, size, syscall.PROT_READ|syscall.PROT_WRITE)
}

//go:noinline
func protect(at, size uintptr, how uintptr) {
	if _, _, errno := syscall.RawSyscall(syscall.SYS_MPROTECT, at, size, how); errno != 0 {
		panic(errno)
	}
}

//go:noinline
func sleep() {
	ts := syscall.Timespec{Nsec: 2e6}
	const monotonic = 1
	syscall.RawSyscall6(syscall.SYS_CLOCK_NANOSLEEP, monotonic, 0, uintptr(unsafe.Pointer(&ts)), 0, 0, 0)
}
