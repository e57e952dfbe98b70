package requests

import (
	"cmp"
	"iter"
	"slices"

	"chokepoint/harness/signal/stack"
)

// EndpointID is a function that handles requests, as one Recorder numbers them.
type EndpointID uint32

// Recorder collects the requests of one trace.
type Recorder struct {
	parts     *Parts
	endpoints []stack.Frame
	byName    map[stack.Frame]EndpointID

	seq  uint64
	free []*Open

	kept    []record
	uses    []use
	mask    uint64 // a request is kept if the hash of its number has none of these bits
	slowest []record
	slow    [][]use // of the slowest, own and children's after each other

	sums     map[sumKey]int64 // of the requests that are not kept
	others   []int64          // of goroutines that serve none, by PartID
	byEnd    []ending
	counts   Counts
	join     Join
	borders  []border
	atBorder int64 // the least that still gets into borders
}

// record is what is kept of one request. Its own parts and then those of its
// children stand in the recorder's uses from first on.
type record struct {
	start, end int64
	answered   int64
	goroutine  int64
	seq        uint64
	first      uint32
	own, child uint32
	started    uint32
	endpoint   EndpointID
	flags      uint16
}

func (r *record) ns() int64 { return r.end - r.start }
func (r *record) cut() bool { return r.flags&(cutStart|cutEnd) != 0 }

type sumKey struct {
	endpoint EndpointID
	part     PartID
	child    bool
}

// ending is what is known of all requests of an endpoint.
type ending struct {
	count, cut, started int64
}

// Join says how well the kernel's view and the runtime's agree on the goroutines
// that requests ran on: of the time for which the kernel says that such a
// goroutine had a thread without a CPU, the part in which the runtime had it
// running or in a system call, and the part in which it had not.
type Join struct {
	AgreedNS int64 `json:"agreed_ns"`
	StrayNS  int64 `json:"stray_ns"`
}

// Counts says how many requests there were, and what became of those that are
// in no table.
type Counts struct {
	Requests int64 `json:"requests"` // whole and cut
	// Of these, CutStart began before the trace and CutEnd outlasted it; CutBoth
	// are in both.
	CutStart int64 `json:"cut_start"`
	CutEnd   int64 `json:"cut_end"`
	CutBoth  int64 `json:"cut_both"`
	// Kept one by one, for the bands; one in KeptOneIn.
	Kept      int64 `json:"kept"`
	KeptOneIn int64 `json:"kept_one_in"`
	// Hijacked connections are left out from when their handler took them over.
	Hijacked int64 `json:"hijacked"`
	// Diagnostic are requests of the recording itself to the debug endpoints.
	Diagnostic int64 `json:"diagnostic"`
	// HTTP2 are requests of HTTP/2, one goroutine each.
	HTTP2 int64 `json:"http2"`
	// HandlerNotSeen are requests without any event or sample inside the handler:
	// it neither blocked nor ran for long, or did so before the trace began.
	HandlerNotSeen int64 `json:"handler_not_seen"`
	// PartsLost counts stacks beyond MaxParts; their time is not explained.
	PartsLost int64 `json:"parts_lost,omitempty"`
	// RestNS is time of requests that none of their parts accounts for. It is in
	// the tables as unexplained, and 0 but for tasks that change goroutines.
	RestNS int64 `json:"rest_ns"`
}

// NewRecorder makes an empty one, whose requests use these parts.
func NewRecorder(parts *Parts) *Recorder {
	r := &Recorder{parts: parts, byName: map[stack.Frame]EndpointID{}, sums: map[sumKey]int64{}}
	r.endpoint(stack.Frame{}) // of requests whose handler was not seen
	return r
}

// Counts are the requests so far.
func (r *Recorder) Counts() Counts {
	c := r.counts
	c.Kept = int64(len(r.kept))
	c.KeptOneIn = int64(r.mask) + 1
	c.PartsLost = r.parts.lost
	for id, e := range r.byEnd {
		if r.endpoints[id].IsZero() {
			c.HandlerNotSeen += e.count
		}
	}
	return c
}

// Whole gives the bounds of the requests that are kept and lie in the trace whole,
// by their end. Each stands for Counts().KeptOneIn.
func (r *Recorder) Whole() iter.Seq2[int64, int64] {
	whole := slices.DeleteFunc(slices.Clone(r.kept), func(x record) bool { return x.cut() })
	slices.SortFunc(whole, func(a, b record) int { return cmp.Or(cmp.Compare(a.end, b.end), cmp.Compare(a.seq, b.seq)) })
	return func(yield func(start, end int64) bool) {
		for i := range whole {
			if !yield(whole[i].start, whole[i].end) {
				return
			}
		}
	}
}

// Joined counts kernel time that the runtime's view of the goroutine allows, and
// Stray that it does not.
func (r *Recorder) Joined(ns int64) { r.join.AgreedNS += ns }

// Stray is the counterpart of Joined.
func (r *Recorder) Stray(ns int64) { r.join.StrayNS += ns }

// Other accounts for ns without a CPU of a goroutine of the program that serves no
// request; of these, profiles alone tell.
func (r *Recorder) Other(p PartID, ns int64) {
	if ns <= 0 {
		return
	}
	if n := int(p) + 1 - len(r.others); n > 0 {
		r.others = append(r.others, make([]int64, n)...)
	}
	r.others[p] += ns
}

// Hijacked counts a connection that its handler took over.
func (r *Recorder) Hijacked() { r.counts.Hijacked++ }

// Diagnostic counts a request of the recording itself.
func (r *Recorder) Diagnostic() { r.counts.Diagnostic++ }

// HTTP2 counts a request of HTTP/2.
func (r *Recorder) HTTP2() { r.counts.HTTP2++ }

func (r *Recorder) endpoint(f stack.Frame) EndpointID {
	id, ok := r.byName[f]
	if !ok {
		if len(r.endpoints) >= MaxParts {
			return 0
		}
		id = EndpointID(len(r.endpoints))
		r.endpoints = append(r.endpoints, f)
		r.byEnd = append(r.byEnd, ending{})
		r.byName[f] = id
	}
	return id
}

// Begin opens a request that starts at start, served by a goroutine.
func (r *Recorder) Begin(start, goroutine int64) *Open {
	r.seq++
	if n := len(r.free); n > 0 {
		o := r.free[n-1]
		r.free = r.free[:n-1]
		*o = Open{StartNS: start, Goroutine: goroutine, seq: r.seq, uses: o.uses[:0], children: o.children[:0]}
		return o
	}
	return &Open{StartNS: start, Goroutine: goroutine, seq: r.seq}
}

// At tells which function handles the request, as a stack of the given rank
// (of stack.Program.Endpoint) has it.
func (r *Recorder) At(o *Open, f stack.Frame, rank int) {
	if rank <= o.rank || f.IsZero() {
		return
	}
	o.rank = rank
	o.endpoint = r.endpoint(f)
}

// Unresolved is a number for an endpoint that is not known yet.
func (r *Recorder) Unresolved() EndpointID {
	if len(r.endpoints) >= MaxParts {
		return 0
	}
	r.endpoints = append(r.endpoints, stack.Frame{})
	r.byEnd = append(r.byEnd, ending{})
	return EndpointID(len(r.endpoints) - 1)
}

// Guess gives a request an endpoint for as long as no stack tells it.
func (r *Recorder) Guess(o *Open, id EndpointID) {
	if o.rank == 0 {
		o.endpoint = id
	}
}

// Resolve says which function an unresolved endpoint is.
func (r *Recorder) Resolve(id EndpointID, f stack.Frame) {
	if id != 0 {
		r.endpoints[id] = f
	}
}

// Drop forgets a request that turned out to be none.
func (r *Recorder) Drop(o *Open) {
	r.dropBorders(o)
	r.release(o)
}

func (r *Recorder) release(o *Open) {
	o.seq = 0 // goroutines that it started know by this that it is over
	if cap(o.uses) <= 64 {
		r.free = append(r.free, o)
	}
}

// End closes a request; cut says that the trace ended, and not the request.
func (r *Recorder) End(o *Open, end int64, cut bool) {
	if cut {
		o.flags |= cutEnd
	}
	if o.live > 0 {
		o.flags |= outlived
	}
	c := &r.counts
	c.Requests++
	rest := end - o.StartNS
	for _, u := range o.uses {
		rest -= u.ns
	}
	c.RestNS += rest
	o.Add(PartElsewhere, rest)
	if o.flags&cutStart != 0 {
		c.CutStart++
	}
	if cut {
		c.CutEnd++
		if o.flags&cutStart != 0 {
			c.CutBoth++
		}
	}
	e := &r.byEnd[o.endpoint]
	e.count++
	e.started += int64(o.started)
	if o.flags&(cutStart|cutEnd) != 0 {
		e.cut++
	}
	rec := record{
		start: o.StartNS, end: end, answered: o.answered, goroutine: o.Goroutine, seq: o.seq,
		own: uint32(len(o.uses)), child: uint32(len(o.children)), started: o.started,
		endpoint: o.endpoint, flags: o.flags,
	}
	r.keepSlow(rec, o)
	if mix(o.seq)&r.mask == 0 {
		rec.first = uint32(len(r.uses))
		r.kept = append(r.kept, rec)
		r.uses = append(append(r.uses, o.uses...), o.children...)
		for len(r.kept) > MaxKept || len(r.uses) > maxUses && len(r.kept) > 1 {
			r.thin()
		}
	} else {
		r.forget(rec, o.uses, o.children)
	}
	r.endBorders(o, end)
	r.release(o)
}

// thin drops about every other record. Which ones depends on their number
// alone, and not on what they are like: percentiles of the rest are those of all.
func (r *Recorder) thin() {
	r.mask = r.mask<<1 | 1
	kept, uses := r.kept[:0], r.uses[:0]
	for _, rec := range r.kept {
		if mix(rec.seq)&r.mask != 0 {
			own := r.uses[rec.first : rec.first+rec.own]
			r.forget(rec, own, r.uses[rec.first+rec.own:rec.first+rec.own+rec.child])
			continue
		}
		first := uint32(len(uses))
		uses = append(uses, r.uses[rec.first:rec.first+rec.own+rec.child]...)
		rec.first = first
		kept = append(kept, rec)
	}
	r.kept, r.uses = kept, uses
}

// forget adds a request that is not kept to the sums.
func (r *Recorder) forget(rec record, own, child []use) {
	for _, u := range own {
		r.sums[sumKey{rec.endpoint, u.part, false}] += u.ns
	}
	for _, u := range child {
		r.sums[sumKey{rec.endpoint, u.part, true}] += u.ns
	}
}

// mix is the finaliser of splitmix64: its low bits depend on all bits of n.
func mix(n uint64) uint64 {
	n ^= n >> 30
	n *= 0xbf58476d1ce4e5b9
	n ^= n >> 27
	n *= 0x94d049bb133111eb
	return n ^ n>>31
}

func slower(a, b record) int {
	switch {
	case a.ns() != b.ns():
		if a.ns() > b.ns() {
			return -1
		}
		return 1
	case a.seq < b.seq:
		return -1
	case a.seq > b.seq:
		return 1
	}
	return 0
}

func (r *Recorder) keepSlow(rec record, o *Open) {
	at, _ := slices.BinarySearchFunc(r.slowest, rec, slower)
	if at >= keptSlowest {
		return
	}
	r.slowest = slices.Insert(r.slowest, at, rec)
	r.slow = slices.Insert(r.slow, at, slices.Concat(o.uses, o.children))
	if len(r.slowest) > keptSlowest {
		r.slowest, r.slow = r.slowest[:keptSlowest], r.slow[:keptSlowest]
	}
}

// TotalNS is the time of all requests, whether or not anything was seen of their
// handlers: that of Band All of a table of every endpoint.
func (r *Recorder) TotalNS() int64 {
	var ns int64
	for key, x := range r.sums {
		if !key.child {
			ns += x
		}
	}
	for _, x := range r.kept {
		for _, u := range r.uses[x.first : x.first+x.own] {
			ns += u.ns
		}
	}
	return ns
}
