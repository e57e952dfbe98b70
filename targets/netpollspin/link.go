package main

import (
	"errors"
	"fmt"
	"io"
	"sync"

	"golang.org/x/sys/unix"
)

// link is one non-blocking connection to the engine. Any goroutine may send;
// the event loop alone receives.
type link struct {
	fd int

	mu     sync.Mutex
	out    []byte // what the kernel had no room for
	closed bool

	partial []byte // the start of a frame, until the rest has come
}

// send writes f, or keeps it for the event loop to write when the kernel has
// no room.
func (l *link) send(r *reactor, f frame) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return errStopped
	}
	blocked := len(l.out) > 0
	l.out = f.append(l.out)
	if blocked {
		return nil // the event loop is waiting for room already
	}
	if err := l.flush(); err != nil {
		return err
	}
	if len(l.out) > 0 {
		return r.watch(unix.EPOLL_CTL_MOD, l.fd, unix.EPOLLIN|unix.EPOLLOUT)
	}
	return nil
}

// resume writes what was kept, and has epoll tell of room no longer when all
// is written.
func (l *link) resume(r *reactor) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.flush(); err != nil {
		return err
	}
	if len(l.out) == 0 {
		return r.watch(unix.EPOLL_CTL_MOD, l.fd, unix.EPOLLIN)
	}
	return nil
}

// flush writes as much of out as the kernel takes; l.mu is held.
func (l *link) flush() error {
	sent := 0
	for sent < len(l.out) {
		n, err := unix.Write(l.fd, l.out[sent:])
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if errors.Is(err, unix.EAGAIN) {
			break
		}
		if err != nil {
			return fmt.Errorf("writing to the engine: %w", err)
		}
		sent += n
	}
	l.out = append(l.out[:0], l.out[sent:]...)
	return nil
}

// receive reads what has come, once, and returns it behind the part kept from
// before. The result lies in buf.
func (l *link) receive(buf []byte) ([]byte, error) {
	kept := copy(buf, l.partial)
	l.partial = l.partial[:0]
	for {
		n, err := unix.Read(l.fd, buf[kept:])
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.EAGAIN):
			n = 0
		case err != nil:
			return nil, fmt.Errorf("reading from the engine: %w", err)
		case n == 0:
			return nil, fmt.Errorf("reading from the engine: %w", io.ErrUnexpectedEOF)
		}
		return buf[:kept+n], nil
	}
}

// keep holds on to the start of a frame.
func (l *link) keep(rest []byte) { l.partial = append(l.partial, rest...) }

func (l *link) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	unix.Close(l.fd)
}
