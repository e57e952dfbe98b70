// Command counts counts what it does while it does it, so that a recording can
// be compared number by number. It prints "ready", works at the first line it
// reads, prints what it counted as one line of JSON, and ends at the next line.
//
// It makes no call of those it counts outside of what it counts, and the Go
// runtime makes none of them.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
	"unsafe"
)

// Calls are those of one kind that one function made.
type Calls struct {
	Syscall  string // its name; empty when it has no number that the kernel knows
	Function string // that made them
	GoID     int64  // of the goroutine that made them
	Count    int64
	Errors   map[int]int64 // by errno
}

// Reads are the calls of one kind that one function made to read.
type Reads struct {
	Syscall  string
	Function string
	GoID     int64
	Count    int64
	Ended    int64 // of these, returned 0
}

// Sleeps are calls in which a thread sleeps.
type Sleeps struct {
	Function    string
	GoID        int64
	Asked       int64 // nanoseconds: the calls last at least as long
	Took        int64 // nanoseconds from before the calls to after them: they last at most as long
	Interrupted int64 // calls that a signal cut short
	Calls       []Sleep
}

// Sleep is one call.
type Sleep struct {
	Start, End  int64 // CLOCK_MONOTONIC, nanoseconds
	Asked       int64 // nanoseconds
	Switches    int64 // times that the thread gave the CPU up
	Interrupted bool  // by a signal, whose handler ran before the call was over
}

// Burn is CPU time that one goroutine takes in one function.
type Burn struct {
	Function string
	GoID     int64
	CPU      int64 // nanoseconds, by the clock of its thread
}

// Counted is all that was done.
type Counted struct {
	Calls  []Calls
	Reads  []Reads
	Sleeps Sleeps
	Burns  []Burn
	GCs    int64 // collections that ended meanwhile
	Pool   int64 // calls of a pool's New
}

func main() {
	in := bufio.NewReader(os.Stdin)
	fmt.Println("ready")
	wait(in)
	var c Counted
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	apart(func() { c.Calls = append(c.Calls, askParent(1000)) })
	apart(func() { c.Calls = append(c.Calls, askPersonality(64)) })
	apart(func() { c.Calls = append(c.Calls, dupNothing(300)) })
	apart(func() { c.Calls = append(c.Calls, askNobody(250)) })
	apart(func() { c.Calls = append(c.Calls, syncNothing(150)) })
	apart(func() { c.Calls = append(c.Calls, unlinkNothing(120)) })
	apart(func() { c.Calls = append(c.Calls, callNothing(77)) })
	apart(func() { c.Calls = append(c.Calls, lockAtDepths(40, 5)) })
	apart(func() { c.Reads = append(c.Reads, readFiles(500)...) })
	apart(func() { c.Reads = append(c.Reads, readSockets(500)...) })
	apart(func() { c.Sleeps = rest(25, 2*time.Millisecond) })
	var wg sync.WaitGroup
	burns := make([]Burn, 2)
	wg.Add(2)
	go func() { defer wg.Done(); burns[0] = burnOne(400 * time.Millisecond) }()
	go func() { defer wg.Done(); burns[1] = burnOther(400 * time.Millisecond) }()
	wg.Wait()
	c.Burns = burns
	c.Pool = emptyPool(50)
	for range 3 {
		runtime.GC()
	}
	runtime.ReadMemStats(&after)
	c.GCs = int64(after.NumGC - before.NumGC)
	must(json.NewEncoder(os.Stdout).Encode(c))
	wait(in)
}

func wait(in *bufio.Reader) {
	if _, err := in.ReadString('\n'); err != nil {
		os.Exit(0)
	}
}

// apart runs f in a goroutine of its own.
func apart(f func()) {
	done := make(chan struct{})
	go func() { defer close(done); f() }()
	<-done
}

// count makes a call n times.
func (c *Calls) count(n int, nr, a, b uintptr) {
	for range n {
		c.Count++
		if _, _, errno := syscall.RawSyscall(nr, a, b, 0); errno != 0 {
			c.Errors[int(errno)]++
		}
	}
}

func calls(name, function string) Calls {
	return Calls{Syscall: name, Function: function, GoID: goid(), Errors: map[int]int64{}}
}

const none = ^uintptr(0)

//go:noinline
func askParent(n int) Calls {
	c := calls("getppid", "main.askParent")
	c.count(n, syscall.SYS_GETPPID, 0, 0)
	return c
}

//go:noinline
func askPersonality(n int) Calls {
	c := calls("personality", "main.askPersonality")
	c.count(n, syscall.SYS_PERSONALITY, 0xffffffff, 0)
	return c
}

//go:noinline
func dupNothing(n int) Calls {
	c := calls("dup", "main.dupNothing")
	c.count(n, syscall.SYS_DUP, none, 0)
	return c
}

//go:noinline
func askNobody(n int) Calls {
	c := calls("getpgid", "main.askNobody")
	c.count(n, syscall.SYS_GETPGID, 1<<30, 0)
	return c
}

//go:noinline
func syncNothing(n int) Calls {
	c := calls("fsync", "main.syncNothing")
	c.count(n, syscall.SYS_FSYNC, none, 0)
	return c
}

//go:noinline
func unlinkNothing(n int) Calls {
	c := calls("unlink", "main.unlinkNothing")
	path, err := syscall.BytePtrFromString("/does/not/exist")
	must(err)
	c.count(n, syscall.SYS_UNLINK, uintptr(unsafe.Pointer(path)), 0)
	runtime.KeepAlive(path)
	return c
}

//go:noinline
func callNothing(n int) Calls {
	c := calls("", "main.callNothing")
	c.count(n, 600, 0, 0)
	return c
}

// lockAtDepths makes the same failing call from many different stacks.
//
//go:noinline
func lockAtDepths(depths, each int) Calls {
	c := calls("flock", "main.lockAtDepths")
	deeper(&c, depths, each)
	return c
}

//go:noinline
func deeper(c *Calls, left, each int) {
	c.count(each, syscall.SYS_FLOCK, none, syscall.LOCK_SH)
	if left > 1 {
		deeper(c, left-1, each)
	}
}

// readFiles reads a file that has no end and one that is nothing but its end, in turns, so
// that whoever mixes the two gives the calls of one function to the other.
func readFiles(turns int) []Reads {
	b := make([]byte, 1)
	into := syscall.Iovec{Base: &b[0], Len: 1}
	zero, err := syscall.Open("/dev/zero", syscall.O_RDONLY, 0)
	must(err)
	null, err := syscall.Open("/dev/null", syscall.O_RDONLY, 0)
	must(err)
	some, none := reads("readv", "main.(*Reads).readSome"), reads("readv", "main.(*Reads).readNone")
	for range turns {
		some.readSome(syscall.SYS_READV, zero, uintptr(unsafe.Pointer(&into)), 1)
		none.readNone(syscall.SYS_READV, null, uintptr(unsafe.Pointer(&into)), 1)
	}
	runtime.KeepAlive(b)
	return []Reads{some, none}
}

// readSockets is the same with a connection that has something to read, and one whose
// other side has closed.
func readSockets(turns int) []Reads {
	full, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
	must(err)
	_, err = syscall.Write(full[0], make([]byte, turns))
	must(err)
	over, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
	must(err)
	must(syscall.Close(over[0]))
	b := make([]byte, 1)
	some, none := reads("recvfrom", "main.(*Reads).readSome"), reads("recvfrom", "main.(*Reads).readNone")
	for range turns {
		some.readSome(syscall.SYS_RECVFROM, full[1], uintptr(unsafe.Pointer(&b[0])), 1)
		none.readNone(syscall.SYS_RECVFROM, over[1], uintptr(unsafe.Pointer(&b[0])), 1)
	}
	runtime.KeepAlive(b)
	return []Reads{some, none}
}

func reads(name, function string) Reads {
	return Reads{Syscall: name, Function: function, GoID: goid()}
}

//go:noinline
func (r *Reads) readSome(nr uintptr, fd int, into, length uintptr) { r.read(1, nr, fd, into, length) }

// readNone asks three times as often as there is something elsewhere.
//
//go:noinline
func (r *Reads) readNone(nr uintptr, fd int, into, length uintptr) { r.read(3, nr, fd, into, length) }

func (r *Reads) read(times int, nr uintptr, fd int, into, length uintptr) {
	for range times {
		n, _, errno := syscall.RawSyscall6(nr, uintptr(fd), into, length, 0, 0, 0)
		if errno != 0 {
			panic(errno)
		}
		r.Count++
		if n == 0 {
			r.Ended++
		}
	}
}

//go:noinline
func rest(n int, d time.Duration) Sleeps {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	s := Sleeps{Function: "main.rest", GoID: goid(), Calls: make([]Sleep, 0, 2*n)}
	for range n {
		left := int64(d)
		start := time.Now()
		for left > 0 {
			ts := syscall.NsecToTimespec(left)
			one := Sleep{Asked: left}
			var rem syscall.Timespec
			const monotonic = 1
			before := switches()
			one.Start = now()
			_, _, errno := syscall.RawSyscall6(syscall.SYS_CLOCK_NANOSLEEP, monotonic, 0, uintptr(unsafe.Pointer(&ts)), uintptr(unsafe.Pointer(&rem)), 0, 0)
			one.End = now()
			one.Switches = switches() - before
			one.Interrupted = errno != 0
			s.Calls = append(s.Calls, one)
			left = 0
			if one.Interrupted {
				s.Interrupted++
				left = rem.Nano()
			}
		}
		s.Asked += int64(d)
		s.Took += int64(time.Since(start))
	}
	return s
}

// now is what CLOCK_MONOTONIC says.
func now() int64 {
	var ts syscall.Timespec
	const monotonic = 1
	if _, _, errno := syscall.RawSyscall(syscall.SYS_CLOCK_GETTIME, monotonic, uintptr(unsafe.Pointer(&ts)), 0); errno != 0 {
		panic(errno)
	}
	return ts.Nano()
}

// switches is how often this thread gave the CPU up by itself.
func switches() int64 {
	var u syscall.Rusage
	const thread = 1
	if _, _, errno := syscall.RawSyscall(syscall.SYS_GETRUSAGE, thread, uintptr(unsafe.Pointer(&u)), 0); errno != 0 {
		panic(errno)
	}
	return u.Nvcsw
}

//go:noinline
func burnOne(d time.Duration) Burn { return burn("main.burnOne", d) }

//go:noinline
func burnOther(d time.Duration) Burn { return burn("main.burnOther", d) }

var sink uint64

func burn(function string, d time.Duration) Burn {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	b := Burn{Function: function, GoID: goid()}
	start := threadCPU()
	var n uint64
	for threadCPU()-start < int64(d) {
		for i := range uint64(1 << 20) {
			n += i * i
		}
	}
	sink = n
	b.CPU = threadCPU() - start
	return b
}

func threadCPU() int64 {
	var ts syscall.Timespec
	const threadCPUTime = 3
	if _, _, errno := syscall.RawSyscall(syscall.SYS_CLOCK_GETTIME, threadCPUTime, uintptr(unsafe.Pointer(&ts)), 0); errno != 0 {
		panic(errno)
	}
	return ts.Nano()
}

// emptyPool takes from a pool that has nothing, and says how often New was called.
func emptyPool(n int) int64 {
	var made int64
	pool := sync.Pool{New: func() any { made++; return new(int) }}
	for range n {
		pool.Get()
	}
	return made
}

func goid() int64 {
	b := make([]byte, 64)
	id, err := strconv.ParseInt(strings.Fields(string(b[:runtime.Stack(b, false)]))[1], 10, 64)
	must(err)
	return id
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}
