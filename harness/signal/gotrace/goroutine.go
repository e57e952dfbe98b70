package gotrace

import (
	"sort"

	"golang.org/x/exp/trace"

	"chokepoint/harness/signal/stack"
)

type state uint8

const (
	gone state = iota
	runnable
	running
	waiting
	inSyscall
)

type goroutine struct {
	state     state
	since     int64
	at        *place // last known stack
	request   bool
	ours      bool
	finalizer bool
	diag      bool
	marks     bool       // it marked something inside the trace
	blamed    stack.Wait // what the current wait is for

	runningNS int64
	syscallNS int64
	samples   map[stack.Frame]int64
	stacks    map[*place]int64 // its CPU samples
	waits     int64            // Awake.Waits
	yielded   *place           // where it last called runtime.Gosched
	yields    int64            // calls of runtime.Gosched
	counted   [2]bool          // in the ledger of that index, among its goroutines

	// Of a lock that it took after a wait, while it holds it:
	acquired *hold
	asked    asked
	assist   int64
	assistAt stack.Frame

	life     life
	handed   *place // the program's stack that handed it work last; nil if not known
	moved    bool   // it changed its state inside the trace
	hung     bool   // it has waited since before the trace
	stopping bool   // it has stopped the world
	stopped  int64  // when it last did; 0: never
	ran      int64  // since when it has been running
	sampled  runSamples
	service  service
	queue    queueing
	freed    freed
	recent   recent
	member   member
	talk     speech
	write    writeTurn
}

type hold struct {
	at    *place // where it took the lock
	since int64
	doing []Doing
	stood map[*place]int64 // waits and system calls, where a library took it
}

// stand adds time of its holder to where that stood. What the program does under a lock of
// its own is told by its own lines; of a library's it takes the stack to find them.
func (h *hold) stand(g *goroutine, ns int64) {
	if h.at.library.IsZero() || g.at == nil || g.state != waiting && g.state != inSyscall {
		return
	}
	if h.stood == nil {
		h.stood = map[*place]int64{}
	}
	h.stood[g.at] += ns
}

// newGoroutine is an empty record: servers start a goroutine for each request,
// and as many end.
func (s *scan) newGoroutine() *goroutine {
	n := len(s.free)
	if n == 0 {
		return &goroutine{}
	}
	g := s.free[n-1]
	s.free = s.free[:n-1]
	*g = goroutine{}
	return g
}

// reuse keeps the record of a goroutine that ended, unless something still
// refers to it.
func (s *scan) reuse(g *goroutine) {
	if _, waits := s.locks.waiting[g]; !waits && len(g.service.tasks) == 0 && s.stopper != g {
		s.free = append(s.free, g)
	}
}

// recentGs bounds the goroutines that are found without a look into the map: a
// power of two.
const recentGs = 4096

type recentG struct {
	id trace.GoID
	g  *goroutine // nil for none
}

// goroutine is the record of a goroutine; nil if there is none. Most events are of
// one of the last few thousand, whose ids follow each other.
func (s *scan) goroutine(id trace.GoID) *goroutine {
	r := &s.lastG[uint64(id)%recentGs]
	if r.g == nil || r.id != id {
		r.id, r.g = id, s.gs[id]
	}
	return r.g
}

// settle learns from a stack what kind of goroutine it is and whether it is
// inside a request.
func (s *scan) settle(g *goroutine, at *place) {
	if at == nil {
		return
	}
	g.finalizer = g.finalizer || at.finalizer
	g.diag = g.diag || at.diag
	g.ours = at.ours
	s.lives.shown(g, at)
	switch at.serving {
	case stack.InHandler:
		g.request = true
	case stack.BetweenRequests:
		g.request = false
	}
}

func (g *goroutine) doing(ns int64) Doing {
	d := Doing{NS: ns}
	switch g.state {
	case running:
		d.What = "running"
	case runnable:
		d.What = "runnable"
	case inSyscall:
		d.What = "syscall"
	case waiting:
		d.What = string(g.blamed)
	}
	if g.at != nil && (g.state == waiting || g.state == inSyscall) {
		d.Where = g.at.own
	}
	return d
}

func (s *scan) keepRunning(id trace.GoID, g *goroutine) {
	if ns := g.runningNS + g.syscallNS; g.diag || ns == 0 || ns < s.leastRunning {
		return
	}
	r := Running{Goroutine: int64(id), NS: g.runningNS, SyscallNS: g.syscallNS, Waits: g.waits}
	var most int64
	for f, n := range g.samples {
		if n > most || n == most && less(f, r.Site) {
			r.Site, most = f, n
		}
	}
	s.sum.Running = append(s.sum.Running, r)
	if len(s.sum.Running) > 64*keptRunning {
		s.sum.Running = longest(s.sum.Running)
		least := s.sum.Running[keptRunning-1]
		s.leastRunning = least.NS + least.SyscallNS
	}
}

func longest(rs []Running) []Running {
	sort.Slice(rs, func(i, j int) bool {
		a, b := rs[i].NS+rs[i].SyscallNS, rs[j].NS+rs[j].SyscallNS
		if a != b {
			return a > b
		}
		return rs[i].Goroutine < rs[j].Goroutine
	})
	return rs[:min(len(rs), keptRunning)]
}

// waitOf is what a wait on this stack is for; a wait without a stack is unknown.
func waitOf(at *place) stack.Wait {
	if at == nil {
		return stack.Other
	}
	return at.wait
}

func stateOf(s trace.GoState) state {
	switch s {
	case trace.GoRunnable:
		return runnable
	case trace.GoRunning:
		return running
	case trace.GoWaiting:
		return waiting
	case trace.GoSyscall:
		return inSyscall
	}
	return gone
}
