package gotrace

// AtOnce is the length in nanoseconds below which a poll has not slept. One that finds
// something, or is asked not to block, looks and returns in well under a microsecond; a
// thread that sleeps is taken off its CPU, woken and put back, which takes several.
const AtOnce = 4096

// pollEnds notes how long a call took that waits for descriptors, before its time is
// charged.
func (s *scan) pollEnds(g *goroutine, now int64) {
	if g.state != inSyscall || g.at == nil || !g.at.polls || !g.at.ours || g.diag {
		return
	}
	c := s.syscallsAt(g.at)
	c.Polls++
	if now-g.since < AtOnce {
		c.PollsAtOnce++
	}
}
