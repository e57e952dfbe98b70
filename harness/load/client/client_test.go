package client

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/net/http2"
)

// A thousand requests are in flight at a time, twice over the same connections.
func TestAThousandAtATime(t *testing.T) {
	const n = thousand
	for _, k := range kinds() {
		t.Run(k.name, func(t *testing.T) {
			var together atomic.Pointer[gather]
			p := k.start(t, func(w http.ResponseWriter, r *http.Request) {
				if together.Load().wait(r) {
					_, _ = fmt.Fprintf(w, "%s %s", r.Proto, r.URL.Path)
				}
			})
			p.MaxInFlight = n
			c, open := counted(t, p)
			name, why := c.Engine()
			assert.Equal(t, k.engine, name)
			assert.Equal(t, k.why, why)
			for range 2 {
				together.Store(newGather(n))
				var wg sync.WaitGroup
				for i := range n {
					wg.Go(func() {
						path := fmt.Sprintf("/%d", i)
						resp, text, err := send(c.RoundTripper(), "GET", p.BaseURL+path, nil)
						if assert.NoError(t, err) {
							assert.Equal(t, 200, resp.StatusCode)
							assert.Equal(t, k.proto+" "+path, text)
						}
					})
				}
				wg.Wait()
				if p.HTTP2 {
					assert.EqualValues(t, (n+streamsPlanned-1)/streamsPlanned, open.Load())
				} else {
					assert.EqualValues(t, n, open.Load())
				}
			}
			require.NoError(t, c.Close())
			_, _, err := send(c.RoundTripper(), "GET", p.BaseURL, nil)
			require.ErrorIs(t, err, ErrHungUp)
		})
	}
}

func TestBodiesArrive(t *testing.T) {
	long := strings.Repeat("0123456789", 20_000)
	for _, k := range kinds() {
		t.Run(k.name, func(t *testing.T) {
			p := k.start(t, func(w http.ResponseWriter, r *http.Request) {
				text, _ := io.ReadAll(r.Body)
				_, _ = w.Write(text)
			})
			p.MaxInFlight = 2
			c, _ := counted(t, p)
			_, text, err := send(c.RoundTripper(), "POST", p.BaseURL, strings.NewReader(long))
			require.NoError(t, err)
			assert.True(t, long == text, "%d bytes came back", len(text))

			req, err := http.NewRequest("POST", p.BaseURL, strings.NewReader(long))
			require.NoError(t, err)
			resp, err := c.RoundTripper().RoundTrip(req)
			require.NoError(t, err)
			require.Implements(t, (*io.WriterTo)(nil), resp.Body, "a copy needs no buffer of its own")
			n, err := io.Copy(io.Discard, resp.Body)
			require.NoError(t, err)
			assert.EqualValues(t, len(long), n)
		})
	}
}

func TestConnectionsAreKept(t *testing.T) {
	for _, k := range kinds() {
		t.Run(k.name, func(t *testing.T) {
			t.Parallel()
			var mu sync.Mutex
			serving := map[net.Conn]bool{}
			p := k.start(t, func(w http.ResponseWriter, r *http.Request) {}, func(s *httptest.Server) {
				s.Config.ConnState = func(c net.Conn, state http.ConnState) {
					mu.Lock()
					defer mu.Unlock()
					switch state {
					case http.StateNew:
						serving[c] = true
					case http.StateClosed:
						delete(serving, c)
					}
				}
			})
			serves := func() int {
				mu.Lock()
				defer mu.Unlock()
				return len(serving)
			}
			p.MaxInFlight, p.Connections = 3, 50
			c, open := counted(t, p)
			within(t, "50 connections", func() bool { return open.Load() == 50 && serves() == 50 })
			_, _, err := send(c.RoundTripper(), "GET", p.BaseURL, nil)
			require.NoError(t, err)
			assert.EqualValues(t, 50, open.Load(), "a request takes one that is there")

			// What the server closes is opened anew.
			mu.Lock()
			old := serving
			serving = map[net.Conn]bool{}
			mu.Unlock()
			for conn := range old {
				require.NoError(t, conn.Close())
			}
			within(t, "50 others", func() bool { return open.Load() == 50 && serves() == 50 })
		})
	}
}

func TestSourceAddressesTakeTurns(t *testing.T) {
	for _, k := range kinds() {
		t.Run(k.name, func(t *testing.T) {
			var mu sync.Mutex
			seen := map[string]int{}
			p := k.start(t, func(http.ResponseWriter, *http.Request) {}, func(s *httptest.Server) {
				s.Config.ConnState = func(c net.Conn, state http.ConnState) {
					if state != http.StateNew {
						return
					}
					host, _, _ := net.SplitHostPort(c.RemoteAddr().String())
					mu.Lock()
					defer mu.Unlock()
					seen[host]++
				}
			})
			p.MaxInFlight, p.Connections = 10, 10
			p.From = []netip.Addr{netip.MustParseAddr("127.0.0.2"), netip.MustParseAddr("127.0.0.3")}
			counted(t, p)
			within(t, "10 connections, in turn from each", func() bool {
				mu.Lock()
				defer mu.Unlock()
				return seen["127.0.0.2"] == 5 && seen["127.0.0.3"] == 5 && len(seen) == 2
			})
		})
	}
}

func TestHangUpEndsAll(t *testing.T) {
	const n = 50
	for _, k := range kinds() {
		for _, phase := range []string{"no response", "response begun"} {
			t.Run(k.name+", "+phase, func(t *testing.T) {
				t.Parallel()
				var there sync.WaitGroup
				there.Add(n)
				p := k.start(t, func(w http.ResponseWriter, r *http.Request) {
					if phase == "response begun" {
						_, _ = io.WriteString(w, "begun")
						_ = http.NewResponseController(w).Flush()
					}
					there.Done()
					<-r.Context().Done()
				})
				p.MaxInFlight = n
				c, open := counted(t, p)
				var wg sync.WaitGroup
				for range n {
					wg.Go(func() {
						_, _, err := send(c.RoundTripper(), "GET", p.BaseURL, nil)
						assert.ErrorIs(t, err, ErrHungUp)
					})
				}
				there.Wait()
				require.NoError(t, c.Close())
				assert.Zero(t, open.Load())
				wg.Wait()
			})
		}
	}
}

func TestHangUpWhileConnecting(t *testing.T) {
	// A server that never answers a handshake.
	base := raw(t, func(c net.Conn) { _, _ = io.Copy(io.Discard, c) })
	p := Plan{BaseURL: strings.Replace(base, "http", "https", 1), MaxInFlight: 1}
	c, open := counted(t, p)
	done := make(chan error, 1)
	go func() {
		_, _, err := send(c.RoundTripper(), "GET", p.BaseURL, nil)
		done <- err
	}()
	within(t, "the handshake has begun", func() bool { return open.Load() == 1 })
	require.NoError(t, c.Close())
	require.ErrorIs(t, <-done, ErrHungUp)
}

func TestTimeoutBoundsARequest(t *testing.T) {
	for _, k := range kinds() {
		for _, phase := range []string{"no response", "response begun"} {
			t.Run(k.name+", "+phase, func(t *testing.T) {
				t.Parallel()
				p := k.start(t, func(w http.ResponseWriter, r *http.Request) {
					if phase == "response begun" {
						_, _ = io.WriteString(w, "begun")
						_ = http.NewResponseController(w).Flush()
					}
					<-r.Context().Done()
				})
				p.MaxInFlight, p.Timeout = 1, 200*time.Millisecond
				c, _ := counted(t, p)
				_, _, err := send(c.RoundTripper(), "GET", p.BaseURL, nil)
				require.ErrorIs(t, err, context.DeadlineExceeded)
				assert.NotErrorIs(t, err, ErrHungUp)
			})
		}
	}
}

func TestARefusedConnectionIsAnError(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	base := ln.Addr().String()
	require.NoError(t, ln.Close())
	for _, k := range kinds() {
		t.Run(k.name, func(t *testing.T) {
			p := k.plan
			p.BaseURL, p.MaxInFlight, p.Connections = "http://"+base, 20, 5
			if k.tls {
				p.BaseURL = "https://" + base
			}
			c, _ := counted(t, p)
			var wg sync.WaitGroup
			for range 20 {
				wg.Go(func() {
					_, _, err := send(c.RoundTripper(), "GET", p.BaseURL, nil)
					assert.ErrorContains(t, err, "connection refused")
				})
			}
			wg.Wait()
		})
	}
}

// A connection that ends before a response is a failure to be seen, though the
// request could be repeated.
func TestARequestIsSentOnce(t *testing.T) {
	for _, k := range kinds() {
		if k.tls || k.plan.HTTP2 {
			continue
		}
		t.Run(k.name, func(t *testing.T) {
			var requests atomic.Int64
			base := raw(t, func(c net.Conn) {
				in := bufio.NewReader(c)
				for first := true; ; first = false {
					req, err := http.ReadRequest(in)
					if err != nil {
						return
					}
					_ = req.Body.Close()
					requests.Add(1)
					if !first {
						return // on a connection that has proved good
					}
					_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
				}
			})
			p := k.plan
			p.BaseURL, p.MaxInFlight = base, 1
			c, _ := counted(t, p)
			for i := range 10 {
				_, _, err := send(c.RoundTripper(), "GET", base, nil)
				if i%2 == 0 {
					require.NoError(t, err)
				} else {
					require.ErrorIs(t, err, io.EOF)
				}
				require.EqualValues(t, i+1, requests.Load())
			}
		})
	}
}

// What HTTP/2 calls safe to repeat is not repeated either.
func TestAStreamIsOpenedOnce(t *testing.T) {
	answers := map[string]func(*http2.Framer, uint32) error{
		"refused": func(f *http2.Framer, id uint32) error { return f.WriteRSTStream(id, http2.ErrCodeRefusedStream) },
		"goaway":  func(f *http2.Framer, _ uint32) error { return f.WriteGoAway(0, http2.ErrCodeNo, nil) },
	}
	for name, answer := range answers {
		for _, body := range []string{"", "body"} {
			t.Run(name+" "+body, func(t *testing.T) {
				var requests atomic.Int64
				base := raw(t, func(c net.Conn) {
					if _, err := io.CopyN(io.Discard, c, int64(len(http2.ClientPreface))); err != nil {
						return
					}
					f := http2.NewFramer(c, c)
					_ = f.WriteSettings()
					for {
						frame, err := f.ReadFrame()
						if err != nil {
							return
						}
						if head, ok := frame.(*http2.HeadersFrame); ok {
							requests.Add(1)
							if answer(f, head.StreamID) != nil {
								return
							}
						}
					}
				})
				p := Plan{BaseURL: base, HTTP2: true, MaxInFlight: 1}
				c, _ := counted(t, p)
				for i := range 3 {
					_, _, err := send(c.RoundTripper(), "POST", base, strings.NewReader(body))
					require.Error(t, err)
					assert.NotErrorIs(t, err, context.DeadlineExceeded)
					require.EqualValues(t, i+1, requests.Load())
				}
			})
		}
	}
}

// A server that allows few streams gets as many connections as it takes, unless
// the plan names their number; then requests wait.
func TestFewStreams(t *testing.T) {
	few := func(s *httptest.Server) { s.Config.HTTP2 = &http.HTTP2Config{MaxConcurrentStreams: 10} }
	for _, k := range kinds() {
		if !k.plan.HTTP2 {
			continue
		}
		t.Run(k.name+", as needed", func(t *testing.T) {
			const n = 60
			together := newGather(n)
			p := k.start(t, func(w http.ResponseWriter, r *http.Request) { together.wait(r) }, few)
			p.MaxInFlight = n
			c, open := counted(t, p)
			var wg sync.WaitGroup
			for range n {
				wg.Go(func() {
					_, _, err := send(c.RoundTripper(), "GET", p.BaseURL, nil)
					assert.NoError(t, err)
				})
			}
			wg.Wait()
			assert.GreaterOrEqual(t, open.Load(), int64(n/10))
			assert.Zero(t, c.Waiting())
		})
		t.Run(k.name+", one connection", func(t *testing.T) {
			const n = 60
			release := make(chan struct{})
			var inside atomic.Int64
			p := k.start(t, func(w http.ResponseWriter, r *http.Request) {
				inside.Add(1)
				<-release
			}, few)
			p.MaxInFlight, p.Connections = n, 1
			c, open := counted(t, p)
			var wg sync.WaitGroup
			for range n {
				wg.Go(func() {
					_, _, err := send(c.RoundTripper(), "GET", p.BaseURL, nil)
					assert.NoError(t, err)
				})
			}
			within(t, "10 streams, and 50 that wait", func() bool { return inside.Load() == 10 && c.Waiting() == n-10 })
			close(release)
			wg.Wait()
			assert.EqualValues(t, n, inside.Load())
			assert.EqualValues(t, 1, open.Load())
		})
	}
}

func TestHTTP2NotOffered(t *testing.T) {
	k := kind{tls: true}
	p := k.start(t, func(http.ResponseWriter, *http.Request) {})
	p.HTTP2, p.MaxInFlight = true, 1
	c, _ := counted(t, p)
	_, _, err := send(c.RoundTripper(), "GET", p.BaseURL, nil)
	require.Error(t, err)
	assert.Regexp(t, "ALPN|no application protocol", err.Error())
}

func TestCertificates(t *testing.T) {
	k := kind{tls: true}
	p := k.start(t, func(http.ResponseWriter, *http.Request) {})
	p.MaxInFlight = 1
	trusted := p.TLS.CA
	for name, tc := range map[string]struct {
		tls *TLS
		err string
	}{
		"trusted":      {&TLS{CA: trusted}, ""},
		"not trusted":  {nil, "unknown authority"},
		"skipped":      {&TLS{SkipVerify: true}, ""},
		"right name":   {&TLS{CA: trusted, ServerName: "example.com"}, ""},
		"another name": {&TLS{CA: trusted, ServerName: "example.org"}, "example.org"},
	} {
		t.Run(name, func(t *testing.T) {
			p.TLS = tc.tls
			c, _ := counted(t, p)
			_, _, err := send(c.RoundTripper(), "GET", p.BaseURL, nil)
			if tc.err == "" {
				require.NoError(t, err)
			} else {
				require.ErrorContains(t, err, tc.err)
			}
		})
	}
}

// Whoever waits for a connection gets one, however many wait and though the server
// closes some: a wake-up that is lost shows as a request that waits to its timeout.
func TestNobodyWaitsForever(t *testing.T) {
	const clients, each = 60, 40
	for _, k := range kinds() {
		t.Run(k.name, func(t *testing.T) {
			var n, failed atomic.Int64
			p := k.start(t, func(w http.ResponseWriter, r *http.Request) {
				if n.Add(1)%37 == 0 {
					w.Header().Set("Connection", "close")
				}
			}, func(s *httptest.Server) { s.Config.HTTP2 = &http.HTTP2Config{MaxConcurrentStreams: 5} })
			p.MaxInFlight, p.Timeout = 8, time.Minute
			if p.HTTP2 {
				p.Connections = 2
			}
			c, _ := counted(t, p)
			var wg sync.WaitGroup
			for range clients {
				wg.Go(func() {
					for range each {
						_, _, err := send(c.RoundTripper(), "GET", p.BaseURL, nil)
						if err == nil {
							continue
						}
						// What was under way when a server said GOAWAY is not sent again.
						failed.Add(1)
						assert.True(t, p.HTTP2, err)
						assert.NotErrorIs(t, err, context.DeadlineExceeded)
					}
				})
			}
			wg.Wait()
			assert.EqualValues(t, clients*each, n.Load()+failed.Load())
			assert.Less(t, failed.Load(), n.Load())
			assert.Zero(t, c.Waiting())
		})
	}
}
