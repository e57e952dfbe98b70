// Command known does a known number of things when told to, so that a test can
// compare what was recorded with what was done. It prints "ready", does its
// work at the first line it reads, prints its main goroutine's id, and ends at
// the next line.
package main

import (
	"bufio"
	"fmt"
	"os"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"
	"unsafe"
)

const sysEpollPwait2 = 441

func main() {
	in := bufio.NewReader(os.Stdin)
	fmt.Println("ready")
	wait(in)

	contend(400) // first: the stacks of the first wake-ups are all walked
	countParents(1000)
	openNothing(200)
	polls()
	rest(300 * time.Millisecond)
	ids := make(chan string)
	go burn(1500*time.Millisecond, ids)
	fmt.Println(<-ids)
	wait(in)
}

func wait(in *bufio.Reader) {
	if _, err := in.ReadString('\n'); err != nil {
		os.Exit(0)
	}
}

//go:noinline
func countParents(n int) {
	for range n {
		syscall.RawSyscall(syscall.SYS_GETPPID, 0, 0, 0)
	}
}

//go:noinline
func openNothing(n int) {
	for range n {
		fd, err := syscall.Open("/does/not/exist", syscall.O_RDONLY, 0)
		if err == nil {
			syscall.Close(fd)
		}
	}
}

func polls() {
	quiet := must(syscall.EpollCreate1(0))
	busy := must(syscall.EpollCreate1(0))
	var pipe [2]int
	if err := syscall.Pipe(pipe[:]); err != nil {
		panic(err)
	}
	must(syscall.Write(pipe[1], []byte("x")))
	event := syscall.EpollEvent{Events: syscall.EPOLLIN, Fd: int32(pipe[0])}
	if err := syscall.EpollCtl(busy, syscall.EPOLL_CTL_ADD, pipe[0], &event); err != nil {
		panic(err)
	}
	pollWithoutBlocking(quiet, 300)
	pollBriefly(quiet, 50)
	pollWithoutBlocking(busy, 40) // each returns one event
	pollByTimespec(quiet, 20, &syscall.Timespec{})
	pollByTimespec(quiet, 10, &syscall.Timespec{Nsec: 1e6})
	pollByTimespec(busy, 5, nil)
}

//go:noinline
func pollWithoutBlocking(epfd, n int) {
	events := make([]syscall.EpollEvent, 8)
	for range n {
		syscall.EpollWait(epfd, events, 0)
	}
}

//go:noinline
func pollBriefly(epfd, n int) {
	events := make([]syscall.EpollEvent, 8)
	for range n {
		for {
			if _, err := syscall.EpollWait(epfd, events, 1); err == nil {
				break
			}
		}
	}
}

//go:noinline
func pollByTimespec(epfd, n int, timeout *syscall.Timespec) {
	var events [8]syscall.EpollEvent
	for range n {
		syscall.RawSyscall6(sysEpollPwait2, uintptr(epfd), uintptr(unsafe.Pointer(&events[0])), uintptr(len(events)),
			uintptr(unsafe.Pointer(timeout)), 0, 0)
	}
}

// A store has one lock that goroutines queue for.
type store struct {
	mu sync.Mutex
	n  int
}

//go:noinline
func (s *store) get() {
	s.mu.Lock()
	time.Sleep(100 * time.Microsecond)
	s.n++
	s.mu.Unlock() // the wake-ups
}

func contend(rounds int) {
	var s store
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range rounds / 8 {
				s.get()
			}
		})
	}
	wg.Wait()
}

//go:noinline
func rest(d time.Duration) {
	ts := syscall.NsecToTimespec(int64(d))
	for {
		var left syscall.Timespec
		if err := syscall.Nanosleep(&ts, &left); err == nil {
			return
		}
		ts = left
	}
}

var sink uint64

//go:noinline
func burn(d time.Duration, ids chan<- string) {
	end := time.Now().Add(d)
	for time.Now().Before(end) {
		spin()
	}
	buf := make([]byte, 64)
	id := strings.Fields(string(buf[:runtime.Stack(buf, false)]))[1]
	ids <- id
}

//go:noinline
func spin() {
	for i := range uint64(1 << 20) {
		sink += i * i
	}
}

func must(n int, err error) int {
	if err != nil {
		panic(err)
	}
	return n
}
