package account

import (
	"golang.org/x/sys/unix"

	"chokepoint/harness/bundle"
)

// window is what is measured between BeginWindow and EndWindow. Times are ns
// since the Recorder's base.
type window struct {
	named   bool // BeginWindow was called
	awaited bool // and its time has not come
	open    bool
	ends    bool // EndWindow was called
	closed  bool

	start, end int64 // as the caller named them
	from       int64 // when areaFrom was read
	areaFrom   int64
	cpuFrom    int64 // ns

	observed int64 // ns between the two readings of the integral
	area     int64 // of in flight over that time
	cpu      int64 // ns, of this process

	inFlightAtStart, inFlightMin, inFlightMax int
	socketsAtStart, socketsMin, socketsMax    int

	sent, ended, ok int64
	codes           statuses
	failures        map[string]int64
	bytes           *dense
	times           *times
	sendLag, ownLag *dense // µs
	checks          bundle.LoadChecks
	dropped         int64
}

// BeginWindow begins the measurements, which are of requests that end inside the
// window. monoNS is CLOCK_MONOTONIC, in nanoseconds: now, or soon, so that several
// processes can begin at the same moment. There is one window; later calls do
// nothing.
func (r *Recorder) BeginWindow(monoNS int64) {
	w := window{
		named: true, awaited: true, start: monoNS - r.baseMono,
		failures: map[string]int64{}, bytes: newDense(), times: newTimes(), sendLag: newDense(), ownLag: newDense(),
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.win.named || r.finished {
		return
	}
	r.win = w
	if t := r.elapsed(); t >= w.start {
		r.openWindow(t)
	}
}

// EndWindow ends the measurements. monoNS is CLOCK_MONOTONIC, in nanoseconds: now,
// or soon. Later calls do nothing.
func (r *Recorder) EndWindow(monoNS int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	w := &r.win
	if !w.named || w.ends {
		return
	}
	t := r.elapsed()
	r.advance(t)
	w.ends, w.end = true, max(monoNS-r.baseMono, w.start)
	if w.open && t >= w.end {
		r.closeWindow(t)
	}
}

// openWindow opens the window with what stands at t.
func (r *Recorder) openWindow(t int64) {
	w := &r.win
	w.awaited, w.open = false, true
	w.from, w.areaFrom, w.cpuFrom = t, r.integral(t), cpuNS()
	w.inFlightAtStart, w.inFlightMin, w.inFlightMax = r.inFlight, r.inFlight, r.inFlight
	w.socketsAtStart, w.socketsMin, w.socketsMax = r.sockets, r.sockets, r.sockets
}

// closeWindow closes the window with what stands at t.
func (r *Recorder) closeWindow(t int64) {
	w := &r.win
	w.open, w.ends, w.closed = false, true, true
	w.observed, w.area, w.cpu = t-w.from, r.integral(t)-w.areaFrom, cpuNS()-w.cpuFrom
}

// holds says whether a request that ends at t is measured; an open window began
// before.
func (w *window) holds(t int64) bool {
	return (w.open || w.closed) && (!w.ends || t <= w.end)
}

func (w *window) add(x *Exchange, ok, timed bool, read reading) {
	w.ended++
	if ok {
		w.ok++
	}
	if x.Failure == "" {
		w.codes.add(x.Code)
		w.bytes.record(x.BytesIn)
	} else {
		w.failures[x.Failure]++
	}
	if timed {
		w.times.add(read)
	}
	w.sendLag.record(x.SendLagNS() / 1000)
	w.ownLag.record(x.OwnLagNS() / 1000)
	if !x.Checked {
		return
	}
	w.checks.Checked++
	if x.Missing {
		w.checks.Missing++
	}
	if x.Foreign != "" {
		w.checks.Foreign++
		if w.checks.Example == "" {
			w.checks.Example = x.Foreign
		}
	}
}

// cpuNS is the CPU time of this process, user and system.
func cpuNS() int64 {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		return 0 // the kernel refuses only a broken argument
	}
	return u.Utime.Nano() + u.Stime.Nano()
}
