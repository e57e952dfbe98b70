package load

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sort"
	"strings"
	"sync"
	"time"

	vegeta "github.com/tsenart/vegeta/v12/lib"

	"chokepoint/harness/bundle"
)

const (
	// reachedShare of the requests asked for counts as having reached them: a
	// request that has just ended is not in flight until its successor leaves.
	reachedShare = 0.99
	// reachedHold is how long a closed loop must stay there.
	reachedHold = time.Second
	// hopelessAfter is how long nothing may get better, while requests fail,
	// before WaitReached gives up.
	hopelessAfter = 3 * time.Second
	// hopelessStreak is the least number of failures in a row that can be hopeless.
	hopelessStreak = 10

	// When every request in flight has failed in turn without one success, each
	// slot pauses; by this much more for every further round, up to the most.
	pauseStep = 100 * time.Millisecond
	pauseMost = 5 * time.Second
)

// Generator runs one attack. Its methods may be called from several goroutines.
type Generator struct {
	cfg       Config
	openFiles int64
	rec       *recorder
	pace      *pacer

	hopelessAfter time.Duration // a field for tests alone

	mu       sync.Mutex
	attack   *attack // nil before Start
	reached  bool
	reason   string // why not
	waitDone bool   // WaitReached has given an answer
}

// attack is what runs between Start and Stop.
type attack struct {
	attacker *vegeta.Attacker
	hangUp   context.CancelCauseFunc
	conns    *connections
	pool     *http.Transport
	results  *resultFile
	ended    chan struct{} // closed when vegeta's workers have ended

	once    sync.Once     // of Stop
	stopped chan struct{} // closed when nothing is left
}

// Status is the attack as it stands, for live progress.
type Status struct {
	InFlight    int
	OpenSockets int
	// RateHz, P50 and P99 are of requests that ended in the last whole second.
	RateHz float64
	P50    time.Duration
	P99    time.Duration
	// OK and Errors count results since the start; an error is a failure or a
	// status outside 200 to 399.
	OK     int64
	Errors int64
}

// New checks c and that this process may open enough files for it; it raises
// the process's soft limit to the hard one if that is needed.
func New(c Config) (*Generator, error) {
	c, err := c.validate()
	if err != nil {
		return nil, err
	}
	limit, err := raiseOpenFiles(c.InFlight)
	if err != nil {
		return nil, err
	}
	g := &Generator{cfg: c, openFiles: limit, hopelessAfter: hopelessAfter}
	g.pace = &pacer{inFlight: c.InFlight, rateHz: c.RateHz, ramp: c.Ramp}
	if c.RateHz > 0 {
		g.rec = newRecorder(g.pace.due)
	} else {
		g.rec = newRecorder(nil)
	}
	g.pace.ended = &g.rec.ended
	return g, nil
}

// Start begins the attack and returns. It goes on until Stop; when ctx ends it
// is hung up, but Stop must still be called to wait for the end.
func (g *Generator) Start(ctx context.Context) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.attack != nil {
		return errors.New("load: an attack is started once; make a new Generator")
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("load: start: %w", err)
	}
	results, err := newResultFile(g.rec.base)
	if err != nil {
		return err
	}
	g.rec.results = results.add

	ctx, hangUp := context.WithCancelCause(ctx)
	g.pace.done = ctx.Done()
	conns := &connections{ctx: ctx, rec: g.rec, open: map[*conn]struct{}{}}
	conns.dialer = net.Dialer{Timeout: g.cfg.Timeout, KeepAlive: -1}
	pool := newPool(conns, g.cfg.InFlight)
	m := &meter{pool: pool, rec: g.rec, ctx: ctx, timeout: g.cfg.Timeout, pause: g.pause}
	workers := g.cfg.InFlight
	if g.cfg.RateHz == 0 {
		m.slots = make(chan struct{}, g.cfg.InFlight)
		workers += spare(g.cfg.InFlight)
	}
	client := &http.Client{
		Transport: m,
		// A redirect is the answer: following it could leave the target.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	a := &attack{
		attacker: vegeta.NewAttacker(
			vegeta.Client(client), // first: other options write into the client
			vegeta.Workers(1),     // vegeta starts more as they are needed
			vegeta.MaxWorkers(uint64(workers)),
			vegeta.MaxBody(0), // bodies are read and counted, not kept
		),
		hangUp: hangUp, conns: conns, pool: pool, results: results,
		ended: make(chan struct{}), stopped: make(chan struct{}),
	}
	g.rec.begin()
	stream := a.attacker.Attack(newTargeter(g.cfg), g.pace, 0, "")
	go func() {
		defer close(a.ended)
		for range stream { // the meter has measured it already
		}
	}()
	g.attack = a
	return nil
}

// spare is how many of a closed loop's workers stand ready with their next
// request while inFlight others are in flight: as many as may end in one burst.
// With a sixteenth, a stall of the machine that made 1,200 responses come at once
// left 1,200 of 10,000 slots empty for a moment; a spare worker costs about 4 KiB.
func spare(inFlight int) int { return max(4, inFlight/4) }

// pause is how long a slot of the closed loop is held back after streak failures
// in a row, over all slots. An open loop sends at its rate whatever happens.
func (g *Generator) pause(streak int64) time.Duration {
	rounds := streak / int64(g.cfg.InFlight)
	return min(time.Duration(min(rounds, 1000))*pauseStep, pauseMost)
}

// goal is the number in flight, and of sockets, that counts as reached.
func (g *Generator) goal() int {
	return max(1, int(reachedShare*float64(g.cfg.InFlight)))
}

// WaitReached waits until at least 99% of the requests asked for are in flight,
// over as many open sockets, and in a closed loop stay so for a second. The error
// says what was reached, in how long, and what is likely to be in the way. It
// comes when ctx ends, or earlier when nothing but failures arrives and nothing
// gets better any more.
func (g *Generator) WaitReached(ctx context.Context) error {
	g.mu.Lock()
	a := g.attack
	g.mu.Unlock()
	if a == nil {
		return errors.New("load: wait for concurrency: the attack has not been started")
	}
	err := g.waitReached(ctx, a)
	g.mu.Lock()
	defer g.mu.Unlock()
	g.waitDone = true
	g.reached, g.reason = err == nil, ""
	if err != nil {
		g.reason = err.Error()
	}
	return err
}

func (g *Generator) waitReached(ctx context.Context, a *attack) error {
	const every = 20 * time.Millisecond
	tick := time.NewTicker(every)
	defer tick.Stop()
	var (
		start  = time.Now()
		goal   = g.goal()
		from   live // when the goal was reached
		inGoal bool
		best   int // the most in flight over open sockets so far
		ok     int64
		better = start // when something last got better
	)
	for {
		now := g.rec.live(false)
		height := min(now.inFlight, now.sockets)
		if height > best || now.ok > ok {
			best, ok, better = max(best, height), now.ok, time.Now()
		}
		switch {
		case !inGoal:
			inGoal, from = height >= goal, now
			if inGoal && g.cfg.RateHz > 0 {
				return nil
			}
		case now.sockets < goal || now.inFlight < goal*9/10:
			inGoal = false
		case now.at-from.at >= int64(reachedHold):
			// Staying is judged by the mean: between two requests a slot is empty
			// for a moment, and a single look may find many such moments.
			if now.meanSince(from) >= float64(goal) {
				return nil
			}
			inGoal = false
		}
		if !inGoal && now.streak >= hopelessStreak && time.Since(better) >= g.hopelessAfter {
			return g.notReached(start, best, "all requests fail", nil)
		}
		select {
		case <-ctx.Done():
			return g.notReached(start, best, "", context.Cause(ctx))
		case <-a.ended:
			return g.notReached(start, best, "the attack has ended", nil)
		case <-tick.C:
		}
	}
}

// notReached tells what was asked for and what was seen.
func (g *Generator) notReached(start time.Time, best int, headline string, cause error) error {
	l := g.rec.live(true)
	var text strings.Builder
	fmt.Fprintf(&text, "load: asked for %d requests in flight, reached %d (at best %d) over %d open sockets after %s",
		g.cfg.InFlight, l.inFlight, best, l.sockets, time.Since(start).Round(100*time.Millisecond))
	if headline != "" {
		fmt.Fprintf(&text, "; %s", headline)
	}
	if why := g.likely(l); why != "" {
		fmt.Fprintf(&text, "; %s", why)
	}
	if cause != nil {
		return fmt.Errorf("%s: %w", text.String(), cause)
	}
	return errors.New(text.String())
}

// likely says what the figures suggest stands in the way.
func (g *Generator) likely(l live) string {
	var why []string
	if l.errors > 0 {
		why = append(why, fmt.Sprintf("%d of %d requests failed: %s", l.errors, l.errors+l.ok, topKinds(l.kinds, 3)))
	}
	mends := map[string]string{
		kindFiles:   fmt.Sprintf("this process may open %d files; raise that with `ulimit -n`", g.openFiles),
		kindPorts:   "ephemeral ports are used up; wait a minute for sockets in TIME_WAIT to go, or widen net.ipv4.ip_local_port_range",
		kindRefused: "the target does not listen at " + g.cfg.BaseURL,
	}
	for _, kind := range []string{kindFiles, kindPorts, kindRefused} {
		if l.kinds[kind] > 0 {
			why = append(why, mends[kind])
		}
	}
	if l.errors > 0 {
		return strings.Join(why, "; ")
	}
	p50 := time.Duration(l.last.LatencyP50 * float64(time.Second))
	switch {
	case l.inFlight >= g.goal() && l.sockets < g.goal():
		why = append(why, "requests wait for a connection: the target is slow to accept")
	case g.cfg.RateHz > 0 && l.last.Ended > 0:
		why = append(why, fmt.Sprintf("half of the responses take no longer than %s, and %g/s for that long makes about %.0f in flight; raise the rate",
			p50, g.cfg.RateHz, g.cfg.RateHz*l.last.LatencyP50))
	case l.last.Ended > 0:
		why = append(why, fmt.Sprintf("%d responses/s, half of them within %s: the target answers faster than the generator can send, or the ramp of %s has not ended",
			l.last.Ended, p50, g.cfg.Ramp))
	default:
		why = append(why, fmt.Sprintf("no request has failed; the ramp takes %s", g.cfg.Ramp))
	}
	return strings.Join(why, "; ")
}

// topKinds lists the n most frequent kinds.
func topKinds(kinds map[string]int64, n int) string {
	names := make([]string, 0, len(kinds))
	for name := range kinds {
		names = append(names, name)
	}
	sort.Slice(names, func(i, j int) bool {
		a, b := names[i], names[j]
		return kinds[a] > kinds[b] || kinds[a] == kinds[b] && a < b
	})
	parts := make([]string, 0, n)
	for _, name := range names[:min(n, len(names))] {
		parts = append(parts, fmt.Sprintf("%s (%d)", name, kinds[name]))
	}
	if len(names) > n {
		parts = append(parts, fmt.Sprintf("%d more kinds", len(names)-n))
	}
	return strings.Join(parts, ", ")
}

// BeginWindow begins the measurements, which are of requests that end inside
// the window. monoNS is the present CLOCK_MONOTONIC. An attack has one window;
// later calls do nothing.
func (g *Generator) BeginWindow(monoNS int64) { g.rec.beginWindow(monoNS) }

// EndWindow ends the measurements. monoNS is the present CLOCK_MONOTONIC.
func (g *Generator) EndWindow(monoNS int64) { g.rec.endWindow(monoNS) }

// Status tells how the attack stands.
func (g *Generator) Status() Status {
	l := g.rec.live(false)
	return Status{
		InFlight: l.inFlight, OpenSockets: l.sockets,
		RateHz: float64(l.last.Ended),
		P50:    time.Duration(l.last.LatencyP50 * float64(time.Second)),
		P99:    time.Duration(l.last.LatencyP99 * float64(time.Second)),
		OK:     l.ok, Errors: l.errors,
	}
}

// Stop hangs up and waits until no request, socket or goroutine of the attack
// is left, or ctx ends; it may then be called again to wait on. It ends a window
// that is still open.
func (g *Generator) Stop(ctx context.Context) error {
	g.mu.Lock()
	a := g.attack
	g.mu.Unlock()
	if a == nil {
		return nil
	}
	a.once.Do(func() {
		g.rec.endWindow(g.rec.monoNow())
		g.rec.finish()
		a.hangUp(errHungUp)
		a.attacker.Stop()
		go g.finish(a)
	})
	select {
	case <-a.stopped:
		return nil
	case <-ctx.Done():
		l := g.rec.live(false)
		return fmt.Errorf("load: stop: %d requests and %d sockets are still open: %w", l.inFlight, l.sockets, context.Cause(ctx))
	}
}

// finish follows the attack to its end. Nothing in it waits for the target.
func (g *Generator) finish(a *attack) {
	defer close(a.stopped)
	a.conns.closeAll()
	<-a.ended
	a.conns.dialling.Wait()
	a.pool.CloseIdleConnections()
	a.results.finish()
	<-a.results.done
}

// Write puts the account of the attack into w, after Stop. What is lost costs
// its own probe and not the other.
func (g *Generator) Write(w *bundle.Writer) (bundle.Dimension, error) {
	g.mu.Lock()
	a := g.attack
	g.mu.Unlock()
	dim := bundle.Dimension{Name: bundle.DimLoad}
	if a == nil {
		dim.Reason = "the load was never started"
		return dim, nil
	}
	select {
	case <-a.stopped:
	default:
		return dim, errors.New("load: write: the attack has not been stopped")
	}
	win, begun := g.rec.windowBounds()
	if !begun {
		dim.Reason = "the load ended before a window began"
		if reason := g.reasonText(); reason != "" {
			dim.Reason += ": " + reason
		}
	}
	// Without a window the series of seconds is worth having all the same.
	if err := w.WriteJSON(bundle.LoadSummary, g.Summary()); err != nil {
		return dim, fmt.Errorf("load: %w", err)
	}
	summary := bundle.Probe{
		Name: "summary", Captured: begun, Reason: dim.Reason, Window: win,
		Artifacts: []string{bundle.LoadSummary},
	}
	results, err := g.writeResults(w, a, win)
	dim.Captured = begun
	dim.Probes = []bundle.Probe{summary, results}
	return dim, err
}

func (g *Generator) writeResults(w *bundle.Writer, a *attack, win bundle.Window) (bundle.Probe, error) {
	f := a.results
	probe := bundle.Probe{Name: "results", Window: win}
	if dropped := g.rec.dropped() + f.lost; dropped > 0 {
		probe.Lost = map[string]int64{"results_dropped": dropped}
	}
	switch {
	case f.err != nil:
		probe.Reason = f.err.Error()
		return probe, nil
	case f.written == 0:
		probe.Reason = "no request ended inside the window"
		return probe, nil
	}
	out, err := w.Create(bundle.LoadResults)
	if err != nil {
		return probe, fmt.Errorf("load: %w", err)
	}
	if err := errors.Join(f.copyTo(out), out.Close()); err != nil {
		return probe, fmt.Errorf("load: %w", err)
	}
	probe.Captured = true
	probe.Artifacts = []string{bundle.LoadResults}
	return probe, nil
}

// Summary is the account of the attack: load/summary.json.
func (g *Generator) Summary() bundle.Load {
	out := g.rec.summary()
	out.Asked = bundle.LoadAsked{InFlight: g.cfg.InFlight, RateHz: g.cfg.RateHz}
	out.Generator.OpenFilesLimit = g.openFiles
	g.mu.Lock()
	defer g.mu.Unlock()
	out.Generator.ReachedInFlight = g.reached
	out.Generator.Reason = g.reason
	if !g.waitDone {
		out.Generator.Reason = "nobody waited for the concurrency to be reached"
	}
	if a := g.attack; a != nil {
		select {
		case <-a.results.done:
			out.Generator.ResultsDropped += a.results.lost
		default:
		}
	}
	return out
}

func (g *Generator) reasonText() string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.reason
}
