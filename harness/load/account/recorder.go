package account

import (
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"chokepoint/harness/clock"
)

// Config says what a Recorder has to tell apart.
type Config struct {
	// Behaviours name the badly behaved clients; Exchange.Behaviour i+1 is client i.
	Behaviours []string
	// Stages is the number of stages of the load; 0 is 1.
	Stages int
	// StageAt is the stage in force so many nanoseconds after the attack began. It
	// is called under the Recorder's mutex. Nil: always the first.
	StageAt func(ns int64) int
	// Results takes each well behaved request that ended in the window; false
	// says that it was dropped. It is called under the Recorder's mutex and must
	// not wait. Nil: nobody wants them.
	Results func(Exchange) bool
}

// Recorder keeps the account while the attack runs. Its methods may be called
// from several goroutines.
//
// Times inside are nanoseconds since its base, by Go's monotonic clock, which is
// CLOCK_MONOTONIC.
type Recorder struct {
	cfg      Config
	base     time.Time
	baseMono int64
	elapsed  func() int64 // since base

	over atomic.Uint64 // requests no longer in flight, however they ended

	mu       sync.Mutex
	started  bool
	began    int64 // of the attack
	inFlight int
	sockets  int
	// area makes the integral of in flight over time: at time t that is
	// area + inFlight*t. It may wrap around; differences are right nonetheless.
	area     int64
	ok       int64
	errors   int64
	streak   int64            // failures since the last success
	failures map[string]int64 // by kind
	statuses statuses         // of complete responses that are errors
	stages   []stage
	clients  []client
	second   second
	seconds  []Second
	put      putBy
	win      window
	finished bool // no more seconds after the end

	compacting sync.Mutex // held by whoever puts seconds by; taken before mu
}

// stage is what becomes of the requests due in one stage.
type stage struct {
	sent, ended, errors int64
	times               *times // nil until there is one
}

// client is one kind of badly behaved client, over the window.
type client struct {
	ended    int64
	failures map[string]int64
	inFlight *dense // µs
}

// times are both latencies of the same requests, in µs.
type times struct{ service, corrected *dense }

func newTimes() *times { return &times{service: newDense(), corrected: newDense()} }

func (t *times) reset() {
	t.service.reset()
	t.corrected.reset()
}

// reading is what is recorded of one request in several places.
type reading struct {
	service, corrected             int64 // µs
	serviceBucket, correctedBucket int
}

func readingOf(x *Exchange) reading {
	r := reading{service: clamp(x.ServiceNS() / 1000), corrected: clamp(x.CorrectedNS() / 1000)}
	r.serviceBucket, r.correctedBucket = bucketOf(r.service), bucketOf(r.corrected)
	return r
}

func (t *times) add(r reading) {
	t.service.add(r.serviceBucket, r.service)
	t.corrected.add(r.correctedBucket, r.corrected)
}

// statuses counts by status code. A code of more than three digits, which no
// client lets through, counts as 0.
type statuses [1000]int64

func (s *statuses) add(code int) {
	if code < 0 || code >= len(s) {
		code = 0
	}
	s[code]++
}

// New makes a Recorder. Its base is now.
func New(c Config) *Recorder {
	mono, base := clock.Both()
	c.Stages = max(c.Stages, 1)
	r := &Recorder{
		cfg:  c,
		base: base, baseMono: mono,
		elapsed:  func() int64 { return int64(time.Since(base)) },
		failures: map[string]int64{},
		stages:   make([]stage, c.Stages),
		clients:  make([]client, len(c.Behaviours)),
		second:   second{times: newTimes()},
	}
	for i := range r.clients {
		r.clients[i] = client{failures: map[string]int64{}, inFlight: newDense()}
	}
	return r
}

// Base is the time from which the Recorder counts, for whoever turns the times of
// an Exchange into others.
func (r *Recorder) Base() time.Time { return r.base }

// Now is the time since the base, in nanoseconds.
func (r *Recorder) Now() int64 { return r.elapsed() }

// Mono is a time since the base as CLOCK_MONOTONIC, in nanoseconds.
func (r *Recorder) Mono(sinceBase int64) int64 { return r.baseMono + sinceBase }

// Over counts the requests that are no longer in flight, however they ended.
func (r *Recorder) Over() uint64 { return r.over.Load() }

// Begin marks the beginning of the attack; seconds and stages count from it.
// monoNS is CLOCK_MONOTONIC, in nanoseconds. Processes that name the same time
// have their seconds on the same grid.
func (r *Recorder) Begin(monoNS int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.started = true
	r.began = monoNS - r.baseMono
	r.second.start = r.began
	r.second.area = r.integral(r.began)
}

// Finish ends the series of seconds and a window that is still open.
func (r *Recorder) Finish() {
	r.mu.Lock()
	t := r.elapsed()
	r.advance(t)
	if w := &r.win; w.open {
		w.end = t
		r.closeWindow(t)
	}
	r.win.awaited = false // it will not come
	r.finished = true
	r.mu.Unlock()
	r.compact()
}

func (r *Recorder) integral(t int64) int64 { return r.area + int64(r.inFlight)*t }

// advance does what was to be done by t: it ends seconds and opens and closes the
// window. In flight and sockets have not changed since the event before t, so
// they are as they were at each of these moments.
//
// Times are read with mu held, so that events are recorded in the order of their
// times.
func (r *Recorder) advance(t int64) {
	if w := &r.win; w.awaited && t >= w.start {
		r.openWindow(w.start)
	}
	if w := &r.win; w.open && w.ends && t >= w.end {
		r.closeWindow(w.end)
	}
	if r.started && !r.finished {
		r.endSeconds(t)
	}
}

// Send notes that x leaves: it sets x.Sent and returns it. x.Due and x.Behaviour
// must be set.
func (r *Recorder) Send(x *Exchange) int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	t := r.elapsed()
	r.advance(t)
	r.inFlight++
	r.area -= t
	w := &r.win
	if w.open {
		w.inFlightMax = max(w.inFlightMax, r.inFlight)
	}
	x.Sent = t
	if x.Behaviour > 0 {
		return t
	}
	x.stage = r.stageAt(x)
	r.stages[x.stage].sent++
	r.second.sent++
	if w.open {
		w.sent++
	}
	return t
}

// stageAt is the stage in which x was due.
func (r *Recorder) stageAt(x *Exchange) int {
	if r.cfg.StageAt == nil {
		return 0
	}
	due := x.Due
	if due == 0 {
		due = x.Sent
	}
	return min(max(r.cfg.StageAt(due-r.began), 0), len(r.stages)-1)
}

// leave takes a request out of flight. Called with mu held.
func (r *Recorder) leave() int64 {
	t := r.elapsed()
	r.advance(t)
	r.inFlight--
	r.area += t
	if w := &r.win; w.open {
		w.inFlightMin = min(w.inFlightMin, r.inFlight)
	}
	r.over.Add(1)
	return t
}

// HungUp notes that a request was cancelled because the attack is over: it has no
// result.
func (r *Recorder) HungUp() {
	r.mu.Lock()
	r.leave()
	r.mu.Unlock()
}

// End notes what came of x, which Send has seen: it sets x.Ended, and folds
// x.Failure when there are too many kinds. It returns how many well behaved
// requests in a row have failed.
func (r *Recorder) End(x *Exchange) (streak int64) {
	r.mu.Lock()
	x.Ended = r.leave()
	if x.Behaviour > 0 {
		r.endMisbehaved(x)
	} else {
		r.endPolite(x)
	}
	streak = r.streak
	waiting := len(r.put.waiting) > 0
	r.mu.Unlock()
	if waiting {
		r.compact()
	}
	return streak
}

func (r *Recorder) endPolite(x *Exchange) {
	ok, timed := x.OK(), x.timed()
	s := &r.stages[x.stage]
	s.ended++
	r.second.ended++
	if ok {
		r.ok++
		r.streak = 0
	} else {
		r.errors++
		r.streak++
		s.errors++
		r.second.errors++
		if x.Failure == "" {
			r.statuses.add(x.Code)
		} else {
			x.Failure = count(r.failures, x.Failure)
		}
	}
	var read reading
	if timed {
		read = readingOf(x)
		r.second.times.add(read)
		if s.times == nil {
			s.times = newTimes()
		}
		s.times.add(read)
	}
	if r.win.holds(x.Ended) {
		r.win.add(x, ok, timed, read)
		if r.cfg.Results != nil && !r.cfg.Results(*x) {
			r.win.dropped++
		}
	}
}

func (r *Recorder) endMisbehaved(x *Exchange) {
	if !r.win.holds(x.Ended) {
		return
	}
	c := &r.clients[x.Behaviour-1]
	c.ended++
	c.inFlight.record(x.ServiceNS() / 1000)
	if x.Failure != "" && !x.Misbehaved {
		x.Failure = count(c.failures, x.Failure)
	}
}

// count adds one to kind, or to kindOther when there are too many kinds, and
// returns the kind that was counted.
func count(kinds map[string]int64, kind string) string {
	if _, known := kinds[kind]; !known && len(kinds) >= maxKinds {
		kind = kindOther
	}
	kinds[kind]++
	return kind
}

// Socket notes that a connection was established (+1) or closed (-1).
func (r *Recorder) Socket(change int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.advance(r.elapsed())
	r.sockets += change
	if w := &r.win; w.open {
		w.socketsMin = min(w.socketsMin, r.sockets)
		w.socketsMax = max(w.socketsMax, r.sockets)
	}
}

// Live are the figures as they stand.
type Live struct {
	At   int64 // ns since the base
	Area int64 // the integral of in flight up to it; differences alone mean something

	InFlight int
	Sockets  int
	OK       int64 // since the beginning, as are Errors
	Errors   int64 // failures, and statuses outside 200 to 399
	Streak   int64 // failures since the last success
	Last     Second
	// Kinds counts failures and error statuses ("status 500") since the beginning;
	// nil unless it was asked for.
	Kinds map[string]int64
}

// MeanSince is the mean number of requests in flight between two looks.
func (l Live) MeanSince(from Live) float64 {
	if l.At == from.At {
		return float64(l.InFlight)
	}
	return float64(l.Area-from.Area) / float64(l.At-from.At)
}

// Live looks at the figures. Last is the last whole second, and zero before there
// is one.
func (r *Recorder) Live(withKinds bool) Live {
	r.settle()
	r.mu.Lock()
	defer r.mu.Unlock()
	t := r.elapsed()
	l := Live{
		At: t, Area: r.integral(t), InFlight: r.inFlight, Sockets: r.sockets,
		OK: r.ok, Errors: r.errors, Streak: r.streak,
	}
	if n := r.put.done; n > 0 {
		l.Last = r.seconds[n-1]
	}
	if withKinds {
		l.Kinds = maps.Clone(r.failures)
		for code, n := range r.statuses {
			if n > 0 {
				l.Kinds[statusKind(code)] = n
			}
		}
	}
	return l
}

// settle brings the seconds up to date.
func (r *Recorder) settle() {
	r.mu.Lock()
	r.advance(r.elapsed())
	r.mu.Unlock()
	r.compact()
}
