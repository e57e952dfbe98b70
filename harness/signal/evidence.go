package signal

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"sort"

	"github.com/google/pprof/profile"

	"chokepoint/harness/bundle"
	"chokepoint/harness/gofunc"
	"chokepoint/harness/signal/gotrace"
	"chokepoint/harness/signal/requests"
	"chokepoint/harness/signal/stack"
)

// evidence is a bundle's artifacts, each parsed when first asked for.
type evidence struct {
	bundle   bundle.Evidence
	manifest bundle.Manifest
	program  stack.Program

	parsed map[string]result
	// known is what functions are called; profiles are those that were parsed for it, and
	// are wanted once more. See names.
	known    *gofunc.Names
	profiles map[string]*profile.Profile
	// reading are the keys of what is being parsed, each with the artifacts that
	// were read for it; the first is of whoever asks.
	reading []map[string]bool
}

type result struct {
	value     any
	err       error
	artifacts map[string]bool // that it was made of, by path
}

func newEvidence(b bundle.Evidence) *evidence {
	m := b.Manifest()
	return &evidence{
		bundle: b, manifest: m,
		program: stack.Program{MainModule: m.Target.MainModule},
		parsed:  map[string]result{},
		reading: []map[string]bool{{}},
	}
}

// once keeps the outcome of parsing under a key: an artifact's path for what is
// parsed from one, and any other for what is made of such.
func once[T any](e *evidence, key string, parse func() (T, error)) (T, error) {
	r, ok := e.parsed[key]
	if !ok {
		e.reading = append(e.reading, map[string]bool{})
		v, err := parse()
		last := len(e.reading) - 1
		r = result{v, err, e.reading[last]}
		e.reading = e.reading[:last]
		if e.bundle.Has(key) {
			r.artifacts[key] = true
		}
		e.parsed[key] = r
	}
	maps.Copy(e.reading[len(e.reading)-1], r.artifacts)
	v, _ := r.value.(T)
	return v, r.err
}

// sources are the artifacts that were read, directly or by what was parsed
// before, since it was last asked.
func (e *evidence) sources() []string {
	read := slices.Sorted(maps.Keys(e.reading[0]))
	e.reading[0] = map[string]bool{}
	return read
}

func (e *evidence) trace() (*gotrace.Summary, error) {
	return once(e, bundle.TraceOut, func() (*gotrace.Summary, error) {
		f, err := e.bundle.Open(bundle.TraceOut)
		if err != nil {
			return nil, missing(e.manifest, bundle.DimTrace, bundle.TraceOut, err)
		}
		defer f.Close()
		s, err := gotrace.ReadWith(f, e.program, gotrace.Beside{Kernel: e.kernel(), Parked: e.parked(), Names: e.names(), TakesSlot: e.takesSlot, Sends: e.sends})
		if err != nil {
			return nil, fmt.Errorf("%s: %w: %w", bundle.TraceOut, bundle.ErrDamaged, err)
		}
		return s, nil
	})
}

// kernel is the kernel's view of single goroutines, as far as it was captured.
// What is missing or damaged of it says so where it would be shown.
func (e *evidence) kernel() *requests.Kernel {
	cuts, err := document[bundle.Cuts](e, bundle.DimEBPF, bundle.EBPFCuts)
	if err != nil {
		cuts = nil
	}
	slow, err := document[bundle.SlowCalls](e, bundle.DimEBPF, bundle.EBPFSlow)
	if err != nil {
		slow = nil
	}
	return requests.NewKernel(cuts, slow)
}

// parked is where nearly all goroutines stood that were in a handler of net/http
// when the goroutine profile was taken; nil if that was no one line.
func (e *evidence) parked() []stack.Frame {
	p, err := e.profile(bundle.DimPprof, bundle.GoroutineProfile)
	if err != nil {
		return nil
	}
	type line struct {
		own  stack.Frame
		wait stack.Wait
	}
	n, ok := p.types["goroutine"]
	if !ok {
		return nil
	}
	var all int64
	at := map[line]int64{}
	deepest := map[line]sample{}
	for _, x := range p.list {
		if stack.StageOf(x.frames) != stack.Handling {
			continue
		}
		k := line{e.program.Own(x.frames), e.program.WaitOf(x.frames)}
		all += x.values[n]
		at[k] += x.values[n]
		if d, ok := deepest[k]; !ok || x.values[n] > d.values[n] {
			deepest[k] = x
		}
	}
	for k, count := range at {
		if all >= parkedCount && float64(count) >= parkedShare*float64(all) {
			return deepest[k].frames
		}
	}
	return nil
}

// Of at least so many goroutines, such a share must be at one line.
const (
	parkedCount = 10
	parkedShare = 0.95
)

func document[T any](e *evidence, dimension, path string) (*T, error) {
	return once(e, path, func() (*T, error) {
		var v T
		if err := e.bundle.ReadJSON(path, &v); err != nil {
			return nil, missing(e.manifest, dimension, path, err)
		}
		return &v, nil
	})
}

func lines[T any](e *evidence, dimension, path string) ([]T, error) {
	return once(e, path, func() ([]T, error) {
		v, err := bundle.ReadLines[T](e.bundle, path)
		if err != nil {
			return nil, missing(e.manifest, dimension, path, err)
		}
		return v, nil
	})
}

func (e *evidence) load() (*bundle.Load, error) {
	return document[bundle.Load](e, bundle.DimLoad, bundle.LoadSummary)
}

// requests is how many requests ended in a span of the window, and 0 is an error.
func (e *evidence) requests(span bundle.Window) (float64, error) {
	l, err := e.load()
	if err != nil {
		return 0, err
	}
	n := l.Reached.RateHz * span.Duration().Seconds()
	if n <= 0 {
		return 0, fmt.Errorf("load: no request ended in the window")
	}
	return n, nil
}

// span is the window of the probe that wrote the artifact.
func (e *evidence) span(artifact string) bundle.Window {
	if p, ok := e.manifest.Probe(artifact); ok && p.Window.Duration() > 0 {
		return p.Window
	}
	return e.manifest.Window
}

// samples is a pprof profile with its stacks resolved, innermost frame first,
// and without what the recording's own debug requests did.
type samples struct {
	list  []sample
	types map[string]int
	// period is the mean distance between samples, in the profile's own period
	// type: bytes for a memory profile.
	period int64
	// duration is how long the profile says it was taken for; 0 if it does not.
	duration int64
	// drew is how many samples the profile holds, those that were left out among them.
	drew int
	// diagnostic is how many of the first sample type were left out that are in
	// handlers: in a goroutine profile, the recording's own requests.
	diagnostic int64
}

type sample struct {
	frames []stack.Frame
	values []int64
	labels map[string][]string
}

func (s sample) label(key string) string {
	if v := s.labels[key]; len(v) > 0 {
		return v[0]
	}
	return ""
}

// of sums the values of one sample type over the samples that match.
func (s *samples) of(sampleType string, match func(sample) bool) int64 {
	var sum int64
	s.each(sampleType, func(x sample, value int64) {
		if match == nil || match(x) {
			sum += value
		}
	})
	return sum
}

// each visits all samples with their values of one sample type; none where the profile
// does not have it.
func (s *samples) each(sampleType string, visit func(sample, int64)) {
	i, ok := s.types[sampleType]
	if !ok {
		return
	}
	for _, x := range s.list {
		visit(x, x.values[i])
	}
}

// bySite sums the values of one sample type by the site that pick gives a
// sample, and lists the sites, largest first.
func (s *samples) bySite(sampleType string, pick func(sample) (stack.Frame, bool)) []site {
	i, ok := s.types[sampleType]
	if !ok {
		return nil
	}
	sums := map[stack.Frame]int64{}
	for _, x := range s.list {
		if f, ok := pick(x); ok && x.values[i] != 0 {
			sums[f] += x.values[i]
		}
	}
	return ranked(sums)
}

// fewestDraws is how many times the memory profiler must have drawn a site
// before what it stands for is believed. An object of 256 bytes that is drawn
// once in 512 KiB stands for 2,000, whether there were 2,000 or one.
const fewestDraws = 3

// drawn sums the values of one sample type of a memory profile by site, and
// leaves out sites that the profiler drew too seldom to count.
func (s *samples) drawn(sampleType, objects, space string, pick func(sample) (stack.Frame, bool)) []site {
	n, ok := s.types[objects]
	size, ok2 := s.types[space]
	if !ok || !ok2 {
		return nil
	}
	draws := map[stack.Frame]float64{}
	for _, x := range s.list {
		if f, ok := pick(x); ok && x.values[n] > 0 {
			draws[f] += s.draws(x.values[n], x.values[size])
		}
	}
	var out []site
	for _, t := range s.bySite(sampleType, pick) {
		if draws[t.where] >= fewestDraws {
			out = append(out, t)
		}
	}
	return out
}

// draws undoes the profiler's scaling: an object of size b is drawn with
// probability 1 - exp(-b/period), by which its count was divided.
func (s *samples) draws(objects, bytes int64) float64 {
	if s.period <= 1 {
		return float64(objects)
	}
	if objects == 0 {
		return 0
	}
	mean := float64(bytes) / float64(objects)
	return float64(objects) * -math.Expm1(-mean/float64(s.period))
}

type site struct {
	where stack.Frame
	value int64
}

func ranked(sums map[stack.Frame]int64) []site {
	out := make([]site, 0, len(sums))
	for f, v := range sums {
		out = append(out, site{f, v})
	}
	sort.Slice(out, func(i, j int) bool {
		a, b := out[i], out[j]
		switch {
		case a.value != b.value:
			return a.value > b.value
		case a.where.Function != b.where.Function:
			return a.where.Function < b.where.Function
		case a.where.File != b.where.File:
			return a.where.File < b.where.File
		}
		return a.where.Line < b.where.Line
	})
	return out
}

// top is the first of ranked sites; the zero site when there is none.
func top(sites []site) site {
	if len(sites) == 0 {
		return site{}
	}
	return sites[0]
}

// byFunction merges sites of one function, the closures in it included, keeping
// its largest line.
func byFunction(sites []site) []site {
	index := map[string]int{}
	var out []site
	for _, s := range sites {
		name := gofunc.Base(s.where.Function)
		if i, ok := index[name]; ok {
			out[i].value += s.value
			continue
		}
		index[name] = len(out)
		out = append(out, s)
	}
	sort.SliceStable(out, func(i, j int) bool { return out[i].value > out[j].value })
	return out
}

func (e *evidence) profile(dimension, path string) (*samples, error) {
	return once(e, path, func() (*samples, error) {
		data, err := e.bundle.ReadFile(path)
		if err != nil {
			return nil, missing(e.manifest, dimension, path, err)
		}
		names := e.names()
		p := e.profiles[path]
		delete(e.profiles, path)
		if p == nil {
			if p, err = profile.ParseData(data); err != nil {
				return nil, fmt.Errorf("%s: %w: %w", path, bundle.ErrDamaged, err)
			}
		}
		s := resolve(p, names)
		for _, t := range sampleTypes(path) {
			if _, ok := s.types[t]; !ok {
				return nil, fmt.Errorf("%s: %w: it has no sample type %q", path, bundle.ErrDamaged, t)
			}
		}
		return s, nil
	})
}

// sampleTypes are those that signals take from an artifact. A profile without
// them is another profile, and would read as one in which nothing happened.
func sampleTypes(artifact string) []string {
	switch artifact {
	case bundle.CPUProfile:
		return []string{"samples", "cpu"}
	case bundle.MutexProfile, bundle.BlockProfile:
		return []string{"delay"}
	case bundle.AllocsProfile:
		return []string{"alloc_objects", "alloc_space"}
	case bundle.HeapProfile:
		return []string{"inuse_objects", "inuse_space"}
	case bundle.HeapDeltaProfile, bundle.HeapLateProfile:
		return []string{"alloc_objects", "alloc_space", "inuse_objects", "inuse_space"}
	case bundle.GoroutineProfile, bundle.GoroutineDeltaProfile:
		return []string{"goroutine"}
	case bundle.EBPFOnCPUProfile:
		return []string{"samples", "cpu"}
	case bundle.EBPFSyscallsProfile:
		return []string{"calls"}
	case bundle.EBPFOffCPUProfile:
		return []string{"delay"}
	}
	return nil
}

func resolve(p *profile.Profile, names *gofunc.Names) *samples {
	s := &samples{types: map[string]int{}, period: p.Period, duration: p.DurationNanos, drew: len(p.Sample)}
	for i, t := range p.SampleType {
		s.types[t.Type] = i
	}
	for _, x := range p.Sample {
		var frames []stack.Frame
		for _, loc := range x.Location {
			for _, line := range loc.Line {
				f := stack.Frame{Line: int(line.Line)}
				if line.Function != nil {
					f.Function, f.File = names.Written(line.Function.Name, line.Function.Filename), line.Function.Filename
				}
				frames = append(frames, f)
			}
		}
		if stack.Diagnostic(frames) {
			if stack.StageOf(frames) == stack.Handling && len(x.Value) > 0 {
				s.diagnostic += x.Value[0]
			}
			continue
		}
		s.list = append(s.list, sample{frames, x.Value, x.Label})
	}
	mendCut(s.list)
	return s
}

// callSites are the program's calls of the given functions, from its machine code.
func (e *evidence) callSites(callees ...string) ([]bundle.CallSite, error) {
	c, err := e.calls()
	if err != nil {
		return nil, err
	}
	var out []bundle.CallSite
	for _, s := range c.Sites {
		for _, callee := range callees {
			if s.Callee == callee {
				out = append(out, s)
			}
		}
	}
	return out, nil
}

// callIn finds the call of one of the functions that the stack's function
// makes: on its line, else the next one below it, else the last one above. The
// innermost function on the stack that makes such a call is taken.
func callIn(sites []bundle.CallSite, frames []stack.Frame) (stack.Frame, bool) {
	for _, f := range frames {
		base := gofunc.Base(f.Function)
		var found *bundle.CallSite
		for i := range sites {
			s := &sites[i]
			if gofunc.Base(s.Function) != base {
				continue
			}
			if found == nil || nearer(f.Line, s.Line, found.Line) {
				found = s
			}
		}
		if found != nil {
			return stack.Frame{Function: base, File: found.File, Line: found.Line}, true
		}
	}
	return stack.Frame{}, false
}

// nearer reports whether line a is a better match for a call at or after from
// than line b is.
func nearer(from, a, b int) bool {
	aAfter, bAfter := a >= from, b >= from
	if aAfter != bAfter {
		return aAfter
	}
	if aAfter {
		return a < b
	}
	return a > b
}
