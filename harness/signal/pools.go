package signal

import (
	"cmp"
	"slices"

	"chokepoint/harness/bundle"
	"chokepoint/harness/signal/stack"
)

// pooled is a call of sync.Pool.Get that request work passes through.
type pooled struct {
	get   stack.Frame
	asker stack.Frame // the program's line that leads there; get itself if that is the program's
	// below is how much of the profile passes through the function that calls Get, and
	// through no such function further in. All counts what passes through both, and around
	// the part of it in which a library's function has called the program's code.
	below, all, around int64
}

// router reports whether it belongs to a library that calls the program, rather than
// being called by it: what it keeps is for its own bookkeeping. It is on the stack of all
// that the program does, which says nothing of what is done with it.
func (p pooled) router() bool { return 2*p.around > p.all }

// poolGets are the calls of Get in functions that sampled request work passes through:
// first those that are no router's, most work first. The CPU profile decides if it knows
// any, since it counts passes; what was allocated, and what is in use, stand in for it.
func poolGets(e *evidence) ([]pooled, error) {
	return once(e, "pools in requests", func() ([]pooled, error) {
		gets, err := e.callSites("sync.(*Pool).Get")
		if err != nil {
			return nil, err
		}
		captured := false
		var routers []pooled
		for _, a := range []struct{ artifact, sampleType string }{
			{bundle.CPUProfile, "samples"}, {bundle.AllocsProfile, "alloc_objects"}, {bundle.HeapProfile, "inuse_objects"},
		} {
			p, perr := e.profile(bundle.DimPprof, a.artifact)
			if perr != nil {
				err = perr
				continue
			}
			captured = true
			pools := poolsIn(e, p, a.sampleType, gets)
			if len(pools) > 0 && !pools[0].router() {
				return pools, nil
			}
			if len(routers) == 0 {
				routers = pools
			}
		}
		if !captured {
			return nil, err
		}
		return routers, nil
	})
}

// poolsIn are those of one profile.
func poolsIn(e *evidence, p *samples, sampleType string, gets []bundle.CallSite) []pooled {
	value, ok := p.types[sampleType]
	if !ok {
		return nil
	}
	at := map[stack.Frame]*pooled{}
	askers := map[stack.Frame]map[stack.Frame]int64{}
	for _, s := range p.list {
		n := s.values[value]
		if n == 0 || stack.ServingOf(s.frames) == stack.NotServing {
			continue
		}
		inner := false
		for i := range s.frames {
			get, ok := callIn(gets, s.frames[i:i+1])
			if !ok {
				continue
			}
			x := at[get]
			if x == nil {
				x = &pooled{get: get}
				at[get], askers[get] = x, map[stack.Frame]int64{}
			}
			x.all += n
			if !inner {
				x.below += n
			}
			inner = true
			asker := get
			if !e.program.Mine(s.frames[i]) {
				if slices.ContainsFunc(s.frames[:i], e.program.Mine) {
					x.around += n
				}
				if own := e.program.Own(s.frames[i:]); !own.IsZero() && e.program.Mine(own) {
					asker = baseFrame(own)
				}
			}
			askers[get][asker] += n
		}
	}
	pools := make([]pooled, 0, len(at))
	for get, x := range at {
		x.asker = top(ranked(askers[get])).where
		pools = append(pools, *x)
	}
	slices.SortFunc(pools, func(a, b pooled) int {
		if a.router() != b.router() {
			if a.router() {
				return 1
			}
			return -1
		}
		return cmp.Or(cmp.Compare(b.below, a.below), a.get.Compare(b.get))
	})
	return pools
}

// dataPool is the pool that what requests carry is most likely in.
func dataPool(e *evidence) (pooled, error) {
	pools, err := poolGets(e)
	if err != nil || len(pools) == 0 {
		return pooled{}, err
	}
	return pools[0], nil
}
