package signal

import (
	"errors"
	"math"
	"slices"

	"chokepoint/harness/bundle"
	"chokepoint/harness/gofunc"
	"chokepoint/harness/signal/gotrace"
	"chokepoint/harness/signal/stack"
)

// goroutineSignals tell goroutines that start with requests and never end from
// those that are many for a good reason.
func goroutineSignals() []definition {
	const trace, prof = bundle.DimTrace, bundle.DimPprof
	return []definition{
		number("trace.goroutines_left_per_request", trace, PerRequest, func(e *evidence) (float64, error) {
			l, err := e.leftBehind()
			switch {
			case err != nil:
				return 0, err
			case l.undecided():
				return 0, errors.New("trace: goroutines of a kind become more, and the requests that started them had not ended when the trace did")
			case l.grown == 0:
				return 0, nil
			}
			return e.perTracedRequest(l.grown)
		}, "By how many the goroutines that start in one function became more in the trace, for each request that ended; only a growth that both halves of the trace show is counted, and not what new connections, requests that have not ended or chance explain."),
		number("trace.goroutines_left_share", trace, Share, func(e *evidence) (float64, error) {
			l, err := e.leftBehind()
			return min(1, l.grown/float64(max(1, l.kind.Created))), err
		}, "The same as a share of those that were started in the trace."),
		place("trace.goroutine_start_site", trace, func(e *evidence) (stack.Frame, error) {
			l, err := e.leftBehind()
			return l.kind.Origin, err
		}, "The program's line that starts them."),
		place("trace.goroutine_library_site", trace, func(e *evidence) (stack.Frame, error) {
			l, err := e.leftBehind()
			return l.kind.Library, err
		}, "The library's line that starts them, where a library called at that line does so and none of the program's code runs in them."),
		place("trace.goroutine_starter_site", trace, func(e *evidence) (stack.Frame, error) {
			l, err := e.leftBehind()
			return e.libraryAlone(l.kind), err
		}, "The library's line that starts them, where no line of the program is known that has a part in it, and none of its code runs in them."),
		place("trace.goroutine_stuck_site", trace, func(e *evidence) (stack.Frame, error) {
			l, err := e.leftBehind()
			return l.kind.Stuck, err
		}, "The program's line where most of them stand at the end of the trace."),
		number("trace.goroutines_per_request", trace, PerRequest, func(e *evidence) (float64, error) {
			s, err := e.trace()
			if err != nil {
				return 0, err
			}
			var started int64
			for _, k := range s.Kinds {
				if !k.Connections {
					started += k.Created
				}
			}
			return e.perTracedRequest(float64(started))
		}, "Goroutines started in the trace for each request that ended, those of connections left out."),

		number("pprof.goroutines_grown_per_request", prof, PerRequest, func(e *evidence) (float64, error) {
			g, err := e.grownKind()
			if err != nil || g.grown == 0 {
				return 0, err
			}
			n, err := e.requests(e.span(bundle.GoroutineDeltaProfile))
			if err != nil {
				return 0, err
			}
			return g.grown / n, nil
		}, "By how many the goroutines that start in one function became more over the window, by the goroutine profile, for each request that ended; not counting what new connections, requests that do not end or chance explain."),
		number("pprof.goroutines_grown_share", prof, Share, func(e *evidence) (float64, error) {
			g, err := e.grownKind()
			return min(1, g.grown/max(1, g.stock)), err
		}, "The same as a share of as many as there were of them at the end."),
		number("pprof.goroutines_asleep_share", prof, Share, func(e *evidence) (float64, error) {
			g, err := e.grownKind()
			return min(1, max(0, g.asleep)/max(1, g.grown)), err
		}, "Share of that growth which is in time.Sleep, or at a line that makes the timer it waits for, and goes on by itself."),
		place("pprof.goroutine_stuck_site", prof, func(e *evidence) (stack.Frame, error) {
			g, err := e.grownKind()
			return g.where, err
		}, "The program's line where most of them stand."),
	}
}

// perTracedRequest is n for each request that ended in the trace.
func (e *evidence) perTracedRequest(n float64) (float64, error) {
	s, err := e.trace()
	if err != nil {
		return 0, err
	}
	ended, err := e.requests(bundle.Window{StartNS: s.StartNS, EndNS: s.EndNS})
	if err != nil {
		return 0, err
	}
	return n / ended, nil
}

// doubt is how many standard deviations a count must be above what chance gives
// before it is believed. Servers have hundreds of lines to be wrong about.
const doubt = 4

// least is the part of a growth that each half of the trace must show. A steady
// one has a half in each; that of a server short of CPU comes unevenly.
const least = 0.15

// leaving is a kind of goroutines, and by how many there are more of them.
type leaving struct {
	kind  gotrace.Kind
	grown float64
}

// undecided reports whether the trace is too short to tell.
func (l leaving) undecided() bool { return l.grown == 0 && l.kind.Left > 0 }

// leftBehind is the kind of which steadily more were started than ended.
func (e *evidence) leftBehind() (leaving, error) {
	return once(e, "goroutines left behind", func() (leaving, error) {
		s, err := e.trace()
		if err != nil {
			return leaving{}, err
		}
		came := e.newClients(bundle.Window{StartNS: s.StartNS, EndNS: s.EndNS})
		var best, held leaving
		for _, k := range s.Kinds {
			if k.Connections || k.Origin.IsZero() && k.Stuck.IsZero() || e.sleeps(k) || !steady(k) {
				continue
			}
			all, _ := k.Growth()
			// What a request that has not ended waits for is not left behind by it. Where
			// requests outlast the trace, that cannot be told of any.
			if more := float64(all) - cameWith(came, k); more > chance(k) && more > held.grown && 2*(k.Left-k.Held) < all {
				held = leaving{k, more}
			}
			all = min(all, k.Left-k.Held)
			grown := float64(all) - cameWith(came, k)
			if float64(all) > chance(k) && grown > best.grown {
				best = leaving{k, grown}
			}
		}
		if best.grown == 0 && held.grown > 0 {
			return leaving{kind: held.kind}, nil
		}
		return best, nil
	})
}

// cameWith is how many of a kind there are more because there are more clients: two for
// each, or their share of those that were started. How many there were before the trace does
// not show, and so not how many each of the others has.
func cameWith(came clients, k gotrace.Kind) float64 {
	all, late := k.Growth()
	chance := float64(k.Left) // of each half
	besides := came.besides(step{float64(all - late), chance}, step{float64(late), chance}, 2)
	return min(max(2*came.more, came.share()*float64(k.Left)), (1-besides)*float64(max(0, all)))
}

// steady reports whether a kind became more in both halves of the trace: what comes at
// once, and may end as it came, is in one.
func steady(k gotrace.Kind) bool {
	all, late := k.Growth()
	part := float64(late) / float64(max(1, all))
	return least < part && part < 1-least
}

// chance is by how many a kind may be more by chance: as many as there are at any time
// vary by the root of their number.
func chance(k gotrace.Kind) float64 { return doubt * math.Sqrt(2*float64(k.Left)) }

// sleeps reports whether most of a kind wait for a time, after which they go on.
func (e *evidence) sleeps(k gotrace.Kind) bool { return 2*k.Asleep > k.Left || e.waitsForTime(k.Stuck) }

// waitsForTime reports whether a line of the program makes the timer that it waits for,
// as <-time.After(d) does: whoever stands there is asleep, and goes on by itself.
func (e *evidence) waitsForTime(at stack.Frame) bool {
	if at.IsZero() || at.Line == 0 {
		return false
	}
	sites, err := e.callSites("time.After", "time.NewTimer")
	if err != nil {
		return false // what a line calls is not known
	}
	return slices.ContainsFunc(sites, func(s bundle.CallSite) bool {
		return s.File == at.File && s.Line == at.Line && gofunc.Base(s.Function) == gofunc.Base(at.Function)
	})
}

// growing is a kind of goroutines by the goroutine profiles.
type growing struct {
	grown, stock, asleep float64
	calls                float64 // grown, in a system call or in C
	where                stack.Frame
}

// grownKind is the kind of which there were more at the end of the window than
// at its beginning.
func (e *evidence) grownKind() (growing, error) {
	return once(e, "goroutines grown", func() (growing, error) {
		delta, err := e.profile(bundle.DimPprof, bundle.GoroutineDeltaProfile)
		if err != nil {
			return growing{}, err
		}
		whole, err := e.profile(bundle.DimPprof, bundle.GoroutineProfile)
		if err != nil {
			return growing{}, err
		}
		kinds := map[string]*growing{}
		lines := map[string]map[stack.Frame]int64{}
		n := delta.types["goroutine"]
		for _, x := range delta.list {
			entry := gotrace.Entry(x.frames)
			own := e.program.Own(x.frames)
			if entry.IsZero() || stack.ServesRequests(entry.Function) {
				continue
			}
			k := kinds[entry.Function]
			if k == nil {
				k = &growing{}
				kinds[entry.Function], lines[entry.Function] = k, map[stack.Frame]int64{}
			}
			k.grown += float64(x.values[n])
			if !own.IsZero() {
				lines[entry.Function][own] += x.values[n]
			}
			if e.program.WaitOf(x.frames) == stack.Sleep || e.waitsForTime(own) {
				k.asleep += float64(x.values[n])
			}
			if inCall(x.frames) {
				k.calls += float64(x.values[n])
			}
		}
		n = whole.types["goroutine"]
		for _, x := range whole.list {
			if k := kinds[gotrace.Entry(x.frames).Function]; k != nil {
				k.stock += float64(x.values[n])
			}
		}
		came := e.newClients(e.span(bundle.GoroutineDeltaProfile))
		hung := e.pilingUp(delta)
		var best growing
		for entry, k := range kinds {
			sure := k.grown > doubt*math.Sqrt(2*max(0, k.stock))
			k.grown -= max(came.explains(k.stock-k.grown), 2*hung)
			k.where = top(ranked(lines[entry])).where
			if sure && (k.grown > best.grown || k.grown == best.grown && k.grown > 0 && less(k.where, best.where)) {
				best = *k
			}
		}
		// Libraries' helpers, of connections say, have no line of the program's.
		return best, nil
	})
}

func less(a, b stack.Frame) bool { return a.Compare(b) < 0 }

// pilingUp is by how many the requests in a handler became more at the one line
// where they did most: requests that do not get on pile up there, with what they
// hold and what they wait for.
func (e *evidence) pilingUp(delta *samples) float64 {
	n := delta.types["goroutine"]
	at := map[stack.Frame]int64{}
	for _, x := range delta.list {
		if stack.StageOf(x.frames) == stack.Handling {
			at[e.program.Own(x.frames)] += x.values[n]
		}
	}
	return float64(max(0, top(ranked(at)).value))
}
