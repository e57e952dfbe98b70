package signal_test

import (
	"bytes"
	"context"
	"os"
	"runtime"
	"runtime/pprof"
	"strings"
	"testing"

	"github.com/google/pprof/profile"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"chokepoint/harness/bundle"
)

func TestKeeper(t *testing.T) {
	const (
		page    = "main.newPage:4 < main.serve:21" + handler
		session = "main.serve:23" + handler
		put     = "main.(*store).put:40 < main.serve:25" + handler
		library = "lib/registry.Set:23 < lib/sessions.Get:77 < main.serve:22" + handler
		derive  = "context.WithCancelCause:269 < main.(*board).prepare:40 < main.serve:20" + handler
		child   = "context.withCancel:277 < " + derive
		parent  = "context.(*cancelCtx).propagateCancel:501 < context.withCancel:278 < " + derive
		bounded = "context.WithDeadlineCause:640 < context.WithTimeout:704 < main.(*board).work:58 < main.serve:20" + handler
		its     = "context.(*cancelCtx).propagateCancel:501 < context.WithDeadlineCause:643 < context.WithTimeout:704 < main.(*board).work:58 < main.serve:20" + handler
	)
	pages := func() *profileMaker { return heapDelta().add(page, 500, 500_000, 500, 500_000) }
	assigns := calls(call("runtime.mapassign_faststr", "main.serve", 23), call("runtime.mapassign_fast64", "main.(*store).put", 40))
	none := missing("nothing of the kind")
	for name, c := range map[string]struct {
		delta *profileMaker
		whole *profileMaker // beside the pages
		sites bundle.CallSites
		want  expected
	}{
		"not a map that is made for each request": {
			delta: pages().add(session, 500, 144_000, 500, 144_000).add(session, 500, 24_000, 500, 24_000).add(put, 2, 36_864, 1, 18_432),
			sites: assigns,
			want:  expected{"pprof.heap_growth_site": "main.(*store).put:40", "pprof.heap_keepers": 1.0},
		},
		"not one that grows beyond its first slots": {
			delta: pages().add(session, 500, 144_000, 0, 0).add(session, 500, 288_000, 0, 0).add(session, 500, 576_000, 500, 576_000).
				add(put, 2, 36_864, 1, 18_432),
			sites: assigns,
			want:  expected{"pprof.heap_alloc_site": "main.serve:23", "pprof.heap_growth_site": "main.(*store).put:40"},
		},
		"nor one with what is put there boxed": {
			delta: pages().add(session, 500, 144_000, 500, 144_000).add(session, 1000, 24_000, 1000, 24_000).add(session, 500, 8000, 500, 8000).add(put, 2, 36_864, 1, 18_432),
			sites: assigns,
			want:  expected{"pprof.heap_growth_site": "main.(*store).put:40"},
		},
		"nor one that nothing else is seen to keep": {
			delta: pages().add(session, 500, 144_000, 500, 144_000),
			sites: calls(call("runtime.mapassign_faststr", "main.serve", 23)),
			want:  expected{"pprof.heap_growth_site": "main.newPage:4", "pprof.heap_put_site": none, "pprof.heap_keepers": 0.0},
		},
		"nor one that is dropped": {
			delta: heapDelta().add("main.serve:21"+handler, 500, 500_000, 500, 500_000).add(session, 500, 144_000, 0, 0),
			sites: calls(call("runtime.mapassign_faststr", "main.serve", 23)),
			want:  expected{"pprof.heap_growth_site": "main.serve:21", "pprof.heap_put_site": none},
		},
		"tables beside values as large as first slots": {
			delta: pages().add(put, 500, 104_000, 500, 104_000).add(put, 2, 36_864, 1, 18_432),
			sites: assigns,
			want:  expected{"pprof.heap_growth_site": "main.(*store).put:40", "pprof.heap_keepers": 1.0},
		},
		"a value as large as first slots is all that is seen of a map": {
			delta: heapDelta().add(put, 500, 104_000, 500, 104_000),
			sites: assigns,
			want:  expected{"pprof.heap_growth_site": "main.(*store).put:40", "pprof.heap_keepers": 1.0},
		},
		"slices of many that grow": {
			// 100 that were there took twice as much: each replaces another.
			delta: pages().add(session, 100, 14_400, -100, -14_400+7200).add(session, 100, 28_800, 100, 28_800),
			sites: calls(call("runtime.growslice", "main.serve", 23)),
			want:  expected{"pprof.heap_growth_site": "main.serve:23", "pprof.heap_keepers": 1.0},
		},
		"a library's map": {
			delta: pages().add(session, 500, 144_000, 500, 144_000).add(library, 500, 144_000, 500, 144_000).add(library, 4, 73_728, 2, 36_864),
			sites: assigns,
			want:  expected{"pprof.heap_growth_site": "main.serve:22", "pprof.heap_library_site": "lib/registry.Set:23", "pprof.heap_keepers": 0.0, "pprof.heap_put_site": none, "pprof.heap_keeper_site": none},
		},
		"a library's buffers, one for each": {
			delta: pages().add(library, 60, 245_760, 60, 245_760),
			want:  expected{"pprof.heap_growth_site": "main.newPage:4", "pprof.heap_library_site": none},
		},
		"a library's buffers, dropped": {
			delta: pages().add(library, 60, 245_760, 1, 4096),
			want:  expected{"pprof.heap_growth_site": "main.newPage:4", "pprof.heap_library_site": none},
		},
		"what a library sets up once": {
			delta: pages().add(library, 1, 1_000_000, 1, 1_000_000),
			want:  expected{"pprof.heap_library_site": none},
		},
		"contexts that nobody cancels": {
			// What a context that is kept has of its own children is as old as itself, and
			// the one derived from it is cancelled.
			delta: pages().add(child, 50, 4000, 50, 4000).add(derive, 50, 800, 0, 0).add(bounded, 50, 6400, 0, 0).add(its, 50, 10_400, 50, 10_400),
			whole: heapInUse().add(parent, 4, 109_056),
			want:  expected{"pprof.heap_growth_site": "main.(*board).prepare:40", "pprof.heap_context_site": "main.(*board).prepare:40", "pprof.heap_put_site": none, "pprof.heap_keepers": 0.0},
		},
		"contexts alone": {
			delta: heapDelta().add(child, 500, 40_000, 500, 40_000).add(derive, 500, 8000, 0, 0).add(parent, 2, 54_528, 1, 27_264),
			want:  expected{"pprof.heap_alloc_site": "main.(*board).prepare:40", "pprof.heap_growth_site": "main.(*board).prepare:40", "pprof.heap_context_site": "main.(*board).prepare:40"},
		},
		"contexts that are cancelled": {
			delta: pages().add(child, 50, 4000, 1, 80).add(parent, 2, 54_528, 0, 0),
			want:  expected{"pprof.heap_growth_site": "main.newPage:4", "pprof.heap_context_site": none},
		},
		"contexts of requests, kept with them": {
			delta: pages().add(bounded, 50, 6400, 50, 6400).add(its, 50, 10_400, 50, 10_400),
			want:  expected{"pprof.heap_growth_site": "main.newPage:4", "pprof.heap_context_site": none},
		},
		"contexts that a map is seen to keep": {
			delta: pages().add(child, 50, 4000, 50, 4000).add(parent, 2, 54_528, 1, 27_264).add(put, 4, 73_728, 2, 36_864),
			sites: assigns,
			want:  expected{"pprof.heap_growth_site": "main.(*store).put:40", "pprof.heap_context_site": none},
		},
	} {
		t.Run(name, func(t *testing.T) {
			whole := c.whole
			if whole == nil {
				whole = heapInUse()
			}
			check(t, measure(t, tenSeconds(map[string]any{
				bundle.HeapDeltaProfile: heapProfile(c.delta), bundle.HeapProfile: heapProfile(whole.add(page, 500, 500_000)), bundle.TargetCallSites: c.sites,
			}).write(t)), c.want)
		})
	}
}

// A desk keeps for each request what it should not, in a way of its own.
type desk struct {
	root  context.Context
	pages map[int][]byte
	byID  map[int]map[string]any
	after func(context.Context, context.CancelCauseFunc)
}

type pageKey struct{}

const pageBytes = 2048

//go:noinline
func newPage() []byte { return make([]byte, pageBytes) }

//go:noinline
func (d *desk) session(id int) {
	s := map[string]any{}
	s["page"] = newPage() // made for one request
	d.byID[id] = s        // keeps them all
}

//go:noinline
func (d *desk) job(int) {
	d.work(context.WithValue(d.root, pageKey{}, newPage()))
}

//go:noinline
func (d *desk) work(ctx context.Context) {
	ctx, fail := context.WithCancelCause(ctx) // nobody cancels it
	d.after(ctx, fail)
}

//go:noinline
func (d *desk) cache(id int) {
	ctx, cancel := context.WithCancel(d.root)
	defer cancel()
	p := newPage()
	if ctx.Err() == nil {
		d.pages[id] = p // keeps the page
	}
}

// served is the heap after some requests and after many more. They have stacks of their own.
func served(t *testing.T, serve func(int)) (before, after *profile.Profile) {
	defer func(rate int) { runtime.MemProfileRate = rate }(runtime.MemProfileRate)
	runtime.MemProfileRate = 1
	heap := func(from, to int) *profile.Profile {
		done := make(chan struct{})
		go requests(serve, from, to, done)
		<-done
		var buf bytes.Buffer
		runtime.GC()
		runtime.GC() // the profile is of what the last but one left
		require.NoError(t, pprof.Lookup("heap").WriteTo(&buf, 0))
		p, err := profile.Parse(&buf)
		require.NoError(t, err)
		return p
	}
	return heap(0, 100), heap(100, 2100)
}

func requests(serve func(int), from, to int, done chan<- struct{}) {
	for id := from; id < to; id++ {
		serve(id)
	}
	close(done)
}

// TestKeeperOfARealHeap holds the sizes that are reckoned with against the runtime's.
func TestKeeperOfARealHeap(t *testing.T) {
	root, cancel := context.WithCancel(t.Context())
	defer cancel()
	d := &desk{root: root, pages: map[int][]byte{}, byID: map[int]map[string]any{}, after: func(context.Context, context.CancelCauseFunc) {}}
	_, self, _, ok := runtime.Caller(0)
	require.True(t, ok)
	source, err := os.ReadFile(self)
	require.NoError(t, err)
	line := func(comment string) int {
		before, _, found := strings.Cut(string(source), "// "+comment+"\n")
		require.True(t, found, comment)
		return strings.Count(before, "\n") + 1
	}
	site := func(callee, method, comment string) bundle.CallSite {
		return bundle.CallSite{Callee: callee, Function: "chokepoint/harness/signal_test.(*desk)." + method, File: self, Line: line(comment)}
	}
	sites := calls(site("runtime.mapassign_faststr", "session", "made for one request"),
		site("runtime.mapassign_fast64", "session", "keeps them all"), site("runtime.mapassign_fast64", "cache", "keeps the page"))
	for method, c := range map[string]struct {
		serve func(int)
		at    string
		site  string
	}{
		"session": {d.session, "keeps them all", "pprof.heap_keeper_site"},
		"work":    {d.job, "nobody cancels it", "pprof.heap_context_site"},
		"cache":   {d.cache, "keeps the page", "pprof.heap_keeper_site"},
	} {
		t.Run(method, func(t *testing.T) {
			before, whole := served(t, c.serve)
			before.Scale(-1)
			delta, err := profile.Merge([]*profile.Profile{whole, before})
			require.NoError(t, err)
			r := tenSeconds(map[string]any{bundle.HeapDeltaProfile: delta, bundle.HeapProfile: whole, bundle.TargetCallSites: sites})
			r.manifest.Target.MainModule = "chokepoint"
			set := measure(t, r.write(t))
			assert.True(t, strings.HasSuffix(set.Signals["pprof.heap_alloc_site"].Where.Function, "signal_test.newPage"), set.Signals["pprof.heap_alloc_site"].Where)
			require.Empty(t, set.Missing[c.site])
			where := set.Signals["pprof.heap_growth_site"].Where
			assert.Equal(t, where, set.Signals[c.site].Where)
			assert.Equal(t, "chokepoint/harness/signal_test.(*desk)."+method, where.Function)
			assert.Equal(t, line(c.at), where.Line)
		})
	}
	runtime.KeepAlive(d)
}
