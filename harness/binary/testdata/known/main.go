// Command known knows the answers: it prints the addresses of calls with the
// functions and lines that the Go runtime gives them, and, told where its
// goroutine is to be found, looks there and says which one it found.
//
// A comment "call: F" ends each line that calls F.
package main

import (
	"bufio"
	"encoding/json"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"
)

type frame struct {
	PC       uintptr
	Function string
	File     string
	Line     int
}

var stacks [][]frame

func record(skip int) {
	pcs := make([]uintptr, 64)
	pcs = pcs[:runtime.Callers(skip+1, pcs)]
	frames := runtime.CallersFrames(pcs)
	var stack []frame
	for i := 0; ; i++ {
		f, more := frames.Next()
		stack = append(stack, frame{pcs[i], f.Function, f.File, f.Line}) // call: runtime.growslice
		if !more {
			break
		}
	}
	stacks = append(stacks, clone(stack)) // call: runtime.growslice
}

// A copy puts into nothing that was there.
func clone(stack []frame) []frame { return append([]frame(nil), stack...) }

//go:noinline
func leaf(skip int) int { record(skip); return skip }

// Three functions deep, all inlined into whoever calls the first.
func one(n int) int   { return two(n) + 1 }
func two(n int) int   { return three(n) + 2 }
func three(n int) int { return leaf(1) + n }

type pair[K comparable, V any] struct {
	mu   sync.Mutex
	vals map[K]V
}

func (p *pair[K, V]) put(k K, v V) {
	p.mu.Lock()   // call: sync.(*Mutex).Lock
	p.vals[k] = v // call: runtime.mapassign_faststr
	p.mu.Unlock() // call: sync.(*Mutex).Unlock
	leaf(1)
}

func apply[T any](x T, f func(T)) { f(x) }

//go:noinline
func outer(n int) int {
	x := one(n)
	y := one(n) +
		two(n)
	return x + y
}

type store struct {
	mu    sync.Mutex
	rw    sync.RWMutex
	pool  sync.Pool
	value atomic.Pointer[string]
	m     map[string]int
}

//go:noinline
func (s *store) get(k string) int {
	s.mu.Lock()         // call: sync.(*Mutex).Lock
	defer s.mu.Unlock() // call: sync.(*Mutex).Unlock
	time.Sleep(0)       // call: time.Sleep
	return s.m[k]
}

// locked is small enough to be inlined, and Lock with it.
func (s *store) locked() {
	s.mu.Lock() // call: sync.(*Mutex).Lock
}

//go:noinline
func (s *store) twice() {
	s.locked()
	s.mu.Unlock() // call: sync.(*Mutex).Unlock
}

//go:noinline
func (s *store) read(k string) int {
	s.rw.RLock()         // call: sync.(*RWMutex).RLock
	defer s.rw.RUnlock() // call: sync.(*RWMutex).RUnlock
	return s.m[k]
}

//go:noinline
func (s *store) write(k string) {
	s.rw.Lock()   // call: sync.(*RWMutex).Lock
	s.m[k]++      // call: runtime.mapassign_faststr
	s.rw.Unlock() // call: sync.(*RWMutex).Unlock
}

//go:noinline
func (s *store) borrow() {
	b := s.pool.Get().(*[]byte) // call: sync.(*Pool).Get
	s.pool.Put(b)               // call: sync.(*Pool).Put
}

//go:noinline
func (s *store) watch() {
	runtime.SetFinalizer(s, func(*store) {})            // call: runtime.SetFinalizer
	runtime.AddCleanup(s, func(string) {}, "a")         // call: runtime.AddCleanup
	runtime.AddCleanup(s.value.Load(), func(int) {}, 1) // call: runtime.AddCleanup
}

//go:noinline
func deferred() {
	defer func() { leaf(1) }()
	func() {
		for range 1 {
			leaf(1)
		}
	}()
}

// procs asks, sets what the code says, and sets what it is given.
//
//go:noinline
func procs(n int) int {
	runtime.GOMAXPROCS(3) // call: runtime.GOMAXPROCS 3
	runtime.GOMAXPROCS(n) // call: runtime.GOMAXPROCS
	return runtime.GOMAXPROCS(0)
}

//go:noinline
func hand(c chan int) (n int) {
	n = <-c            // call: runtime.chanrecv1
	for i := range c { // call: runtime.chanrecv2
		n += i
	}
	return n
}

//go:noinline
func over() <-chan int {
	c := make(chan int)
	close(c)
	return c
}

// release lets go of what choose or another has put in.
//
//go:noinline
func release(c chan int) {
	<-c      // call: runtime.chanrecv1 discards
	<-over() // call: runtime.chanrecv1
	select {
	case <-c: // call: runtime.selectnbrecv discards
	default:
	}
	select {
	case n := <-c: // call: runtime.selectnbrecv
		leaf(n)
	default:
	}
}

// choose waits to send, with one way out; to receive, from either; for whatever comes; and tries.
//
//go:noinline
func choose(c, out chan int, quit chan struct{}) (n int) {
	select { // call: runtime.selectgo 1 send 1 receive
	case c <- 1:
	case <-quit:
	}
	select { // call: runtime.selectgo 0 send 2 receive
	case n = <-c:
	case <-quit:
	}
	select { // call: runtime.selectgo 2 send 3 receive
	case out <- n:
	case n = <-c:
	case c <- 3:
	case m := <-out:
		n += m
	case <-quit:
	}
	select { // call: runtime.selectgo 1 send 1 receive
	case c <- n:
	case <-quit:
	default:
	}
	return n
}

func main() {
	procs(procs(0))
	c := make(chan int, 1)
	c <- 1
	close(c)
	hand(c)
	choose(make(chan int, 1), make(chan int, 1), nil)
	closed := make(chan int)
	close(closed)
	release(closed)
	s := &store{m: map[string]int{}}
	s.pool.New = func() any { return new([]byte) }
	name := "name"
	s.value.Store(&name)
	s.get("a")
	s.twice()
	s.read("a")
	s.write("a")
	s.borrow()
	s.watch()

	outer(1)
	deferred()
	(&pair[string, int]{vals: map[string]int{}}).put("a", 1)
	apply(3, func(n int) { leaf(1) })
	extra()

	// The goroutine stays on its thread, so that the thread's g is its own.
	runtime.LockOSThread()
	out := json.NewEncoder(os.Stdout)
	must(out.Encode(stacks))
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		var at struct{ GoID, MCurG, GM, TLS int64 }
		must(json.Unmarshal(lines.Bytes(), &at))
		var thread uintptr
		const archGetFS = 0x1003
		if _, _, errno := syscall.RawSyscall(syscall.SYS_ARCH_PRCTL, archGetFS, uintptr(unsafe.Pointer(&thread)), 0); errno != 0 {
			must(errno)
		}
		g := word(thread, at.TLS)
		curg := word(word(g, at.GM), at.MCurG)
		must(out.Encode(struct{ Want, Found, ByM uint64 }{goid(), uint64(word(g, at.GoID)), uint64(word(curg, at.GoID))}))
	}
}

func word(base uintptr, off int64) uintptr {
	p := base + uintptr(off)
	return **(**uintptr)(unsafe.Pointer(&p))
}

func goid() uint64 {
	b := make([]byte, 64)
	fields := strings.Fields(string(b[:runtime.Stack(b, false)]))
	n, err := strconv.ParseUint(fields[1], 10, 64)
	must(err)
	return n
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}
