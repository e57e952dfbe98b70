package gotrace

import (
	"sort"

	"golang.org/x/exp/trace"

	"chokepoint/harness/signal/stack"
)

type finalizing struct {
	busy  int64
	sites map[stack.Frame]int64
	doing map[Doing]int64
}

func (s *scan) finalizing(id trace.GoID, g *goroutine, ns int64) {
	f := s.finalizers[id]
	if f == nil {
		f = &finalizing{sites: map[stack.Frame]int64{}, doing: map[Doing]int64{}}
		s.finalizers[id] = f
	}
	// Outside the program's code it is idle, or between two finalizers. While
	// it runs, its last stack stands: it leaves the program by parking in the
	// runtime, which is an event.
	if g.at == nil || !g.at.ours {
		return
	}
	f.busy += ns
	f.sites[g.at.outer] += ns
	f.doing[Doing{What: g.doing(0).What, Where: g.doing(0).Where}] += ns
}

func (s *scan) finishFinalizers() {
	ids := make([]trace.GoID, 0, len(s.finalizers))
	for id := range s.finalizers {
		ids = append(ids, id)
	}
	sort.Slice(ids, func(i, j int) bool { return ids[i] < ids[j] })
	for _, id := range ids {
		f := s.finalizers[id]
		out := Finalizer{BusyNS: f.busy, Sites: siteTimes(f.sites)}
		for d, ns := range f.doing {
			d.NS = ns
			out.Doing = append(out.Doing, d)
		}
		sortDoing(out.Doing)
		s.sum.Finalizers = append(s.sum.Finalizers, out)
	}
	sort.SliceStable(s.sum.Finalizers, func(i, j int) bool { return s.sum.Finalizers[i].BusyNS > s.sum.Finalizers[j].BusyNS })
}
