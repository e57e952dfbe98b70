package gotrace

import "chokepoint/harness/signal/stack"

// UnpreemptedNS is from where on a stretch of running is one that could not be
// preempted. The runtime looks for goroutines to preempt every 10 ms on a quiet
// machine, and takes one that it has seen for 10 ms (sysmon and retake of
// runtime/proc.go): that makes 20 ms, and the rest is for a machine that is late.
const UnpreemptedNS = 50_000_000

// unpreempt notes a long stretch of running. Most of it must have been on a CPU:
// a thread that the kernel has taken the CPU from gives its P back as late.
//
// It gives the P back once it is past that code, and the stack then is that of what
// comes next. CPU samples of the stretch tell where it was.
func (c *scheduler) unpreempt(r LongRun, g *goroutine) {
	if at, ok := g.sampled.most(g.ran); ok {
		r.Where = at
	}
	ns := r.NS - c.kernel.OffCPU(r.Goroutine, r.StartNS, r.StartNS+r.NS)
	if ns < UnpreemptedNS || ns < r.NS/2 {
		return
	}
	c.unpreempted[r.Where] += ns
	if c.stop.StartNS != 0 {
		c.holder = r
	}
}

// blame finds what a stop that has ended had to wait for: a goroutine that had
// kept its P for long, and gave it up as the last. Between its last event and
// that of its P stands a little of the scheduler.
func (c *scheduler) blame(x Stop) {
	end := c.holder.StartNS + c.holder.NS
	stood := x.StartNS + x.StoppingNS
	if c.holder.NS == 0 || x.StoppingNS == 0 || stood-end > x.StoppingNS/4 {
		return
	}
	c.held[c.holder.Where] += x.StoppingNS
}

// runSamples is the CPU samples of one stretch of running, by the program's line.
type runSamples struct {
	ran    int64 // when the stretch began
	counts map[stack.Frame]int
}

func (s *runSamples) add(ran int64, own stack.Frame) {
	if s.counts == nil {
		s.counts = map[stack.Frame]int{}
	}
	if s.ran != ran {
		clear(s.counts)
		s.ran = ran
	}
	s.counts[own]++
}

// most is the line with most samples in the stretch that began then.
func (s *runSamples) most(ran int64) (at stack.Frame, ok bool) {
	if s.ran != ran {
		return stack.Frame{}, false
	}
	best := 0
	for own, n := range s.counts {
		if n > best || n == best && less(own, at) {
			at, best = own, n
		}
	}
	return at, best > 0
}
