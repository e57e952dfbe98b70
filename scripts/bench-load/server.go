package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// serveMode as first argument makes this program the server that is under load.
const serveMode = "serve"

// answer is the whole body of every response.
const answer = "hello\n"

// tally is what the server saw of one tool.
type tally struct {
	Addr     string `json:"addr,omitempty"`
	Answered int64  `json:"answered"`  // requests
	Reset    int64  `json:"reset"`     // connections that ended with a reset
	MostOpen int    `json:"most_open"` // connections open at once, at most
	Accepted int    `json:"accepted"`  // connections ever made
	Open     int    `json:"open"`      // connections open now
	LoadNS   int64  `json:"load_ns"`   // from the first connection to the end of the load
}

// requests is how many the tool has done, when it claims own. The server's count
// holds, but that of the last answer on a connection that ended with a reset it
// cannot know whether anybody read it: some tools end with a request on every
// connection, and some reset connections at which nothing waits. Within these
// answers the tool's word decides.
func (t tally) requests(own int64) int64 {
	return min(max(own, t.Answered-t.Reset), t.Answered)
}

// counter counts for every tool alike.
type counter struct {
	answered atomic.Int64
	reset    atomic.Int64

	mu       sync.Mutex
	open     int
	most     int
	accepted int
	first    time.Time // connection
	low      bool      // fewer than half of the most connections are left: the load has ended
	lowAt    time.Time
}

func (c *counter) handler(w http.ResponseWriter, _ *http.Request) {
	_, _ = io.WriteString(w, answer)
	c.answered.Add(1)
}

// change counts connections.
func (c *counter) change(by int, now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.open += by
	if by > 0 {
		if c.accepted == 0 {
			c.first = now
		}
		c.accepted++
		c.most = max(c.most, c.open)
	}
	low := c.open*2 < c.most
	if low && !c.low {
		c.lowAt = now
	}
	c.low = low
}

func (c *counter) tally(now time.Time) tally {
	c.mu.Lock()
	defer c.mu.Unlock()
	t := tally{
		Answered: c.answered.Load(), Reset: c.reset.Load(),
		MostOpen: c.most, Accepted: c.accepted, Open: c.open,
	}
	if c.low {
		now = c.lowAt
	}
	if c.accepted > 0 {
		t.LoadNS = int64(now.Sub(c.first))
	}
	return t
}

// countedListener hands out connections that count themselves.
type countedListener struct {
	*net.TCPListener
	count *counter
}

func (l countedListener) Accept() (net.Conn, error) {
	conn, err := l.AcceptTCP()
	if err != nil {
		return nil, err
	}
	// The tool closes first and would be left with a socket in TIME_WAIT for each
	// connection, and the next tool without ports. A reset in answer spares that.
	_ = conn.SetLinger(0)
	l.count.change(+1, time.Now())
	return &countedConn{TCPConn: conn, count: l.count}, nil
}

type countedConn struct {
	*net.TCPConn
	count  *counter
	reset  atomic.Bool
	closed atomic.Bool
}

func (c *countedConn) Read(p []byte) (int, error) {
	n, err := c.TCPConn.Read(p)
	if errors.Is(err, syscall.ECONNRESET) {
		c.reset.Store(true)
	}
	return n, err
}

// Write tells of a reset, too: whichever call meets it first takes it off the socket.
func (c *countedConn) Write(p []byte) (int, error) {
	n, err := c.TCPConn.Write(p)
	if errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) {
		c.reset.Store(true)
	}
	return n, err
}

func (c *countedConn) Close() error {
	if !c.closed.CompareAndSwap(false, true) {
		return nil
	}
	// A tool that closed before the answer came has sent its end first, which is
	// what Read tells; the reset is left as the socket's error.
	if c.reset.Load() || c.pendingError() {
		c.count.reset.Add(1)
	}
	err := c.TCPConn.Close()
	c.count.change(-1, time.Now())
	return err
}

func (c *countedConn) pendingError() bool {
	raw, err := c.SyscallConn()
	if err != nil {
		return false
	}
	pending := 0
	if err := raw.Control(func(fd uintptr) {
		pending, _ = unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_ERROR)
	}); err != nil {
		return false
	}
	return pending != 0
}

// serve listens at the address, tells it in a first line of JSON, and then
// answers each line of in with a tally, until in ends.
func serve(addr string, in io.Reader, out io.Writer) error {
	at, err := net.ResolveTCPAddr("tcp", addr)
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	listener, err := net.ListenTCP("tcp", at)
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	var count counter
	server := &http.Server{
		Handler:           http.HandlerFunc(count.handler),
		ReadHeaderTimeout: time.Minute,
	}
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(countedListener{listener, &count}) }()
	defer server.Close()

	lines := make(chan struct{})
	go func() {
		defer close(lines)
		for s := bufio.NewScanner(in); s.Scan(); {
			lines <- struct{}{}
		}
	}()
	tell := json.NewEncoder(out)
	if err := tell.Encode(tally{Addr: listener.Addr().String()}); err != nil {
		return fmt.Errorf("tell the address: %w", err)
	}
	for {
		select {
		case err := <-failed:
			return fmt.Errorf("serve: %w", err)
		case _, more := <-lines:
			if !more {
				return nil
			}
			if err := tell.Encode(count.tally(time.Now())); err != nil {
				return fmt.Errorf("tell the counts: %w", err)
			}
		}
	}
}

// server is a process in serve mode.
type server struct {
	addr string
	cmd  *exec.Cmd
	in   io.WriteCloser
	out  *json.Decoder
}

// startServer starts one at host and any free port. It is killed when ctx ends.
func startServer(ctx context.Context, self, host string) (*server, error) {
	cmd := exec.CommandContext(ctx, self, serveMode, net.JoinHostPort(host, "0"))
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("start the server: %w", err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("start the server: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start the server: %w", err)
	}
	s := &server{cmd: cmd, in: in, out: json.NewDecoder(out)}
	var hello tally
	if err := s.out.Decode(&hello); err != nil {
		_, stopErr := s.stop()
		return nil, errors.Join(fmt.Errorf("start the server at %s: %w", host, err), stopErr)
	}
	s.addr = hello.Addr
	return s, nil
}

// ask returns the server's counts as they stand.
func (s *server) ask() (tally, error) {
	var t tally
	if _, err := io.WriteString(s.in, "\n"); err != nil {
		return t, fmt.Errorf("ask the server for its counts: %w", err)
	}
	if err := s.out.Decode(&t); err != nil {
		return t, fmt.Errorf("read the server's counts: %w", err)
	}
	return t, nil
}

// final waits until the server has seen the end of every connection, though not
// long, and returns its counts.
func (s *server) final() (tally, error) {
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		t, err := s.ask()
		if err != nil || t.Open == 0 || time.Now().After(deadline) {
			return t, err
		}
	}
}

// stop ends the server and returns the CPU time it took.
func (s *server) stop() (time.Duration, error) {
	err := errors.Join(s.in.Close(), s.cmd.Wait())
	if s.cmd.ProcessState == nil {
		return 0, fmt.Errorf("stop the server: %w", err)
	}
	if err != nil {
		err = fmt.Errorf("stop the server: %w", err)
	}
	return s.cmd.ProcessState.UserTime() + s.cmd.ProcessState.SystemTime(), err
}
