package load

import (
	"math"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"golang.org/x/sys/unix"

	"chokepoint/harness/bundle"
	"chokepoint/harness/clock"
)

// exchange is one request and what came of it.
type exchange struct {
	seq      uint64 // vegeta's number of it
	method   string
	url      string
	sent     int64 // ns since the recorder's base
	ended    int64
	code     int // 0: no complete response
	bytesOut int64
	bytesIn  int64
	failure  string // a kind; empty: a complete response, of whatever status
	checked  bool
	missing  bool
	foreign  string // what was seen of another request's token
}

func (x *exchange) ok() bool {
	return x.failure == "" && x.code >= 200 && x.code < 400
}

// recorder keeps the account. Everything passes through one mutex, held for well
// under a microsecond, so that in flight, its integral and its extremes are
// exact.
//
// Times inside are nanoseconds since base, by Go's monotonic clock, which is
// CLOCK_MONOTONIC.
type recorder struct {
	base     time.Time
	baseMono int64
	elapsed  func() int64                 // since base
	due      func(n uint64) time.Duration // since the attack began; nil in a closed loop
	results  func(exchange) bool          // takes what ended in the window; false: dropped

	ended atomic.Uint64 // all that are no longer in flight, however they ended

	mu       sync.Mutex
	began    int64 // of the attack
	inFlight int
	sockets  int
	// area makes the integral of in flight over time: at time t that is
	// area + inFlight*t. It may wrap around; differences are right nonetheless.
	area     int64
	ok       int64
	errors   int64
	streak   int64 // failures since the last success
	kinds    map[string]int64
	second   second
	seconds  []bundle.LoadSecond
	win      window
	finished bool // no more seconds after the end
}

// second is the running second.
type second struct {
	start   int64
	area    int64 // the integral at its start
	ended   int64
	errors  int64
	latency *hdrhistogram.Histogram
}

// window is what was measured between BeginWindow and EndWindow.
type window struct {
	begun, closed bool
	start, end    int64 // as the caller named them
	areaStart     int64
	areaFrom      int64 // when areaStart was read
	cpuStart      float64

	inFlightAtStart, socketsAtStart int
	inFlightMin, inFlightMax        int
	socketsMin, socketsMax          int
	inFlightMean                    float64
	cpuSeconds                      float64

	ended, ok int64
	byCode    map[int]int64
	byError   map[string]int64
	bytes     tally // bytes
	latency   tally // µs
	corrected tally // µs
	lag       tally // µs
	checks    bundle.LoadChecks
	dropped   int64
}

func (w *window) open() bool { return w.begun && !w.closed }

// Latencies are recorded in microseconds up to an hour, sizes in bytes up to a
// TiB, both to three digits.
const (
	maxLatencyUS = int64(time.Hour / time.Microsecond)
	maxBodyBytes = 1 << 40
	digits       = 3
)

func newLatencies() *hdrhistogram.Histogram { return hdrhistogram.New(1, maxLatencyUS, digits) }

func newRecorder(due func(uint64) time.Duration) *recorder {
	mono, base := clock.Both()
	return &recorder{
		base: base, baseMono: mono,
		elapsed: func() int64 { return int64(time.Since(base)) },
		due:     due,
		results: func(exchange) bool { return true },
		kinds:   map[string]int64{},
		second:  second{latency: newLatencies()},
	}
}

// now is the time since base. It is called with mu held, so that events are
// recorded in the order of their times.
func (r *recorder) now() int64 { return r.elapsed() }

// begin marks the beginning of the attack.
func (r *recorder) begin() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.began = r.now()
	r.second.start = r.began
	r.second.area = r.integral(r.began)
}

// finish ends the series of seconds.
func (r *recorder) finish() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.advance(r.now())
	r.finished = true
}

func (r *recorder) integral(t int64) int64 { return r.area + int64(r.inFlight)*t }

// send notes that a request leaves and returns the time.
func (r *recorder) send() int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	t := r.now()
	r.advance(t)
	r.inFlight++
	r.area -= t
	if r.win.open() {
		r.win.inFlightMax = max(r.win.inFlightMax, r.inFlight)
	}
	return t
}

// leave takes a request out of flight. Called with mu held.
func (r *recorder) leave() int64 {
	t := r.now()
	r.advance(t)
	r.inFlight--
	r.area += t
	if r.win.open() {
		r.win.inFlightMin = min(r.win.inFlightMin, r.inFlight)
	}
	r.ended.Add(1)
	return t
}

// hungUp notes that a request was cancelled by Stop: it has no result.
func (r *recorder) hungUp() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.leave()
}

// end notes the result of a request and returns how many requests in a row have
// failed.
func (r *recorder) end(x exchange) int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	x.ended = r.leave()
	ok := x.ok()
	if ok {
		r.ok++
		r.streak = 0
	} else {
		r.errors++
		r.streak++
		r.second.errors++
		x.failure = countKind(r.kinds, x.failure, x.code)
	}
	us := clamp((x.ended-x.sent)/1000, maxLatencyUS)
	r.second.ended++
	record(r.second.latency, us)
	r.recordInWindow(&x, ok, us)
	return r.streak
}

// countKind counts a failure, or a status that is one, under its kind, or under
// kindOther when there are too many kinds. It returns the failure so counted.
func countKind(kinds map[string]int64, failure string, code int) string {
	kind := failure
	if kind == "" {
		kind = "status " + strconv.Itoa(code)
	}
	if _, known := kinds[kind]; !known && len(kinds) >= maxKinds {
		kind = kindOther
		if failure != "" {
			failure = kindOther
		}
	}
	kinds[kind]++
	return failure
}

func (r *recorder) recordInWindow(x *exchange, ok bool, us int64) {
	w := &r.win
	if !w.begun || x.ended < w.start || w.closed && x.ended > w.end {
		return
	}
	w.ended++
	if ok {
		w.ok++
	}
	if x.failure != "" {
		w.byError[x.failure]++
	} else {
		w.byCode[x.code]++
		w.bytes.add(clamp(x.bytesIn, maxBodyBytes))
	}
	w.latency.add(us)
	if r.due != nil {
		lag := max(0, x.sent-r.began-int64(r.due(x.seq)))
		w.lag.add(clamp(lag/1000, maxLatencyUS))
		w.corrected.add(clamp((x.ended-x.sent+lag)/1000, maxLatencyUS))
	}
	if x.checked {
		w.checks.Checked++
		if x.missing {
			w.checks.Missing++
		}
		if x.foreign != "" {
			w.checks.Foreign++
			if w.checks.Example == "" {
				w.checks.Example = x.foreign
			}
		}
	}
	if !r.results(*x) {
		w.dropped++
	}
}

// socket notes that a connection was opened (+1) or closed (-1).
func (r *recorder) socket(change int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.advance(r.now())
	r.sockets += change
	if r.win.open() {
		r.win.socketsMin = min(r.win.socketsMin, r.sockets)
		r.win.socketsMax = max(r.win.socketsMax, r.sockets)
	}
}

// advance closes the seconds that have ended by t. What it closes has seen every
// event up to its end, because events are recorded in the order of their times.
func (r *recorder) advance(t int64) {
	if r.began == 0 || r.finished {
		return
	}
	for s := &r.second; t >= s.start+int64(time.Second); {
		end := s.start + int64(time.Second)
		area := r.integral(end)
		closed := bundle.LoadSecond{
			StartNS:     r.baseMono + s.start,
			InFlight:    int(math.Round(float64(area-s.area) / 1e9)),
			OpenSockets: r.sockets,
			Ended:       s.ended,
			Errors:      s.errors,
		}
		if s.ended > 0 {
			closed.LatencyP50 = seconds(s.latency.ValueAtQuantile(50))
			closed.LatencyP99 = seconds(s.latency.ValueAtQuantile(99))
			s.latency.Reset()
		}
		r.seconds = append(r.seconds, closed)
		s.start, s.area, s.ended, s.errors = end, area, 0, 0
	}
}

func (r *recorder) beginWindow(monoNS int64) {
	cpu := cpuSeconds()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.win.begun {
		return
	}
	t := r.now()
	r.win = window{
		begun: true,
		start: monoNS - r.baseMono, areaFrom: t, areaStart: r.integral(t), cpuStart: cpu,
		inFlightAtStart: r.inFlight, inFlightMin: r.inFlight, inFlightMax: r.inFlight,
		socketsAtStart: r.sockets, socketsMin: r.sockets, socketsMax: r.sockets,
		byCode: map[int]int64{}, byError: map[string]int64{},
		bytes:   tally{hist: hdrhistogram.New(1, maxBodyBytes, digits)},
		latency: tally{hist: newLatencies()}, corrected: tally{hist: newLatencies()}, lag: tally{hist: newLatencies()},
	}
}

func (r *recorder) endWindow(monoNS int64) {
	cpu := cpuSeconds()
	r.mu.Lock()
	defer r.mu.Unlock()
	w := &r.win
	if !w.begun || w.closed {
		return
	}
	t := r.now()
	w.closed = true
	w.end = monoNS - r.baseMono
	w.cpuSeconds = cpu - w.cpuStart
	if t > w.areaFrom {
		w.inFlightMean = float64(r.integral(t)-w.areaStart) / float64(t-w.areaFrom)
	}
}

// monoNow is the present CLOCK_MONOTONIC.
func (r *recorder) monoNow() int64 { return r.baseMono + r.now() }

// windowBounds is the window as it was named, and whether there was one.
func (r *recorder) windowBounds() (bundle.Window, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.win.begun {
		return bundle.Window{}, false
	}
	return bundle.Window{StartNS: r.baseMono + r.win.start, EndNS: r.baseMono + r.win.end}, true
}

// dropped counts results inside the window that could not be queued.
func (r *recorder) dropped() int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.win.dropped
}

// live are the figures as they stand.
type live struct {
	at, area           int64 // the time, and the integral of in flight up to it
	inFlight, sockets  int
	ok, errors, streak int64
	last               bundle.LoadSecond // the last whole second; zero before there is one
	kinds              map[string]int64  // copied when asked for
}

// meanSince is the mean number of requests in flight between two looks.
func (l live) meanSince(from live) float64 {
	return float64(l.area-from.area) / float64(l.at-from.at)
}

// live looks at the figures; the kinds of failure are copied if they are wanted.
func (r *recorder) live(withKinds bool) live {
	r.mu.Lock()
	defer r.mu.Unlock()
	t := r.now()
	r.advance(t)
	l := live{at: t, area: r.integral(t), inFlight: r.inFlight, sockets: r.sockets, ok: r.ok, errors: r.errors, streak: r.streak}
	if n := len(r.seconds); n > 0 {
		l.last = r.seconds[n-1]
	}
	if withKinds {
		l.kinds = make(map[string]int64, len(r.kinds))
		for kind, n := range r.kinds {
			l.kinds[kind] = n
		}
	}
	return l
}

// summary is the account of the window and of every whole second.
func (r *recorder) summary() bundle.Load {
	r.mu.Lock()
	defer r.mu.Unlock()
	w := &r.win
	out := bundle.Load{
		Reached: bundle.LoadReached{
			InFlightMin: w.inFlightMin, InFlightMean: w.inFlightMean, InFlightMax: w.inFlightMax,
			OpenSocketsMin: w.socketsMin, OpenSocketsMax: w.socketsMax,
			InFlightAtCapture: w.inFlightAtStart, SocketsAtCapture: w.socketsAtStart,
		},
		Requests: bundle.LoadRequests{
			Ended: w.ended, OK: w.ok,
			ByCode: make(map[string]int64, len(w.byCode)), ByError: w.byError,
		},
		ResponseBytes:    w.bytes.distribution(1),
		LatencySeconds:   w.latency.distribution(1e-6),
		CorrectedSeconds: w.corrected.distribution(1e-6),
		Checks:           w.checks,
		Generator: bundle.GeneratorHealth{
			CPUSeconds: w.cpuSeconds, ResultsDropped: w.dropped,
			SendLagP99: w.lag.distribution(1e-6).P99,
		},
		Seconds: r.seconds,
	}
	if w.end > w.start {
		out.Reached.RateHz = float64(w.ended) / (time.Duration(w.end - w.start).Seconds())
	}
	for code, n := range w.byCode {
		out.Requests.ByCode[strconv.Itoa(code)] = n
	}
	return out
}

// tally is a histogram with the exact sum and maximum.
type tally struct {
	hist     *hdrhistogram.Histogram
	sum, max int64
}

func (t *tally) add(v int64) {
	record(t.hist, v)
	t.sum += v
	t.max = max(t.max, v)
}

// distribution is the tally with its values multiplied by unit.
func (t *tally) distribution(unit float64) bundle.Distribution {
	if t.hist == nil || t.hist.TotalCount() == 0 {
		return bundle.Distribution{}
	}
	n := t.hist.TotalCount()
	at := func(percentile float64) float64 {
		// A histogram answers with the upper end of a bucket.
		return float64(min(t.hist.ValueAtQuantile(percentile), t.max)) * unit
	}
	return bundle.Distribution{
		Count: n, Mean: float64(t.sum) / float64(n) * unit,
		P50: at(50), P90: at(90), P99: at(99), P999: at(99.9), Max: float64(t.max) * unit,
	}
}

func record(h *hdrhistogram.Histogram, v int64) {
	// Values are clamped to the histogram's range, so it cannot refuse one.
	_ = h.RecordValue(v)
}

func clamp(v, most int64) int64 { return min(max(v, 0), most) }

func seconds(us int64) float64 { return float64(us) / 1e6 }

// cpuSeconds is the CPU time of this process, user and system.
func cpuSeconds() float64 {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()).Seconds()
}
