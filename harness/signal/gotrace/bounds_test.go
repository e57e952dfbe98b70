package gotrace

import (
	"bytes"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime/trace"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/h2c" //lint:ignore SA1019 it is what is tested

	"chokepoint/harness/signal/requests"
)

// asTasks marks each request as a task of its own.
func asTasks(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, task := trace.NewTask(r.Context(), "request")
		defer task.End()
		next.ServeHTTP(w, r.WithContext(ctx))
	})
}

// protocols are the ways in which a server is asked for the same.
func protocols() []struct {
	name    string
	http2   bool
	hijacks bool // it takes the connection over from net/http
	wrap    func(http.Handler) http.Handler
	start   func(*httptest.Server)
	ask     func(*httptest.Server) *http.Client
} {
	same := func(h http.Handler) http.Handler { return h }
	own := func(srv *httptest.Server) *http.Client { return srv.Client() }
	// http2 over plain connections, which the client begins with HTTP/2 at once.
	plain2 := func(*httptest.Server) *http.Client {
		p := new(http.Protocols)
		p.SetUnencryptedHTTP2(true)
		return &http.Client{Transport: &http.Transport{Protocols: p}}
	}
	// Servers in use still have it, whatever becomes of the package.
	//lint:ignore SA1019 it is what is tested
	upgraded := func(h http.Handler) http.Handler { return h2c.NewHandler(h, &http2.Server{}) }
	return []struct {
		name    string
		http2   bool
		hijacks bool
		wrap    func(http.Handler) http.Handler
		start   func(*httptest.Server)
		ask     func(*httptest.Server) *http.Client
	}{
		{"HTTP/1.1", false, false, same, plain, func(*httptest.Server) *http.Client {
			return &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}}
		}},
		{"HTTP/1.1 over TLS", false, false, same, func(srv *httptest.Server) { srv.StartTLS() }, own},
		{"HTTP/2 over TLS", true, false, same, func(srv *httptest.Server) { srv.EnableHTTP2 = true; srv.StartTLS() }, own},
		{"h2c of net/http", true, false, same, func(srv *httptest.Server) {
			srv.Config.Protocols = new(http.Protocols)
			srv.Config.Protocols.SetHTTP1(true)
			srv.Config.Protocols.SetUnencryptedHTTP2(true)
			srv.Start()
		}, plain2},
		{"h2c of golang.org/x/net", true, true, upgraded, plain, plain2},
	}
}

// TestBoundsOfRequests compares where requests begin and end, as they are found
// without the program's help, with tasks that it marks them by, for each protocol
// and with and without bodies. docs/where.md has its table.
func TestBoundsOfRequests(t *testing.T) {
	const clients, rounds = 8, 20
	t.Logf("%-26s %9s %9s %12s %12s %12s %12s", "", "matched", "requests", "begin p50", "begin p99", "end p50", "end p99")
	for _, p := range protocols() {
		for _, body := range []bool{false, true} {
			name := p.name
			if body {
				name += ", bodies"
			}
			t.Run(name, func(t *testing.T) {
				s := served(t, p.wrap(asTasks(mux())), p.start, func(srv *httptest.Server) {
					c := p.ask(srv)
					defer c.CloseIdleConnections()
					times(clients, func(int) {
						for range rounds {
							if body {
								post(t, c, srv.URL+"/body", &slowly{strings.NewReader(strings.Repeat("body ", 2000))})
							} else {
								get(t, c, srv.URL+"/quick")
							}
						}
					})
				})
				counts := s.Served.Counts()
				if p.http2 {
					assert.EqualValues(t, clients*rounds, counts.HTTP2)
				} else {
					assert.Zero(t, counts.HTTP2)
				}
				if p.hijacks {
					assert.EqualValues(t, 1, counts.Hijacked, "the connection, whose streams are requests nonetheless")
				} else {
					assert.Zero(t, counts.Hijacked)
				}
				assert.InDelta(t, clients*rounds, counts.Requests, 0.02*clients*rounds)
				tasks := s.Tasks.Spans()
				require.Len(t, tasks, clients*rounds)
				matched, begin, end := bounds(tasks, s.Served.Spans())
				t.Logf("%-26s %8.1f%% %9d %12v %12v %12v %12v", name, 100*float64(matched)/float64(len(tasks)), counts.Requests,
					time.Duration(quantile(begin, 0.5)), time.Duration(quantile(begin, 0.99)), time.Duration(quantile(end, 0.5)), time.Duration(quantile(end, 0.99)))
				assert.GreaterOrEqual(t, float64(matched), 0.97*float64(len(tasks)))
				endpoint := pkg + "quickHandler"
				if body {
					endpoint = pkg + "bodyHandler"
				}
				require.NotEmpty(t, table(s).Endpoints)
				assert.Equal(t, endpoint, table(s).Endpoints[0].Name)
			})
		}
	}
}

// slowly gives a body in pieces, with a pause in between.
type slowly struct{ of *strings.Reader }

func (s *slowly) Read(p []byte) (int, error) {
	if s.of.Len() == 0 {
		return 0, io.EOF
	}
	time.Sleep(time.Millisecond)
	return s.of.Read(p[:min(len(p), 4000)])
}

// bounds counts the tasks that lie in one request which holds no other, and lists
// by how much it begins before and ends after them.
func bounds(tasks, found []requests.Span) (matched int, begin, end []int64) {
	holds := map[requests.Span][]requests.Span{}
	for _, task := range tasks {
		for _, f := range found {
			if f.Goroutine == task.Goroutine && f.StartNS <= task.StartNS && task.EndNS <= f.EndNS {
				holds[f] = append(holds[f], task)
			}
		}
	}
	for f, in := range holds {
		if len(in) == 1 {
			matched++
			begin = append(begin, in[0].StartNS-f.StartNS)
			end = append(end, f.EndNS-in[0].EndNS)
		}
	}
	return matched, begin, end
}

// TestUpgradedConnectionsAreNoRequests: what an upgrade hands over is left out and
// counted like any other, and what came before on the connection stays.
func TestUpgradedConnectionsAreNoRequests(t *testing.T) {
	m := mux()
	m.HandleFunc("/upgrade", func(w http.ResponseWriter, _ *http.Request) {
		c, rw, err := http.NewResponseController(w).Hijack()
		if !assert.NoError(t, err) {
			return
		}
		defer c.Close()
		_, _ = rw.WriteString("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
		_ = rw.Flush()
		for range 3 {
			line, err := rw.ReadString('\n')
			if err != nil {
				return
			}
			time.Sleep(20 * time.Millisecond)
			_, _ = rw.WriteString(line)
			_ = rw.Flush()
		}
	})
	s := served(t, m, plain, func(srv *httptest.Server) {
		c, err := net.Dial("tcp", srv.Listener.Addr().String())
		require.NoError(t, err)
		defer c.Close()
		_, err = io.WriteString(c, "GET /quick HTTP/1.1\r\nHost: a\r\n\r\nGET /quick HTTP/1.1\r\nHost: a\r\n\r\nGET /upgrade HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
		require.NoError(t, err)
		var got bytes.Buffer
		for range 3 {
			_, err = io.WriteString(c, "hello\n")
			require.NoError(t, err)
		}
		_, err = io.Copy(&got, c)
		require.NoError(t, err)
		assert.Equal(t, 3, strings.Count(got.String(), "hello\n"))
	})
	c := s.Served.Counts()
	assert.EqualValues(t, 1, c.Hijacked)
	assert.EqualValues(t, 2, c.Requests)
	for _, x := range s.Served.Spans() {
		assert.Less(t, x.EndNS-x.StartNS, int64(50*time.Millisecond), "the upgraded connection's time is in none")
	}
}
