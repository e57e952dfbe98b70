package gotrace

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"chokepoint/harness/internal/testtrace"
	"chokepoint/harness/signal/stack"
	"chokepoint/mark"
)

func pathOf(t *testing.T, s *Summary, kind, name string) Path {
	t.Helper()
	i := slices.IndexFunc(s.Paths, func(p Path) bool { return p.Kind == kind && p.Name == name })
	require.GreaterOrEqual(t, i, 0, "%s %s in %+v", kind, name, s.Paths)
	return s.Paths[i]
}

func markedLine(t *testing.T, marker string) int { return lineIn(t, "paths_test.go", marker) }

const pause = 20 * time.Millisecond

// The outer region sleeps twice, once of that inside the inner one.
func TestPathsSumTimeByRegionAndAttribute(t *testing.T) {
	const requests = 4
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, task := mark.Begin(r.Context(), "order", mark.String("route", r.URL.Path))
		defer task.End()
		mark.Do(ctx, "price", func() {
			time.Sleep(pause)
			mark.Do(ctx, "ask tax", func() { time.Sleep(pause) }, mark.String("country", r.URL.Query().Get("country"))) // at: ask
		})
		mark.Event(ctx, "sold", mark.Int("items", 3)) // at: sold
		time.Sleep(pause)
	})
	s := read(t, testtrace.Record(t, func() {
		server := httptest.NewServer(h)
		defer server.Close()
		for i := range requests {
			resp, err := server.Client().Get(server.URL + fmt.Sprintf("/order?country=%d", i%2))
			require.NoError(t, err)
			resp.Body.Close()
		}
	}))
	price, ask := pathOf(t, s, RegionPath, "price"), pathOf(t, s, RegionPath, "ask tax")
	assert.EqualValues(t, requests, price.Count)
	assert.EqualValues(t, requests, ask.Count)
	least := requests * int64(pause)
	assert.GreaterOrEqual(t, ask.SelfNS, least)
	assert.GreaterOrEqual(t, price.SelfNS, least)
	assert.Equal(t, price.NS, price.SelfNS+ask.NS, "what is inside counts as inside")
	assert.Equal(t, ask.NS, ask.SelfNS)
	assert.Equal(t, price.NS, price.RequestNS, "all of it was in requests")
	assert.Equal(t, ask.SelfNS, ask.RequestSelfNS)
	assert.GreaterOrEqual(t, s.Requests.TotalNS, price.NS+least, "there is time outside")
	assert.Zero(t, price.Open)

	require.NotEmpty(t, ask.Doing)
	assert.Equal(t, string(stack.Sleep), ask.Doing[0].What)
	require.Len(t, ask.Sites, 1)
	assert.Equal(t, markedLine(t, "ask"), ask.Sites[0].Where.Line, "%+v", ask.Sites)
	assert.True(t, strings.HasPrefix(ask.Sites[0].Where.Function, pkg+"TestPathsSumTime"), ask.Sites[0].Where.Function)

	require.Len(t, ask.Attrs, 2)
	for _, a := range ask.Attrs {
		assert.Equal(t, "country", a.Key)
		assert.EqualValues(t, requests/2, a.Count)
		assert.GreaterOrEqual(t, a.RequestNS, least/2)
	}
	assert.Equal(t, ask.NS, ask.Attrs[0].NS+ask.Attrs[1].NS)

	task := pathOf(t, s, TaskPath, "order")
	assert.EqualValues(t, requests, task.Count)
	assert.GreaterOrEqual(t, task.NS, 3*least)
	assert.Len(t, s.TaskSpans, requests)
	assert.Equal(t, "/order", task.Attrs[0].Value)

	sold := pathOf(t, s, EventPath, "sold")
	assert.EqualValues(t, requests, sold.Count)
	assert.Equal(t, PathAttr{Key: "items", Value: "3", Count: requests}, sold.Attrs[0])
	assert.Equal(t, markedLine(t, "sold"), sold.Sites[0].Where.Line)
}

func TestPathsOfWorkThatDoesNotEnd(t *testing.T) {
	release := make(chan struct{})
	var running sync.WaitGroup
	ctx, early := context.Background(), make(chan struct{})
	s := read(t, testtrace.Record(t, func() {
		running.Go(func() {
			_, task := mark.Begin(ctx, "moves")
			defer task.End()
			mark.Do(ctx, "outer", func() {
				// The same name inside itself counts once.
				mark.Do(ctx, "outer", func() { close(early); <-release })
			})
		})
		<-early
		time.Sleep(pause)
	}))
	close(release)
	running.Wait()
	outer := pathOf(t, s, RegionPath, "outer")
	assert.EqualValues(t, 2, outer.Count)
	assert.EqualValues(t, 2, outer.Open)
	assert.GreaterOrEqual(t, outer.NS, int64(pause))
	assert.LessOrEqual(t, outer.NS, s.DurationNS())
	assert.EqualValues(t, 1, pathOf(t, s, TaskPath, "moves").Open)
	assert.Empty(t, s.TaskSpans)
}

func TestPathsAreBounded(t *testing.T) {
	s := read(t, testtrace.Record(t, func() {
		for i := range keptPaths + 10 {
			mark.Do(context.Background(), fmt.Sprint("name ", i), func() {})
		}
		for i := range keptAttrs + 10 {
			mark.Do(context.Background(), "name 0", func() {}, mark.Int("id", i))
		}
	}))
	assert.Len(t, s.Paths, keptPaths)
	assert.EqualValues(t, 10, s.PathsLost)
	p := pathOf(t, s, RegionPath, "name 0")
	assert.Len(t, p.Attrs, keptAttrs)
	assert.EqualValues(t, 10, p.AttrsLost)
}

func TestMomentsSayWhenLocksWereWaitedFor(t *testing.T) {
	var mu sync.Mutex
	s := read(t, testtrace.Record(t, func() {
		time.Sleep(pause)
		mu.Lock()
		var waiting sync.WaitGroup
		for range 10 {
			waiting.Go(func() { mu.Lock(); defer mu.Unlock() })
		}
		time.Sleep(pause)
		mu.Unlock()
		waiting.Wait()
	}))
	m := s.Moments
	require.Equal(t, firstSlotNS, m.SlotNS)
	require.Len(t, m.LockNS, len(m.RunnableNS))
	var all int64
	for _, ns := range m.LockNS {
		all += ns
	}
	assert.Equal(t, s.Program.WaitNS(stack.Lock), all, "every wait has its moment")
	first := slices.IndexFunc(m.LockNS, func(ns int64) bool { return ns > 0 })
	assert.GreaterOrEqual(t, int64(first)*m.SlotNS, int64(pause)-m.SlotNS, "nobody waited in the first pause")
}

func TestMomentsKeepTheirSumWhenSlotsGrow(t *testing.T) {
	m := newMoments()
	m.begin(5)
	g := &goroutine{state: runnable}
	for i := range int64(100) {
		m.charge(g, 5+i*3e8, 5+i*3e8+1e6)
	}
	got := m.finish(5 + 100*3e8)
	assert.LessOrEqual(t, len(got.RunnableNS), keptSlots)
	assert.Greater(t, got.SlotNS, firstSlotNS)
	var all int64
	for _, ns := range got.RunnableNS {
		all += ns
	}
	assert.EqualValues(t, 100*1e6, all)
}
