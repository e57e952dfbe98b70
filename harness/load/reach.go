package load

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"chokepoint/harness/bundle"
	"chokepoint/harness/load/account"
)

const (
	// reachedShare of what is asked for counts as having reached it: a request
	// that has just ended is not in flight until its successor leaves.
	reachedShare = 0.99
	// rateShare is the same of a rate, over a second: the last second of 100/s may
	// well hold 98 requests.
	rateShare = 0.95
	// reachedHold is how long a closed loop must stay there.
	reachedHold = time.Second
	// hopelessAfter is how long nothing may get better, while requests fail,
	// before WaitReached gives up.
	hopelessAfter = 3 * time.Second
	// hopelessStreak is the least number of failures in a row that can be hopeless.
	hopelessStreak = 10
	// look is how often WaitReached looks; workers tell 20 times a second.
	look = 20 * time.Millisecond
)

// live is how the load stands, over all workers.
type live struct {
	account.Live
	atLevel bool // every worker is past the ramp of the captured stage
	full    bool // every place in flight is taken
	parts   []account.Live
	last    bundle.LoadSecond // the last whole second
}

func (g *Generator) live() live {
	members := g.members()
	l := live{atLevel: len(members) > 0, full: len(members) > 0}
	for _, m := range members {
		part := m.process.Live()
		l.parts = append(l.parts, part.Live)
		l.atLevel = l.atLevel && part.AtLevel
		l.full = l.full && part.Full
	}
	l.Live = sum(l.parts)
	l.last = l.Last.Summary()
	return l
}

// sum is how the parts of a load stand together. Their last seconds may be one
// apart for a moment, which a glance can bear; the account aligns them.
func sum(parts []account.Live) account.Live {
	all := account.Live{Kinds: map[string]int64{}}
	healthy := false
	for _, p := range parts {
		all.InFlight += p.InFlight
		all.Sockets += p.Sockets
		all.OK += p.OK
		all.Errors += p.Errors
		all.Streak += p.Streak
		healthy = healthy || p.Streak == 0
		for kind, n := range p.Kinds {
			all.Kinds[kind] += n
		}
		all.Last = all.Last.Plus(p.Last)
	}
	if healthy {
		all.Streak = 0
	}
	return all
}

// meanSince is the mean number of requests in flight between two looks: each
// worker's between its own two.
func (l live) meanSince(from live) float64 {
	var mean float64
	for i, part := range l.parts {
		if i < len(from.parts) {
			mean += part.MeanSince(from.parts[i])
		}
	}
	return mean
}

// spanSince is the shortest time between a worker's two looks.
func (l live) spanSince(from live) time.Duration {
	shortest := time.Duration(1<<63 - 1)
	for i, part := range l.parts {
		if i < len(from.parts) {
			shortest = min(shortest, time.Duration(part.At-from.parts[i].At))
		}
	}
	return shortest
}

// goal is the number in flight that counts as reached.
func (g *Generator) goal() int {
	return int(max(1, reachedShare*float64(g.cfg.InFlight)))
}

// socketGoal is the number of open sockets that counts as reached. Over HTTP/2
// many requests share a connection.
func (g *Generator) socketGoal() int {
	asked := g.cfg.Client.Connections
	if !g.cfg.Client.HTTP2 {
		asked = max(asked, g.cfg.InFlight)
	}
	return int(reachedShare * float64(asked))
}

// ErrAnswersFail is of a load that does not stand since its target answers with
// nothing but errors. It goes on, and the target is there to be looked at.
var ErrAnswersFail = errors.New("the target answers, and only with errors")

// WaitReached waits until what the captured stage asks for stands: at least 99%
// of the requests in flight, over as many open sockets, and in a closed loop for a
// second; in an open loop 95% of the rate, or every place in flight taken. Then the
// stage's time begins. The error says what was reached, in how long, and what is
// likely to be in the way. It comes when ctx ends or a worker dies, or earlier when
// nothing but failures arrives and nothing gets better any more; if these are answers
// it is ErrAnswersFail, and the stage's time begins.
func (g *Generator) WaitReached(ctx context.Context) error {
	if g.members() == nil {
		return errors.New("load: wait for the load to stand: it has not been started")
	}
	err := g.waitReached(ctx)
	if err == nil || errors.Is(err, ErrAnswersFail) {
		err = errors.Join(err, g.release())
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.waitDone = true
	g.reached, g.reason = err == nil, ""
	if err != nil {
		g.reason = err.Error()
	} else {
		g.reachedAt = time.Now()
	}
	return err
}

// release lets the stages after the captured one follow by the clock.
func (g *Generator) release() error {
	captured := g.schedule.Captured()
	if captured == len(g.cfg.Stages)-1 {
		return nil
	}
	at := g.sinceBegin() + g.cfg.Stages[captured].Hold
	g.schedule.Release(at)
	for _, m := range g.members() {
		if err := m.process.Release(at); err != nil {
			return fmt.Errorf("load: %w", err)
		}
	}
	return nil
}

func (g *Generator) waitReached(ctx context.Context) error {
	tick := time.NewTicker(look)
	defer tick.Stop()
	var (
		start  = time.Now()
		from   live // when the goal was reached
		inGoal bool
		best   int // the most in flight so far
		ok     int64
		better = start // when something last got better
	)
	for {
		now := g.live()
		if now.InFlight > best || now.OK > ok {
			best, ok, better = max(best, now.InFlight), now.OK, time.Now()
		}
		switch {
		case !inGoal:
			inGoal, from = now.atLevel && g.stands(now), now
			if inGoal && g.cfg.Open {
				return nil
			}
		case now.Sockets < g.socketGoal() || now.InFlight < g.goal()*9/10:
			inGoal = false
		case now.spanSince(from) >= reachedHold:
			// Staying is judged by the mean: between two requests a place is empty
			// for a moment, and a single look may find many such moments.
			if now.meanSince(from) >= float64(g.goal()) {
				return nil
			}
			inGoal = false
		}
		if !inGoal && now.Streak >= hopelessStreak && time.Since(better) >= g.hopelessAfter {
			var cause error
			if 2*account.Answers(now.Kinds) > now.Errors {
				cause = ErrAnswersFail
			}
			return g.notReached(start, best, "all requests fail", cause)
		}
		select {
		case <-ctx.Done():
			return g.notReached(start, best, "", context.Cause(ctx))
		case <-g.died:
			return g.notReached(start, best, "", g.Err())
		case <-tick.C:
		}
		if g.isStopping() {
			return g.notReached(start, best, "the load has ended", nil)
		}
	}
}

// stands says whether a look finds what is asked for.
func (g *Generator) stands(l live) bool {
	if l.Sockets < g.socketGoal() {
		return false
	}
	if !g.cfg.Open {
		level := g.cfg.InFlight
		// After a step down the requests beyond it must have ended.
		return l.InFlight >= g.goal() && l.InFlight <= level+max(1, level/100)
	}
	if g.cfg.InFlight > 0 {
		return l.InFlight >= g.goal()
	}
	rate := g.cfg.Stages[g.schedule.Captured()].Level
	// With every place taken the target is the bound, and that is worth recording.
	return l.full || float64(l.last.Sent) >= rateShare*rate-1
}

func (g *Generator) isStopping() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.stopping
}

// notReached tells what was asked for and what was seen.
func (g *Generator) notReached(start time.Time, best int, headline string, cause error) error {
	l := g.live()
	var text strings.Builder
	text.WriteString("load: asked for ")
	switch {
	case g.cfg.InFlight > 0:
		fmt.Fprintf(&text, "%d requests in flight, reached %d (at best %d)", g.cfg.InFlight, l.InFlight, best)
	default:
		fmt.Fprintf(&text, "%g requests/s, sent %d in the last second", g.cfg.Stages[g.schedule.Captured()].Level, l.last.Sent)
	}
	fmt.Fprintf(&text, " over %d open sockets after %s", l.Sockets, time.Since(start).Round(100*time.Millisecond))
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
	if l.Errors > 0 {
		why = append(why, fmt.Sprintf("%d of %d requests failed: %s", l.Errors, l.Errors+l.OK, topKinds(l.Kinds, 3)))
	}
	mends := []struct{ kind, mend string }{
		{account.KindFiles, fmt.Sprintf("each process of the load may open %d files; raise that with `ulimit -n`, or share the load over more processes with load.workers", g.openFiles())},
		{account.KindPorts, "ephemeral ports are used up; give more source addresses with load.from, wait a minute for sockets in TIME_WAIT to go, or widen net.ipv4.ip_local_port_range"},
		{account.KindRefused, "the target does not listen at " + g.cfg.Client.BaseURL},
	}
	for _, m := range mends {
		if l.Kinds[m.kind] > 0 {
			why = append(why, m.mend)
		}
	}
	if l.Errors > 0 {
		return strings.Join(why, "; ")
	}
	captured := g.cfg.Stages[g.schedule.Captured()]
	p50 := seconds(l.last.LatencyP50)
	switch {
	case !l.atLevel:
		why = append(why, fmt.Sprintf("the ramp of the captured stage ends %s after the beginning", g.schedule.HoldFrom()))
	case g.cfg.InFlight > 0 && l.InFlight >= g.goal() && l.Sockets < g.socketGoal():
		why = append(why, "connections are missing: the target is slow to accept them, may open no more files, or closes them")
	case g.cfg.Open && g.cfg.InFlight > 0 && l.last.Ended > 0:
		why = append(why, fmt.Sprintf("half of the responses take no longer than %s, and %g/s for that long makes about %.0f in flight; raise the rate",
			p50, captured.Level, captured.Level*l.last.LatencyP50))
	case g.cfg.Open:
		why = append(why, "the generator cannot keep to the rate; give it more processes with load.workers, or lower the rate")
	case l.InFlight > g.cfg.InFlight:
		why = append(why, "requests of the stage before are still in flight")
	case l.last.Ended > 0:
		why = append(why, fmt.Sprintf("%d responses/s, half of them within %s: the target answers faster than the generator can send; add load.workers",
			l.last.Ended, p50))
	default:
		why = append(why, "no request has failed")
	}
	return strings.Join(why, "; ")
}

func (g *Generator) openFiles() int64 {
	for _, m := range g.members() {
		return m.ready.OpenFilesLimit
	}
	return 0
}

// topKinds lists the n most frequent kinds.
func topKinds(kinds map[string]int64, n int) string {
	names := slices.SortedFunc(maps.Keys(kinds), func(a, b string) int {
		if kinds[a] != kinds[b] {
			return int(kinds[b] - kinds[a])
		}
		return strings.Compare(a, b)
	})
	parts := make([]string, 0, n+1)
	for _, name := range names[:min(n, len(names))] {
		parts = append(parts, fmt.Sprintf("%s (%d)", name, kinds[name]))
	}
	if len(names) > n {
		parts = append(parts, fmt.Sprintf("%d more kinds", len(names)-n))
	}
	return strings.Join(parts, ", ")
}
