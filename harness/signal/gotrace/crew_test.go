package gotrace

import (
	"context"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"chokepoint/harness/gofunc"
	"chokepoint/harness/signal/stack"
)

// One gathers, one hands on and waits until it is rid of that, and the last is slow.
func TestServedThroughStagesThatOnlyWait(t *testing.T) {
	in, batches, refused := make(chan errand), make(chan []errand), make(chan error)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go batchErrands(ctx, in, batches)
	go refuseErrands(ctx, batches, refused)
	go tell(ctx, refused)
	s := crowd(t, func(http.ResponseWriter, *http.Request) { in <- newErrand() })
	require.NotEmpty(t, s.Queues)
	q := s.Queues[0]
	assert.Equal(t, Served, q.Kind, "%+v", s.Queues)
	assert.Equal(t, pkg+"tell", gofunc.Base(q.Serve.Function), "%+v", s.Queues)
	assert.True(t, q.Behind)
	assert.Equal(t, 1, q.Servers)
	assert.Greater(t, q.BusyShare, 0.8, "%+v", q)
	assert.Greater(t, did(q, stack.Sleep), 0.5, "%+v", q.Doing)
	assert.Greater(t, waited(s, q), 0.5)
	assert.Greater(t, float64(q.QueuedNS), 0.5*float64(q.OrderedNS))
}

func batchErrands(ctx context.Context, in <-chan errand, out chan<- []errand) {
	var batch []errand
	for {
		select {
		case e := <-in:
			if batch = append(batch, e); len(batch) == 4 {
				out <- batch
				batch = nil
			}
		case <-ctx.Done():
			return
		}
	}
}

func refuseErrands(ctx context.Context, in <-chan []errand, out chan<- error) {
	for {
		select {
		case <-in:
			out <- http.ErrAbortHandler
		case <-ctx.Done():
			return
		}
	}
}

func tell(ctx context.Context, errs <-chan error) {
	for {
		select {
		case <-errs:
			time.Sleep(4 * work)
		case <-ctx.Done():
			return
		}
	}
}

func TestBehind(t *testing.T) {
	const ms = int64(time.Millisecond)
	// A crew's times are of 100 ms, and what is left of them is idle.
	type account struct {
		name    string
		servers int
		work    int64
		heard   int64
		given   bool
		on      map[string]int64
	}
	first := func(on map[string]int64) account { return account{"first", 1, 1, 0, true, on} }
	for _, tt := range []struct {
		name  string
		crews []account
		want  string
	}{
		{"one step", []account{first(map[string]int64{"b": 90}), {"b", 1, 80, 0, false, nil}}, "b"},
		{"a step that only waits", []account{first(map[string]int64{"b": 90}), {"b", 1, 10, 0, true, map[string]int64{"c": 85}}, {"c", 1, 99, 0, true, nil}}, "c"},
		{"two that only wait", []account{
			first(map[string]int64{"b": 90}), {"b", 1, 1, 0, true, map[string]int64{"c": 90}}, {"c", 40, 1, 0, true, map[string]int64{"d": 90}}, {"d", 1, 99, 0, true, nil},
		}, "d"},
		{"nobody at its end at work", []account{first(map[string]int64{"b": 90}), {"b", 1, 1, 0, true, map[string]int64{"c": 90}}, {"c", 1, 20, 0, true, nil}}, "first"},
		{"two halves, which are a quarter", []account{first(map[string]int64{"b": 60}), {"b", 1, 1, 0, true, map[string]int64{"c": 60}}, {"c", 1, 99, 0, true, nil}}, "first"},
		{"one that each of them waits for a little", []account{first(map[string]int64{"b": 30, "c": 30}), {"b", 1, 90, 0, true, nil}, {"c", 1, 90, 0, true, nil}}, "first"},
		{"as many at the end as wait", []account{first(map[string]int64{"b": 90}), {"b", 1, 1, 0, true, map[string]int64{"c": 90}}, {"c", 16, 99, 0, true, nil}}, "first"},
		{"a source, whose news the others pass on", []account{first(map[string]int64{"b": 90}), {"b", 1, 1, 0, true, map[string]int64{"c": 90}}, {"c", 1, 99, 0, false, nil}}, "first"},
		{"one that asks a peer, whose answers another reads", []account{first(map[string]int64{"b": 90}), {"b", 1, 1, 0, true, map[string]int64{"c": 90}}, {"c", 1, 5, 95, true, nil}}, "b"},
		{"two that wait for each other", []account{first(map[string]int64{"b": 90}), {"b", 1, 1, 0, true, map[string]int64{"c": 90}}, {"c", 1, 1, 0, true, map[string]int64{"b": 90}}}, "first"},
		{"those whom it answers", []account{first(map[string]int64{"b": 90}), {"b", 1, 1, 0, true, map[string]int64{"first": 90}}}, "first"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			crews := map[string]*crew{}
			for _, a := range tt.crews {
				crews[a.name] = &crew{name: a.name, servers: a.servers, total: 100 * ms, heard: a.heard * ms, work: map[Doing]int64{{What: "running"}: a.work * ms}, on: map[*crew]int64{}}
				if a.given {
					crews[a.name].handed = 1
				}
			}
			for _, a := range tt.crews {
				for o, ns := range a.on {
					crews[a.name].on[crews[o]] = ns * ms
				}
			}
			assert.Equal(t, tt.want, crews["first"].behind(16).name)
		})
	}
}
