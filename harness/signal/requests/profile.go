package requests

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/google/pprof/profile"

	"chokepoint/harness/signal/stack"
)

// Sample types and labels of the profiles.
const (
	// TimeSample is goroutine time in nanoseconds, whatever the goroutine did.
	TimeSample = "time"
	// OffCPUSample is goroutine time in nanoseconds without a CPU.
	OffCPUSample = "off_cpu"

	// KindLabel is the Kind: the reason, of time without a CPU. Of goroutines that
	// requests started, startedPrefix stands before it.
	KindLabel = "kind"
	// StateLabel is the runtime's state of the goroutine: running, runnable,
	// waiting or syscall.
	StateLabel = "state"
	// EndpointLabel is the function that handles the request.
	EndpointLabel = "endpoint"
	// BandLabel are the bands of the request, of which it may be in several.
	BandLabel = "band"
	// CauseLabel is Part.Cause, and BasisLabel Part.Basis.
	CauseLabel = "cause"
	BasisLabel = "basis"
	// OfLabel says whose time it is: requestTime, startedTime or otherTime.
	OfLabel = "of"

	requestTime   = "request"
	startedTime   = "started by a request"
	otherTime     = "no request"
	startedPrefix = "started: "
)

// State is the runtime's state of a goroutine that does this.
func (k Kind) State() string {
	switch k {
	case Running, RunQueue, ThreadAsleep, Assisting:
		return "running"
	case Runnable, Stopped:
		return "runnable"
	case Syscall:
		return "syscall"
	}
	return "waiting"
}

// OffCPU reports whether a goroutine that does this has no CPU. Of a system call
// only what the kernel queued it for is told apart: the rest counts as without
// one, since the goroutine does nothing of its own meanwhile.
func (k Kind) OffCPU() bool { return k != Running && k != Assisting }

// bandsOf are the bands that a request is in, by its number, and by what they
// rank. Of the slowest, those that are not kept with the others are apart.
func (r *Recorder) bandsOf(takes func(EndpointID) bool) (in map[uint64][]string, apart []slow, by string) {
	ranked, by := r.ranked(takes)
	in = map[uint64][]string{}
	note := func(name string, list []record) {
		for i := range list {
			in[list[i].seq] = append(in[list[i].seq], name)
		}
	}
	for _, edge := range bandEdges {
		from, to := within(ranked, edge.from, edge.to)
		note(edge.name, ranked[from:to])
	}
	if n := throughout(ranked); n > 0 {
		note(Slowest, ranked[len(ranked)-n:])
		return in, nil, by
	}
	for _, x := range r.slowestOf(takes, by) {
		note(Slowest, []record{x.record})
		if mix(x.seq)&r.mask != 0 {
			apart = append(apart, x)
		}
	}
	return in, apart, by
}

// sampleKey is what samples of a profile are summed by.
type sampleKey struct {
	part     PartID
	endpoint EndpointID
	bands    string // joined by commas
	of       string
}

// Profile is the time of requests by stack, as `go tool pprof` reads it: of all
// of them, or of those of the endpoint that is wanted. Its sums are those of
// Table, by kind and by band. A request may be in several bands, and is labelled
// with each. Requests beyond those that are kept one by one have no band.
//
// It is nil where there are no requests.
func (r *Recorder) Profile(w Want) *profile.Profile {
	if r.counts.Requests == 0 {
		return nil
	}
	sum, comment := r.samples(w)
	return r.profile(sum, TimeSample, comment, func(Kind) bool { return true })
}

// OffCPUProfile is the time for which goroutines had no CPU, by stack and with
// the reason: of requests as Profile has it, without what ran, and unless an
// endpoint is wanted of the program's other goroutines too. Where the kernel's
// view was there, the reasons include that others had the CPU and that the kernel
// put the thread to sleep.
//
// It is nil where there is no such time.
func (r *Recorder) OffCPUProfile(w Want) *profile.Profile {
	sum, comment := r.samples(w)
	if w.Endpoint == "" {
		for part, ns := range r.others {
			if ns > 0 {
				sum[sampleKey{part: PartID(part), of: otherTime}] += ns
			}
		}
	}
	p := r.profile(sum, OffCPUSample, comment, Kind.OffCPU)
	if len(p.Sample) == 0 {
		return nil
	}
	return p
}

func (r *Recorder) samples(w Want) (map[sampleKey]int64, string) {
	takes := func(e EndpointID) bool { return w.Endpoint == "" || r.name(e) == w.Endpoint }
	bands, apart, by := r.bandsOf(takes)
	of := map[bool]string{false: requestTime, true: startedTime}
	sum := map[sampleKey]int64{}
	for _, x := range r.kept {
		if !takes(x.endpoint) {
			continue
		}
		in := strings.Join(bands[x.seq], ",")
		for i, u := range r.uses[x.first : x.first+x.own+x.child] {
			sum[sampleKey{u.part, x.endpoint, in, of[uint32(i) >= x.own]}] += u.ns
		}
	}
	for k, ns := range r.sums {
		if takes(k.endpoint) {
			sum[sampleKey{k.part, k.endpoint, "", of[k.child]}] += ns
		}
	}
	for _, x := range apart { // they are in the sums, without a band
		for i, u := range x.uses[:x.own+x.child] {
			k := sampleKey{u.part, x.endpoint, "", of[uint32(i) >= x.own]}
			sum[k] -= u.ns
			k.bands = Slowest
			sum[k] += u.ns
		}
	}
	comment := fmt.Sprintf("%d requests; bands rank by %s", r.counts.Requests, by)
	if r.mask > 0 {
		comment += fmt.Sprintf("; of the others than the slowest, one in %d is in a band", r.mask+1)
	}
	return sum, comment
}

func (r *Recorder) profile(sum map[sampleKey]int64, sampleType, comment string, takes func(Kind) bool) *profile.Profile {
	p := &profile.Profile{
		SampleType:        []*profile.ValueType{{Type: sampleType, Unit: "nanoseconds"}},
		DefaultSampleType: sampleType,
		Comments:          []string{comment},
	}
	keys := make([]sampleKey, 0, len(sum))
	for k, ns := range sum {
		if ns > 0 && takes(r.parts.list[k.part].Kind) {
			keys = append(keys, k)
		}
	}
	slices.SortFunc(keys, func(a, b sampleKey) int {
		return cmp.Or(cmp.Compare(a.part, b.part), cmp.Compare(a.endpoint, b.endpoint), cmp.Compare(a.bands, b.bands), cmp.Compare(a.of, b.of))
	})
	b := builder{p: p, functions: map[string]*profile.Function{}, locations: map[stack.Frame]*profile.Location{}}
	for _, k := range keys {
		part := r.parts.list[k.part]
		labels := map[string][]string{
			KindLabel: {string(part.Kind)}, StateLabel: {part.Kind.State()}, BasisLabel: {string(part.Basis)}, OfLabel: {k.of},
		}
		if k.of == startedTime {
			labels[KindLabel] = []string{startedPrefix + string(part.Kind)}
		}
		if k.of != otherTime {
			labels[EndpointLabel] = []string{r.name(k.endpoint)}
		}
		if k.bands != "" {
			labels[BandLabel] = strings.Split(k.bands, ",")
		}
		if part.Cause != "" {
			labels[CauseLabel] = []string{part.Cause}
		}
		frames := part.Frames
		if len(frames) == 0 {
			name := part.Cause
			if name == "" {
				name = string(part.Kind)
			}
			frames = []stack.Frame{{Function: "[" + name + "]"}}
		}
		s := &profile.Sample{Value: []int64{sum[k]}, Label: labels}
		for _, f := range frames {
			s.Location = append(s.Location, b.location(f))
		}
		p.Sample = append(p.Sample, s)
	}
	return p
}

type builder struct {
	p         *profile.Profile
	functions map[string]*profile.Function
	locations map[stack.Frame]*profile.Location
}

func (b *builder) location(f stack.Frame) *profile.Location {
	if l, ok := b.locations[f]; ok {
		return l
	}
	name := f.Function + "\x00" + f.File
	fn, ok := b.functions[name]
	if !ok {
		fn = &profile.Function{ID: uint64(len(b.p.Function) + 1), Name: f.Function, SystemName: f.Function, Filename: f.File}
		b.functions[name] = fn
		b.p.Function = append(b.p.Function, fn)
	}
	l := &profile.Location{ID: uint64(len(b.p.Location) + 1), Line: []profile.Line{{Function: fn, Line: int64(f.Line)}}}
	b.locations[f] = l
	b.p.Location = append(b.p.Location, l)
	return l
}
