package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"

	"golang.org/x/sys/unix"
)

// untilEvent makes epoll wait until something happens.
const untilEvent = -1

// errStopped says that the event loop has ended and prices come no more.
var errStopped = errors.New("gateway: the event loop has stopped")

// reactor multiplexes requests for prices over a few connections to the
// engine. One goroutine waits on epoll for answers and hands each to the
// caller whose correlation id it bears; callers send for themselves.
type reactor struct {
	epoll   int
	wake    int // an eventfd: written to, it ends the loop
	timeout int // milliseconds that epoll may wait, or untilEvent
	links   []*link
	byFD    map[int]*link

	mu      sync.Mutex
	lastID  uint64
	waiting map[uint64]chan<- uint64
	stopped bool
}

// newReactor connects n times to the engine at addr. The caller runs the loop
// with run and ends it with stop.
func newReactor(addr string, n, timeout int) (_ *reactor, err error) {
	r := &reactor{epoll: -1, wake: -1, timeout: timeout, byFD: make(map[int]*link), waiting: make(map[uint64]chan<- uint64)}
	defer func() {
		if err != nil {
			r.close()
		}
	}()
	if r.epoll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return nil, fmt.Errorf("creating an epoll instance: %w", err)
	}
	if r.wake, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err != nil {
		return nil, fmt.Errorf("creating an eventfd: %w", err)
	}
	if err = r.watch(unix.EPOLL_CTL_ADD, r.wake, unix.EPOLLIN); err != nil {
		return nil, err
	}
	for range n {
		fd, err := connect(addr)
		if err != nil {
			return nil, err
		}
		l := &link{fd: fd}
		r.links = append(r.links, l)
		r.byFD[fd] = l
		if err := r.watch(unix.EPOLL_CTL_ADD, fd, unix.EPOLLIN); err != nil {
			return nil, err
		}
	}
	return r, nil
}

// connect opens a non-blocking connection to addr.
func connect(addr string) (int, error) {
	to, err := netip.ParseAddrPort(addr)
	if err != nil {
		return -1, fmt.Errorf("the engine's address: %w", err)
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("making a socket for the engine: %w", err)
	}
	// The engine is on this machine, so that to wait here costs nothing.
	err = unix.Connect(fd, &unix.SockaddrInet4{Addr: to.Addr().As4(), Port: int(to.Port())})
	if err == nil {
		err = unix.SetNonblock(fd, true)
	}
	if err == nil {
		err = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
	}
	if err != nil {
		unix.Close(fd)
		return -1, fmt.Errorf("connecting to the engine at %s: %w", addr, err)
	}
	return fd, nil
}

func (r *reactor) watch(op, fd int, events uint32) error {
	if err := unix.EpollCtl(r.epoll, op, fd, &unix.EpollEvent{Events: events, Fd: int32(fd)}); err != nil {
		return fmt.Errorf("watching descriptor %d: %w", fd, err)
	}
	return nil
}

// price asks the engine and waits for its answer.
func (r *reactor) price(ctx context.Context, item uint64) (uint64, error) {
	reply := make(chan uint64, 1)
	r.mu.Lock()
	if r.stopped {
		r.mu.Unlock()
		return 0, errStopped
	}
	r.lastID++
	id := r.lastID
	r.waiting[id] = reply
	r.mu.Unlock()

	l := r.links[id%uint64(len(r.links))]
	if err := l.send(r, frame{id: id, value: item}); err != nil {
		r.forget(id)
		return 0, fmt.Errorf("asking the engine for item %d: %w", item, err)
	}
	select {
	case cents, ok := <-reply:
		if !ok {
			return 0, errStopped
		}
		return cents, nil
	case <-ctx.Done():
		r.forget(id)
		return 0, fmt.Errorf("waiting for the price of item %d: %w", item, ctx.Err())
	}
}

func (r *reactor) forget(id uint64) {
	r.mu.Lock()
	delete(r.waiting, id)
	r.mu.Unlock()
}

// run is the event loop. It returns nil after stop, and an error when epoll or
// a connection fails; callers that wait are then released.
func (r *reactor) run() error {
	defer r.close()
	events := make([]unix.EpollEvent, 64)
	in := make([]byte, 64<<10)
	for {
		n, err := unix.EpollWait(r.epoll, events, r.timeout) // chokepoint:flaw netpoll-spin
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return fmt.Errorf("waiting for the engine: %w", err)
		}
		for _, ev := range events[:n] {
			fd := int(ev.Fd)
			if fd == r.wake {
				return nil
			}
			if err := r.handle(r.byFD[fd], ev.Events, in); err != nil {
				return err
			}
		}
	}
}

// handle does what one connection is ready for; in is room to read into.
func (r *reactor) handle(l *link, ready uint32, in []byte) error {
	if ready&unix.EPOLLOUT != 0 {
		if err := l.resume(r); err != nil {
			return err
		}
	}
	if ready&^unix.EPOLLOUT == 0 {
		return nil
	}
	frames, err := l.receive(in)
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for ; len(frames) >= frameSize; frames = frames[frameSize:] {
		f := parseFrame(frames)
		if reply, ok := r.waiting[f.id]; ok {
			delete(r.waiting, f.id)
			reply <- f.value // never blocks: it has room for one
		}
	}
	l.keep(frames)
	return nil
}

// stop ends the loop, which closes the connections. It does not wait.
func (r *reactor) stop() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.stopped {
		// The counter takes 2^64-2 such writes before one could fail.
		_, _ = unix.Write(r.wake, []byte{0, 0, 0, 0, 0, 0, 0, 1})
	}
}

// close releases the callers that wait and the descriptors.
func (r *reactor) close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.stopped = true
	for id, reply := range r.waiting {
		delete(r.waiting, id)
		close(reply)
	}
	for _, l := range r.links {
		l.close()
	}
	for _, fd := range []int{r.wake, r.epoll} {
		if fd >= 0 {
			unix.Close(fd)
		}
	}
}
