package requests

import (
	"cmp"
	"math"
	"slices"

	"chokepoint/harness/bundle"
	"chokepoint/harness/signal/stack"
)

// The bands of a table. A percentile stands for a band around it, so that it is
// not told by one request; the edges are shares of the requests by length. Where
// requests outlast the trace, all that were there throughout are one group: a
// band that reaches into it is that group.
const (
	All     = "all"
	P50     = "p50"     // the 45th to the 55th percentile
	P90     = "p90"     // the 85th to the 95th
	P99     = "p99"     // the 98.5th to the 99.5th
	Slowest = "slowest" // the ten longest
)

var bandEdges = []struct {
	name     string
	from, to float64
}{{P50, 0.45, 0.55}, {P90, 0.85, 0.95}, {P99, 0.985, 0.995}}

// How the bands rank requests.
const (
	// ByLength: whole requests only, by their length.
	ByLength = "length"
	// BySeen: all requests, by as much as the trace saw of them, which is the least
	// that they took. It is used where requests take so long against the trace that
	// the whole ones are the exception, and the short ones at that.
	BySeen = "seen"
)

// wholeShare is the share of request time that must be in whole requests for
// ByLength. At the half, the trace is about twice as long as a request.
const wholeShare = 0.5

// Table is where the time of a trace's requests went.
type Table struct {
	Counts Counts `json:"counts"`
	// TraceNS is the length of the trace.
	TraceNS int64 `json:"trace_ns"`
	// Ranked is ByLength or BySeen.
	Ranked string `json:"ranked"`
	// OffCPU reports whether the kernel's cuts were there. Where they were not,
	// "running" is what the runtime takes for it, and "run queue" and "thread
	// asleep" are not zero but not known.
	OffCPU bool `json:"off_cpu"`
	Join   Join `json:"join"`
	// Bands are in the order of the constants; All holds every request, cut ones
	// included. It is empty where there are no requests.
	Bands []Band `json:"bands"`
	// Endpoints are all requests by the function that handles them, by time.
	Endpoints []Endpoint `json:"endpoints"`
	Borders   []Border   `json:"borders"` // the longest delays, longest first
}

// Band is the requests around one percentile.
type Band struct {
	Name     string `json:"name"`
	Requests int64  `json:"requests"`
	Cut      int64  `json:"cut"`    // of these, with a beginning or end outside the trace
	MinNS    int64  `json:"min_ns"` // the shortest of them
	MedianNS int64  `json:"median_ns"`
	MaxNS    int64  `json:"max_ns"`
	Account
}

// Account is a sum of requests' time by what it went to.
type Account struct {
	TotalNS int64 `json:"total_ns"`
	// ExplainedNS is the part that is attributed to a line of the program or to a
	// named cause in the kernel, the runtime or the standard library.
	ExplainedNS int64 `json:"explained_ns"`
	// UnexplainedNS is the rest: the two sum up to the total.
	UnexplainedNS int64      `json:"unexplained_ns"`
	Kinds         []KindTime `json:"kinds"` // by time; they sum up to the total
	Parts         []PartTime `json:"parts"` // by time; they sum up to the total
	// Started is what goroutines did that the requests started, while these were
	// open. It is no part of the total: the requests' own time passed meanwhile.
	Started Started `json:"started"`
}

// ExplainedShare is the share of the time that is attributed; 0 of nothing.
func (a Account) ExplainedShare() float64 { return ratio(a.ExplainedNS, a.TotalNS) }

// NS is the time of a kind.
func (a Account) NS(k Kind) int64 {
	for _, x := range a.Kinds {
		if x.Kind == k {
			return x.NS
		}
	}
	return 0
}

// Share is the share of the time that went to any of the kinds; 0 of nothing.
func (a Account) Share(kinds ...Kind) float64 {
	var ns int64
	for _, k := range kinds {
		ns += a.NS(k)
	}
	return ratio(ns, a.TotalNS)
}

// KindTime is time of one kind.
type KindTime struct {
	Kind Kind  `json:"kind"`
	NS   int64 `json:"ns"`
}

// PartTime is time at one line of the program, or of one cause where there is no line.
type PartTime struct {
	Kind  Kind         `json:"kind"`
	Where bundle.Frame `json:"where,omitzero"`
	Cause string       `json:"cause,omitempty"`
	Basis Basis        `json:"basis"` // how the line is known
	// Explained is as Part's: the time is attributed.
	Explained bool  `json:"explained"`
	NS        int64 `json:"ns"`
}

// Started is what goroutines did that requests started.
type Started struct {
	Goroutines int64      `json:"goroutines"`
	TotalNS    int64      `json:"total_ns"`
	Kinds      []KindTime `json:"kinds"`
	Parts      []PartTime `json:"parts"`
}

// Endpoint is all requests that one function handles.
type Endpoint struct {
	// Name is the function as the runtime names it, the type of a task, or
	// "(not seen)".
	Name     string `json:"name"`
	File     string `json:"file,omitempty"`
	Requests int64  `json:"requests"`
	Cut      int64  `json:"cut"`
	// Of the requests that the bands rank:
	P50NS int64 `json:"p50_ns"`
	P99NS int64 `json:"p99_ns"`
	MaxNS int64 `json:"max_ns"`
	Account
}

// NotSeen is the name of the endpoint of requests whose handler was not seen.
const NotSeen = "(not seen)"

// Want picks the requests of a table.
type Want struct {
	// Endpoint is the name of the only one to take; empty for all.
	Endpoint string
	TraceNS  int64
	OffCPU   bool
}

// Table sums up what was recorded. It may be called again.
func (r *Recorder) Table(w Want) Table {
	t := Table{Counts: r.Counts(), TraceNS: w.TraceNS, Ranked: ByLength, OffCPU: w.OffCPU, Join: r.join, Bands: []Band{}, Endpoints: []Endpoint{}, Borders: []Border{}}
	for _, b := range r.Borders() {
		if w.Endpoint == "" || b.Endpoint == w.Endpoint {
			t.Borders = append(t.Borders, b)
		}
	}
	takes := func(e EndpointID) bool { return w.Endpoint == "" || r.name(e) == w.Endpoint }
	ranked, by := r.ranked(takes)
	t.Ranked = by

	all := newSums(r)
	ends := map[stack.Frame]*sums{}
	sum := func(key sumKey, ns int64) {
		if !takes(key.endpoint) {
			return
		}
		f := r.endpoints[key.endpoint]
		e := ends[f]
		if e == nil {
			e = newSums(r)
			ends[f] = e
		}
		all.add(key.part, ns, key.child)
		e.add(key.part, ns, key.child)
	}
	for key, ns := range r.sums {
		sum(key, ns)
	}
	for _, x := range r.kept {
		for i, u := range r.uses[x.first : x.first+x.own+x.child] {
			sum(sumKey{x.endpoint, u.part, uint32(i) >= x.own}, u.ns)
		}
	}
	band := Band{Name: All}
	counts := map[stack.Frame]ending{}
	for id, e := range r.byEnd {
		if e.count == 0 || !takes(EndpointID(id)) {
			continue
		}
		band.Requests += e.count
		band.Cut += e.cut
		all.started += e.started
		c := counts[r.endpoints[id]]
		counts[r.endpoints[id]] = ending{c.count + e.count, c.cut + e.cut, c.started + e.started}
	}
	for f, e := range counts {
		t.Endpoints = append(t.Endpoints, r.endpointOf(f, e, ends[f], ranked))
	}
	slices.SortFunc(t.Endpoints, func(a, b Endpoint) int {
		return cmp.Or(-cmp.Compare(a.TotalNS, b.TotalNS), cmp.Compare(a.Name, b.Name), cmp.Compare(a.File, b.File))
	})
	if band.Requests == 0 {
		return t
	}
	band.Account = all.account()
	lengths(&band, ranked)
	t.Bands = append(t.Bands, band)
	for _, edge := range bandEdges {
		from, to := within(ranked, edge.from, edge.to)
		t.Bands = append(t.Bands, r.band(edge.name, ranked[from:to]))
	}
	if n := throughout(ranked); n > 0 {
		t.Bands = append(t.Bands, r.band(Slowest, ranked[len(ranked)-n:]))
	} else {
		t.Bands = append(t.Bands, r.slowestBand(takes, by))
	}
	return t
}

// throughout is how many of the ranked requests, the last ones, were there for
// all of the trace. Nothing tells which of them is the longer.
func throughout(ranked []record) int {
	n := 0
	for n < len(ranked) && ranked[len(ranked)-1-n].flags&(cutStart|cutEnd) == cutStart|cutEnd {
		n++
	}
	return n
}

// Band finds a band by name.
func (t Table) Band(name string) (Band, bool) {
	for _, b := range t.Bands {
		if b.Name == name {
			return b, true
		}
	}
	return Band{}, false
}

// ranked are the requests that the bands take, shortest first, and by what.
func (r *Recorder) ranked(takes func(EndpointID) bool) ([]record, string) {
	var whole, all int64
	for i := range r.kept {
		if x := &r.kept[i]; takes(x.endpoint) {
			all += x.ns()
			if !x.cut() {
				whole += x.ns()
			}
		}
	}
	by := ByLength
	if float64(whole) < wholeShare*float64(all) {
		by = BySeen
	}
	var out []record
	for _, x := range r.kept {
		if takes(x.endpoint) && (by == BySeen || !x.cut()) {
			out = append(out, x)
		}
	}
	slices.SortFunc(out, func(a, b record) int { return slower(b, a) })
	return out, by
}

// within is the range of indices between two quantiles, and at least one. Requests
// that were there for all of the trace are in the same bands.
func within(ranked []record, from, to float64) (int, int) {
	n := len(ranked)
	if n == 0 {
		return 0, 0
	}
	a := min(int(from*float64(n)), n-1)
	b := min(n, max(a+1, int(math.Ceil(to*float64(n)))))
	switch t := n - throughout(ranked); {
	case (a+b)/2 >= t:
		return t, n
	case b > t:
		b = t
	}
	return a, b
}

func lengths(b *Band, ranked []record) {
	if len(ranked) == 0 {
		return
	}
	b.MinNS, b.MedianNS, b.MaxNS = ranked[0].ns(), ranked[(len(ranked)-1)/2].ns(), ranked[len(ranked)-1].ns()
}

func (r *Recorder) band(name string, list []record) Band {
	b := Band{Name: name, Requests: int64(len(list))}
	s := newSums(r)
	for _, x := range list {
		s.record(x, r.uses[x.first:])
		if x.cut() {
			b.Cut++
		}
	}
	b.Account = s.account()
	lengths(&b, list)
	return b
}

// slow is a request among the longest, and what its time went to.
type slow struct {
	record
	uses []use
}

// slowestOf is the requests that took longest, longest first, from all there were;
// with an endpoint asked for, from those that were kept.
func (r *Recorder) slowestOf(takes func(EndpointID) bool, by string) []slow {
	var list []slow
	seen := map[uint64]bool{}
	pick := func(x record, uses []use) {
		if takes(x.endpoint) && (by == BySeen || !x.cut()) && !seen[x.seq] {
			seen[x.seq] = true
			list = append(list, slow{x, uses})
		}
	}
	for i, x := range r.slowest {
		pick(x, r.slow[i])
	}
	for _, x := range r.kept {
		pick(x, r.uses[x.first:])
	}
	slices.SortFunc(list, func(a, b slow) int { return slower(a.record, b.record) })
	return list[:min(len(list), keptSlowest)]
}

func (r *Recorder) slowestBand(takes func(EndpointID) bool, by string) Band {
	list := r.slowestOf(takes, by)
	b := Band{Name: Slowest, Requests: int64(len(list))}
	s := newSums(r)
	var records []record
	for _, x := range slices.Backward(list) {
		s.record(x.record, x.uses)
		records = append(records, x.record)
		if x.cut() {
			b.Cut++
		}
	}
	b.Account = s.account()
	lengths(&b, records)
	return b
}

func (r *Recorder) endpointOf(f stack.Frame, e ending, s *sums, ranked []record) Endpoint {
	out := Endpoint{Name: named(f), File: f.File, Requests: e.count, Cut: e.cut}
	if s == nil {
		s = newSums(r)
	}
	s.started = e.started
	out.Account = s.account()
	var own []record
	for _, x := range ranked {
		if r.endpoints[x.endpoint] == f {
			own = append(own, x)
		}
	}
	if n := len(own); n > 0 {
		out.P50NS, out.P99NS, out.MaxNS = own[(n-1)/2].ns(), own[min(n-1, int(0.99*float64(n)))].ns(), own[n-1].ns()
	}
	return out
}

func (r *Recorder) name(id EndpointID) string { return named(r.endpoints[id]) }

func named(f stack.Frame) string {
	if f.Function == "" {
		return NotSeen
	}
	return f.Function
}

// sums adds up parts.
type sums struct {
	r       *Recorder
	own     map[PartID]int64
	child   map[PartID]int64
	started int64
}

func newSums(r *Recorder) *sums {
	return &sums{r: r, own: map[PartID]int64{}, child: map[PartID]int64{}}
}

func (s *sums) add(p PartID, ns int64, child bool) {
	if child {
		s.child[p] += ns
	} else {
		s.own[p] += ns
	}
}

// record adds a request whose parts begin uses.
func (s *sums) record(x record, uses []use) {
	s.started += int64(x.started)
	for i, u := range uses[:x.own+x.child] {
		s.add(u.part, u.ns, uint32(i) >= x.own)
	}
}

func (s *sums) account() Account {
	var a Account
	a.TotalNS, a.Kinds, a.Parts = s.list(s.own)
	for id, ns := range s.own {
		if s.r.parts.list[id].Explained() {
			a.ExplainedNS += ns
		}
	}
	a.UnexplainedNS = a.TotalNS - a.ExplainedNS
	a.Started.Goroutines = s.started
	a.Started.TotalNS, a.Started.Kinds, a.Started.Parts = s.list(s.child)
	return a
}

// list sums parts by kind and by line.
func (s *sums) list(of map[PartID]int64) (total int64, kinds []KindTime, parts []PartTime) {
	byKind := map[Kind]int64{}
	byLine := map[PartTime]int64{}
	for id, ns := range of {
		p := s.r.parts.list[id]
		total += ns
		byKind[p.Kind] += ns
		key := PartTime{Kind: p.Kind, Where: frame(p.Where), Cause: p.Cause, Basis: p.Basis, Explained: p.Explained()}
		byLine[key] += ns
	}
	kinds = []KindTime{}
	for k, ns := range byKind {
		kinds = append(kinds, KindTime{k, ns})
	}
	slices.SortFunc(kinds, func(a, b KindTime) int {
		return cmp.Or(-cmp.Compare(a.NS, b.NS), cmp.Compare(a.Kind, b.Kind))
	})
	parts = []PartTime{}
	for p, ns := range byLine {
		p.NS = ns
		parts = append(parts, p)
	}
	slices.SortFunc(parts, func(a, b PartTime) int {
		return cmp.Or(-cmp.Compare(a.NS, b.NS), cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Where.Function, b.Where.Function),
			cmp.Compare(a.Where.File, b.Where.File), cmp.Compare(a.Where.Line, b.Where.Line),
			cmp.Compare(a.Cause, b.Cause), cmp.Compare(a.Basis, b.Basis))
	})
	return total, kinds, parts
}

func ratio(part, whole int64) float64 {
	if whole <= 0 {
		return 0
	}
	return float64(part) / float64(whole)
}

// Waits are the kinds in which a request's goroutine waits for another thing
// than a CPU.
func Waits() []Kind {
	var out []Kind
	for _, w := range []stack.Wait{
		stack.Lock, stack.Cond, stack.WaitGroup, stack.Sleep, stack.ChanRecv, stack.ChanSend, stack.Select, stack.NetRead,
		stack.NetWrite, stack.NetAccept, stack.NetConnect, stack.HTTPClient, stack.DBConn, stack.Runtime, stack.Other,
	} {
		out = append(out, WaitKind(w))
	}
	return out
}
