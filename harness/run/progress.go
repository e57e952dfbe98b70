package run

import (
	"sync"
	"time"
)

// progress tells an observer how a run stands.
type progress struct {
	observe func(Status)
	fill    func(*Status)

	mu     sync.Mutex
	status Status
	end    chan struct{}
	ended  sync.WaitGroup
}

// every is how often an observer is told; a person reads no faster.
const every = 250 * time.Millisecond

func startProgress(c Config, fill func(*Status)) *progress {
	p := &progress{observe: c.Observe, fill: fill, end: make(chan struct{})}
	p.status = Status{Scenario: c.Scenario.Scenario.Name, Variant: c.Scenario.Variant}
	if p.observe == nil {
		return p
	}
	p.ended.Go(func() {
		tick := time.NewTicker(every)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				p.tell()
			case <-p.end:
				return
			}
		}
	})
	return p
}

func (p *progress) enter(phase Phase, length time.Duration) {
	p.mu.Lock()
	p.status.Phase, p.status.Since, p.status.For = phase, time.Now(), length
	p.mu.Unlock()
	if p.observe != nil {
		p.tell()
	}
}

// phase is the phase the run is in.
func (p *progress) phase() Phase {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.status.Phase
}

// watch lets the run change what fill reads.
func (p *progress) watch(change func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	change()
}

// tell holds the lock over the observer, so that it is called by one goroutine
// at a time and in order.
func (p *progress) tell() {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.status
	if s.Phase == "" {
		return
	}
	p.fill(&s)
	p.observe(s)
}

// stop ends the reports; none comes after it returns.
func (p *progress) stop() {
	close(p.end)
	p.ended.Wait()
}
