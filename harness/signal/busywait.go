package signal

import (
	"errors"
	"slices"

	"chokepoint/harness/bundle"
	"chokepoint/harness/signal/gotrace"
	"chokepoint/harness/signal/stack"
)

const (
	// busyWaits is how many times at most a goroutine that waits by asking waits
	// otherwise, for each second that it runs. Who waits for work or for time to pass after
	// each piece of work does so more often, unless a piece takes a tenth of a second.
	busyWaits = 10
	// asksAtLeast is the part of a loop's CPU that its calls take, at least, and loopAtLeast
	// what they take together with the program's own instructions round them: what such a loop does else,
	// once what it waits for is there, is too little to show.
	asksAtLeast, loopAtLeast = 0.5, 0.9
	// seldomRuns is the part of a trace for which a goroutine that never waits has run, at least,
	// however busy the others are: where none has, it takes no samples to tell that there is none.
	seldomRuns = 0.1
)

// busyWaitSignals tell a goroutine that waits by asking again and again, by a select
// with a default, say, or by looking at a flag or at the time, from one that works. Both run
// all the time. What such a loop does is told by the calls that it makes, and that it does nothing else by
// its never waiting for anything: who works for others waits for what they have to do.
func busyWaitSignals() []definition {
	defs := []definition{
		number("trace.busy_wait_share", bundle.DimTrace, Share, func(e *evidence) (float64, error) {
			w, err := e.busyWaits()
			return min(1, share(w.samples, w.all)), err
		}, "Share of the CPU samples in the trace taken in goroutines that do little but ask how things stand (a select with a default, a send that may be turned down, the time, a flag, a lock that is free, letting others run), and wait, other than for locks, at most ten times in a second of running; with what the scheduler does because they let others run."),
		number("trace.busy_waits", bundle.DimTrace, Count, func(e *evidence) (float64, error) {
			w, err := e.busyWaits()
			return float64(w.goroutines), err
		}, "Such goroutines."),
		place("trace.busy_wait_site", bundle.DimTrace, func(e *evidence) (stack.Frame, error) {
			w, err := e.busyWaits()
			return top(ranked(w.lines)).where, err
		}, "The program's line at which they ask most."),
	}
	for _, d := range []struct{ dim, what string }{{bundle.DimPprof, "the CPU profile"}, {bundle.DimEBPF, "the target's CPU samples"}} {
		defs = append(defs,
			number(d.dim+".asking_share", d.dim, Share, func(e *evidence) (float64, error) {
				b, err := e.asking(d.dim)
				return min(1, share(b.value, b.all)), err
			}, "Share of "+d.what+" in one function that does little but ask how things stand, as trace.busy_wait_share has it, whoever calls it and for how long; with what the scheduler does because it lets others run."),
			place(d.dim+".asking_site", d.dim, func(e *evidence) (stack.Frame, error) {
				b, err := e.asking(d.dim)
				return b.where, err
			}, "The line of that function at which it asks most."),
		)
	}
	return defs
}

// busyWaiting are the goroutines of a trace that wait by asking.
type busyWaiting struct {
	samples, all int64
	goroutines   int
	lines        map[stack.Frame]int64 // samples and yields, by where they ask
}

func (e *evidence) busyWaits() (busyWaiting, error) {
	return once(e, "busy waits", func() (busyWaiting, error) {
		s, err := e.trace()
		if err != nil {
			return busyWaiting{}, err
		}
		list, err := e.cpuSamples(bundle.DimTrace)
		if errors.Is(err, errNoSamples) && !slices.ContainsFunc(s.Running, func(r gotrace.Running) bool {
			return seldomWaits(r.Waits, r.NS) && share(r.NS, s.DurationNS()) > seldomRuns
		}) {
			return busyWaiting{}, nil
		}
		if err != nil {
			return busyWaiting{}, err
		}
		return busyWaitsOf(e.program, s.Awake, list, s.Yields), nil
	})
}

func busyWaitsOf(p stack.Program, awake []gotrace.Awake, list, yields []gotrace.Sample) busyWaiting {
	w := busyWaiting{lines: map[stack.Frame]int64{}}
	w.all = samplesIn(list)
	scheduling, yielded := schedulingOf(p, list), samplesIn(yields)
	for _, g := range awake {
		if !seldomWaits(g.Waits, g.NS) {
			continue
		}
		l := newAskingLoop()
		for _, x := range g.Samples {
			if !schedules(p, x) { // of that it has its part below
				l.add(p, x)
			}
		}
		l.scheduled(p.Own(g.Yielded), int64(share(g.Yields, yielded)*float64(scheduling)))
		if !l.asking() {
			continue
		}
		w.goroutines++
		w.samples += l.all
		for f, n := range l.where() {
			w.lines[f] += n
		}
	}
	return w
}

func seldomWaits(waits, ns int64) bool { return float64(waits) <= busyWaits*float64(ns)/1e9 }

// askingLoop is the CPU of what may be a loop that asks.
type askingLoop struct {
	asks, itself, all int64
	lines, times      map[stack.Frame]int64 // where it asks; times are those at which it asks for the time
}

func newAskingLoop() *askingLoop {
	return &askingLoop{lines: map[stack.Frame]int64{}, times: map[stack.Frame]int64{}}
}

func (l *askingLoop) add(p stack.Program, x gotrace.Sample) {
	l.all += x.Count
	switch p.AskingOf(x.Frames) {
	case stack.Asks:
		l.asks += x.Count
		l.lines[p.Own(x.Frames)] += x.Count
	case stack.AsksTime:
		l.asks += x.Count
		l.times[p.Own(x.Frames)] += x.Count
	case stack.Itself:
		l.itself += x.Count
	}
}

// where is the lines at which it asks for what it waits for. How long it has waited is beside
// the point, unless it waits for nothing else.
func (l *askingLoop) where() map[stack.Frame]int64 {
	if len(l.lines) > 0 {
		return l.lines
	}
	return l.times
}

// scheduled adds what the scheduler does because the loop lets others run at a line.
func (l *askingLoop) scheduled(line stack.Frame, n int64) {
	if n > 0 && !line.IsZero() {
		l.asks += n
		l.lines[line] += n
		l.all += n
	}
}

func (l *askingLoop) asking() bool {
	return len(l.where()) > 0 && share(l.asks, l.all) >= asksAtLeast && share(l.asks+l.itself, l.all) >= loopAtLeast
}

// asking is the function that does little but ask and takes most CPU by that. Of scheduling it has the
// part that its calls for it have of all such calls, by the trace, and without one by the samples.
func (e *evidence) asking(dim string) (busiest, error) {
	return once(e, "asking "+dim, func() (busiest, error) {
		list, err := e.cpuSamples(dim)
		if err != nil {
			return busiest{}, err
		}
		var yields []gotrace.Sample
		if s, err := e.trace(); err == nil {
			yields = s.Yields
		}
		return askingOf(e.program, list, yields), nil
	})
}

// busiest is a line of a program, and the samples of its function.
type busiest struct {
	site
	all int64 // samples in all
}

func askingOf(p stack.Program, list, yields []gotrace.Sample) busiest {
	loops := map[string]*askingLoop{}
	of := func(frames []stack.Frame) (*askingLoop, bool) {
		at := slices.IndexFunc(frames, func(f stack.Frame) bool { return !p.Foreign(f) })
		if at < 0 {
			return nil, false
		}
		l := loops[frames[at].Function]
		if l == nil {
			l = newAskingLoop()
			loops[frames[at].Function] = l
		}
		return l, true
	}
	traced := len(yields) > 0
	for _, x := range list {
		if l, ok := of(x.Frames); ok {
			l.add(p, x)
			if !traced && stackHas(x.Frames, "runtime.Gosched") {
				yields = append(yields, x)
			}
		}
	}
	scheduling, yielded := schedulingOf(p, list), samplesIn(yields)
	for _, y := range yields {
		if l, ok := of(y.Frames); ok {
			l.scheduled(p.Own(y.Frames), int64(share(y.Count, yielded)*float64(scheduling)))
		}
	}
	most := busiest{all: samplesIn(list)}
	for _, l := range loops {
		if !l.asking() || l.all < fewestSamples {
			continue
		}
		if t := top(ranked(l.where())); l.all > most.value || l.all == most.value && less(t.where, most.where) {
			most.site = site{t.where, l.all}
		}
	}
	return most
}

// schedulingOf is the samples of the scheduler at work because a goroutine let others run. They
// stand without the goroutine's frames.
func schedulingOf(p stack.Program, list []gotrace.Sample) (n int64) {
	for _, x := range list {
		if schedules(p, x) {
			n += x.Count
		}
	}
	return n
}

func schedules(p stack.Program, x gotrace.Sample) bool {
	return p.Own(x.Frames).IsZero() && stackHas(x.Frames, "runtime.gosched_m")
}

func samplesIn(list []gotrace.Sample) (n int64) {
	for _, x := range list {
		n += x.Count
	}
	return n
}
