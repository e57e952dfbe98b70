package gotrace

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"chokepoint/harness/internal/testtrace"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// wire is a client that has many questions on one connection under way.
type wire struct {
	conn net.Conn
	out  chan uint32
	mu   sync.Mutex
	wait map[uint32]chan struct{}
	last uint32
}

// dialWire speaks with a peer that answers what of odd number it is asked, after a while, and nothing else.
func dialWire(t *testing.T) *wire {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { l.Close() })
	go func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		var n uint32
		for binary.Read(c, binary.BigEndian, &n) == nil {
			if n%2 == 1 {
				time.AfterFunc(20*time.Millisecond, func() { _ = binary.Write(c, binary.BigEndian, n) })
			}
		}
	}()
	c, err := net.Dial("tcp", l.Addr().String())
	require.NoError(t, err)
	x := &wire{conn: c, out: make(chan uint32), wait: map[uint32]chan struct{}{}}
	go x.write()
	go x.listen()
	t.Cleanup(func() { c.Close(); close(x.out) })
	return x
}

func (l *wire) write() {
	for n := range l.out {
		_ = binary.Write(l.conn, binary.BigEndian, n)
	}
}

func (l *wire) listen() {
	var n uint32
	r := bufio.NewReader(l.conn)
	for binary.Read(r, binary.BigEndian, &n) == nil {
		l.mu.Lock()
		ch := l.wait[n]
		l.mu.Unlock()
		if ch != nil {
			ch <- struct{}{}
		}
	}
}

func (l *wire) question(r *http.Request, odd bool) {
	l.mu.Lock()
	l.last += 2
	n := l.last
	if odd {
		n++
	}
	ch := make(chan struct{}, 1)
	l.wait[n] = ch
	l.mu.Unlock()
	l.out <- n
	select {
	case <-ch:
	case <-r.Context().Done():
	}
}

// tells is a feed: it says something to all who wait, without being asked.
func (l *wire) tells(r *http.Request) {
	ch := make(chan struct{}, 1)
	l.mu.Lock()
	l.last += 2
	n := l.last
	l.wait[n] = ch
	l.mu.Unlock()
	select {
	case <-ch:
	case <-r.Context().Done():
	}
}

// Answers that one goroutine reads for many are waited for; news that one reads is not.
func TestWaitsForAnswersThatAnotherReads(t *testing.T) {
	const n = 5
	x := dialWire(t)
	var began sync.WaitGroup
	began.Add(n)
	srv := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/never" {
			began.Done()
			x.question(r, false)
			return
		}
		x.question(r, true)
	}))
	t.Cleanup(func() { srv.CloseClientConnections(); srv.Close() })
	askers(t, srv, n, "/never")
	began.Wait()
	time.Sleep(100 * time.Millisecond)
	s, err := Read(strings.NewReader(string(testtrace.Record(t, func() { getFor(t, srv.URL, stuckLength) }))), thisProgram)
	require.NoError(t, err)
	got := stuckAt(s.Hung, "(*wire).question")
	assert.Equal(t, "relayed", got.Peer.String(), "%+v", s.Hung)
	assert.Equal(t, n, got.End)
	assert.Equal(t, n, got.InRequests)
	assert.Len(t, s.Hung.Relayed, 1)
	assert.Zero(t, s.Hung.Helped, "it is told who they wait for")
}

func TestNewsThatAnotherReads(t *testing.T) {
	const n = 5
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { l.Close() })
	var mu sync.Mutex
	var news net.Conn
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			news = c
			mu.Unlock()
		}
	}()
	c, err := net.Dial("tcp", l.Addr().String())
	require.NoError(t, err)
	x := &wire{conn: c, wait: map[uint32]chan struct{}{}}
	go x.listen()
	t.Cleanup(func() { c.Close() })
	var began sync.WaitGroup
	began.Add(n)
	srv := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/never" {
			began.Done()
		} else {
			x.mu.Lock()
			next := x.last + 2
			x.mu.Unlock()
			time.AfterFunc(20*time.Millisecond, func() {
				mu.Lock()
				defer mu.Unlock()
				_ = binary.Write(news, binary.BigEndian, next)
			})
		}
		x.tells(r)
	}))
	t.Cleanup(func() { srv.CloseClientConnections(); srv.Close() })
	askers(t, srv, n, "/never")
	began.Wait()
	time.Sleep(100 * time.Millisecond)
	s, err := Read(strings.NewReader(string(testtrace.Record(t, func() { getFor(t, srv.URL, stuckLength) }))), thisProgram)
	require.NoError(t, err)
	assert.Empty(t, s.Hung.Relayed, "%+v", s.Hung)
	assert.Zero(t, stuckAt(s.Hung, "(*wire).tells").End)
	assert.Equal(t, n, s.Hung.Helped)
}

// getFor asks one after another for as long.
func getFor(t *testing.T, url string, long time.Duration) {
	for until := time.Now().Add(long); time.Now().Before(until); {
		resp, err := http.Get(fmt.Sprint(url, "/"))
		if !assert.NoError(t, err) {
			return
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
	}
}
