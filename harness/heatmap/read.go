package heatmap

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"slices"

	"chokepoint/harness/bundle"
	"chokepoint/harness/bundle/latency"
	"chokepoint/harness/signal"
	"chokepoint/harness/signal/gotrace"
)

// Where requests are taken from.
const (
	FromLoad  = "load"  // what the client saw
	FromTrace = "trace" // tasks of the execution trace
)

// ErrNoRequests means that the bundle has no requests to make a map of.
var ErrNoRequests = errors.New("heat map: no requests to draw")

// wholeFrom is the share of the window's requests that single results must be of
// to be used: a sample of one in a hundred is worth less than the histograms.
const wholeFrom = 0.9

// Read gathers what a bundle has for a map. A missing or damaged artifact costs
// what rests on it, and Notes says so; it is an error only where no requests are
// left. What trace returns is taken for the bundle's execution trace, so that it
// need not be read twice; with nil it is read here.
func Read(e bundle.Evidence, from string, trace func() (*gotrace.Summary, error)) (Input, error) {
	r := &reader{evidence: e, manifest: e.Manifest()}
	if err := e.ReadJSON(bundle.LoadSummary, &r.load); err != nil {
		r.note(err)
	}
	r.readTrace(trace)
	var in Input
	var err error
	switch from {
	case FromLoad, "":
		in, err = r.fromLoad()
	case FromTrace:
		in, err = r.fromTrace()
	default:
		return Input{}, fmt.Errorf("requests from %q: use %s or %s", from, FromLoad, FromTrace)
	}
	if err != nil {
		return Input{}, err
	}
	in.Series = slices.Concat(r.traceSeries(), r.kernelSeries(), r.processSeries(), r.loadSeries())
	in.Notes = r.notes
	return in, nil
}

type reader struct {
	evidence bundle.Evidence
	manifest bundle.Manifest
	load     bundle.Load
	trace    *gotrace.Summary // nil where there is none
	notes    []string
}

// note keeps an error, unless it only says that something was not captured.
func (r *reader) note(err error) {
	if !errors.Is(err, bundle.ErrNoArtifact) {
		r.notes = append(r.notes, err.Error())
	}
}

func (r *reader) fromLoad() (Input, error) {
	in, err := r.fromResults()
	if err == nil {
		return in, nil
	}
	r.note(err)
	data, err := r.evidence.ReadFile(bundle.LoadLatency)
	if err != nil {
		return Input{}, fmt.Errorf("%w: the bundle has neither single results of most requests nor histograms of latency: %w", ErrNoRequests, err)
	}
	log, err := latency.ReadLog(bytes.NewReader(data))
	if err != nil {
		return Input{}, fmt.Errorf("%s: %w: %w", bundle.LoadLatency, bundle.ErrDamaged, err)
	}
	if log.MonoNS == 0 {
		return Input{}, fmt.Errorf("%s: %w: it does not say what CLOCK_MONOTONIC was at its start", bundle.LoadLatency, bundle.ErrDamaged)
	}
	in = Input{Source: "histograms of each second of the load (" + bundle.LoadLatency + ")", ColumnNS: 1e9}
	first, begun := true, int64(0) // how many ended in the first second
	for _, i := range log.Intervals {
		if i.Tag != latency.TagService || i.Length != 1e9 {
			continue
		}
		start := log.MonoNS + int64(i.Start)
		before := len(in.Points)
		if err := i.Each(func(us, count int64) {
			in.Points = append(in.Points, Point{EndNS: start + int64(i.Length)/2, LatencyNS: us * 1000, Count: count})
		}); err != nil {
			return Input{}, fmt.Errorf("%s: %w: %w", bundle.LoadLatency, bundle.ErrDamaged, err)
		}
		if len(in.Points) == before && first {
			continue // the first requests of the load cannot have ended yet: that is no silence
		}
		var ended int64
		for _, p := range in.Points[before:] {
			ended += p.Count
		}
		switch {
		case first:
			in.StartNS, first, begun = start, false, ended
		case start == in.StartNS+1e9 && 2*begun < ended:
			in.StartNS, begun = start, ended // nor had they for most of the second before
		}
		in.EndNS = max(in.EndNS, start+int64(i.Length))
	}
	// The load may end within a second, and begins with a ramp: the ramp is of no
	// interest where the window was recorded for long enough.
	if w := r.manifest.Window; w.EndNS-w.StartNS >= 10e9 {
		in.StartNS += max(0, w.StartNS-in.StartNS) / 1e9 * 1e9
	}
	return in, nil
}

var errSampled = errors.New("only a sample of the results was kept")

func (r *reader) fromResults() (Input, error) {
	data, err := r.evidence.ReadFile(bundle.LoadResults)
	if err != nil {
		return Input{}, err
	}
	requests, err := latency.ReadResults(bytes.NewReader(data), r.manifest.Clock)
	if err != nil {
		return Input{}, fmt.Errorf("%s: %w: %w", bundle.LoadResults, bundle.ErrDamaged, err)
	}
	if float64(len(requests)) < wholeFrom*float64(r.load.Requests.Ended) {
		// That is how results are kept by default, and the histograms are whole.
		return Input{}, fmt.Errorf("%w: %w", bundle.ErrNoArtifact, errSampled)
	}
	in := Input{Source: "results of single requests (" + bundle.LoadResults + ")", StartNS: r.manifest.Window.StartNS, EndNS: r.manifest.Window.EndNS}
	for _, x := range requests {
		in.Points = append(in.Points, Point{EndNS: x.EndNS, LatencyNS: x.EndNS - x.StartNS, Count: 1, Failed: x.Failed})
	}
	return in, nil
}

func (r *reader) readTrace(trace func() (*gotrace.Summary, error)) {
	if trace == nil {
		trace = signal.Read(r.evidence).Trace
	}
	s, err := trace()
	switch {
	case err != nil && r.evidence.Has(bundle.TraceOut):
		r.notes = append(r.notes, err.Error())
	case err == nil:
		if s.Cut != "" {
			r.notes = append(r.notes, fmt.Sprintf("%s ends early, %s", bundle.TraceOut, s.Cut))
		}
		r.trace = s
	}
}

// fromTrace takes the program's tasks for its requests, and where it marks none,
// those of net/http's server.
func (r *reader) fromTrace() (Input, error) {
	switch {
	case r.trace == nil:
		return Input{}, fmt.Errorf("%w: the bundle has no execution trace that can be read", ErrNoRequests)
	case len(r.trace.TaskSpans) == 0:
		return r.fromServed()
	}
	// The kind of task with most time in all is what requests are.
	total := map[string]int64{}
	for _, t := range r.trace.TaskSpans {
		total[t.Name] += t.EndNS - t.StartNS
	}
	var name string
	for n, ns := range total {
		if name == "" || ns > total[name] || ns == total[name] && n < name {
			name = n
		}
	}
	in := Input{Source: fmt.Sprintf("tasks %q of the execution trace (%s)", name, bundle.TraceOut), StartNS: r.trace.StartNS, EndNS: r.trace.EndNS + 1}
	for _, t := range r.trace.TaskSpans {
		if t.Name == name {
			in.Points = append(in.Points, Point{EndNS: t.EndNS, LatencyNS: t.EndNS - t.StartNS, Count: 1})
		}
	}
	r.settle(&in)
	return in, nil
}

// settle leaves out the beginning of a trace, in which only quick requests have
// both their ends: of those that took longer the beginning was not seen. Taken for
// all, they would be a spell of quick ones after a silence. How long that is the
// requests themselves say: as long as nearly all of them take.
func (r *reader) settle(in *Input) {
	lengths := make([]int64, len(in.Points))
	for i, p := range in.Points {
		lengths[i] = p.LatencyNS
	}
	if len(lengths) == 0 {
		return
	}
	slices.Sort(lengths)
	long := lengths[min(len(lengths)-1, len(lengths)*99/100)]
	whole := in.EndNS - in.StartNS
	if long < whole/200 {
		return // less than half a column
	}
	in.SeriesNS = in.StartNS
	in.StartNS += min(long, whole-1)
	r.notes = append(r.notes, fmt.Sprintf("the first %.2f s of the trace are left out: of the requests that ended in them, only those are known that had begun in the trace", float64(long)/1e9))
}

func (r *reader) fromServed() (Input, error) {
	in := Input{Source: fmt.Sprintf("requests in the execution trace (%s)", bundle.TraceOut), StartNS: r.trace.StartNS, EndNS: r.trace.EndNS + 1}
	each := r.trace.Served.Counts().KeptOneIn
	for start, end := range r.trace.Served.Whole() {
		in.Points = append(in.Points, Point{EndNS: end, LatencyNS: end - start, Count: each})
	}
	r.settle(&in)
	if len(in.Points) == 0 {
		return Input{}, fmt.Errorf("%w: no request and no task of the program (package mark, runtime/trace) began and ended in the trace; take them from the load", ErrNoRequests)
	}
	return in, nil
}

func (r *reader) traceSeries() []Series {
	if r.trace == nil {
		return nil
	}
	s := r.trace
	series := func(kind, what, unit string) Series {
		return Series{Kind: kind, What: what, Unit: unit, Source: bundle.TraceOut, StartNS: s.StartNS, SlotNS: s.Moments.SlotNS}
	}
	spans := func(kind, what string, spans []gotrace.Span) Series {
		out := series(kind, what, "share of the time")
		out.Values = covered(s.StartNS, s.EndNS, out.SlotNS, func(add func(from, to int64)) {
			for _, x := range spans {
				add(x.StartNS, x.EndNS)
			}
		})
		return out
	}
	goroutines := func(kind, what string, ns []int64) Series {
		out := series(kind, what, "goroutines")
		for i := range ns {
			// The last slot may reach beyond the trace.
			slot := min(out.SlotNS, s.EndNS-(s.StartNS+int64(i)*out.SlotNS))
			out.Values = append(out.Values, float64(ns[i])/float64(max(1, slot)))
		}
		return out
	}
	return []Series{
		spans("collection", "the collector marked", s.Moments.Marking),
		spans("stop-the-world", "the world was stopped", s.Moments.Stops),
		goroutines("lock-convoy", "goroutines waited for locks", s.Moments.LockNS),
		goroutines("no-p", "goroutines could run and had no P", s.Moments.RunnableNS),
	}
}

// kernelSlotNS is fine enough for a delay in the run queue to be seen where it was.
const kernelSlotNS = int64(5e6)

func (r *reader) kernelSeries() []Series {
	var out []Series
	var cuts bundle.Cuts
	if err := r.evidence.ReadJSON(bundle.EBPFCuts, &cuts); err == nil {
		w := r.window(bundle.EBPFCuts)
		out = append(out, Series{
			Kind: "run-queue", What: "threads waited for a CPU", Unit: "threads", Source: bundle.EBPFCuts, StartNS: w.StartNS, SlotNS: kernelSlotNS,
			Values: covered(w.StartNS, w.EndNS, kernelSlotNS, func(add func(from, to int64)) {
				for _, c := range cuts.Intervals {
					from := c.LeftNS
					if c.WokenNS != 0 {
						from = c.WokenNS
					}
					add(from, c.BackNS)
				}
			}),
		})
	} else {
		r.note(err)
	}
	var slow bundle.SlowCalls
	if err := r.evidence.ReadJSON(bundle.EBPFSlow, &slow); err == nil {
		w := r.window(bundle.EBPFSlow)
		out = append(out, Series{
			Kind: "slow-syscall", What: "system calls of the request path took long", Unit: "calls at a time", Source: bundle.EBPFSlow, StartNS: w.StartNS, SlotNS: kernelSlotNS,
			Values: covered(w.StartNS, w.EndNS, kernelSlotNS, func(add func(from, to int64)) {
				for _, c := range slow.Calls {
					add(c.StartNS, c.StartNS+c.NS)
				}
			}),
		})
	} else {
		r.note(err)
	}
	return out
}

func (r *reader) window(artifact string) bundle.Window {
	if p, ok := r.manifest.Probe(artifact); ok && p.Window.Duration() > 0 {
		return p.Window
	}
	return r.manifest.Window
}

// processSeries are taken from readings that are further apart, so each holds from
// one to the next. What the trace or the kernel says better is left out.
func (r *reader) processSeries() []Series {
	var out []Series
	samples, err := bundle.ReadLines[bundle.ProcSample](r.evidence, bundle.ProcSamples)
	if err != nil {
		r.note(err)
	}
	out = append(out, rates(bundle.ProcSamples, "machine-busy", "the machine's CPUs were busy", "share of the time", samples,
		func(s bundle.ProcSample) int64 { return s.MonoNS },
		func(a, b bundle.ProcSample, _ float64) float64 {
			total := float64(b.MachineTotalNS - a.MachineTotalNS)
			if total <= 0 {
				return math.NaN()
			}
			return min(1, max(0, 1-float64(b.MachineIdleNS-a.MachineIdleNS)/total))
		})...)
	metrics, err := bundle.ReadLines[bundle.MetricsSample](r.evidence, bundle.ProcMetrics)
	if err != nil {
		r.note(err)
	}
	at := func(s bundle.MetricsSample) int64 { return s.MonoNS }
	counter := func(name string, unit float64) func(a, b bundle.MetricsSample, seconds float64) float64 {
		return func(a, b bundle.MetricsSample, seconds float64) float64 {
			x, ok := a.Values[name]
			y, too := b.Values[name]
			if !ok || !too {
				return math.NaN()
			}
			return (y - x) / unit / seconds
		}
	}
	if r.trace == nil {
		out = append(out, rates(bundle.ProcMetrics, "collection", "garbage collections", "per second", metrics, at, counter("/gc/cycles/total:gc-cycles", 1))...)
		out = append(out, rates(bundle.ProcMetrics, "lock-convoy", "goroutines waited for locks", "goroutines", metrics, at, counter("/sync/mutex/wait/total:seconds", 1))...)
	}
	return out
}

// rates makes a series of what happened between readings; none of fewer than three.
// Readings are not evenly apart, so their slots are a quarter of the shortest gap.
func rates[T any](source, kind, what, unit string, readings []T, at func(T) int64, rate func(a, b T, seconds float64) float64) []Series {
	if len(readings) < 3 {
		return nil
	}
	start, end := at(readings[0]), at(readings[len(readings)-1])
	gap := end - start
	for i := 1; i < len(readings); i++ {
		if d := at(readings[i]) - at(readings[i-1]); d > 0 {
			gap = min(gap, d)
		}
	}
	slot := max(gap/4, (end-start)/4096, 1e6)
	if end <= start {
		return nil
	}
	s := Series{Kind: kind, What: what, Unit: unit, Source: source, StartNS: start, SlotNS: slot}
	known := false
	i := 0
	for t := start; t+slot <= end; t += slot {
		for i < len(readings)-2 && at(readings[i+1]) <= t+slot/2 {
			i++
		}
		v := rate(readings[i], readings[i+1], float64(at(readings[i+1])-at(readings[i]))/1e9)
		if math.IsInf(v, 0) {
			v = math.NaN()
		}
		known = known || !math.IsNaN(v)
		s.Values = append(s.Values, v)
	}
	if !known {
		return nil
	}
	return []Series{s}
}

func (r *reader) loadSeries() []Series {
	if len(r.load.Seconds) < 3 {
		return nil
	}
	inFlight := Series{Kind: "in-flight", What: "requests in flight", Unit: "requests", Source: bundle.LoadSummary, StartNS: r.load.Seconds[0].StartNS, SlotNS: 1e9, Fewer: true}
	failed := Series{Kind: "errors", What: "requests that failed", Unit: "per second", Source: bundle.LoadSummary, StartNS: inFlight.StartNS, SlotNS: 1e9}
	any := false
	for i, s := range r.load.Seconds {
		if s.StartNS != inFlight.StartNS+int64(i)*1e9 {
			return nil // not as the load writes it
		}
		inFlight.Values = append(inFlight.Values, float64(s.InFlight))
		failed.Values = append(failed.Values, float64(s.Errors))
		any = any || s.Errors > 0
	}
	if !any {
		return []Series{inFlight}
	}
	return []Series{inFlight, failed}
}

// mostSlots bounds a series: a damaged artifact may say that a window is endless.
const mostSlots = 1 << 20

// covered is how much of each slot from start to end the spans cover; more than 1
// where they overlap.
func covered(start, end, slot int64, spans func(add func(from, to int64))) []float64 {
	if slot <= 0 || end <= start || (end-start)/slot > mostSlots {
		return nil
	}
	out := make([]float64, (end-start+slot-1)/slot)
	spans(func(from, to int64) {
		from, to = max(from, start), min(to, end)
		for from < to {
			i := (from - start) / slot
			next := min(to, start+(i+1)*slot)
			out[i] += float64(next-from) / float64(slot)
			from = next
		}
	})
	return out
}
