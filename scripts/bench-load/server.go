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
)

// serveMode as first argument makes this program the server that is under load.
const serveMode = "serve"

// answer is the whole body of every response.
const answer = "hello\n"

// tally is what the server saw of one tool.
type tally struct {
	Requests int64  `json:"requests"`   // answered; see counter
	MostOpen int    `json:"most_open"`  // connections open at once, at most
	Accepted int    `json:"accepted"`   // connections ever made
	ServedNS int64  `json:"served_ns"`  // from the first connection to the last answer counted
	Answered int64  `json:"answered"`   // with the answers after the tool hung up
	StillUp  int    `json:"still_open"` // connections open now
	Addr     string `json:"addr,omitempty"`
}

// counter counts for every tool alike. Many tools end by hanging up with a
// request on every connection; the server may still answer some of these, and
// nobody reads that. So answers count up to the moment at which fewer than half
// of the connections there were at most are left.
type counter struct {
	answered atomic.Int64

	mu       sync.Mutex
	open     int
	most     int
	accepted int
	first    time.Time // connection
	low      bool      // fewer than half are left
	lowCount int64     // answered when that began
	lowAt    time.Time
}

func (c *counter) handler(w http.ResponseWriter, _ *http.Request) {
	_, _ = io.WriteString(w, answer)
	c.answered.Add(1)
}

// connState is the server's hook.
func (c *counter) connState(conn net.Conn, state http.ConnState) {
	switch state {
	case http.StateNew:
		// The tool closes first and would be left with a socket in TIME_WAIT for
		// each connection, and the next tool without ports. A reset ends both ends.
		if tcp, ok := conn.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0)
		}
		c.change(+1, time.Now())
	case http.StateClosed, http.StateHijacked:
		c.change(-1, time.Now())
	}
}

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
		c.lowCount, c.lowAt = c.answered.Load(), now
	}
	c.low = low
}

func (c *counter) tally(now time.Time) tally {
	c.mu.Lock()
	defer c.mu.Unlock()
	t := tally{
		Requests: c.answered.Load(), Answered: c.answered.Load(),
		MostOpen: c.most, Accepted: c.accepted, StillUp: c.open,
	}
	end := now
	if c.low {
		t.Requests, end = c.lowCount, c.lowAt
	}
	if c.accepted > 0 {
		t.ServedNS = int64(end.Sub(c.first))
	}
	return t
}

// serve listens at the address, tells it in a first line of JSON, and then
// answers each line of in with a tally, until in ends.
func serve(addr string, in io.Reader, out io.Writer) error {
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	var count counter
	server := &http.Server{
		Handler:           http.HandlerFunc(count.handler),
		ConnState:         count.connState,
		ReadHeaderTimeout: time.Minute,
	}
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(listener) }()
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

func (s *server) tally() (tally, error) {
	var t tally
	if _, err := io.WriteString(s.in, "\n"); err != nil {
		return t, fmt.Errorf("ask the server for its counts: %w", err)
	}
	if err := s.out.Decode(&t); err != nil {
		return t, fmt.Errorf("read the server's counts: %w", err)
	}
	return t, nil
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
