package signal

import (
	"chokepoint/harness/signal/gotrace"
	"chokepoint/harness/signal/stack"
)

// slow reports whether a line's system calls are waits.
func slow(c gotrace.SiteCount) bool { return meanCall(c) >= slowCall && c.Blocking != stack.Polled }

// inRequests is the request time in the calls of a line: on the request's own goroutine, and on
// those that it started and waited for.
func inRequests(c gotrace.SiteCount) int64 {
	return c.RequestNS + c.QueuedRequestNS + c.ChildNS + c.QueuedChildNS
}

// awaitedCalls is, by line, what part of the time in slow calls outside of handlers was
// request time, as the trace has it: the kernel's view does not say who waits for a
// goroutine. It is empty where there is no trace.
func (e *evidence) awaitedCalls() map[stack.Frame]float64 {
	s, err := e.trace()
	if err != nil {
		return nil
	}
	if _, serves, err := base(s); err != nil || !serves {
		return nil
	}
	parts := map[stack.Frame]float64{}
	for _, c := range s.Syscalls {
		if outside := c.NS - c.RequestNS; slow(c) && c.ChildNS > 0 && outside > 0 {
			parts[c.Where] = min(1, float64(c.ChildNS)/float64(outside))
		}
	}
	return parts
}

// addAwaited adds to the sites of handlers those of samples in calls outside of them, as
// far as requests wait for these.
func (e *evidence) addAwaited(sites []site, p *samples, sampleType string, outside func(sample) bool) []site {
	awaited := e.awaitedCalls()
	if len(awaited) == 0 {
		return sites
	}
	sums := map[stack.Frame]int64{}
	for _, s := range sites {
		sums[s.where] += s.value
	}
	for _, s := range p.bySite(sampleType, func(x sample) (stack.Frame, bool) {
		own := e.program.Own(x.frames)
		return own, awaited[own] > 0 && outside(x)
	}) {
		sums[s.where] += int64(awaited[s.where] * float64(s.value))
	}
	return ranked(sums)
}
