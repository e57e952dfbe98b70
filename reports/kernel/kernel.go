// Package kernel shows what the ebpf dimension of a bundle recorded, to a person
// who asks the kernel a question: which system calls, which of them were slow and
// from where, how long threads waited for a CPU, what kept goroutines off it. It
// concludes nothing; findings do.
package kernel

import (
	"bytes"
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/google/pprof/profile"

	"chokepoint/harness/bundle"
	"chokepoint/harness/gofunc"
	"chokepoint/harness/signal"
	"chokepoint/harness/signal/stack"
)

// Options choose what is shown.
type Options struct {
	Top     int    // rows of a table; 0: 10
	Syscall string // of the slow calls, this one alone
	GoID    int64  // of the stacks, those of this goroutine alone
}

// View is what the kernel saw of the target. Times are nanoseconds, and of the
// window unless something else is said.
type View struct {
	WindowNS int64 `json:"window_ns"`
	// Missing says of each part that is not there why not.
	Missing map[string]string `json:"missing,omitempty"`
	// Lost says of each probe what it knows that it missed.
	Lost map[string]map[string]int64 `json:"lost,omitempty"`

	Syscalls   []Syscall            `json:"syscalls,omitempty"` // by calls
	Epoll      *bundle.EpollFacts   `json:"epoll,omitempty"`
	Slow       *Slow                `json:"slow,omitempty"`
	RunQueue   *RunQueue            `json:"run_queue,omitempty"`
	OffCPU     []Place              `json:"off_cpu,omitempty"` // by time
	OnCPU      []Place              `json:"on_cpu,omitempty"`  // by time
	Goroutines []Goroutine          `json:"goroutines,omitempty"`
	Threads    []bundle.ThreadTimes `json:"threads,omitempty"` // by CPU time
	Net        *bundle.Net          `json:"net,omitempty"`
	GoRuntime  *bundle.GoRuntime    `json:"go_runtime,omitempty"`
	Custom     []bundle.CustomProbe `json:"custom,omitempty"`
}

// Syscall sums up one system call.
type Syscall struct {
	Name    string           `json:"name"`
	Calls   int64            `json:"calls"`
	RateHz  float64          `json:"rate_hz"`
	Errors  map[string]int64 `json:"errors,omitempty"` // by errno
	Ended   *int64           `json:"ended,omitempty"`  // found a file or a connection at its end; absent where that was not counted
	TotalNS int64            `json:"total_ns"`
	MeanNS  int64            `json:"mean_ns"`
	// P50NS and P99NS are upper bounds out of a histogram by powers of two.
	P50NS int64 `json:"p50_ns"`
	P99NS int64 `json:"p99_ns"`
}

// Slow sums up the calls that took longer than the threshold.
type Slow struct {
	ThresholdNS int64      `json:"threshold_ns"`
	Calls       int        `json:"calls"`
	Sites       []SlowSite `json:"sites"` // by time
}

// SlowSite is the slow calls of one kind from one stack.
type SlowSite struct {
	Syscall   string         `json:"syscall"`
	Where     stack.Frame    `json:"where"` // the program's own frame; zero: there is none
	Stack     []bundle.Frame `json:"stack"` // innermost first
	Calls     int            `json:"calls"`
	TotalNS   int64          `json:"total_ns"`
	LongestNS int64          `json:"longest_ns"`
	// GoID is the goroutine of the longest; 0: none, or not known.
	GoID   int64          `json:"goid,omitempty"`
	Errors map[string]int `json:"errors,omitempty"`
}

// RunQueue is how long threads were runnable without a CPU.
type RunQueue struct {
	TotalNS  int64   `json:"total_ns"`
	OnCPUNS  int64   `json:"on_cpu_ns"`
	Log2NS   []int64 `json:"log2_ns"` // [i] counts waits of 2^i to 2^(i+1) ns
	Switches int64   `json:"switches"`
	IdleNS   int64   `json:"machine_idle_ns"`
	// UnknownNS is CPU time of the machine of which nobody saw whose it was.
	UnknownNS int64 `json:"machine_unknown_ns,omitempty"`
	CPUs      int   `json:"cpus"`
}

// Place is time at one line of the program, or in one function of the runtime or
// the kernel where none of the program is on the stack.
type Place struct {
	Where stack.Frame `json:"where"`
	State string      `json:"state,omitempty"` // off the CPU: how
	NS    int64       `json:"ns"`
	Share float64     `json:"share"` // of all in its table
}

// Goroutine is one goroutine's time on the CPU, off it while it had a thread, and
// where.
type Goroutine struct {
	GoID     int64   `json:"goid"`
	OnCPUNS  int64   `json:"on_cpu_ns"` // by samples
	OffCPUNS int64   `json:"off_cpu_ns"`
	QueueNS  int64   `json:"run_queue_ns"`
	Stacks   []Stack `json:"stacks"` // by samples
}

// Stack is one stack with the CPU time seen on it.
type Stack struct {
	Frames []stack.Frame `json:"frames"` // innermost first
	NS     int64         `json:"ns"`
}

const defaultTop = 10

// New reads the kernel's view out of a bundle.
func New(e bundle.Evidence, o Options) *View {
	if o.Top <= 0 {
		o.Top = defaultTop
	}
	m := e.Manifest()
	r := &reader{
		Evidence: e, options: o, program: stack.Program{MainModule: m.Target.MainModule}, names: signal.NamesOf(e),
		view: &View{WindowNS: int64(m.Window.Duration()), Missing: map[string]string{}, Lost: map[string]map[string]int64{}},
	}
	if d, ok := m.Dimension(bundle.DimEBPF); ok {
		for _, p := range d.Probes {
			if len(p.Lost) > 0 {
				r.view.Lost[p.Name] = p.Lost
			}
		}
	}
	r.syscalls()
	r.slow()
	r.sched()
	if o.GoID == 0 {
		r.view.OffCPU = r.places("off_cpu", bundle.EBPFOffCPUProfile)
	} else {
		r.view.OffCPU = r.cutPlaces()
	}
	r.view.OnCPU = r.places("on_cpu", bundle.EBPFOnCPUProfile)
	r.goroutines()
	var net bundle.Net
	if r.document("net", bundle.EBPFNet, &net) {
		r.view.Net = &net
	}
	var inGo bundle.GoRuntime
	if r.document("go_runtime", bundle.EBPFGoRuntime, &inGo) {
		r.view.GoRuntime = &inGo
	}
	var custom bundle.Custom
	if r.document("custom", bundle.EBPFCustom, &custom) {
		r.view.Custom = custom.Probes
	}
	return r.view
}

type reader struct {
	bundle.Evidence
	options Options
	program stack.Program
	names   *gofunc.Names
	view    *View
}

// has is false when the artifact is not there. The reason is told, unless nobody
// asked for the probe.
func (r *reader) has(part, artifact string) bool {
	if r.Has(artifact) {
		return true
	}
	d, ok := r.Manifest().Dimension(bundle.DimEBPF)
	if !ok {
		r.view.Missing[part] = "the recording has no ebpf dimension"
		return false
	}
	if len(d.Probes) == 0 {
		r.view.Missing[part] = d.Reason
		return false
	}
	for _, p := range d.Probes {
		if p.Name != probeOf(artifact) {
			continue
		}
		r.view.Missing[part] = "the recording does not have it"
		if !p.Captured {
			r.view.Missing[part] = p.Reason
		}
	}
	return false
}

// probeOf is the probe that writes an artifact.
func probeOf(artifact string) string {
	switch artifact {
	case bundle.EBPFSyscalls, bundle.EBPFSyscallsProfile, bundle.EBPFSlow, bundle.EBPFSlowProfile:
		return "syscalls"
	case bundle.EBPFSched, bundle.EBPFOffCPUProfile, bundle.EBPFRunQueueProfile, bundle.EBPFCuts:
		return "sched"
	case bundle.EBPFNet:
		return "net"
	case bundle.EBPFGoRuntime:
		return "goruntime"
	case bundle.EBPFCustom:
		return "custom"
	}
	return "oncpu"
}

func (r *reader) document(part, artifact string, into any) bool {
	if !r.has(part, artifact) {
		return false
	}
	if err := r.ReadJSON(artifact, into); err != nil {
		r.view.Missing[part] = err.Error()
		return false
	}
	return true
}

func (r *reader) syscalls() {
	var doc bundle.Syscalls
	if !r.document("syscalls", bundle.EBPFSyscalls, &doc) {
		return
	}
	seconds := float64(r.view.WindowNS) / 1e9
	for _, c := range doc.Calls {
		s := Syscall{
			Name: c.Name, Calls: c.Count, Errors: c.Errors, Ended: c.Ended, TotalNS: c.TotalNS,
			MeanNS: c.TotalNS / max(1, c.Count), P50NS: quantile(c.Log2NS, 0.50), P99NS: quantile(c.Log2NS, 0.99),
		}
		if seconds > 0 {
			s.RateHz = float64(c.Count) / seconds
		}
		r.view.Syscalls = append(r.view.Syscalls, s)
	}
	slices.SortStableFunc(r.view.Syscalls, func(a, b Syscall) int { return cmp.Compare(b.Calls, a.Calls) })
	r.view.Syscalls = first(r.view.Syscalls, r.options.Top)
	if doc.Epoll.Waits > 0 {
		r.view.Epoll = &doc.Epoll
	}
}

// quantile is the upper bound of the slot that holds the q-th of all.
func quantile(log2 []int64, q float64) int64 {
	var all, n int64
	for _, c := range log2 {
		all += c
	}
	for i, c := range log2 {
		if n += c; c > 0 && float64(n) >= math.Ceil(q*float64(all)) {
			return 1 << (i + 1)
		}
	}
	return 0
}

func (r *reader) slow() {
	var doc bundle.SlowCalls
	if !r.document("slow", bundle.EBPFSlow, &doc) {
		return
	}
	type key struct {
		syscall string
		stack   int
	}
	sites := map[key]*SlowSite{}
	var order []*SlowSite
	out := &Slow{ThresholdNS: doc.ThresholdNS}
	for _, c := range doc.Calls {
		if r.options.Syscall != "" && c.Syscall != r.options.Syscall || r.options.GoID != 0 && c.GoID != r.options.GoID {
			continue
		}
		out.Calls++
		s := sites[key{c.Syscall, c.Stack}]
		if s == nil {
			s = &SlowSite{Syscall: c.Syscall}
			if c.Stack >= 0 && c.Stack < len(doc.Stacks) {
				s.Stack = doc.Stacks[c.Stack]
				s.Where = r.program.Own(frames(s.Stack))
			}
			sites[key{c.Syscall, c.Stack}] = s
			order = append(order, s)
		}
		s.Calls++
		s.TotalNS += c.NS
		if c.NS > s.LongestNS {
			s.LongestNS, s.GoID = c.NS, c.GoID
		}
		if c.Error != "" {
			if s.Errors == nil {
				s.Errors = map[string]int{}
			}
			s.Errors[c.Error]++
		}
	}
	slices.SortStableFunc(order, func(a, b *SlowSite) int { return cmp.Compare(b.TotalNS, a.TotalNS) })
	for _, s := range first(order, r.options.Top) {
		out.Sites = append(out.Sites, *s)
	}
	r.view.Slow = out
}

func frames(of []bundle.Frame) []stack.Frame {
	out := make([]stack.Frame, len(of))
	for i, f := range of {
		out[i] = stack.Frame{Function: f.Function, File: f.File, Line: f.Line}
	}
	return out
}

func (r *reader) sched() {
	var doc bundle.Sched
	if !r.document("run_queue", bundle.EBPFSched, &doc) {
		return
	}
	r.view.RunQueue = &RunQueue{
		TotalNS: doc.RunQueueNS, OnCPUNS: doc.TargetOnCPUNS, Log2NS: doc.RunQueueLog2NS,
		Switches: doc.Switches, IdleNS: doc.IdleNS, UnknownNS: doc.UnknownNS, CPUs: doc.CPUs,
	}
	r.view.Threads = first(doc.ByThread, r.options.Top)
}

// read is a profile of the bundle; nil when it is not there or damaged, which is told.
func (r *reader) read(part, artifact string) *profile.Profile {
	if !r.has(part, artifact) {
		return nil
	}
	data, err := r.ReadFile(artifact)
	if err == nil {
		var p *profile.Profile
		if p, err = profile.Parse(bytes.NewReader(data)); err == nil {
			return p
		}
		err = fmt.Errorf("%s: %w", artifact, err)
	}
	r.view.Missing[part] = err.Error()
	return nil
}

// stackOf is a sample's stack, innermost first, inlined frames included.
func (r *reader) stackOf(s *profile.Sample) []stack.Frame {
	var out []stack.Frame
	for _, l := range s.Location {
		for _, line := range l.Line {
			if line.Function != nil {
				out = append(out, stack.Frame{Function: r.names.Written(line.Function.Name, line.Function.Filename), File: line.Function.Filename, Line: int(line.Line)})
			}
		}
	}
	return out
}

// where is what a person would look at: the program's own line, or else the
// outermost function that is not the kernel's.
func (r *reader) where(frames []stack.Frame) stack.Frame {
	if own := r.program.Own(frames); !own.IsZero() {
		return own
	}
	for _, f := range frames {
		if !f.Kernel() {
			return stack.Frame{Function: f.Function}
		}
	}
	if len(frames) > 0 {
		return stack.Frame{Function: frames[0].Function}
	}
	return stack.Frame{Function: "[no stack]"}
}

func goidOf(s *profile.Sample) int64 {
	if ids := s.NumLabel["goid"]; len(ids) > 0 {
		return ids[0]
	}
	return 0
}

// placeSums is time by place.
type placeSums map[placeKey]int64

type placeKey struct {
	where stack.Frame
	state string
}

// top is the places with most time.
func (sums placeSums) top(n int) []Place {
	var all int64
	for _, ns := range sums {
		all += ns
	}
	out := []Place{}
	for k, ns := range sums {
		out = append(out, Place{Where: k.where, State: k.state, NS: ns, Share: float64(ns) / float64(max(1, all))})
	}
	slices.SortFunc(out, func(a, b Place) int {
		return cmp.Or(cmp.Compare(b.NS, a.NS), strings.Compare(a.Where.Function, b.Where.Function),
			cmp.Compare(a.Where.Line, b.Where.Line), strings.Compare(a.State, b.State))
	})
	return first(out, n)
}

// places sums the time of a profile, its last value, by place.
func (r *reader) places(part, artifact string) []Place {
	p := r.read(part, artifact)
	if p == nil {
		return nil
	}
	sums := placeSums{}
	for _, s := range p.Sample {
		if r.options.GoID != 0 && goidOf(s) != r.options.GoID || len(s.Value) == 0 {
			continue
		}
		k := placeKey{where: r.where(r.stackOf(s))}
		if states := s.Label["state"]; len(states) > 0 {
			k.state = states[0]
		}
		sums[k] += s.Value[len(s.Value)-1]
	}
	return sums.top(r.options.Top)
}

// cutPlaces is where one goroutine lost its CPU, and for how long.
func (r *reader) cutPlaces() []Place {
	var cuts bundle.Cuts
	if !r.document("off_cpu", bundle.EBPFCuts, &cuts) {
		return nil
	}
	sums := placeSums{}
	for _, c := range cuts.Intervals {
		if c.GoID != r.options.GoID {
			continue
		}
		k := placeKey{where: stack.Frame{Function: "[not walked]"}, state: c.State}
		if c.Stack >= 0 && c.Stack < len(cuts.Stacks) {
			k.where = r.where(frames(cuts.Stacks[c.Stack]))
		}
		sums[k] += c.BackNS - c.LeftNS
	}
	return sums.top(r.options.Top)
}

// goroutines are those that were seen most on a CPU, or kept from it.
func (r *reader) goroutines() {
	all := map[int64]*Goroutine{}
	get := func(id int64) *Goroutine {
		if all[id] == nil {
			all[id] = &Goroutine{GoID: id}
		}
		return all[id]
	}
	each := func(artifact string, add func(*Goroutine, *profile.Sample, int64)) {
		p := r.read("goroutines", artifact)
		if p == nil {
			return
		}
		for _, s := range p.Sample {
			if id := goidOf(s); id != 0 && len(s.Value) > 0 && (r.options.GoID == 0 || id == r.options.GoID) {
				add(get(id), s, s.Value[len(s.Value)-1])
			}
		}
	}
	each(bundle.EBPFOnCPUProfile, func(g *Goroutine, s *profile.Sample, ns int64) {
		g.OnCPUNS += ns
		g.Stacks = append(g.Stacks, Stack{Frames: r.stackOf(s), NS: ns})
	})
	var cuts bundle.Cuts
	if r.document("goroutines", bundle.EBPFCuts, &cuts) {
		for _, c := range cuts.Intervals {
			if r.options.GoID != 0 && c.GoID != r.options.GoID {
				continue
			}
			g := get(c.GoID)
			runnable := c.LeftNS
			if c.WokenNS != 0 {
				runnable = c.WokenNS
			}
			g.OffCPUNS += runnable - c.LeftNS
			g.QueueNS += c.BackNS - runnable
		}
	}
	for _, g := range all {
		slices.SortStableFunc(g.Stacks, func(a, b Stack) int { return cmp.Compare(b.NS, a.NS) })
		r.view.Goroutines = append(r.view.Goroutines, *g)
	}
	slices.SortFunc(r.view.Goroutines, func(a, b Goroutine) int {
		return cmp.Or(cmp.Compare(b.OnCPUNS+b.OffCPUNS+b.QueueNS, a.OnCPUNS+a.OffCPUNS+a.QueueNS), cmp.Compare(a.GoID, b.GoID))
	})
	r.view.Goroutines = first(r.view.Goroutines, r.options.Top)
}

func first[T any](list []T, n int) []T { return list[:min(n, len(list))] }
