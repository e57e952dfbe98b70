package gotrace

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"chokepoint/harness/internal/testtrace"
	"chokepoint/harness/signal/stack"
)

// stuckLength is long enough for the trace to tell the stack of a goroutine that
// does nothing: it does so as each second of it ends.
const stuckLength = 1300 * time.Millisecond

// upstream is a dependency of a handler: a server that answers when it is let.
type upstream struct {
	*httptest.Server
	waiting chan struct{} // a value for each request that has come
	let     chan struct{} // closed to answer all
}

func newUpstream(t *testing.T) *upstream {
	u := &upstream{waiting: make(chan struct{}, 100), let: make(chan struct{})}
	u.Server = httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		u.waiting <- struct{}{}
		select {
		case <-u.let:
		case <-r.Context().Done():
		}
	}))
	t.Cleanup(func() {
		u.CloseClientConnections()
		u.Close()
	})
	return u
}

func (u *upstream) ask(r *http.Request) error {
	req, err := http.NewRequestWithContext(r.Context(), http.MethodGet, u.URL, nil)
	if err != nil {
		return err
	}
	resp, err := u.Client().Do(req)
	if err != nil {
		return err
	}
	return resp.Body.Close()
}

// askers sends n requests on connections of their own, and does not wait.
func askers(t *testing.T, srv *httptest.Server, n int, path string) []net.Conn {
	var conns []net.Conn
	for range n {
		c, err := net.Dial("tcp", srv.Listener.Addr().String())
		require.NoError(t, err)
		t.Cleanup(func() { c.Close() })
		_, err = fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: x\r\n\r\n", path)
		require.NoError(t, err)
		conns = append(conns, c)
	}
	return conns
}

func answered(t *testing.T, conns []net.Conn) {
	for _, c := range conns {
		line, err := bufio.NewReader(c).ReadString('\n')
		assert.NoError(t, err)
		assert.Contains(t, line, "200")
	}
}

// stuckAt is the waits at lines of a function.
func stuckAt(p Hung, function string) Stuck {
	for _, k := range p.At {
		if strings.Contains(k.Where.Function, function) {
			return k
		}
	}
	return Stuck{}
}

func TestWaitsForAPeerThatDoesNotAnswer(t *testing.T) {
	const n = 6
	for name, c := range map[string]struct {
		during func(t *testing.T, u *upstream, conns []net.Conn)
		want   Stuck
	}{
		"none ends": {
			func(*testing.T, *upstream, []net.Conn) { time.Sleep(stuckLength) },
			Stuck{Middle: n, End: n, InRequests: n},
		},
		"all end late": {
			func(t *testing.T, u *upstream, conns []net.Conn) {
				time.Sleep(stuckLength)
				close(u.let)
				answered(t, conns)
			},
			Stuck{Middle: n},
		},
		"all end early": {
			func(t *testing.T, u *upstream, conns []net.Conn) {
				close(u.let)
				answered(t, conns)
				time.Sleep(stuckLength)
			},
			Stuck{},
		},
		"the clients of all but one leave": {
			func(_ *testing.T, _ *upstream, conns []net.Conn) {
				time.Sleep(stuckLength)
				for _, c := range conns[1:] {
					c.Close()
				}
				time.Sleep(stuckLength / 4)
			},
			Stuck{Middle: 1, End: 1, InRequests: 1},
		},
	} {
		t.Run(name, func(t *testing.T) {
			u := newUpstream(t)
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if u.ask(r) == nil {
					_, _ = io.WriteString(w, "ok")
				}
			}))
			t.Cleanup(func() { srv.CloseClientConnections(); srv.Close() })
			conns := askers(t, srv, n, "/")
			for range n {
				<-u.waiting
			}
			s, err := Read(strings.NewReader(string(testtrace.Record(t, func() { c.during(t, u, conns) }))), thisProgram)
			require.NoError(t, err)
			got := stuckAt(s.Hung, "(*upstream).ask")
			assert.Equal(t, c.want.Middle, got.Middle, "%+v", s.Hung)
			assert.Equal(t, c.want.End, got.End)
			assert.Equal(t, c.want.InRequests, got.InRequests)
			if got.End > 0 {
				assert.Equal(t, stack.AskedPeer, got.Peer)
			}
		})
	}
}

// A goroutine that a handler started hangs, and the handler with it.
func TestWaitsOfHelpers(t *testing.T) {
	u := newUpstream(t)
	srv := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		var all sync.WaitGroup
		for range 2 {
			all.Go(func() { _ = u.ask(r) })
		}
		all.Wait()
	}))
	t.Cleanup(func() { srv.CloseClientConnections(); srv.Close() })
	askers(t, srv, 4, "/")
	for range 8 {
		<-u.waiting
	}
	s, err := Read(strings.NewReader(string(testtrace.Record(t, func() { time.Sleep(stuckLength) }))), thisProgram)
	require.NoError(t, err)
	got := stuckAt(s.Hung, "(*upstream).ask")
	assert.Equal(t, 8, got.End)
	assert.Zero(t, got.InRequests)
	assert.GreaterOrEqual(t, s.Hung.Helped, 4)
}

// A connection that is read in a goroutine of the program's own may be anybody's. It is a
// dependency's where a handler waits for the goroutine, as part of a group.
func TestWaitsOfHelpersThatRead(t *testing.T) {
	const n = 4
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { silent.Close() })
	for name, c := range map[string]struct {
		handler func(t *testing.T, w http.ResponseWriter, r *http.Request, began *sync.WaitGroup)
		readers int // a request
		joined  int // of all requests
	}{
		"two, for which the handler waits": {func(t *testing.T, _ http.ResponseWriter, _ *http.Request, began *sync.WaitGroup) {
			var all sync.WaitGroup
			for range 2 {
				all.Go(func() { listenTo(t, silent, began) })
			}
			all.Wait()
		}, 2, n},
		"in middleware, and started as of old": {func(t *testing.T, w http.ResponseWriter, r *http.Request, began *sync.WaitGroup) {
			http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
				var all sync.WaitGroup
				all.Add(1)
				go func() {
					defer all.Done()
					listenTo(t, silent, began)
				}()
				all.Wait()
			}).ServeHTTP(w, r)
		}, 1, n},
		"a subscription of a feed, that waits for news": {func(t *testing.T, _ http.ResponseWriter, r *http.Request, began *sync.WaitGroup) {
			news := make(chan byte)
			go func() {
				listenTo(t, silent, began)
				close(news)
			}()
			select {
			case <-news:
			case <-r.Context().Done():
			}
		}, 1, 0},
		"a subscription and who writes, in a group": {func(t *testing.T, _ http.ResponseWriter, r *http.Request, began *sync.WaitGroup) {
			var both sync.WaitGroup
			news := make(chan byte)
			both.Go(func() {
				listenTo(t, silent, began)
				close(news)
			})
			both.Go(func() { <-news })
			both.Wait()
		}, 1, 0},
		"a connection that was taken over": {func(t *testing.T, w http.ResponseWriter, _ *http.Request, began *sync.WaitGroup) {
			c, _, err := http.NewResponseController(w).Hijack()
			if !assert.NoError(t, err) {
				return
			}
			defer c.Close()
			var reader sync.WaitGroup
			reader.Go(func() {
				began.Done()
				listen(bufio.NewReader(c))
			})
			reader.Wait()
		}, 1, 0},
		"one that was taken over and its peer's": {func(t *testing.T, w http.ResponseWriter, _ *http.Request, began *sync.WaitGroup) {
			c, _, err := http.NewResponseController(w).Hijack()
			if !assert.NoError(t, err) {
				return
			}
			defer c.Close()
			var both sync.WaitGroup
			both.Go(func() {
				began.Done()
				listen(bufio.NewReader(c))
			})
			both.Go(func() { listenTo(t, silent, began) })
			both.Wait()
		}, 2, 0},
		"subscribers besides": {func(t *testing.T, _ http.ResponseWriter, r *http.Request, began *sync.WaitGroup) {
			subscribe(t, silent, began)
			var none sync.WaitGroup
			none.Go(func() { <-r.Context().Done() })
			none.Wait()
		}, 1, 0},
	} {
		t.Run(name, func(t *testing.T) {
			var began sync.WaitGroup
			began.Add(n * c.readers)
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { c.handler(t, w, r, &began) }))
			conns := askers(t, srv, n, "/")
			began.Wait()
			time.Sleep(100 * time.Millisecond)
			s, err := Read(strings.NewReader(string(testtrace.Record(t, func() { time.Sleep(stuckLength) }))), thisProgram)
			require.NoError(t, err)
			readers, joined := 0, 0
			for _, k := range s.Hung.At {
				if k.Peer == stack.OwnPeer && strings.HasPrefix(k.Where.Function, thisProgram.MainModule+"/harness/signal/gotrace.listen") {
					readers += k.End
					joined += k.Joined
				}
			}
			assert.GreaterOrEqual(t, readers, n*c.readers, "%+v", s.Hung)
			assert.Equal(t, c.joined, joined, "%+v", s.Hung)
			for _, conn := range conns {
				conn.Close()
			}
			srv.CloseClientConnections()
			// Whoever reads of the silent peer goes on when it hangs up.
			hangUp(t, silent)
		})
	}
}

// subscribe has a goroutine read that no handler waits for.
func subscribe(t *testing.T, l net.Listener, began *sync.WaitGroup) {
	go listenTo(t, l, began)
}

// listenTo reads of a peer that says nothing.
func listenTo(t *testing.T, l net.Listener, began *sync.WaitGroup) {
	c, err := net.Dial("tcp", l.Addr().String())
	began.Done()
	if assert.NoError(t, err) {
		defer c.Close()
		listen(bufio.NewReader(c))
	}
}

// hangUp closes all connections that wait to be accepted.
func hangUp(t *testing.T, l net.Listener) {
	for {
		require.NoError(t, l.(*net.TCPListener).SetDeadline(time.Now().Add(50*time.Millisecond)))
		c, err := l.Accept()
		if err != nil {
			return
		}
		c.Close()
	}
}

// Requests that hang keep the connections that others wait for.
func TestWaitsForConnectionsThatHang(t *testing.T) {
	u := newUpstream(t)
	u.Client().Transport.(*http.Transport).MaxConnsPerHost = 3
	var began sync.WaitGroup
	began.Add(10)
	srv := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		began.Done()
		_ = u.ask(r)
	}))
	t.Cleanup(func() { srv.CloseClientConnections(); srv.Close() })
	askers(t, srv, 10, "/")
	for range 3 {
		<-u.waiting
	}
	began.Wait()
	time.Sleep(100 * time.Millisecond)
	s, err := Read(strings.NewReader(string(testtrace.Record(t, func() { time.Sleep(stuckLength) }))), thisProgram)
	require.NoError(t, err)
	assert.Equal(t, 3, stuckAt(s.Hung, "(*upstream).ask").End)
	assert.Equal(t, 7, s.Hung.Queued, "%+v", s.Hung)
}

func TestWritesToAPeerThatDoesNotRead(t *testing.T) {
	const n = 4
	heldWrites(t, n, sendAll)
	s, err := Read(strings.NewReader(string(testtrace.Record(t, func() { time.Sleep(stuckLength) }))), thisProgram)
	require.NoError(t, err)
	got := stuckAt(s.Hung, "sendAll")
	assert.Equal(t, Stuck{Peer: stack.FullPeer, Where: got.Where, Middle: n, End: n, InRequests: n}, got)
}

// Peers that give up reset the connection; that is no end of a wait. Those that read on
// do end it, and so do deadlines, though the network wakes the writer in each case.
func TestWritesWhosePeerGivesUp(t *testing.T) {
	const n = 4
	for name, c := range map[string]struct {
		send   func(http.ResponseWriter)
		during func(conns []net.Conn)
		want   Stuck
	}{
		"all but one give up": {
			func(w http.ResponseWriter) { sendAll(w) },
			func(conns []net.Conn) {
				for _, c := range conns[1:] {
					_ = c.Close()
				}
			},
			Stuck{Middle: 1, End: 1, InRequests: 1},
		},
		"all but one give up, and their leaving is logged": {
			func(w http.ResponseWriter) {
				sendAll(w)
				fmt.Fprintln(os.Stderr, "not all was sent")
			},
			func(conns []net.Conn) {
				for _, c := range conns[1:] {
					_ = c.Close()
				}
			},
			Stuck{Middle: 1, End: 1, InRequests: 1},
		},
		"all but one read on": {
			func(w http.ResponseWriter) { sendAll(w) },
			func(conns []net.Conn) {
				for _, c := range conns[1:] {
					go io.Copy(io.Discard, c)
				}
			},
			Stuck{Middle: n, End: 1, InRequests: 1},
		},
		"a deadline passes": {
			func(w http.ResponseWriter) {
				_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(2 * time.Second))
				sendAll(w)
			},
			func([]net.Conn) { time.Sleep(time.Second) },
			Stuck{Middle: n},
		},
	} {
		t.Run(name, func(t *testing.T) {
			conns := heldWrites(t, n, func(w io.Writer) { c.send(w.(http.ResponseWriter)) })
			s, err := Read(strings.NewReader(string(testtrace.Record(t, func() {
				time.Sleep(stuckLength)
				c.during(conns)
				time.Sleep(stuckLength / 4)
			}))), thisProgram)
			require.NoError(t, err)
			got := stuckAt(s.Hung, "sendAll")
			assert.Equal(t, c.want.Middle, got.Middle, "%+v", s.Hung)
			assert.Equal(t, c.want.End, got.End)
			assert.Equal(t, c.want.InRequests, got.InRequests)
			if left := int64(n - got.Middle); left > 0 {
				assert.Greater(t, got.LateRequestNS, left*int64(stuckLength)*9/10, "what those waited that gave up is lost")
			}
		})
	}
}

// heldWrites is connections to a server that are not read, when n handlers are held in
// what they send.
func heldWrites(t *testing.T, n int, send func(io.Writer)) []net.Conn {
	t.Helper()
	var writing sync.WaitGroup
	writing.Add(n)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		writing.Done()
		send(w)
	}))
	t.Cleanup(func() { srv.CloseClientConnections(); srv.Close() })
	conns := askers(t, srv, n, "/")
	writing.Wait()
	require.Eventually(t, func() bool { // until the buffers are full
		buf := make([]byte, 1<<20)
		held := 0
		for _, g := range strings.Split(string(buf[:runtime.Stack(buf, true)]), "\n\n") {
			if strings.Contains(g, "[IO wait") && strings.Contains(g, ".sendAll(") {
				held++
			}
		}
		return held == n
	}, 20*time.Second, 10*time.Millisecond)
	time.Sleep(300 * time.Millisecond) // and what was on the way has arrived
	return conns
}

// sendAll writes more than any buffer on the way holds.
func sendAll(w io.Writer) { _, _ = w.Write(make([]byte, 64<<20)) }

// A connection that was taken over is read as a dependency is; net/http watches
// those alone that it still has.
func TestTakenConnectionsAreNotWatched(t *testing.T) {
	var taken sync.WaitGroup
	taken.Add(5)
	u := newUpstream(t)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/ask" {
			_ = u.ask(r)
			return
		}
		c, _, err := http.NewResponseController(w).Hijack()
		if assert.NoError(t, err) {
			taken.Done()
			defer c.Close()
			listen(bufio.NewReader(c)) // as libraries do that want a larger buffer than net/http's
		}
	}))
	t.Cleanup(func() { srv.CloseClientConnections(); srv.Close() })
	conns := askers(t, srv, 5, "/take")
	taken.Wait()
	askers(t, srv, 3, "/ask")
	for range 3 {
		<-u.waiting
	}
	s, err := Read(strings.NewReader(string(testtrace.Record(t, func() { time.Sleep(stuckLength) }))), thisProgram)
	require.NoError(t, err)
	got := stuckAt(s.Hung, "listen")
	assert.Equal(t, stack.ReadPeer, got.Peer)
	assert.Equal(t, 5, got.End)
	assert.Equal(t, 5, s.Hung.Handlers-s.Hung.Watched, "%+v", s.Hung)
	for _, c := range conns {
		c.Close()
	}
}

func listen(r io.ByteReader) {
	for {
		if _, err := r.ReadByte(); err != nil {
			return
		}
	}
}

// Calls that last all of the trace have no beginning in it, and count all the same;
// and so does the wait of another goroutine for its turn at the same file.
func TestSystemCallsFromBeforeTheTrace(t *testing.T) {
	r, w := blockingPipe(t)
	var readers sync.WaitGroup
	for range 2 {
		readers.Go(func() { waitInKernel(r) })
	}
	time.Sleep(50 * time.Millisecond)
	s := read(t, testtrace.Record(t, func() { time.Sleep(stuckLength) }))
	_, err := w.Write([]byte{1, 2})
	require.NoError(t, err)
	readers.Wait()
	for _, c := range s.Syscalls {
		if strings.HasSuffix(c.Where.Function, "waitInKernel") {
			assert.InDelta(t, s.DurationNS(), c.NS, 0.2*float64(s.DurationNS()))
			assert.InDelta(t, s.DurationNS(), c.QueuedNS, 0.2*float64(s.DurationNS()))
			assert.Zero(t, c.RequestNS+c.QueuedRequestNS, "no request is in it")
			assert.Equal(t, stack.Transfer, c.Blocking)
			return
		}
	}
	t.Errorf("the call is not there: %+v", s.Syscalls)
}

// blockingPipe is a pipe whose reads keep a thread.
func blockingPipe(t *testing.T) (r, w *os.File) {
	t.Helper()
	var p [2]int
	require.NoError(t, unix.Pipe2(p[:], unix.O_CLOEXEC))
	r, w = os.NewFile(uintptr(p[0]), "r"), os.NewFile(uintptr(p[1]), "w")
	t.Cleanup(func() { r.Close(); w.Close() })
	return r, w
}

func waitInKernel(r *os.File) { _, _ = r.Read(make([]byte, 1)) }
