// Command join serves requests of its own client, in which it waits in the kernel,
// waits in the Go runtime and computes, and notes of each of these in which
// goroutine and from when to when it was, so that a test can compare what was
// joined of its execution trace and of the kernel's events.
//
// It prints "ready", does its work at the first line it reads while it traces itself
// to the file that is its first argument, prints its answer as JSON, and ends at the next
// line. The second argument is how often each client has each of them done.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"runtime"
	"runtime/trace"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
	"unsafe"
)

// Answer is what join did.
type Answer struct {
	Requests []Span
	Ops      []Op
}

// Span is one request inside its handler. Times are CLOCK_MONOTONIC in nanoseconds.
type Span struct {
	GoID, Before, After int64
	Peer                string // the client's end of the connection
}

// Op is one wait or computation.
type Op struct {
	GoID          int64
	What          string // the system call; "park" or "spin"
	Before, After int64
	CPU           int64 // of a spin, by the thread's own clock
}

const (
	clients = 12
	wait    = 8 * time.Millisecond
)

type notes struct {
	mu sync.Mutex
	Answer
}

func (n *notes) op(o Op) {
	n.mu.Lock()
	n.Ops = append(n.Ops, o)
	n.mu.Unlock()
}

func main() {
	// More than there are CPUs, so that goroutines which compute lose them.
	runtime.GOMAXPROCS(2 * runtime.NumCPU())
	in := bufio.NewReader(os.Stdin)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	check(err)
	var n notes
	mux := http.NewServeMux()
	mux.HandleFunc("/sleep", n.handler(sleepInKernel))
	mux.HandleFunc("/read", n.handler(readLate))
	mux.HandleFunc("/write", n.handler(writeLate))
	mux.HandleFunc("/park", n.handler(park))
	mux.HandleFunc("/spin", n.handler(spin))
	server := &http.Server{Handler: mux}
	go func() { _ = server.Serve(l) }()
	fmt.Println("ready")
	next(in)
	out, err := os.Create(os.Args[1])
	check(err)
	check(trace.Start(out))
	rounds := 8
	if len(os.Args) > 2 {
		rounds, err = strconv.Atoi(os.Args[2])
		check(err)
	}
	ask("http://"+l.Addr().String(), rounds)
	trace.Stop()
	check(out.Close())
	n.mu.Lock()
	check(json.NewEncoder(os.Stdout).Encode(n.Answer))
	n.mu.Unlock()
	next(in)
}

func next(in *bufio.Reader) {
	if _, err := in.ReadString('\n'); err != nil {
		os.Exit(0)
	}
}

// ask has each client go through all there is, each from another one on.
func ask(url string, rounds int) {
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: clients}}
	paths := []string{"/sleep", "/read", "/spin", "/park", "/write"}
	var wg sync.WaitGroup
	for c := range clients {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for r := range rounds * len(paths) {
				res, err := client.Get(url + paths[(c+r)%len(paths)])
				check(err)
				_, err = io.Copy(io.Discard, res.Body)
				check(err)
				check(res.Body.Close())
			}
		}()
	}
	wg.Wait()
}

func (n *notes) handler(work func(goid int64) Op) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		s := Span{GoID: goid(), Before: now(), Peer: r.RemoteAddr}
		o := work(s.GoID)
		s.After = now()
		n.op(o)
		n.mu.Lock()
		n.Requests = append(n.Requests, s)
		n.mu.Unlock()
		_, _ = io.WriteString(w, "ok")
	}
}

// sleepInKernel sleeps by the call that C's usleep makes. nanosleep itself is left
// out of what is recorded, as idle threads of the runtime wait in it.
//
//go:noinline
func sleepInKernel(goid int64) Op {
	o := Op{GoID: goid, What: "clock_nanosleep", Before: now()}
	ts := syscall.NsecToTimespec(int64(wait))
	_, err := again(func() (int, error) {
		_, _, errno := syscall.Syscall6(syscall.SYS_CLOCK_NANOSLEEP, monotonic, 0, uintptr(unsafe.Pointer(&ts)), uintptr(unsafe.Pointer(&ts)), 0, 0)
		if errno != 0 {
			return 0, errno
		}
		return 0, nil
	})
	o.After = now()
	check(err)
	return o
}

//go:noinline
func readLate(goid int64) Op {
	p := pipe()
	defer closePipe(p)
	go func() {
		time.Sleep(wait)
		_, err := syscall.Write(p[1], []byte{1})
		check(err)
	}()
	buf := make([]byte, 1)
	o := Op{GoID: goid, What: "read", Before: now()}
	_, err := again(func() (int, error) { return syscall.Read(p[0], buf) })
	o.After = now()
	check(err)
	return o
}

//go:noinline
func writeLate(goid int64) Op {
	p := pipe()
	defer closePipe(p)
	const setPipeSize = 1031 // F_SETPIPE_SZ
	size, _, errno := syscall.Syscall(syscall.SYS_FCNTL, uintptr(p[1]), setPipeSize, 4096)
	if errno != 0 {
		panic(errno)
	}
	full := make([]byte, size)
	_, err := again(func() (int, error) { return syscall.Write(p[1], full) })
	check(err)
	drained := make(chan struct{})
	go func() {
		defer close(drained)
		time.Sleep(wait)
		_, err := syscall.Read(p[0], make([]byte, size))
		check(err)
	}()
	o := Op{GoID: goid, What: "write", Before: now()}
	_, err = again(func() (int, error) { return syscall.Write(p[1], []byte{1}) })
	o.After = now()
	check(err)
	<-drained
	return o
}

//go:noinline
func park(goid int64) Op {
	o := Op{GoID: goid, What: "park", Before: now()}
	time.Sleep(wait)
	o.After = now()
	return o
}

//go:noinline
func spin(goid int64) Op {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	o := Op{GoID: goid, What: "spin", Before: now()}
	cpu := clock(threadCPU)
	sum := 0
	for clock(threadCPU)-cpu < int64(wait) {
		for i := range 2000 {
			sum += i * sum
		}
	}
	runtime.KeepAlive(sum)
	o.CPU = clock(threadCPU) - cpu
	o.After = now()
	return o
}

func pipe() [2]int {
	var p [2]int
	check(syscall.Pipe(p[:]))
	return p
}

func closePipe(p [2]int) {
	check(syscall.Close(p[0]))
	check(syscall.Close(p[1]))
}

// again makes a call again that a signal cut short.
func again(call func() (int, error)) (int, error) {
	for {
		n, err := call()
		if err != syscall.EINTR {
			return n, err
		}
	}
}

const (
	monotonic = 1
	threadCPU = 3
)

func now() int64 { return clock(monotonic) }

func clock(which uintptr) int64 {
	var ts syscall.Timespec
	if _, _, errno := syscall.RawSyscall(syscall.SYS_CLOCK_GETTIME, which, uintptr(unsafe.Pointer(&ts)), 0); errno != 0 {
		panic(errno)
	}
	return ts.Nano()
}

func goid() int64 {
	buf := make([]byte, 64)
	words := strings.Fields(string(buf[:runtime.Stack(buf, false)]))
	id, err := strconv.ParseInt(words[1], 10, 64)
	check(err)
	return id
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}
