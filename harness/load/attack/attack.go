package attack

import (
	"errors"
	"io"
	"math"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	vegeta "github.com/tsenart/vegeta/v12/lib"

	"chokepoint/harness/clock"
	"chokepoint/harness/load/account"
	"chokepoint/harness/load/client"
	"chokepoint/harness/load/request"
	"chokepoint/harness/load/schedule"
)

// Attack is one process's load. New, Begin, Stop, and then the accounts.
type Attack struct {
	plan    Plan
	whole   *schedule.Schedule
	shard   *schedule.Schedule
	source  *request.Source
	client  *client.Client
	rec     *account.Recorder
	results *account.Results
	gate    *gate
	start   atomic.Int64 // CLOCK_MONOTONIC; 0 before Begin
	done    chan struct{}
	begin   sync.Once
	stop    sync.Once
	running sync.WaitGroup // what Begin started

	// Set by Stop.
	finished      int64 // CLOCK_MONOTONIC
	written, lost int64 // results
	unwritten     error // why some were lost
}

// New makes an attack that writes its results to results.
func New(p Plan, results io.Writer) (*Attack, error) {
	if err := p.validate(); err != nil {
		return nil, err
	}
	a := &Attack{plan: p, gate: newGate(p.most()), done: make(chan struct{})}
	var err error
	if a.whole, err = schedule.New(p.Stages); err != nil {
		return nil, err
	}
	if a.shard, err = a.whole.Shard(p.Worker, p.Workers); err != nil {
		return nil, err
	}
	if a.source, err = request.NewSource(p.Request, p.Client.BaseURL, uint64(p.Worker), uint64(p.Workers)); err != nil {
		return nil, err
	}
	a.rec = account.New(account.Config{
		Stages:     len(p.Stages),
		StageAt:    func(sinceBegin int64) int { return a.whole.StageAt(time.Duration(sinceBegin)) },
		Behaviours: p.Client.BehaviourNames(),
		Results:    func(x account.Exchange) bool { return a.results.Add(x) },
	})
	if a.client, err = client.New(p.client(), a.rec.Socket); err != nil {
		return nil, err
	}
	if a.results, err = account.NewResults(results, a.rec.Base(), p.Results); err != nil {
		return nil, errors.Join(err, a.client.Close())
	}
	return a, nil
}

// Engine names what sends the requests, and says why it is not the lean engine
// where it is not.
func (a *Attack) Engine() (name, why string) { return a.client.Engine() }

// Begin lets the attack begin at atNS, CLOCK_MONOTONIC; at once if that has passed.
func (a *Attack) Begin(atNS int64) {
	a.begin.Do(func() {
		begins := time.Now().Add(time.Duration(atNS - clock.MonoNS()))
		a.start.Store(atNS)
		a.running.Go(func() {
			if !a.sleep(time.Until(begins)) {
				return
			}
			a.run(begins, atNS)
		})
	})
}

// sleep waits so long, and is false when the attack is to end first.
func (a *Attack) sleep(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-a.done:
		return false
	}
}

// run sends until Stop.
func (a *Attack) run(begins time.Time, atNS int64) {
	a.rec.Begin(atNS)
	most := a.plan.most()
	m := &meter{
		client: a.client, polite: a.client.RoundTripper(), rec: a.rec, gate: a.gate, done: a.done,
		keeps: a.results.Keeps, checks: a.plan.Request.ChecksTokens(),
		pause: func(streak int64) time.Duration { return pause(streak, most) },
	}
	var pacer vegeta.Pacer
	if a.plan.Open {
		// Numbers that never come due in time are sent all the same, at the end of time.
		m.due = func(k uint64) int64 {
			due, ok := a.shard.Due(k)
			if !ok {
				return math.MaxInt64
			}
			return atNS - a.rec.Mono(0) + int64(due)
		}
		m.pause = func(int64) time.Duration { return 0 } // an open loop sends at its rate whatever happens
		a.gate.resize(most, 0)                           // places that were free from the beginning were never waited for
		pacer = schedule.OpenLoop(a.shard, begins, a.done)
	} else {
		pacer = schedule.ClosedLoop(a.done)
		a.running.Go(func() { a.follow(begins) })
	}
	if name, _ := a.client.Engine(); name == client.EngineLean {
		l := &loop{meter: m, pacer: pacer, next: a.source.Request, most: most, closed: !a.plan.Open}
		l.run()
		return
	}
	a.drive(m, pacer, most+spare(most))
}

// drive has vegeta's Attacker send through m until the pacer ends the attack.
func (a *Attack) drive(m *meter, pacer vegeta.Pacer, workers int) {
	attacker := vegeta.NewAttacker(
		vegeta.Client(&http.Client{ // first: other options write into the client
			Transport: m,
			// A redirect is the answer: following it could leave the target.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		}),
		vegeta.Workers(1), // vegeta starts more as they are needed
		vegeta.MaxWorkers(uint64(workers)),
		vegeta.MaxBody(0), // bodies are read and counted, not kept
	)
	for range attacker.Attack(a.source.Targeter(), pacer, 0, "") {
		// The meter has measured it already.
	}
}

// follow gives the gate of a closed loop the width that the schedule asks for.
func (a *Attack) follow(begins time.Time) {
	released := a.whole.Released()
	for {
		now := time.Since(begins)
		a.gate.resize(a.shard.InFlightAt(now), a.rec.Now())
		var alarm <-chan time.Time // without one: until something changes
		if next, changes := a.shard.NextChange(now); changes {
			// A ramp of thousands moves by many places in one look.
			timer := time.NewTimer(max(next-now, time.Millisecond))
			defer timer.Stop()
			alarm = timer.C
		}
		select {
		case <-alarm:
		case <-released:
			released = nil
		case <-a.done:
			return
		}
	}
}

// spare is how many workers stand ready with their next request while places
// are all taken: as many as may end in one burst. At 10,000 in flight an eighth
// holds 9,999 on average and 9,800 at the worst moment; a quarter holds 9,996 at
// the worst, and costs a seventh more CPU, most of it for scanning stacks.
func spare(most int) int { return max(4, most/8) }

// When every request in flight has failed in turn without one success, each
// place pauses; by this much more for every further round, up to the most.
const (
	pauseStep = 100 * time.Millisecond
	pauseMost = 5 * time.Second
)

// pause is how long a place of a closed loop stays empty after streak failures in
// a row, over all places.
func pause(streak int64, places int) time.Duration {
	rounds := streak / int64(places)
	return min(time.Duration(min(rounds, 1000))*pauseStep, pauseMost)
}

// Release ends the captured stage at so long after the attack began.
func (a *Attack) Release(at time.Duration) { a.whole.Release(at) }

// BeginWindow begins the measured window, at monoNS of CLOCK_MONOTONIC.
func (a *Attack) BeginWindow(monoNS int64) { a.rec.BeginWindow(monoNS) }

// EndWindow ends the measured window, at monoNS of CLOCK_MONOTONIC.
func (a *Attack) EndWindow(monoNS int64) { a.rec.EndWindow(monoNS) }

// Live is how the attack stands.
func (a *Attack) Live() account.Live { return a.rec.Live(true) }

// Read is what has ended until now.
func (a *Attack) Read() account.Reading { return a.rec.Read() }

// AtLevel is true once the ramp of the captured stage is over.
func (a *Attack) AtLevel() bool {
	start := a.start.Load()
	return start > 0 && time.Duration(clock.MonoNS()-start) >= a.whole.HoldFrom()
}

// Full is true when every place in flight is taken.
func (a *Attack) Full() bool { return a.gate.full() }

// Stop hangs up and waits until no request, socket or goroutine of the attack is
// left. Nothing in it waits for the target.
func (a *Attack) Stop() {
	a.stop.Do(func() {
		a.finished = clock.MonoNS()
		a.rec.Finish()
		close(a.done)
		a.gate.shutDown()
		// Its error would be that of a socket that could not be closed.
		_ = a.client.Close()
		a.begin.Do(func() {}) // from now on it cannot begin
		a.running.Wait()
		a.written, a.lost, a.unwritten = a.results.Close()
	})
}

// Account is what was measured, after Stop.
func (a *Attack) Account() account.Account { return a.rec.Account() }

// Results counts the results that were written and those that could not be, with
// the reason, after Stop. The Account counts those dropped before.
func (a *Attack) Results() (written, dropped int64, err error) {
	return a.written, a.lost, a.unwritten
}

// Stages are the bounds of the stages as they went, after Stop.
func (a *Attack) Stages() []Bounds {
	start := a.start.Load()
	out := make([]Bounds, len(a.plan.Stages))
	if start == 0 {
		return out
	}
	end := a.finished
	for i := range out {
		from, to, known := a.whole.Bounds(i)
		if b := start + int64(from); known && b < end {
			out[i] = Bounds{StartNS: b, EndNS: end}
			if int64(to) < end-start {
				out[i].EndNS = start + int64(to)
			}
		}
	}
	return out
}
