// Command runtimeknown makes the Go runtime do a known number of things, and calls
// functions of its own a known number of times, so that a test can compare what
// was recorded with what was done. It prints "ready", does its work at the first
// line it reads, prints what it cannot know beforehand, and ends at the next line.
//
// It must not use a sync.Pool, a lock or a finalizer by way of a library: it writes
// without fmt.
package main

import (
	"bytes"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

var one = 1

func main() {
	debug.SetGCPercent(-1)
	os.Stdout.WriteString("ready\n")
	wait()

	receive(200)
	sleepers(4, 25)
	contend(50)
	collect(30, 20)
	draw(100)
	threads(5)

	for n := range 1000 {
		step(n - 500)
	}
	for n := range 100 {
		narrow(int8(n-50), make([]byte, n))
	}
	recurse(4, 300)
	for n := range 21 {
		survive(n > 0)
	}
	for n := range 60 {
		nap(time.Duration(n%2) * time.Millisecond)
		sink += pick(n)
		sink += generic(n) + generic(strconv.Itoa(n))
	}
	for n := range 10 {
		sink += inlined(n)
	}
	for range 300 {
		syscall.RawSyscall(syscall.SYS_GETPPID, 0, 0, 0)
	}
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	os.Stdout.WriteString(strconv.Itoa(int(stats.NumGC)) + " " + strconv.FormatUint(goid(), 10) + "\n")
	wait()
}

// wait reads a line without buffers.
func wait() {
	var b [1]byte
	for b[0] != '\n' {
		if n, err := syscall.Read(0, b[:]); n != 1 || err != nil {
			os.Exit(0)
		}
	}
}

// untilParked returns when a goroutine that is in function has parked for reason.
func untilParked(function, reason string) {
	buf := make([]byte, 1<<16)
	for {
		all := buf[:runtime.Stack(buf, true)]
		for g := range bytes.SplitSeq(all, []byte("\n\n")) {
			head, stack, _ := bytes.Cut(g, []byte("\n"))
			if bytes.Contains(head, []byte("["+reason)) && bytes.Contains(stack, []byte(function+"(")) {
				return
			}
		}
		runtime.Gosched()
	}
}

// receive has a goroutine park n times for a channel.
func receive(n int) {
	ch := make(chan int)
	var ended atomic.Bool
	go func() {
		receiver(ch, n)
		ended.Store(true)
	}()
	for range n {
		untilParked("main.receiver", "chan receive")
		ch <- 1
	}
	for !ended.Load() {
		runtime.Gosched()
	}
}

//go:noinline
func receiver(ch chan int, n int) {
	for range n {
		<-ch
	}
}

func sleepers(goroutines, n int) {
	var wg sync.WaitGroup
	for range goroutines {
		wg.Go(func() { sleeper(n) })
	}
	wg.Wait()
}

//go:noinline
func sleeper(n int) {
	for range n {
		time.Sleep(time.Millisecond)
	}
}

// contend has a goroutine find a lock taken n times.
func contend(n int) {
	var mu sync.Mutex
	for range n {
		var ended atomic.Bool
		mu.Lock()
		go func() {
			locker(&mu)
			ended.Store(true)
		}()
		untilParked("main.locker", "sync.Mutex.Lock")
		mu.Unlock()
		for !ended.Load() {
			runtime.Gosched()
		}
	}
}

//go:noinline
func locker(mu *sync.Mutex) {
	mu.Lock()
	mu.Unlock()
}

type block struct{ _ [128]byte }

// collect leaves objects with finalizers and cleanups behind and waits until they ran.
func collect(finalizers, cleanups int) {
	var ran atomic.Int64
	for range finalizers {
		runtime.SetFinalizer(new(block), func(*block) { ran.Add(1) })
	}
	for range cleanups {
		runtime.AddCleanup(new(block), func(int) { ran.Add(1) }, 0)
	}
	for ran.Load() < int64(finalizers+cleanups) {
		runtime.GC()
	}
}

// draw gets n objects out of an empty pool.
func draw(n int) {
	var made int
	pool := sync.Pool{New: func() any { made++; return new(block) }}
	for range n {
		held = append(held, pool.Get())
	}
	if made != n {
		panic("the pool was not empty")
	}
}

var held []any

// threads takes n threads for good.
func threads(n int) {
	var stuck atomic.Int64
	for range n {
		go func() {
			runtime.LockOSThread()
			stuck.Add(1)
			ts := syscall.NsecToTimespec(int64(time.Hour))
			syscall.Nanosleep(&ts, nil)
		}()
	}
	for stuck.Load() < int64(n) {
		runtime.Gosched()
	}
}

var sink int

//go:noinline
func step(n int) { sink += n }

//go:noinline
func narrow(x int8, p []byte) { sink += int(x) + len(p) }

// recurse goes deep in several goroutines at once, which move between threads and
// grow their stacks on the way.
func recurse(goroutines, depth int) {
	var wg sync.WaitGroup
	for range goroutines {
		wg.Go(func() { down(depth) })
	}
	wg.Wait()
}

//go:noinline
func down(depth int) int {
	var frame [256]byte
	frame[depth%len(frame)] = 1
	if depth%50 == 0 {
		runtime.Gosched()
	}
	if depth > 0 {
		return down(depth-1) + int(frame[0])
	}
	return int(frame[depth])
}

//go:noinline
func survive(panics bool) {
	defer func() { recover() }()
	throws(panics)
}

//go:noinline
func throws(panics bool) {
	if panics {
		panic("as it should")
	}
}

//go:noinline
func nap(d time.Duration) { time.Sleep(d) }

//go:noinline
func pick(n int) int {
	switch {
	case n%5 == 0:
		return n
	case n%3 == 0:
		return n * len(strconv.Itoa(n))
	case n%2 == 0:
		return -n
	}
	return one
}

//go:noinline
func generic[T any](t T) int {
	held[0] = t
	return 1
}

func inlined(n int) int { return n*n + one }

func goid() uint64 {
	var buf [64]byte
	f := bytes.Fields(buf[:runtime.Stack(buf[:], false)])
	n, _ := strconv.ParseUint(string(f[1]), 10, 64)
	return n
}
