package gotrace

import (
	"sort"

	"golang.org/x/exp/trace"

	"chokepoint/harness/signal/stack"
)

const (
	// fewestAwake is how many CPU samples a goroutine must have to be listed: a tenth of a
	// second at the usual rate of 100 a second, and enough to say what it is about.
	fewestAwake = 10
	// fewestYields does as well. What a goroutine takes that lets others run all the time is
	// the scheduler's, whose samples are nobody's.
	fewestYields = 1000
)

// Awake is a goroutine that used CPU, and how often it waited meanwhile.
type Awake struct {
	Goroutine int64
	NS        int64 // running
	// Waits counts those that began in the trace: for other goroutines, for I/O or for time to
	// pass. For a lock, or for the collector, waits also who has work to do.
	Waits   int64
	Yields  int64         // calls of runtime.Gosched
	Yielded []stack.Frame // the stack of the last of them
	Samples []Sample      // of it, most first
}

// waitsAwake counts a wait of a goroutine that may be listed.
func (g *goroutine) waitsAwake() {
	switch g.blamed {
	case stack.Lock, stack.Runtime, stack.Assist:
	default:
		g.waits++
	}
}

// keepAwake lists a goroutine that has ended, or with which the trace does.
func (s *scan) keepAwake(id trace.GoID, g *goroutine) {
	if g.diag {
		return
	}
	a := Awake{Goroutine: int64(id), NS: g.runningNS, Waits: g.waits, Yields: g.yields, Samples: counted(g.stacks)}
	var n int64
	for _, x := range a.Samples {
		n += x.Count
	}
	if g.yielded != nil {
		a.Yielded = g.yielded.frames
	}
	if n >= fewestAwake || a.Yields >= fewestYields {
		s.sum.Awake = append(s.sum.Awake, a)
	}
}

// finishAwake puts those first that ran longest.
func (s *scan) finishAwake() {
	sort.Slice(s.sum.Awake, func(i, j int) bool {
		a, b := s.sum.Awake[i], s.sum.Awake[j]
		if a.NS != b.NS {
			return a.NS > b.NS
		}
		return a.Goroutine < b.Goroutine
	})
}
