package client

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// more than any socket buffers hold
const muchMore = 64 << 20

func one(b Behaviour) []Behaviour {
	b.Share = 1
	return []Behaviour{b}
}

// A server's write to a client that does not read must block until that hangs up.
func TestStopsReading(t *testing.T) {
	for _, k := range protocols() {
		for _, after := range []int64{5, 20_000} {
			t.Run(fmt.Sprintf("%s, after %d B", k.name, after), func(t *testing.T) {
				t.Parallel()
				var sent, failed atomic.Int64
				p := k.start(t, func(w http.ResponseWriter, r *http.Request) {
					piece := make([]byte, 64<<10)
					for sent.Load() < muchMore {
						n, err := w.Write(piece)
						sent.Add(int64(n))
						if err != nil {
							failed.Add(1)
							return
						}
					}
				})
				p.MaxInFlight, p.Timeout, p.Behaviours = 1, 400*time.Millisecond, one(Behaviour{StopsReadingAfter: after})
				c, open := counted(t, p)
				resp, text, err := send(c.Behave(c.Pick(1)), "GET", p.BaseURL, nil)
				require.ErrorIs(t, err, ErrMisbehaved)
				require.ErrorIs(t, err, context.DeadlineExceeded, "it held the connection until its timeout")
				if after == 5 {
					assert.Nil(t, resp, "that is less than a head")
				}
				assert.LessOrEqual(t, int64(len(text)), after)
				within(t, "the server's write fails", func() bool { return failed.Load() == 1 })
				assert.Less(t, sent.Load(), int64(muchMore))
				assert.Zero(t, open.Load())
			})
		}
	}
}

func TestShortResponsesAreReadInFull(t *testing.T) {
	behaviours := []Behaviour{
		{StopsReadingAfter: 1 << 20}, {ReadsPerSecond: 1 << 20}, {SendsPerSecond: 1 << 20}, {HangsUpAfter: time.Minute},
	}
	for _, k := range protocols() {
		for _, b := range behaviours {
			t.Run(k.name+", "+b.String(), func(t *testing.T) {
				t.Parallel()
				p := k.start(t, func(w http.ResponseWriter, r *http.Request) {
					text, _ := io.ReadAll(r.Body)
					_, _ = fmt.Fprintf(w, "%s %s", r.Proto, text)
				})
				p.MaxInFlight, p.Behaviours = 1, one(b)
				c, open := counted(t, p)
				for range 2 {
					_, text, err := send(c.Behave(0), "GET", p.BaseURL, nil)
					require.NoError(t, err)
					assert.Equal(t, k.proto+" ", text)
					_, text, err = send(c.Behave(0), "POST", p.BaseURL, strings.NewReader("some words"))
					require.NoError(t, err)
					assert.Equal(t, k.proto+" some words", text)
				}
				assert.Zero(t, open.Load(), "no connection is kept")
			})
		}
	}
}

// What is read slowly has not been read when the time is over: 100 B of head and
// body at 100 B/s or less take the server a second, and the client has less.
func TestReadsSlowly(t *testing.T) {
	for _, k := range protocols() {
		t.Run(k.name, func(t *testing.T) {
			t.Parallel()
			p := k.start(t, func(w http.ResponseWriter, r *http.Request) { _, _ = w.Write(make([]byte, 10_000)) })
			p.MaxInFlight, p.Timeout, p.Behaviours = 1, 500*time.Millisecond, one(Behaviour{ReadsPerSecond: 100})
			c, open := counted(t, p)
			_, text, err := send(c.Behave(0), "GET", p.BaseURL, nil)
			require.ErrorIs(t, err, ErrMisbehaved)
			assert.Less(t, len(text), 10_000)
			assert.Zero(t, open.Load())
		})
	}
}

// The head of a request is there before its body, which comes in pieces and, in
// this client's time, not to its end.
func TestSendsSlowly(t *testing.T) {
	const body = 10_000
	for _, k := range protocols() {
		t.Run(k.name, func(t *testing.T) {
			t.Parallel()
			lengths := make(chan int64, 1)
			pieces := make(chan int, body)
			p := k.start(t, func(w http.ResponseWriter, r *http.Request) {
				lengths <- r.ContentLength
				for buf := make([]byte, body); ; {
					n, err := r.Body.Read(buf)
					if n > 0 {
						pieces <- n
					}
					if err != nil {
						close(pieces)
						return
					}
				}
			})
			p.MaxInFlight, p.Timeout, p.Behaviours = 1, 500*time.Millisecond, one(Behaviour{SendsPerSecond: 1000})
			c, open := counted(t, p)
			_, _, err := send(c.Behave(0), "POST", p.BaseURL, strings.NewReader(strings.Repeat("x", body)))
			require.ErrorIs(t, err, ErrMisbehaved)
			assert.EqualValues(t, body, <-lengths)
			sum, n := 0, 0
			for piece := range pieces {
				n++
				sum += piece
			}
			assert.Positive(t, n)
			assert.Less(t, sum, body)
			assert.Zero(t, open.Load())
		})
	}
}

// The first thing on the wire is the whole head in one piece. The first piece of the
// body follows at once, and may be read with it: at this speed it is one byte.
func TestSendsTheHeadAtOnce(t *testing.T) {
	first := make(chan string, 1)
	base := raw(t, func(c net.Conn) {
		buf := make([]byte, 4096)
		n, _ := c.Read(buf)
		first <- string(buf[:n])
		_, _ = io.Copy(io.Discard, c)
	})
	p := Plan{BaseURL: base, MaxInFlight: 1, Timeout: 500 * time.Millisecond, Behaviours: one(Behaviour{SendsPerSecond: 2})}
	c, _ := counted(t, p)
	_, _, err := send(c.Behave(0), "POST", base, strings.NewReader(strings.Repeat("x", 1000)))
	require.ErrorIs(t, err, ErrMisbehaved)
	text := <-first
	assert.True(t, strings.HasPrefix(text, "POST / HTTP/1.1\r\n"), text)
	assert.Contains(t, text, "Content-Length: 1000\r\n")
	assert.Contains(t, text, "\r\n\r\n")
	assert.NotContains(t, text, "xxxx")
}

func TestHangsUp(t *testing.T) {
	for _, k := range protocols() {
		for _, phase := range []string{"no response", "response begun"} {
			t.Run(k.name+", "+phase, func(t *testing.T) {
				t.Parallel()
				gone := make(chan struct{})
				p := k.start(t, func(w http.ResponseWriter, r *http.Request) {
					_, _ = io.Copy(io.Discard, r.Body)
					if phase == "response begun" {
						_, _ = io.WriteString(w, "begun")
						_ = http.NewResponseController(w).Flush()
					}
					<-r.Context().Done()
					close(gone)
				})
				p.MaxInFlight, p.Behaviours = 1, one(Behaviour{HangsUpAfter: 50 * time.Millisecond})
				c, open := counted(t, p)
				_, _, err := send(c.Behave(0), "POST", p.BaseURL, strings.NewReader("a body"))
				require.ErrorIs(t, err, ErrMisbehaved)
				assert.ErrorContains(t, err, "hangs up after 50ms")
				<-gone
				assert.Zero(t, open.Load())
			})
		}
	}
}

// What the target does wrong stays what it is.
func TestAFailureOfTheTargetIsNoMisbehaviour(t *testing.T) {
	behaviours := []Behaviour{
		{StopsReadingAfter: 1000}, {ReadsPerSecond: 1000}, {SendsPerSecond: 1000}, {HangsUpAfter: time.Minute},
	}
	for _, b := range behaviours {
		t.Run("closed without a response, "+b.String(), func(t *testing.T) {
			t.Parallel()
			base := raw(t, func(c net.Conn) {
				if req, err := http.ReadRequest(bufio.NewReader(c)); err == nil {
					_ = req.Body.Close()
				}
			})
			c, _ := counted(t, Plan{BaseURL: base, MaxInFlight: 1, Behaviours: one(b)})
			_, _, err := send(c.Behave(0), "GET", base, nil)
			require.ErrorIs(t, err, io.EOF)
			assert.NotErrorIs(t, err, ErrMisbehaved)
		})
		t.Run("no response in time, "+b.String(), func(t *testing.T) {
			t.Parallel()
			base := raw(t, func(c net.Conn) { _, _ = io.Copy(io.Discard, c) })
			c, _ := counted(t, Plan{BaseURL: base, MaxInFlight: 1, Timeout: 200 * time.Millisecond, Behaviours: one(b)})
			_, _, err := send(c.Behave(0), "GET", base, nil)
			require.ErrorIs(t, err, context.DeadlineExceeded)
			assert.NotErrorIs(t, err, ErrMisbehaved)
		})
	}
}

func TestHangUpEndsBadlyBehavedRequests(t *testing.T) {
	const n = 20
	for _, k := range protocols() {
		t.Run(k.name, func(t *testing.T) {
			t.Parallel()
			p := k.start(t, func(w http.ResponseWriter, r *http.Request) {
				_, _ = io.Copy(io.Discard, r.Body)
				for range 1000 {
					if _, err := w.Write(make([]byte, 64<<10)); err != nil {
						return
					}
				}
			})
			p.MaxInFlight = 1
			p.Behaviours = []Behaviour{
				{Share: 0.2, StopsReadingAfter: 1000}, {Share: 0.2, ReadsPerSecond: 1000},
				{Share: 0.2, SendsPerSecond: 1}, {Share: 0.2, HangsUpAfter: time.Minute},
			}
			c, open := counted(t, p)
			var wg sync.WaitGroup
			for i := range n {
				// What hangs up would be sent 64 MiB and read it: leave that one out.
				b := i % 3
				wg.Go(func() {
					_, _, err := send(c.Behave(b), "POST", p.BaseURL, strings.NewReader("some words"))
					assert.ErrorIs(t, err, ErrHungUp)
					assert.NotErrorIs(t, err, ErrMisbehaved)
				})
			}
			within(t, "all are connected", func() bool { return open.Load() == n })
			require.NoError(t, c.Close())
			assert.Zero(t, open.Load())
			wg.Wait()
			_, _, err := send(c.Behave(0), "GET", p.BaseURL, nil)
			require.ErrorIs(t, err, ErrHungUp)
		})
	}
}

// A thousand at a time, of every kind together.
func TestAThousandBadlyBehaved(t *testing.T) {
	const n = thousand
	k := kinds()[0]
	p := k.start(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		_, _ = w.Write(make([]byte, 100_000))
	})
	p.MaxInFlight, p.Timeout = 1, time.Second
	p.Behaviours = []Behaviour{
		{Share: 0.25, StopsReadingAfter: 100}, {Share: 0.25, ReadsPerSecond: 1000},
		{Share: 0.25, SendsPerSecond: 1}, {Share: 0.25, HangsUpAfter: time.Millisecond},
	}
	c, open := counted(t, p)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			_, _, err := send(c.Behave(c.Pick(uint64(i))), "POST", p.BaseURL, strings.NewReader("some words"))
			if err != nil { // what hangs up may have been answered before
				assert.ErrorIs(t, err, ErrMisbehaved)
			}
		})
	}
	wg.Wait()
	assert.Zero(t, open.Load())
}

func TestPieces(t *testing.T) {
	for perSecond, want := range map[int64]int{0: 1, 1: 1, 100: 50, 6 << 10: 3 << 10, 12 << 10: 4 << 10, 1 << 20: 1 << 20 / 10} {
		p := pace{perSecond: perSecond}
		assert.Equal(t, want, p.piece(), "%d B/s", perSecond)
	}
}

// A client whose timers are late is as fast as it says; one that has waited for its
// peer makes up for no more than mostBehind.
func TestPaceMakesUpForWhatIsLate(t *testing.T) {
	start := time.Unix(1000, 0)
	p := pace{perSecond: 1000}
	p.movedAt(start, 500)
	assert.Equal(t, start.Add(500*time.Millisecond), p.next, "the first is not owed anything")
	p.movedAt(start.Add(700*time.Millisecond), 500)
	assert.Equal(t, start.Add(time.Second), p.next, "200 ms late")
	p.movedAt(start.Add(10*time.Second), 500)
	assert.Equal(t, start.Add(9500*time.Millisecond), p.next, "9 s late: 1 s is made up for")
}

func TestPaceWaits(t *testing.T) {
	p := pace{perSecond: 1000}
	done := make(chan struct{})
	assert.True(t, p.wait(done), "the first moves at once")
	for range 2 { // the second wait uses the timer of the first
		p.next = time.Now().Add(20 * time.Millisecond)
		due := p.next
		require.True(t, p.wait(done))
		assert.False(t, time.Now().Before(due))
	}
	close(done)
	p.next = time.Now().Add(time.Hour)
	assert.False(t, p.wait(done))
}
