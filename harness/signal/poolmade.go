package signal

import (
	"slices"

	"chokepoint/harness/bundle"
	"chokepoint/harness/gofunc"
	"chokepoint/harness/signal/stack"
)

// poolMadeSignals are of where a pool is made that is set up again and again: there, and
// not where it is used, it can be made once.
func poolMadeSignals() []definition {
	return []definition{
		place("pprof.pool_made_site", bundle.DimPprof, func(e *evidence) (stack.Frame, error) {
			made, _, err := e.poolMade()
			return made, err
		}, "The program's line that has such a pool made: the call of the function that its New function is written in, or where that is still running when the pool is used, the line of it that allocates. Of a pool without a New function, or with one that stands by itself, it is not known."),
		place("pprof.pool_maker_site", bundle.DimPprof, func(e *evidence) (stack.Frame, error) {
			_, maker, err := e.poolMade()
			return maker, err
		}, "Where that line calls another function to make the pool, the line of this one that allocates for it."),
	}
}

// poolMade finds who makes the pool that is set up most. A pool leaves no allocation of its
// own: it is part of a struct, or moves to the heap with one. But its New function does,
// when it is a literal that holds something of the function around it, and so does that
// function: whoever calls it has the pool made. The line of any such allocation does;
// that there is one in the window shows that it was called there.
func (e *evidence) poolMade() (made, maker stack.Frame, err error) {
	type result struct{ made, maker stack.Frame }
	r, err := once(e, "pool made", func() (result, error) {
		pins, err := poolPin(e)
		if err != nil || len(pins) == 0 {
			return result{}, err
		}
		allocs, err := e.profile(bundle.DimPprof, bundle.AllocsProfile)
		if err != nil {
			return result{}, err
		}
		made, maker := madeBy(e.program, allocs, pins[0].where)
		return result{made, maker}, nil
	})
	return r.made, r.maker, err
}

func madeBy(p stack.Program, allocs *samples, user stack.Frame) (made, maker stack.Frame) {
	around := top(allocs.bySite("alloc_space", func(s sample) (stack.Frame, bool) {
		u, ok := p.PoolNew(s.frames)
		if !ok || u != user {
			return stack.Frame{}, false
		}
		f := s.frames[slices.IndexFunc(s.frames, func(f stack.Frame) bool { return f.Function == "sync.(*Pool).Get" })-1]
		// A function that stands by itself does not say who made the pool.
		base := gofunc.Base(f.Function)
		return stack.Frame{Function: base}, base != f.Function && !p.Foreign(f)
	})).where.Function
	if around == "" {
		return stack.Frame{}, stack.Frame{}
	}
	// Where the function is still there when the pool is used, it is its own pool.
	running := false
	for _, s := range allocs.list {
		if u, ok := p.PoolPin(s.frames); ok && u == user && slices.ContainsFunc(s.frames, func(f stack.Frame) bool { return f.Function == around }) {
			running = true
		}
	}
	type pair struct{ made, maker stack.Frame }
	pairs := map[stack.Frame]pair{}
	at := top(allocs.bySite("alloc_objects", func(s sample) (stack.Frame, bool) {
		i := slices.IndexFunc(s.frames, func(f stack.Frame) bool { return f.Function == around })
		own := p.Own(s.frames)
		if i < 0 || own.IsZero() || slices.Index(s.frames, own) < i {
			return stack.Frame{}, false // what it calls may make others' pools
		}
		if own != s.frames[i] { // a library makes it for the program
			pairs[own] = pair{own, s.frames[i]}
			return own, true
		}
		if running {
			pairs[s.frames[i]] = pair{made: s.frames[i]}
			return s.frames[i], true
		}
		caller := p.Caller(s.frames)
		pairs[caller] = pair{caller, s.frames[i]}
		return caller, !caller.IsZero()
	})).where
	return baseFrame(pairs[at].made), baseFrame(pairs[at].maker)
}
