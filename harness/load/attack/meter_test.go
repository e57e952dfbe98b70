package attack

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"chokepoint/harness/load/account"
	"chokepoint/harness/load/client"
)

// lain is a body that says that it had lain ready.
type lain struct {
	io.Reader
	lay time.Duration
}

func (lain) Close() error         { return nil }
func (l lain) Lay() time.Duration { return l.lay }

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// newMeter sends by f, in one place, to nowhere.
func newMeter(t *testing.T, f roundTrip) *meter {
	t.Helper()
	c, err := client.New(client.Plan{BaseURL: "http://127.0.0.1:9", MaxInFlight: 1}, nil)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, c.Close()) })
	m := &meter{
		client: c, polite: f, rec: account.New(account.Config{}), gate: newGate(1),
		keeps: func(uint64) bool { return false }, pause: func(int64) time.Duration { return 0 },
	}
	m.gate.resize(1, 0)
	return m
}

func TestWhatHasLainReadyIsNotServiceTime(t *testing.T) {
	const lay = 5 * time.Millisecond
	m := newMeter(t, func(*http.Request) (*http.Response, error) {
		time.Sleep(2 * lay)
		return &http.Response{StatusCode: 200, Body: lain{strings.NewReader("hello"), lay}}, nil
	})
	x := exchange{meter: m}
	_, err := x.send(7, &http.Request{})
	require.NoError(t, err)
	x.drain()
	assert.EqualValues(t, 7, x.Seq)
	assert.EqualValues(t, 5, x.BytesIn)
	assert.EqualValues(t, lay, x.Lay)
	assert.EqualValues(t, x.Ended-int64(lay), x.freed, "the place was free when the response arrived")
	assert.EqualValues(t, x.freed-x.Sent, x.ServiceNS())
}

// TestLoopEnds has a loop of three requests in one place, of which the second cannot
// be made and the third fails.
func TestLoopEnds(t *testing.T) {
	m := newMeter(t, func(r *http.Request) (*http.Response, error) {
		if r.Method == "FAIL" {
			return nil, errors.New("failed")
		}
		return &http.Response{StatusCode: 200, Body: http.NoBody}, nil
	})
	for _, closed := range []bool{true, false} {
		made := 0
		l := &loop{meter: m, pacer: hits(3), most: 2, closed: closed, next: func() (*http.Request, error) {
			made++
			switch made {
			case 1:
				return &http.Request{Method: "GET"}, nil
			case 2:
				return nil, errors.New("cannot be made")
			}
			return &http.Request{Method: "FAIL"}, nil
		}}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		go func() {
			defer cancel()
			l.run()
		}()
		<-ctx.Done()
		require.ErrorIs(t, ctx.Err(), context.Canceled, "the loop has not ended")
		assert.Equal(t, 3, made)
		assert.Zero(t, m.gate.taken)
	}
	live := m.rec.Live(true)
	assert.Zero(t, live.InFlight)
	assert.EqualValues(t, 2, live.OK)
	assert.Equal(t, map[string]int64{"cannot be made": 2, "failed": 2}, live.Kinds)
}

// hits is a pacer that lets so many requests out, at once.
type hits uint64

func (h hits) Pace(_ time.Duration, n uint64) (time.Duration, bool) { return 0, n >= uint64(h) }
func (hits) Rate(time.Duration) float64                             { return 0 }
