package http1

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// peer serves raw connections with f, each on a goroutine of its own, and counts
// them.
type peer struct {
	addr  string
	conns atomic.Int32
}

func newPeer(t testing.TB, f func(c net.Conn, n int32)) *peer {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	p := &peer{addr: listener.Addr().String()}
	var serving sync.WaitGroup
	var mu sync.Mutex
	var all []net.Conn
	go func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			all = append(all, c)
			serving.Add(1)
			mu.Unlock()
			go func() {
				defer serving.Done()
				defer func() { _ = c.Close() }()
				f(c, p.conns.Add(1))
			}()
		}
	}()
	t.Cleanup(func() {
		_ = listener.Close()
		mu.Lock()
		defer mu.Unlock()
		for _, c := range all {
			_ = c.Close()
		}
		serving.Wait()
	})
	return p
}

// client is a Transport whose sockets are counted, and found closed at the end.
func client(t testing.TB, addr string, change func(*Options)) (*Transport, *atomic.Int64) {
	var sockets atomic.Int64
	o := Options{Addr: addr, MaxConns: 100, Timeout: 10 * time.Second, Sockets: func(n int) { sockets.Add(int64(n)) }}
	if change != nil {
		change(&o)
	}
	rt, err := New(o)
	require.NoError(t, err)
	t.Cleanup(func() {
		require.NoError(t, rt.Close())
		assert.Zero(t, sockets.Load(), "sockets after Close")
		assert.Zero(t, rt.open)
		assert.Empty(t, rt.conns)
	})
	return rt, &sockets
}

// get asks and reads the whole body.
func get(rt http.RoundTripper, addr string) (string, error) {
	req, err := http.NewRequest(http.MethodGet, "http://"+addr+"/", nil)
	if err != nil {
		return "", err
	}
	return do(rt, req)
}

func do(rt http.RoundTripper, req *http.Request) (string, error) {
	resp, err := rt.RoundTrip(req)
	if err != nil {
		return "", err
	}
	body, err := io.ReadAll(resp.Body)
	return string(body), errors.Join(err, resp.Body.Close())
}

func phaseOf(t *testing.T, err error) Phase {
	t.Helper()
	var typed *Error
	require.ErrorAs(t, err, &typed)
	return typed.Phase
}

const ok = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

// serveOK answers until the connection ends, or so many times.
func serveOK(c net.Conn, times int) {
	in := bufio.NewReader(c)
	for range times {
		req, err := http.ReadRequest(in)
		if err != nil {
			return
		}
		_, _ = io.Copy(io.Discard, req.Body)
		if _, err := io.WriteString(c, ok); err != nil {
			return
		}
	}
}

func readHead(c net.Conn) { _, _ = http.ReadRequest(bufio.NewReader(c)) }

func TestTimeoutEndsEveryWait(t *testing.T) {
	drip := func(c net.Conn, head, piece string) {
		readHead(c)
		_, err := io.WriteString(c, head)
		for err == nil {
			_, err = io.WriteString(c, piece)
			time.Sleep(time.Millisecond)
		}
	}
	tests := map[string]struct {
		serve func(c net.Conn)
		phase Phase
	}{
		"silence":      {func(c net.Conn) { _, _ = io.Copy(io.Discard, c) }, PhaseResponse},
		"slow head":    {func(c net.Conn) { drip(c, "HTTP/1.1 200 OK\r\nA: ", "x") }, PhaseRead},
		"slow fields":  {func(c net.Conn) { drip(c, "HTTP/1.1 200 OK\r\n", "A: b\r\n") }, PhaseRead},
		"slow 1xx":     {func(c net.Conn) { drip(c, "", "HTTP/1.1 103 Early Hints\r\n\r\n") }, PhaseResponse},
		"slow body":    {func(c net.Conn) { drip(c, "HTTP/1.1 200 OK\r\nContent-Length: 10000000\r\n\r\n", "x") }, PhaseRead},
		"endless body": {func(c net.Conn) { drip(c, "HTTP/1.1 200 OK\r\n\r\n", "x") }, PhaseRead},
		"slow chunks":  {func(c net.Conn) { drip(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "1\r\nx\r\n") }, PhaseRead},
		"slow size":    {func(c net.Conn) { drip(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;", "x") }, PhaseRead},
		"slow trailer": {func(c net.Conn) { drip(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nA:", "x") }, PhaseRead},
		"half a body":  {func(c net.Conn) { readHead(c); _, _ = io.WriteString(c, ok[:len(ok)-1]); _, _ = io.Copy(io.Discard, c) }, PhaseRead},
		"silent at 100": {func(c net.Conn) {
			readHead(c)
			_, _ = io.WriteString(c, "HTTP/1.1 100 Continue\r\n\r\n")
			_, _ = io.Copy(io.Discard, c)
		}, PhaseResponse},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPeer(t, func(c net.Conn, _ int32) { tc.serve(c) })
			rt, _ := client(t, p.addr, func(o *Options) { o.Timeout = 300 * time.Millisecond })
			_, err := get(rt, p.addr)
			require.ErrorIs(t, err, ErrTimeout)
			require.ErrorIs(t, err, context.DeadlineExceeded)
			var timeout net.Error
			require.ErrorAs(t, err, &timeout)
			assert.True(t, timeout.Timeout())
			assert.Equal(t, tc.phase, phaseOf(t, err))
		})
	}
}

func TestTimeoutWithAServerThatDoesNotRead(t *testing.T) {
	stop := make(chan struct{})
	p := newPeer(t, func(net.Conn, int32) { <-stop })
	t.Cleanup(func() { close(stop) })
	rt, _ := client(t, p.addr, func(o *Options) { o.Timeout = 300 * time.Millisecond })
	for _, known := range []bool{true, false} {
		body := io.Reader(strings.NewReader(strings.Repeat("x", 20<<20)))
		if !known {
			body = struct{ io.Reader }{body}
		}
		_, err := do(rt, request(t, http.MethodPost, "http://"+p.addr+"/", body, nil))
		require.ErrorIs(t, err, ErrTimeout)
	}
}

func TestTimeoutWhileWaitingForAConnection(t *testing.T) {
	p := newPeer(t, func(c net.Conn, _ int32) { _, _ = io.Copy(io.Discard, c) })
	rt, _ := client(t, p.addr, func(o *Options) { o.Timeout, o.MaxConns = 300*time.Millisecond, 1 })
	errs := make(chan error, 2)
	for range 2 {
		go func() { _, err := get(rt, p.addr); errs <- err }()
	}
	phases := map[Phase]int{}
	for range 2 {
		err := <-errs
		require.ErrorIs(t, err, ErrTimeout)
		phases[phaseOf(t, err)]++
	}
	// The second may still get a connection when the first has failed.
	assert.NotZero(t, phases[PhaseResponse])
}

func TestDialFailures(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	addr := listener.Addr().String()
	require.NoError(t, listener.Close())
	rt, _ := client(t, addr, nil)
	_, err = get(rt, addr)
	require.ErrorIs(t, err, syscall.ECONNREFUSED)
	assert.Equal(t, PhaseConnect, phaseOf(t, err))

	rt, _ = client(t, addr, func(o *Options) {
		o.Timeout = 100 * time.Millisecond
		o.Dial = func(ctx context.Context, _, _ string) (net.Conn, error) { <-ctx.Done(); return nil, ctx.Err() }
	})
	_, err = get(rt, addr)
	require.ErrorIs(t, err, ErrTimeout)
	assert.Equal(t, PhaseConnect, phaseOf(t, err))

	// More requests than may dial at a time, and none gets through.
	rt, _ = client(t, addr, func(o *Options) {
		o.Timeout, o.MaxConns = 200*time.Millisecond, 2*maxDials
		o.Dial = func(ctx context.Context, _, _ string) (net.Conn, error) { <-ctx.Done(); return nil, ctx.Err() }
	})
	var all sync.WaitGroup
	for range 2 * maxDials {
		all.Go(func() {
			_, err := get(rt, addr)
			assert.ErrorIs(t, err, ErrTimeout)
		})
	}
	all.Wait()

	rt, _ = client(t, addr, func(o *Options) {
		o.Dial = func(context.Context, string, string) (net.Conn, error) { a, _ := net.Pipe(); return a, nil }
	})
	_, err = get(rt, addr)
	require.ErrorContains(t, err, "no SyscallConn")
}

func TestOptions(t *testing.T) {
	_, err := New(Options{Addr: "host", MaxConns: -1, Timeout: -1, MaxHeaderBytes: -1})
	for _, want := range []string{`"host"`, "MaxConns is -1", "Timeout is -1ns", "MaxHeaderBytes is -1 B"} {
		assert.ErrorContains(t, err, want)
	}
}

func TestContextEndsEveryWait(t *testing.T) {
	why := errors.New("why")
	tests := map[string]struct {
		serve func(c net.Conn)
		setup func(t *testing.T, rt *Transport, addr string)
		most  int
	}{
		"response": {serve: func(c net.Conn) { _, _ = io.Copy(io.Discard, c) }},
		"body": {serve: func(c net.Conn) {
			readHead(c)
			_, _ = io.WriteString(c, ok[:len(ok)-1])
			_, _ = io.Copy(io.Discard, c)
		}},
		"wait": {most: 1, serve: func(c net.Conn) { _, _ = io.Copy(io.Discard, c) }, setup: func(t *testing.T, rt *Transport, addr string) {
			go func() { _, _ = get(rt, addr) }()
			require.Eventually(t, func() bool { rt.mu.Lock(); defer rt.mu.Unlock(); return rt.open == 1 }, 5*time.Second, time.Millisecond)
		}},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			p := newPeer(t, func(c net.Conn, _ int32) { tc.serve(c) })
			rt, _ := client(t, p.addr, func(o *Options) { o.MaxConns = max(tc.most, 1) })
			if tc.setup != nil {
				tc.setup(t, rt, p.addr)
			}
			ctx, cancel := context.WithCancelCause(t.Context())
			time.AfterFunc(20*time.Millisecond, func() { cancel(why) })
			_, err := do(rt, request(t, http.MethodGet, "http://"+p.addr+"/", nil, nil).WithContext(ctx))
			require.ErrorIs(t, err, why)
		})
	}
	t.Run("a context that ends late changes nothing", func(t *testing.T) {
		p := newPeer(t, func(c net.Conn, _ int32) { serveOK(c, 100) })
		rt, _ := client(t, p.addr, nil)
		for range 5 {
			ctx, cancel := context.WithCancel(t.Context())
			body, err := do(rt, request(t, http.MethodGet, "http://"+p.addr+"/", nil, nil).WithContext(ctx))
			cancel()
			require.NoError(t, err)
			require.Equal(t, "ok", body)
		}
		assert.EqualValues(t, 1, p.conns.Load())
	})
}

func TestCloseEndsEverything(t *testing.T) {
	p := newPeer(t, func(c net.Conn, n int32) {
		switch n % 3 {
		case 0:
			_, _ = io.Copy(io.Discard, c)
		case 1:
			readHead(c)
			_, _ = io.WriteString(c, ok[:len(ok)-1])
			_, _ = io.Copy(io.Discard, c)
		default:
			serveOK(c, 1<<30)
		}
	})
	rt, sockets := client(t, p.addr, func(o *Options) { o.MaxConns = 30 })
	rt.Keep(20)
	var requests sync.WaitGroup
	var closed, others atomic.Int32
	for range 60 {
		requests.Go(func() {
			for {
				_, err := get(rt, p.addr)
				if errors.Is(err, ErrClosed) {
					closed.Add(1)
					return
				}
				if err != nil {
					others.Add(1)
					return
				}
			}
		})
	}
	require.Eventually(t, func() bool { return sockets.Load() == 30 }, 10*time.Second, time.Millisecond)
	require.NoError(t, rt.Close())
	assert.Zero(t, sockets.Load())
	requests.Wait()
	assert.EqualValues(t, 60, closed.Load())
	assert.Zero(t, others.Load())
	_, err := get(rt, p.addr)
	require.ErrorIs(t, err, ErrClosed)
	require.NoError(t, rt.Close())
}

func TestMaxConnsAndOrder(t *testing.T) {
	var now, most atomic.Int32
	s := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		n := now.Add(1)
		for old := most.Load(); n > old && !most.CompareAndSwap(old, n); old = most.Load() {
		}
		time.Sleep(time.Millisecond)
		now.Add(-1)
	}))
	defer s.Close()
	addr := s.Listener.Addr().String()
	rt, sockets := client(t, addr, func(o *Options) { o.MaxConns = 3 })
	var all sync.WaitGroup
	for range 50 {
		all.Go(func() {
			_, err := get(rt, addr)
			assert.NoError(t, err)
		})
	}
	all.Wait()
	assert.LessOrEqual(t, most.Load(), int32(3))
	assert.EqualValues(t, 3, sockets.Load())
	assert.Empty(t, rt.waiting)
}

func TestKeep(t *testing.T) {
	hangUp := make(chan struct{})
	p := newPeer(t, func(c net.Conn, n int32) {
		if n <= 10 {
			<-hangUp
			return
		}
		serveOK(c, 100)
	})
	rt, sockets := client(t, p.addr, func(o *Options) { o.MaxConns = 50; o.Timeout = time.Second })
	rt.Keep(10)
	open := func(n int64) func() bool { return func() bool { return sockets.Load() == n } }
	require.Eventually(t, open(10), 5*time.Second, time.Millisecond)
	close(hangUp)
	require.Eventually(t, func() bool { return p.conns.Load() == 20 && sockets.Load() == 10 }, 10*time.Second, time.Millisecond, "what the peer closes is opened again")
	rt.Keep(1000)
	require.Eventually(t, open(50), 5*time.Second, time.Millisecond, "no more than MaxConns")
	body, err := get(rt, p.addr)
	require.NoError(t, err)
	assert.Equal(t, "ok", body)
	// The listener's queue may still hold some.
	require.Eventually(t, func() bool { return p.conns.Load() == 10+50 }, 5*time.Second, time.Millisecond)
}

func TestKeepWhenNothingListens(t *testing.T) {
	var dials atomic.Int32
	rt, _ := client(t, "127.0.0.1:1", func(o *Options) {
		o.Dial = func(context.Context, string, string) (net.Conn, error) { dials.Add(1); return nil, errors.New("no") }
	})
	rt.Keep(50)
	require.Eventually(t, func() bool { return dials.Load() >= 3 }, 5*time.Second, time.Millisecond)
	require.NoError(t, rt.Close()) // also while it pauses
	assert.Less(t, dials.Load(), int32(200), "dials that fail are not repeated without a pause")
}

func TestIdleConnectionThatThePeerClosed(t *testing.T) {
	var served atomic.Int32
	closed := make(chan struct{}, 10)
	p := newPeer(t, func(c net.Conn, _ int32) {
		serveOK(c, 1)
		served.Add(1)
		_ = c.Close()
		closed <- struct{}{}
	})
	rt, sockets := client(t, p.addr, nil)
	for range 3 {
		body, err := do(rt, request(t, http.MethodPost, "http://"+p.addr+"/", strings.NewReader("x"), nil))
		require.NoError(t, err)
		require.Equal(t, "ok", body)
		<-closed
		time.Sleep(2 * freshFor)
	}
	assert.EqualValues(t, 3, served.Load(), "each request was sent once")
	require.Eventually(t, func() bool { return sockets.Load() == 0 }, 5*time.Second, 5*time.Millisecond, "the sweep drops what the peer has closed")
}

func TestARequestIsSentOnce(t *testing.T) {
	var came atomic.Int32
	p := newPeer(t, func(c net.Conn, _ int32) {
		in := bufio.NewReader(c)
		for i := 0; ; i++ {
			if _, err := http.ReadRequest(in); err != nil {
				return
			}
			came.Add(1)
			if i == 1 {
				return // no answer to the second request of a connection
			}
			_, _ = io.WriteString(c, ok)
		}
	})
	rt, _ := client(t, p.addr, nil)
	_, err := get(rt, p.addr)
	require.NoError(t, err)
	_, err = get(rt, p.addr)
	require.ErrorIs(t, err, ErrNoResponse)
	require.ErrorIs(t, err, io.EOF)
	assert.Equal(t, PhaseResponse, phaseOf(t, err))
	assert.EqualValues(t, 2, came.Load())
	assert.EqualValues(t, 1, p.conns.Load())
}

func TestReset(t *testing.T) {
	p := newPeer(t, func(c net.Conn, _ int32) {
		readHead(c)
		_ = c.(*net.TCPConn).SetLinger(0)
	})
	rt, _ := client(t, p.addr, nil)
	_, err := get(rt, p.addr)
	require.ErrorIs(t, err, syscall.ECONNRESET)
	assert.Equal(t, PhaseResponse, phaseOf(t, err))
}

func TestSwitchingProtocolsIsRefused(t *testing.T) {
	p := newPeer(t, func(c net.Conn, _ int32) {
		readHead(c)
		_, _ = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n")
		_, _ = io.Copy(io.Discard, c)
	})
	rt, sockets := client(t, p.addr, nil)
	_, err := get(rt, p.addr)
	require.ErrorIs(t, err, ErrSwitched)
	assert.Zero(t, sockets.Load())
}

func TestEarlyResponseToALargeBody(t *testing.T) {
	// The server answers at once, with more than a socket buffer holds, and reads
	// the body only afterwards: both directions are full.
	const size = 8 << 20
	p := newPeer(t, func(c net.Conn, _ int32) {
		in := bufio.NewReader(c)
		for {
			req, err := http.ReadRequest(in)
			if err != nil {
				return
			}
			fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", size)
			_, _ = io.Copy(c, io.LimitReader(zeros{}, size))
			_, _ = io.Copy(io.Discard, req.Body)
		}
	})
	rt, _ := client(t, p.addr, nil)
	for _, body := range []io.Reader{strings.NewReader(strings.Repeat("x", size)), io.LimitReader(zeros{}, size)} {
		got, err := do(rt, request(t, http.MethodPost, "http://"+p.addr+"/", body, nil))
		require.NoError(t, err)
		assert.Len(t, got, size)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func TestRefusalWhileTheBodyLeaves(t *testing.T) {
	p := newPeer(t, func(c net.Conn, _ int32) {
		readHead(c)
		_, _ = io.WriteString(c, "HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno")
		_ = c.(*net.TCPConn).CloseWrite()
		time.Sleep(20 * time.Millisecond)
	})
	rt, sockets := client(t, p.addr, nil)
	body := &closing{Reader: io.LimitReader(zeros{}, 100<<20)}
	got, err := do(rt, request(t, http.MethodPost, "http://"+p.addr+"/", body, nil))
	require.NoError(t, err)
	assert.Equal(t, "no", got)
	assert.Zero(t, sockets.Load())
	require.Eventually(t, func() bool { return body.closed.Load() == 1 }, 5*time.Second, time.Millisecond, "the body is closed once")
}

type closing struct {
	io.Reader
	closed atomic.Int32
}

func (c *closing) Close() error { c.closed.Add(1); return nil }

func TestExpectContinue(t *testing.T) {
	serve := func(first string, readsBody bool) *peer {
		return newPeer(t, func(c net.Conn, _ int32) {
			in := bufio.NewReader(c)
			for {
				req, err := http.ReadRequest(in)
				if err != nil {
					return
				}
				_, _ = io.WriteString(c, first)
				if !readsBody {
					continue
				}
				body, _ := io.ReadAll(req.Body)
				fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
			}
		})
	}
	send := func(p *peer) (string, *closing, error) {
		rt, _ := client(t, p.addr, nil)
		body := &closing{Reader: strings.NewReader("hello")}
		got, err := do(rt, request(t, http.MethodPost, "http://"+p.addr+"/", body, func(r *http.Request) {
			r.Header.Set("Expect", "100-continue")
			r.ContentLength = 5
		}))
		return got, body, err
	}
	t.Run("continue", func(t *testing.T) {
		got, body, err := send(serve("HTTP/1.1 100 Continue\r\n\r\n", true))
		require.NoError(t, err)
		assert.Equal(t, "hello", got)
		assert.EqualValues(t, 1, body.closed.Load())
	})
	t.Run("silence for a second", func(t *testing.T) {
		got, _, err := send(serve("", true))
		require.NoError(t, err)
		assert.Equal(t, "hello", got)
	})
	t.Run("refused", func(t *testing.T) {
		got, body, err := send(serve("HTTP/1.1 417 No\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno", false))
		require.NoError(t, err)
		assert.Equal(t, "no", got)
		require.Eventually(t, func() bool { return body.closed.Load() == 1 }, 5*time.Second, time.Millisecond)
		left, _ := io.ReadAll(body.Reader)
		assert.Equal(t, "hello", string(left), "the body was not read")
	})
}

func TestBodyCloses(t *testing.T) {
	p := newPeer(t, func(c net.Conn, _ int32) {
		readHead(c)
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello")
		_, _ = io.Copy(io.Discard, c)
	})
	rt, sockets := client(t, p.addr, nil)
	t.Run("early", func(t *testing.T) {
		resp, err := rt.RoundTrip(request(t, http.MethodGet, "http://"+p.addr+"/", nil, nil))
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		require.NoError(t, resp.Body.Close())
		_, err = resp.Body.Read(make([]byte, 1))
		require.ErrorIs(t, err, errBodyClosed)
		assert.Zero(t, sockets.Load(), "a body that was not read takes its connection with it")
	})
	t.Run("while another reads", func(t *testing.T) {
		resp, err := rt.RoundTrip(request(t, http.MethodGet, "http://"+p.addr+"/", nil, nil))
		require.NoError(t, err)
		ended := make(chan error)
		go func() { _, err := io.ReadAll(resp.Body); ended <- err }()
		time.Sleep(5 * time.Millisecond)
		require.NoError(t, resp.Body.Close())
		require.ErrorIs(t, <-ended, errBodyClosed)
		assert.Zero(t, sockets.Load())
	})
	t.Run("never", func(t *testing.T) {
		rt, sockets := client(t, p.addr, func(o *Options) { o.Timeout = 100 * time.Millisecond })
		_, err := rt.RoundTrip(request(t, http.MethodGet, "http://"+p.addr+"/", nil, nil))
		require.NoError(t, err)
		require.Eventually(t, func() bool { return sockets.Load() == 0 }, 5*time.Second, time.Millisecond, "the time limit ends it")
	})
}

// Whatever the peers do, each request ends, and nothing is left.
func TestManyAtOnce(t *testing.T) {
	p := newPeer(t, func(c net.Conn, _ int32) {
		in := bufio.NewReader(c)
		for {
			req, err := http.ReadRequest(in)
			if err != nil {
				return
			}
			_, _ = io.Copy(io.Discard, req.Body)
			answer := "HTTP/1.1 200 OK\r\nContent-Length: " + fmt.Sprint(len(req.URL.Path)) + "\r\n\r\n" + req.URL.Path
			switch rand.IntN(20) {
			case 0:
				return
			case 1:
				_ = c.(*net.TCPConn).SetLinger(0)
				return
			case 2:
				_, _ = io.WriteString(c, answer[:rand.IntN(len(answer))])
				return
			case 3:
				_, _ = io.WriteString(c, answer)
				return
			case 4:
				time.Sleep(time.Duration(rand.IntN(400)) * time.Millisecond)
			case 5:
				answer = fmt.Sprintf("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n", len(req.URL.Path), req.URL.Path)
			}
			_, _ = io.WriteString(c, answer)
		}
	})
	rt, _ := client(t, p.addr, func(o *Options) { o.MaxConns, o.Timeout = 20, 200*time.Millisecond })
	rt.Keep(10)
	var all sync.WaitGroup
	var good, bad atomic.Int32
	for worker := range 50 {
		all.Go(func() {
			for i := range 40 {
				path := fmt.Sprintf("/%d/%d", worker, i)
				var body io.Reader
				if i%5 == 0 {
					body = io.LimitReader(zeros{}, int64(i)<<10)
				}
				req, _ := http.NewRequest(http.MethodPost, "http://"+p.addr+path, body)
				if i%3 == 0 {
					ctx, cancel := context.WithTimeout(context.Background(), time.Duration(i)*5*time.Millisecond)
					defer cancel()
					req = req.WithContext(ctx)
				}
				got, err := do(rt, req)
				if err != nil {
					var typed *Error
					assert.ErrorAs(t, err, &typed)
					bad.Add(1)
					continue
				}
				// No request ever sees the answer to another.
				assert.Equal(t, path, got)
				good.Add(1)
			}
		})
	}
	all.Wait()
	assert.Positive(t, good.Load())
	assert.EqualValues(t, 50*40, good.Load()+bad.Load())
}

func TestShareHeaders(t *testing.T) {
	heads := []string{
		"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nA: 1\r\n\r\n", // known from here on
		"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nA: 1\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nA: 2\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nA: 1\r\n\r\n",
	}
	for _, share := range []bool{true, false} {
		p := newPeer(t, func(c net.Conn, _ int32) {
			in := bufio.NewReader(c)
			for i := 0; ; i++ {
				req, err := http.ReadRequest(in)
				if err != nil {
					return
				}
				body := "ok"
				if req.Method == http.MethodHead {
					body = ""
				}
				_, _ = io.WriteString(c, heads[i%len(heads)]+body)
			}
		})
		rt, _ := client(t, p.addr, func(o *Options) { o.ShareHeaders = share })
		var headers []http.Header
		for i, method := range []string{"GET", "GET", "GET", "HEAD", "GET"} {
			resp, err := rt.RoundTrip(request(t, method, "http://"+p.addr+"/", nil, nil))
			require.NoError(t, err)
			body, err := io.ReadAll(resp.Body)
			require.NoError(t, err)
			assert.Equal(t, method == "GET", string(body) == "ok")
			assert.EqualValues(t, 2, resp.ContentLength)
			assert.Equal(t, map[bool]string{true: "2", false: "1"}[i == 2], resp.Header.Get("A"))
			assert.Equal(t, method, resp.Request.Method)
			headers = append(headers, resp.Header)
		}
		assert.EqualValues(t, 1, p.conns.Load())
		headers[0].Set("A", "changed")
		assert.Equal(t, share, headers[1].Get("A") == "changed")
		assert.Equal(t, "1", headers[3].Get("A"), "a response to HEAD is no other's")
	}
}

// TestLay has responses lie in the socket before they are read.
func TestLay(t *testing.T) {
	const late = 20 * time.Millisecond
	tests := []struct{ name, head, body string }{
		{"whole", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", ""},
		{"no body", "HTTP/1.1 204 No Content\r\n\r\n", ""},
		{"by length", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n", "ok"},
		{"by chunks", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "2\r\nok\r\n0\r\n\r\n"},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			proceed, sent := make(chan struct{}), make(chan struct{})
			p := newPeer(t, func(c net.Conn, _ int32) {
				in := bufio.NewReader(c)
				for {
					if _, err := http.ReadRequest(in); err != nil {
						return
					}
					_, _ = io.WriteString(c, tc.head)
					<-proceed
					_, _ = io.WriteString(c, tc.body)
					sent <- struct{}{}
				}
			})
			rt, _ := client(t, p.addr, func(o *Options) { o.Arrivals = true })
			ask := func() time.Duration {
				begun := time.Now()
				resp, err := rt.RoundTrip(request(t, http.MethodGet, "http://"+p.addr+"/", nil, nil))
				require.NoError(t, err)
				proceed <- struct{}{}
				<-sent // what is sent over loopback has arrived
				time.Sleep(late)
				_, err = io.Copy(io.Discard, resp.Body)
				require.NoError(t, err)
				lay := resp.Body.(interface{ Lay() time.Duration }).Lay()
				assert.Less(t, lay, time.Since(begun))
				_, err = resp.Body.Read(make([]byte, 1))
				assert.Equal(t, io.EOF, err)
				require.NoError(t, resp.Body.Close())
				return lay
			}
			// The kernel begins to stamp some time after the first socket has asked.
			for try := 0; ask() < late && tc.body != ""; try++ {
				require.Less(t, try, 50, "what has lain in the socket is not known to have")
			}
		})
	}
}
