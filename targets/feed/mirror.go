package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"sync"
	"time"

	"chokepoint/targets/kit"
)

// mirrorConn carries one transfer at a time.
type mirrorConn struct {
	net.Conn
	in *bufio.Reader
}

// mirrors keeps copies of what is asked for elsewhere.
type mirrors struct {
	addr  string
	grace time.Duration // 0: a transfer takes as long as it takes
	dead  int

	mu   sync.Mutex
	idle []*mirrorConn
}

// copy sends text to the mirror of an account, and returns once it is there.
func (m *mirrors) copy(ctx context.Context, account int, text []byte) error {
	c, err := m.take(ctx)
	if err != nil {
		return err
	}
	verb := "keep"
	if m.dead > 0 && account%m.dead == 0 {
		verb = "ignore"
	}
	if m.grace > 0 {
		if err := c.SetDeadline(time.Now().Add(m.grace)); err != nil {
			return errors.Join(err, c.Close())
		}
	}
	if err := m.transfer(c, fmt.Sprintf("%s %d %d\n", verb, account, len(text)), text); err != nil {
		return errors.Join(err, c.Close())
	}
	if _, err := c.in.ReadString('\n'); err != nil {
		return errors.Join(fmt.Errorf("waiting for the mirror: %w", err), c.Close())
	}
	m.put(c)
	return nil
}

func (m *mirrors) transfer(c net.Conn, head string, text []byte) error {
	if _, err := io.WriteString(c, head); err != nil {
		return fmt.Errorf("telling the mirror: %w", err)
	}
	if _, err := c.Write(text); err != nil { // chokepoint:flaw blocked-write
		return fmt.Errorf("sending to the mirror: %w", err)
	}
	return nil
}

func (m *mirrors) take(ctx context.Context) (*mirrorConn, error) {
	m.mu.Lock()
	if n := len(m.idle); n > 0 {
		c := m.idle[n-1]
		m.idle = m.idle[:n-1]
		m.mu.Unlock()
		return c, nil
	}
	m.mu.Unlock()
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", m.addr)
	if err != nil {
		return nil, fmt.Errorf("connecting to the mirror: %w", err)
	}
	if t, ok := conn.(*net.TCPConn); ok {
		if err := t.SetWriteBuffer(writeBuffer); err != nil {
			return nil, errors.Join(err, conn.Close())
		}
	}
	return &mirrorConn{Conn: conn, in: bufio.NewReader(conn)}, nil
}

func (m *mirrors) put(c *mirrorConn) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.idle = append(m.idle, c)
}

// mirrorAPI answers GET /statements?account=N with how many bytes there are, once
// they are mirrored.
type mirrorAPI struct {
	archive *kit.Dependency
	mirrors *mirrors
	text    []byte
}

func newMirrorAPI(ctx context.Context, o kit.Options) (http.Handler, error) {
	addr, err := kit.StartCompanion(ctx, "mirrors")
	if err != nil {
		return nil, err
	}
	m := &mirrors{addr: addr, dead: o.Int("silent")}
	if !o.Flawed() {
		m.grace = o.Duration("grace")
	}
	api := &mirrorAPI{archive: kit.NewDependency(ctx, o.Duration("delay")), mirrors: m, text: pages(o.Bytes("size"))}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /statements", api.serveStatements)
	return mux, nil
}

func (a *mirrorAPI) serveStatements(w http.ResponseWriter, r *http.Request) {
	n, ok := account(w, r)
	if !ok {
		return
	}
	if err := a.archive.Call(r.Context()); err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	where := "mirrored"
	err := a.mirrors.copy(r.Context(), n, a.text)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		where, err = "here alone", nil
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	fmt.Fprintf(w, "account %d: %d bytes, %s\n", n, len(a.text), where)
}

// serveMirrors is the mirrors' side: it reads what it is told to keep, and of what
// it is told to ignore not a byte.
func serveMirrors(l net.Listener) error {
	for {
		c, err := l.Accept()
		if err != nil {
			return err
		}
		if t, ok := c.(*net.TCPConn); ok {
			_ = t.SetReadBuffer(writeBuffer) // for less memory; one that is gone already says so when it is read
		}
		go func() {
			defer c.Close()
			in := bufio.NewReader(c)
			for {
				var verb string
				var account, size int64
				if _, err := fmt.Fscanf(in, "%s %d %d\n", &verb, &account, &size); err != nil {
					return
				}
				if verb == "ignore" {
					select {}
				}
				if _, err := io.CopyN(io.Discard, in, size); err != nil {
					return
				}
				if _, err := io.WriteString(c, "ok\n"); err != nil {
					return
				}
			}
		}()
	}
}
