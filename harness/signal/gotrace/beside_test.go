package gotrace

import (
	"net/http"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"chokepoint/harness/signal/stack"
)

// besideLength is how long a request waits for word that does not come.
const besideLength = 50 * time.Millisecond

// besideWatch reads as soon as there is something, by a call that keeps its thread.
func besideWatch(fd int, word chan<- byte) {
	var b [1]byte
	for {
		n, err := unix.Read(fd, b[:]) // at: thread kept
		switch {
		case err == unix.EINTR:
		case err != nil || n == 0:
			close(word)
			return
		default:
			word <- b[0]
		}
	}
}

// besideAwait reads as soon as there is something, by the runtime's poller.
func besideAwait(f *os.File, word chan<- byte) {
	var b [1]byte
	for {
		if _, err := f.Read(b[:]); err != nil {
			close(word)
			return
		}
		word <- b[0]
	}
}

func TestThreadsBeside(t *testing.T) {
	// The request has its answer when no word has come for as long as it waits.
	await := func(word <-chan byte) {
		select {
		case <-word:
		case <-time.After(besideLength):
		}
	}
	for name, c := range map[string]struct {
		handler http.HandlerFunc
		kept    bool
	}{
		"a call that blocks": {func(http.ResponseWriter, *http.Request) {
			var p [2]int
			if !assert.NoError(t, unix.Pipe2(p[:], unix.O_CLOEXEC)) {
				return
			}
			word := make(chan byte, 1)
			go besideWatch(p[0], word) // at: watcher started
			await(word)
			_ = unix.Close(p[1])
			<-word
			_ = unix.Close(p[0])
		}, true},
		"the poller": {func(http.ResponseWriter, *http.Request) {
			in, out, err := os.Pipe()
			if !assert.NoError(t, err) {
				return
			}
			word := make(chan byte, 1)
			go besideAwait(in, word)
			await(word)
			_ = out.Close()
			<-word
			_ = in.Close()
		}, false},
		"a call of the request's own": {func(http.ResponseWriter, *http.Request) {
			gatherCall(besideLength)
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			s := crowd(t, c.handler)
			var ns int64
			for _, x := range s.ThreadsBeside {
				ns += x.NS
			}
			if !c.kept {
				assert.Less(t, float64(ns), 0.05*float64(s.Requests.TotalNS))
				return
			}
			assert.Greater(t, float64(ns), 0.5*float64(s.Requests.TotalNS))
			require.NotEmpty(t, s.ThreadsBeside)
			most := s.ThreadsBeside[0]
			assert.Equal(t, pkg+"besideWatch", most.Where.Function)
			assert.Equal(t, lineIn(t, "beside_test.go", "thread kept"), most.Where.Line)
			assert.Equal(t, lineIn(t, "beside_test.go", "watcher started"), most.Origin.Line)
			assert.Equal(t, stack.Frame{}, most.Library)
			assert.Positive(t, most.Count)
		})
	}
}
