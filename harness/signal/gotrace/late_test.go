package gotrace

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"chokepoint/harness/internal/testtrace"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// What waits begin in the trace at a line that hangs cost is told by those that end:
// only what has lasted for longer than any of them is lost.
func TestWaitsThatBeginInTheTrace(t *testing.T) {
	const before, later = 3, 2
	for name, answeredLate := range map[string]bool{"none of them ends": false, "one that takes as long ends": true} {
		t.Run(name, func(t *testing.T) {
			u := newUpstream(t)
			slow := make(chan struct{})
			dep := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-slow }))
			t.Cleanup(dep.Close)
			quick := &upstream{Server: dep}
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/quick" {
					_ = quick.ask(r)
					return
				}
				_ = u.ask(r)
			}))
			t.Cleanup(func() { srv.CloseClientConnections(); srv.Close() })
			askers(t, srv, before, "/")
			for range before {
				<-u.waiting
			}
			s, err := Read(strings.NewReader(string(testtrace.Record(t, func() {
				time.Sleep(stuckLength / 4)
				conns := askers(t, srv, 1, "/quick")
				time.Sleep(20 * time.Millisecond)
				askers(t, srv, later, "/")
				time.Sleep(stuckLength)
				if answeredLate {
					close(slow)
					answered(t, conns)
				}
			}))), thisProgram)
			if !answeredLate {
				close(slow)
			}
			require.NoError(t, err)
			got := stuckAt(s.Hung, "(*upstream).ask")
			assert.Equal(t, before, got.End, "%+v", s.Hung)
			if answeredLate {
				assert.Zero(t, got.LateRequestNS, "they may end as well")
				return
			}
			assert.Greater(t, got.LateRequestNS, int64(later)*int64(stuckLength)*9/10)
			assert.Equal(t, got.LateNS, got.LateRequestNS)
		})
	}
}
