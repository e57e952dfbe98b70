package requests

import (
	"fmt"
	"slices"

	"github.com/google/pprof/profile"

	"chokepoint/harness/signal/stack"
)

// Profile is the time of the kept requests by stack, as `go tool pprof` reads
// it: sample values are nanoseconds, and labels tell kind, endpoint, band, cause
// and how the stack is known ("basis"). Goroutines that requests started have the
// kind with "started: " before it. A request that is in several bands is counted
// once: the bands are told by "band", which is empty between them.
//
// It is nil where there are no requests.
func (r *Recorder) Profile() *profile.Profile {
	ranked, by := r.ranked(func(EndpointID) bool { return true })
	if len(r.kept) == 0 {
		return nil
	}
	inBand := map[uint64]string{}
	for _, edge := range bandEdges {
		from, to := within(ranked, edge.from, edge.to)
		for _, x := range ranked[from:to] {
			if inBand[x.seq] == "" { // few requests, or long ones: the bands overlap
				inBand[x.seq] = edge.name
			}
		}
	}
	type key struct {
		part     PartID
		endpoint EndpointID
		band     string
		child    bool
	}
	sum := map[key]int64{}
	p := &profile.Profile{
		SampleType:        []*profile.ValueType{{Type: "time", Unit: "nanoseconds"}},
		DefaultSampleType: "time",
		Comments: []string{
			fmt.Sprintf("time of %d requests by stack; one request in %d is kept; bands rank by %s", len(r.kept), r.mask+1, by),
		},
	}
	first, last := r.kept[0].start, r.kept[0].end
	for _, x := range r.kept {
		first, last = min(first, x.start), max(last, x.end)
		for i, u := range r.uses[x.first : x.first+x.own+x.child] {
			sum[key{u.part, x.endpoint, inBand[x.seq], uint32(i) >= x.own}] += u.ns
		}
	}
	p.DurationNanos = last - first
	keys := make([]key, 0, len(sum))
	for k := range sum {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, func(a, b key) int {
		switch {
		case a.part != b.part:
			return int(a.part) - int(b.part)
		case a.endpoint != b.endpoint:
			return int(a.endpoint) - int(b.endpoint)
		case a.band != b.band:
			if a.band < b.band {
				return -1
			}
			return 1
		case a.child == b.child:
			return 0
		case a.child:
			return 1
		}
		return -1
	})
	b := builder{p: p, functions: map[string]*profile.Function{}, locations: map[stack.Frame]*profile.Location{}}
	for _, k := range keys {
		part := r.parts.list[k.part]
		labels := map[string][]string{"kind": {string(part.Kind)}, "endpoint": {r.name(k.endpoint)}, "basis": {string(part.Basis)}}
		if k.child {
			labels["kind"] = []string{"started: " + string(part.Kind)}
		}
		if k.band != "" {
			labels["band"] = []string{k.band}
		}
		if part.Cause != "" {
			labels["cause"] = []string{part.Cause}
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
