package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"chokepoint/targets/kit"
)

// session is a connection to a signing device, made by system calls as the
// device's library makes them. It carries one document at a time.
type session struct{ f *os.File }

// dialDevice opens a session. A blocking descriptor makes each Read keep a thread
// for as long as the device takes; another is watched by the runtime's poller.
func dialDevice(addr *net.TCPAddr, blocking bool) (*session, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("opening a session: %w", err)
	}
	to := &unix.SockaddrInet4{Port: addr.Port, Addr: [4]byte(addr.IP.To4())}
	err = unix.Connect(fd, to)
	if err == nil && !blocking {
		err = unix.SetNonblock(fd, true)
	}
	if err != nil {
		return nil, fmt.Errorf("opening a session: %w", errors.Join(err, unix.Close(fd)))
	}
	return &session{os.NewFile(uintptr(fd), "device")}, nil
}

// sign asks the device for a document's signature.
func (s *session) sign(id int) (string, error) {
	if _, err := fmt.Fprintf(s.f, "sign %d\n", id); err != nil {
		return "", fmt.Errorf("asking the device: %w", err)
	}
	var buf [64]byte
	n := 0
	for n == 0 || buf[n-1] != '\n' {
		m, err := s.f.Read(buf[n:]) // chokepoint:flaw thread-explosion
		if err != nil {
			return "", fmt.Errorf("waiting for the device: %w", err)
		}
		n += m
	}
	return string(buf[:n-1]), nil
}

// signer has documents signed, over as many sessions as there are at once.
type signer struct {
	addr     *net.TCPAddr
	blocking bool

	mu   sync.Mutex
	idle []*session
}

func newSigner(ctx context.Context, o kit.Options) (*signer, error) {
	addr, err := startDevices(ctx, o.Duration("device"))
	if err != nil {
		return nil, err
	}
	return &signer{addr: addr, blocking: o.Flawed()}, nil
}

func (g *signer) serve(_ context.Context, id int) (string, error) {
	s, err := g.take()
	if err != nil {
		return "", err
	}
	signature, err := s.sign(id)
	if err != nil {
		return "", errors.Join(err, s.f.Close())
	}
	g.put(s)
	return signature, nil
}

func (g *signer) take() (*session, error) {
	g.mu.Lock()
	if n := len(g.idle); n > 0 {
		s := g.idle[n-1]
		g.idle = g.idle[:n-1]
		g.mu.Unlock()
		return s, nil
	}
	g.mu.Unlock()
	return dialDevice(g.addr, g.blocking)
}

func (g *signer) put(s *session) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.idle = append(g.idle, s)
}

// startDevices starts the devices, which take so long for a signature.
func startDevices(ctx context.Context, takes time.Duration) (*net.TCPAddr, error) {
	addr, err := kit.StartCompanion(ctx, "devices")
	if err != nil {
		return nil, err
	}
	to, err := net.ResolveTCPAddr("tcp4", addr)
	if err != nil {
		return nil, fmt.Errorf("the devices' address: %w", err)
	}
	// The first line that they are sent sets them up.
	conn, err := net.DialTCP("tcp4", nil, to)
	if err != nil {
		return nil, fmt.Errorf("setting up the devices: %w", err)
	}
	defer conn.Close()
	if _, err := fmt.Fprintf(conn, "takes %s\n", takes); err != nil {
		return nil, fmt.Errorf("setting up the devices: %w", err)
	}
	if _, err := io.ReadFull(conn, make([]byte, len("ok\n"))); err != nil {
		return nil, fmt.Errorf("setting up the devices: %w", err)
	}
	return to, nil
}

// watchDevices keeps n sessions on which a device might say something, each read
// by a thread of its own, as a vendor's library does it.
func watchDevices(ctx context.Context, n int) error {
	addr, err := startDevices(ctx, 0)
	if err != nil {
		return err
	}
	for range n {
		s, err := dialDevice(addr, true)
		if err != nil {
			return err
		}
		context.AfterFunc(ctx, func() { s.f.Close() })
		go func() {
			// It ends with the process: nothing ever comes.
			_, _ = s.f.Read(make([]byte, 64))
		}()
	}
	return nil
}

// serveDevices is the devices' side.
func serveDevices(l net.Listener) error {
	var takes time.Duration
	for first := true; ; first = false {
		c, err := l.Accept()
		if err != nil {
			return err
		}
		if first {
			var text string
			_, err := fmt.Fscanf(c, "takes %s\n", &text)
			if err == nil {
				takes, err = time.ParseDuration(text)
			}
			if err != nil {
				return fmt.Errorf("being set up: %w", err)
			}
			if _, err := io.WriteString(c, "ok\n"); err != nil {
				return err
			}
			c.Close()
			continue
		}
		go func() {
			defer c.Close()
			lines := bufio.NewScanner(c)
			for lines.Scan() {
				var id uint32
				if _, err := fmt.Sscanf(lines.Text(), "sign %d", &id); err != nil {
					return
				}
				time.Sleep(takes)
				if _, err := fmt.Fprintf(c, "signature %08x\n", id*2654435761); err != nil {
					return
				}
			}
		}()
	}
}
