package gotrace

import (
	"golang.org/x/exp/trace"

	"chokepoint/harness/signal/requests"
	"chokepoint/harness/signal/stack"
)

// serving follows goroutines through the requests they serve, and tells the
// recorders what they do in them.
//
// A request of HTTP/1 begins when its connection's goroutine is woken from the
// wait for it, or turns to reading it without a wait, and ends when that
// goroutine turns to the next one. What it turns to is on its stack: at each of
// its own transitions, and whenever it starts or wakes another goroutine. A
// request of HTTP/2 is a goroutine of its own.
type serving struct {
	program stack.Program
	parts   *requests.Parts
	http    *requests.Recorder
	tasks   *requests.Recorder
	kernel  *requests.Kernel

	spans    map[[2]*place]requests.PartID
	derived  map[derivedKey]requests.PartID
	nowhere  *place // stands for the stack that is not known
	openTask map[trace.TaskID]task

	// follows counts, of waits in requests, the stack after each; early is what
	// requests waited for before their goroutine's first stack, by that stack.
	follows map[[2]*place]int64
	early   map[*place]before
	parked  []stack.Frame
}

// before stands for what a request did before the first stack of its goroutine,
// until the end of the trace has shown what others did there: for the wait, and for
// being runnable after it, which is at the same line.
type before struct {
	wait, runnable requests.PartID
	endpoint       requests.EndpointID
}

// beforeNS is how long a goroutine did what, before its first stack.
type beforeNS struct{ waitNS, runnableNS, stoppedNS int64 }

func newServing(p stack.Program, b Beside) *serving {
	parts := requests.NewParts()
	return &serving{
		program: p, parts: parts, kernel: b.Kernel, parked: b.Parked,
		http: requests.NewRecorder(parts), tasks: requests.NewRecorder(parts),
		spans: map[[2]*place]requests.PartID{}, derived: map[derivedKey]requests.PartID{},
		nowhere:  &place{},
		openTask: map[trace.TaskID]task{},
		follows:  map[[2]*place]int64{}, early: map[*place]before{},
	}
}

// phase is how far a request is.
type phase uint8

const (
	reading phase = iota
	handling
	ending
)

// service is what a goroutine has to do with requests.
type service struct {
	open  *requests.Open // the request it serves
	phase phase
	conn  bool // it is a connection's
	http2 bool
	// taken: a handler hijacked the connection; what follows are no requests.
	taken bool
	// woken: the request began with a wake from the wait for it. One that began
	// with an attempt to read is none if a wait follows.
	woken bool
	// early: it was there before the trace, and no stack of it was seen yet.
	early  bool
	before beforeNS // until then

	parent    *requests.Open // the request that started it
	parentSeq uint64
	tasks     []*requests.Open // those it began that are still open

	point  *place // the last stack known, which may be later than goroutine.at
	waited bool   // there, since then

	cursor *requests.Cursor
	asked  bool // for the cursor
}

// child is the request that started the goroutine, if it is still open.
func (v *service) child() *requests.Open {
	if v.parent != nil && v.parent.Seq() != v.parentSeq {
		v.parent = nil
	}
	return v.parent
}

// followed reports whether anything asks for what the goroutine does.
func (v *service) followed() bool {
	return v.open != nil || len(v.tasks) > 0 || v.parent != nil && v.child() != nil
}

// add accounts for ns of the goroutine's time.
func (v *service) add(p requests.PartID, ns int64) {
	if ns <= 0 {
		return
	}
	if v.open != nil {
		v.open.Add(p, ns)
	} else if o := v.child(); o != nil {
		o.AddChild(p, ns)
	}
	for _, t := range v.tasks {
		t.Add(p, ns)
	}
}

// account adds what g did in [from, to). next is the stack it is on at the end;
// nil if that is not known.
func (s *scan) account(id trace.GoID, g *goroutine, from, to int64, next *place, sampled bool) {
	v := &g.service
	w := s.serving
	if w.kernel != nil && (g.state == waiting || g.state == runnable) {
		off := s.offCPU(id, g, from, to)
		w.http.Stray(off.AsleepNS + off.QueuedNS)
	}
	switch g.state {
	case waiting:
		at := g.at
		if at == nil {
			at = v.point
		}
		v.add(w.waitPart(at, g.blamed), to-from)
		v.waited = g.blamed != stack.Runtime
	case runnable:
		stopped := s.sched.stoppedIn(from, to)
		v.add(w.part(v.point, slotStopped), stopped)
		v.add(w.part(v.point, slotRunnable), to-from-stopped)
	case inSyscall:
		p := w.part(g.at, slotSyscall)
		off := s.offCPU(id, g, from, to)
		if off.Zero() {
			v.add(p, to-from)
			return
		}
		name := off.Syscall
		if name == "" && off.Slow != nil {
			name = off.Slow.Syscall
		}
		named := w.derive(requests.Syscall, p, name)
		v.add(named, to-from-off.QueuedNS)
		v.add(w.derive(requests.RunQueue, p, ""), off.QueuedNS)
		s.border(id, g, from, to, true, named, off)
	case running:
		var p requests.PartID
		switch {
		case g.assist > 0:
			p = w.part(v.point, slotAssist)
		case g.stopping:
			p = w.part(v.point, slotStopped)
		case sampled && next != nil && !next.own.IsZero():
			p = w.part(next, slotSample)
		default:
			p = w.span(v.point, next)
		}
		off := s.offCPU(id, g, from, to)
		if off.Zero() {
			v.add(p, to-from)
			return
		}
		v.add(p, to-from-off.AsleepNS-off.QueuedNS)
		v.add(w.derive(requests.ThreadAsleep, p, off.Syscall), off.AsleepNS)
		v.add(w.derive(requests.RunQueue, p, ""), off.QueuedNS)
		s.border(id, g, from, to, false, p, off)
	}
}

// unserved accounts for the time without a CPU of a goroutine of the program that
// serves no request.
func (s *scan) unserved(id trace.GoID, g *goroutine, from, to int64, next *place) {
	w, v := s.serving, &g.service
	ns := to - from
	switch g.state {
	case waiting:
		at := g.at
		if at == nil {
			at = v.point
		}
		w.http.Other(w.waitPart(at, g.blamed), ns)
		return
	case runnable:
		stopped := s.sched.stoppedIn(from, to)
		w.http.Other(w.part(v.point, slotStopped), stopped)
		w.http.Other(w.part(v.point, slotRunnable), ns-stopped)
		return
	}
	var off requests.OffCPU
	if w.kernel != nil {
		off = s.offCPU(id, g, from, to)
	}
	switch {
	case g.state == inSyscall && off.Zero():
		w.http.Other(w.part(g.at, slotSyscall), ns)
	case g.state == inSyscall:
		p := w.part(g.at, slotSyscall)
		name := off.Syscall
		if name == "" && off.Slow != nil {
			name = off.Slow.Syscall
		}
		w.http.Other(w.derive(requests.Syscall, p, name), ns-off.QueuedNS)
		w.http.Other(w.derive(requests.RunQueue, p, ""), off.QueuedNS)
	case !off.Zero():
		p := w.span(v.point, next)
		w.http.Other(w.derive(requests.ThreadAsleep, p, off.Syscall), off.AsleepNS)
		w.http.Other(w.derive(requests.RunQueue, p, ""), off.QueuedNS)
	}
}

func (s *scan) offCPU(id trace.GoID, g *goroutine, from, to int64) requests.OffCPU {
	v := &g.service
	if !v.asked {
		v.asked = true
		v.cursor = s.serving.kernel.Of(int64(id))
	}
	return v.cursor.In(from, to)
}

func (s *scan) border(id trace.GoID, g *goroutine, from, to int64, inSyscall bool, p requests.PartID, off requests.OffCPU) {
	v := &g.service
	s.serving.http.Joined(off.AsleepNS + off.QueuedNS)
	if v.open != nil {
		s.serving.http.Border(v.open, int64(id), from, to, inSyscall, p, off, false)
	} else if o := v.child(); o != nil {
		s.serving.http.Border(o, int64(id), from, to, inSyscall, p, off, true)
	}
}

// touch learns where g is from something it does to another goroutine.
func (s *scan) touch(id trace.GoID, g *goroutine, at *place, now int64, sampled bool) {
	if at == nil || g.state != running {
		return
	}
	if at.stage != stack.NoStage || g.service.followed() {
		s.chargeTo(id, g, now, at, sampled)
	}
	s.reach(id, g, at, now, false)
	if at.answers {
		g.service.answers(now)
	}
}

// reach follows a goroutine to a stack. wait says that it waits there.
func (s *scan) reach(id trace.GoID, g *goroutine, at *place, now int64, wait bool) {
	if at == nil {
		return
	}
	v := &g.service
	if v.waited && v.open != nil && v.point != nil {
		s.serving.followed(v.point, at)
	}
	before := v.point
	v.point, v.waited = at, false
	early := v.early
	if at.stage != stack.NoStage && at.stage != stack.Passing {
		v.early = false // what is between two stages does not say that a request is over
	}
	if at.stage == stack.NoStage && v.open == nil {
		if o := v.child(); o != nil && at.rank > 0 {
			s.serving.http.At(o, at.endpoint, at.rank) // under http.TimeoutHandler
		}
		return
	}
	if v.taken {
		return
	}
	if g.diag {
		if v.open != nil {
			s.serving.http.Diagnostic()
			s.drop(v)
		}
		return
	}
	v.conn = v.conn || at.stage != stack.NoStage
	switch at.stage {
	case stack.Awaiting:
		s.turned(v, now)
		switch {
		case wait:
			s.drop(v)
		case v.open == nil:
			s.beginSince(id, g, now, reading)
		}
	case stack.Reading:
		s.turned(v, now)
		switch {
		case v.open == nil && !wait:
			s.beginSince(id, g, now, reading)
		case wait && !v.woken:
			s.drop(v)
		}
	case stack.Starting:
		if before == nil || before.stage != stack.Starting { // it may be descheduled there
			s.turned(v, now)
		}
		if v.open == nil {
			s.beginSince(id, g, now, handling)
		}
		v.phase = max(v.phase, handling)
	case stack.Handling, stack.Ending:
		if at.stage == stack.Handling && v.open != nil && v.phase == ending {
			// All of the next one was there already, in a buffer of TLS say, and nothing
			// was seen of how it was read.
			s.turned(v, now)
			s.begin(id, v, now, handling)
		}
		if v.open == nil {
			s.found(id, g, at, now, early)
		}
		if at.stage == stack.Ending {
			v.phase = ending
		} else {
			v.phase = max(v.phase, handling)
			s.serving.http.At(v.open, at.endpoint, at.rank)
		}
	case stack.Hijacking:
		v.taken = true
		s.serving.http.Hijacked()
		s.drop(v)
	case stack.Connection:
		s.turned(v, now)
		s.drop(v)
	}
}

func (s *scan) begin(id trace.GoID, v *service, now int64, p phase) {
	v.open = s.serving.http.Begin(now, int64(id))
	v.phase, v.woken = p, false
}

// beginSince is begin for a goroutine of which the trace may tell only now where it
// has been since an earlier time: what is not charged yet is the request's.
func (s *scan) beginSince(id trace.GoID, g *goroutine, now int64, p phase) {
	since := min(now, g.since)
	s.begin(id, &g.service, since, p)
	if since < now && since == s.sum.StartNS {
		g.service.open.CutStart()
	}
}

// found opens a request whose beginning was not seen.
func (s *scan) found(id trace.GoID, g *goroutine, at *place, now int64, early bool) {
	v := &g.service
	if !early {
		s.begin(id, v, now, handling)
		return
	}
	s.begin(id, v, s.sum.StartNS, handling)
	v.open.CutStart()
	// What is charged already was not known to be a request's, nor where it was.
	charged := g.since - s.sum.StartNS
	if charged == 0 {
		return
	}
	if g.state == waiting {
		// It has been waiting here all the time: the trace said so only now.
		v.open.Add(s.serving.part(at, slotWait), charged)
		return
	}
	b, known := s.serving.early[at]
	if !known {
		b = s.serving.before()
		s.serving.early[at] = b
	}
	v.open.Add(b.wait, v.before.waitNS)
	v.open.Add(b.runnable, v.before.runnableNS)
	v.open.Add(s.serving.part(nil, slotStopped), v.before.stoppedNS)
	v.open.Add(requests.PartNotSeen, charged-v.before.waitNS-v.before.runnableNS-v.before.stoppedNS)
	s.serving.http.Guess(v.open, b.endpoint)
}

// before numbers what is to be told at the end of the trace.
func (w *serving) before() before {
	notSeen := w.parts.Get(requests.PartNotSeen)
	runnable := notSeen
	runnable.Kind, runnable.Cause = requests.Runnable, ""
	return before{wait: w.parts.Add(notSeen), runnable: w.parts.Add(runnable), endpoint: w.http.Unresolved()}
}

const (
	// alikeShare and alikeCount are how many of the waits that one stack follows
	// must have been at one line for a wait that nothing was seen of to be taken for
	// another of these; likewise of the goroutines in a profile.
	alikeShare = 0.95
	alikeCount = 10
)

// followed counts that a wait at one place was followed by another place.
func (w *serving) followed(at, next *place) {
	pair := [2]*place{at, next}
	if n := w.follows[pair]; n > 0 || len(w.follows) < maxPairs {
		w.follows[pair] = n + 1
	}
}

// resolve tells, as far as can be, what requests waited for before the trace
// began. A trace tells the stack of a goroutine that was waiting already only if
// it goes on to wait; of one that is woken, it tells what it came to next. If
// nearly all the waits that this came after in the trace were at one line, so was
// this one. Else it is where nearly all goroutines stood that were in a handler
// when the goroutine profile was taken.
func (w *serving) resolve() {
	type site struct {
		own  stack.Frame
		wait stack.Wait
	}
	type tally struct {
		all   int64
		sites map[site]int64
		best  map[site]*place
		most  map[site]int64
	}
	seen := map[*place]*tally{}
	for pair, n := range w.follows {
		at, next := pair[0], pair[1]
		if _, wanted := w.early[next]; !wanted {
			continue
		}
		x := seen[next]
		if x == nil {
			x = &tally{sites: map[site]int64{}, best: map[site]*place{}, most: map[site]int64{}}
			seen[next] = x
		}
		k := site{at.own, at.wait}
		x.all += n
		x.sites[k] += n
		if m := x.most[k]; n > m || n == m && lessFrames(at.frames, x.best[k].frames) {
			x.most[k], x.best[k] = n, at
		}
	}
	for next, b := range w.early {
		if x := seen[next]; x != nil && x.all >= alikeCount {
			for k, n := range x.sites {
				if float64(n) >= alikeShare*float64(x.all) {
					w.become(b, x.best[k].frames, requests.ByPattern)
				}
			}
			if w.parts.Get(b.wait).Basis == requests.ByPattern {
				continue
			}
		}
		if len(w.parked) > 0 {
			w.become(b, w.parked, requests.ByProfile)
		}
	}
}

func (w *serving) become(b before, frames []stack.Frame, basis requests.Basis) {
	p := requests.Part{Kind: requests.WaitKind(w.program.WaitOf(frames)), Where: w.program.Own(frames), Frames: frames, Basis: basis}
	if p.Where.IsZero() {
		p.Cause = library(frames)
	}
	w.parts.Set(b.wait, p)
	p.Kind = requests.Runnable
	w.parts.Set(b.runnable, p)
	if f, rank := w.program.Endpoint(frames); rank > 0 {
		w.http.Resolve(b.endpoint, f)
	}
}

// turned ends the request of a goroutine that has turned to the next one, or
// away from requests. One whose handler was not reached goes on.
func (s *scan) turned(v *service, now int64) {
	if v.open != nil && v.phase >= handling {
		s.serving.http.End(v.open, now, false)
		v.open = nil
	}
}

func (s *scan) drop(v *service) {
	if v.open != nil {
		s.serving.http.Drop(v.open)
		v.open = nil
	}
}

// awoken begins a request where a connection's goroutine is woken from the wait
// for one.
func (s *scan) awoken(id trace.GoID, g *goroutine, now int64) {
	v := &g.service
	if !v.conn || v.open != nil || v.taken || g.diag || g.at == nil {
		return
	}
	if g.at.stage == stack.Awaiting || g.at.stage == stack.Reading {
		s.begin(id, v, now, reading)
		v.woken = true
	}
}

// inherit gives a new goroutine to the request that its creator serves.
func (s *scan) inherit(ev *trace.Event, id trace.GoID, g *goroutine, start *place, now int64) {
	by := s.place(ev.Stack())
	if by == nil {
		return
	}
	if creator := s.goroutine(ev.Goroutine()); creator != nil {
		s.touch(ev.Goroutine(), creator, by, now, false)
		v := &creator.service
		o := v.open
		if o == nil || v.phase != handling {
			o = v.child()
		}
		if o != nil && (start == nil || !start.background) {
			o.ChildStarted()
			g.service.parent, g.service.parentSeq = o, o.Seq()
			g.joins(creator, now)
		}
	}
	if by.startsHTTP2 {
		s.serving.http.HTTP2()
		s.begin(id, &g.service, now, handling)
		g.service.http2 = true
	}
}

// left ends what a goroutine that ended was part of.
func (s *scan) left(g *goroutine, now int64) {
	v := &g.service
	g.leaves(now)
	if o := v.child(); o != nil {
		o.ChildEnded()
	}
	s.turned(v, now)
	s.drop(v)
}

// cut closes what the end of the trace leaves open.
func (s *scan) cut(g *goroutine) {
	v := &g.service
	if v.open == nil {
		return
	}
	if v.phase < handling {
		s.drop(v)
		return
	}
	s.serving.http.End(v.open, s.last, true)
	v.open = nil
}
