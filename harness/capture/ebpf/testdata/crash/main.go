// Command crash does what is hard on whoever probes it, and knows what must
// come out. It prints "ready", waits for a line, does the work that its first
// argument names, beside a mill that keeps every part of the runtime busy, and
// prints "answer N". Then it waits for another line, and ends; or it ends at
// once, as the work says.
package main

import (
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"runtime/pprof"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

func main() {
	work := os.Args[1]
	switch work {
	case "child":
		fmt.Println(grow(childDepth, [16]uint64{}))
		return
	case "exec": // again: the rounds left and what was summed up
		if len(os.Args) == 4 {
			again(number(os.Args[2]), number(os.Args[3]))
			return
		}
	}
	fmt.Println("ready")
	wait()

	if work == "exec" {
		again(execs, 0)
		return
	}
	milled := make(chan uint64, 1)
	go func() { milled <- mill(1) }()
	var answer uint64
	switch work {
	case "stacks":
		answer = stacks()
	case "threads":
		answer = threads()
	case "signals":
		answer = signals()
	case "forks":
		answer = forks()
	case "exit", "fail", "panic", "kill":
		answer = grow(10_000, [16]uint64{})
	default:
		panic("no work is called " + work)
	}
	fmt.Println("answer", answer+<-milled)
	// Those that end at once do it while others are at work.
	switch work {
	case "exit", "fail", "panic", "kill":
		go mill(1000)
		go stacks()
		time.Sleep(20 * time.Millisecond)
	}
	switch work {
	case "exit":
		os.Exit(0)
	case "fail":
		os.Exit(7)
	case "panic":
		panic("as I was told")
	case "kill":
		must(syscall.Kill(os.Getpid(), syscall.SIGKILL))
		select {}
	}
	wait()
}

// wait reads a line, and not a byte more: after an exec another will read on.
func wait() {
	var b [1]byte
	for b[0] != '\n' {
		if _, err := os.Stdin.Read(b[:]); err != nil {
			os.Exit(0)
		}
	}
}

// grow goes n calls deep with 128 bytes or more each, so that the stack has to
// be copied again and again, and gives n(n+1)/2.
//
//go:noinline
func grow(n uint64, pad [16]uint64) uint64 {
	if n == 0 {
		return pad[0] + pad[15]
	}
	pad[n%14+1] = n
	return n + grow(n-1, pad)
}

const (
	growers     = 8
	growRounds  = 3
	growDepth   = 5_000
	childDepth  = 3_000
	lockers     = 150
	lockDepth   = 200
	execs       = 4
	userSignals = 200
	burners     = 4
	burnSteps   = 1 << 26
	children    = 8
)

// stacks is goroutines that grow their stacks, end, and are made anew, with
// collections between, which shrink what is left.
func stacks() uint64 {
	var sum uint64
	for range growRounds {
		sum += together(growers, func() uint64 {
			n := grow(growDepth, [16]uint64{})
			runtime.Gosched()
			return n + grow(growDepth, [16]uint64{})
		})
		runtime.GC()
	}
	return sum
}

// threads is goroutines that end while they hold their thread, which ends it.
func threads() uint64 {
	var sum uint64
	for range lockers / 10 {
		sum += together(10, func() uint64 {
			runtime.LockOSThread()
			time.Sleep(time.Millisecond)
			return grow(lockDepth, [16]uint64{})
		})
	}
	return sum
}

// signals computes while signals rain on it: the profiler's, those by which
// the scheduler takes long loops off the CPU, and its own.
func signals() uint64 {
	must(pprof.StartCPUProfile(io.Discard))
	defer pprof.StopCPUProfile()
	got := make(chan os.Signal, 1)
	signal.Notify(got, syscall.SIGUSR1)
	defer signal.Stop(got)
	counted := make(chan uint64, 1)
	go func() {
		var n uint64
		for range userSignals {
			must(syscall.Kill(os.Getpid(), syscall.SIGUSR1))
			<-got
			n++
		}
		counted <- n
	}()
	stop := make(chan struct{})
	go func() {
		for {
			select {
			case <-stop:
				return
			case <-time.After(2 * time.Millisecond):
				runtime.GC() // stops the loops
			}
		}
	}()
	sum := together(burners, func() uint64 {
		var n uint64
		for i := uint64(0); i < burnSteps; i++ {
			n += i & 3
		}
		return n
	})
	close(stop)
	return sum + <-counted
}

func forks() uint64 {
	return together(children, func() uint64 {
		out, err := exec.Command("/proc/self/exe", "child").Output()
		must(err)
		return number(strings.TrimSpace(string(out)))
	})
}

// again works, and then becomes itself, with one round less to go.
func again(left, sum uint64) {
	sum += mill(1)
	if left == 0 {
		fmt.Println("answer", sum)
		wait()
		return
	}
	// Others are in the middle of something when it happens.
	go mill(1000)
	go stacks()
	time.Sleep(10 * time.Millisecond)
	exe, err := os.Readlink("/proc/self/exe")
	must(err)
	must(syscall.Exec(exe, []string{exe, "exec", fmt.Sprint(left - 1), fmt.Sprint(sum)}, os.Environ()))
}

// mill passes through what probes of the runtime and the kernel look at:
// channels, locks, pools, finalizers, collections, timers, connections, and
// system calls that fail. Each round gives 6*400.
func mill(rounds int) uint64 {
	var sum uint64
	for range rounds {
		sum += together(6, millOnce)
	}
	return sum
}

func millOnce() uint64 {
	var sum uint64
	ping, pong := make(chan uint64), make(chan uint64)
	go func() {
		for n := range ping {
			pong <- n
		}
		close(pong)
	}()
	var mu sync.Mutex
	var n uint64
	pool := sync.Pool{New: func() any { return new([4096]byte) }}
	for i := range 100 {
		ping <- 1
		sum += <-pong
		together(2, func() uint64 {
			mu.Lock()
			defer mu.Unlock()
			n++
			return 0
		})
		b := pool.Get().(*[4096]byte)
		b[i]++
		pool.Put(b)
		runtime.SetFinalizer(&struct{ p *[4096]byte }{b}, func(*struct{ p *[4096]byte }) {})
		if _, err := os.Open("/does/not/exist"); err == nil {
			panic("it exists")
		}
	}
	close(ping)
	return sum + n + echo(100)
}

// echo sends n bytes over a connection of its own, one by one, and gives back
// how many came back.
func echo(n int) uint64 {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(err)
	defer l.Close()
	go func() {
		c, err := l.Accept()
		must(err)
		defer c.Close()
		_, err = io.Copy(c, c)
		must(err)
	}()
	c, err := net.Dial("tcp", l.Addr().String())
	must(err)
	defer c.Close()
	var back uint64
	b := []byte{1}
	for range n {
		_, err := c.Write(b)
		must(err)
		_, err = io.ReadFull(c, b)
		must(err)
		back += uint64(b[0])
	}
	return back
}

// together sums what n goroutines give, which are over when it returns.
func together(n int, f func() uint64) uint64 {
	out := make(chan uint64, n)
	for range n {
		go func() { out <- f() }()
	}
	var sum uint64
	for range n {
		sum += <-out
	}
	return sum
}

func number(s string) uint64 {
	n, err := strconv.ParseUint(s, 10, 64)
	must(err)
	return n
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}
