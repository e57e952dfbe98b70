package gotrace

import "golang.org/x/exp/trace"

// charge adds the time since the last event to what the goroutine did.
func (s *scan) charge(id trace.GoID, g *goroutine, now int64) { s.chargeTo(id, g, now, nil, false) }

// chargeTo is charge for a goroutine of which the stack is known that it is on
// now; sampled says that a CPU sample tells it.
func (s *scan) chargeTo(id trace.GoID, g *goroutine, now int64, next *place, sampled bool) {
	ns := now - g.since
	if ns <= 0 || g.state == gone {
		g.since = max(g.since, now)
		return
	}
	if g.member.of != nil {
		s.chargeMember(g, now)
	}
	followed := g.service.followed()
	if followed {
		s.account(id, g, g.since, now, next, sampled)
	} else if g.service.early {
		s.chargeEarly(g, now)
	}
	g.since = now
	switch g.state {
	case running:
		g.runningNS += ns
	case runnable:
		if g.at != nil && g.at.ours && !g.diag {
			g.at.runnableNS += ns
		}
	case inSyscall:
		if g.at != nil && g.at.ours && !g.diag {
			g.syscallNS += ns
			c := s.syscallsAt(g.at)
			c.NS += ns
			c.blockingNS[g.at.blocking] += ns
			if g.request {
				c.RequestNS += ns
			}
		}
		if g.keepsThread() {
			s.beside.of(g).ns[g.at.own] += ns
		}
	case waiting:
		if g.at != nil && g.at.turn && g.at.ours && !g.diag {
			c := s.syscallsAt(g.at)
			c.QueuedNS += ns
			if g.request {
				c.QueuedRequestNS += ns
			}
		}
	}
	if g.diag {
		return
	}
	if g.request {
		s.requests.add(g, ns)
	}
	if g.ours || g.request {
		s.all.add(g, ns)
		if !followed {
			s.unserved(id, g, now-ns, now, next)
		}
	}
	if g.marks {
		s.paths.charge(id, g, ns)
	}
	s.moments.charge(g, now-ns, now)
	if h := g.acquired; h != nil {
		h.doing = addDoing(h.doing, g.doing(ns))
		h.stand(g, ns)
	}
	if g.state == waiting || g.state == inSyscall {
		g.recent.add(g, now-ns, now)
	}
	if g.queue.holds || g.queue.server != nil {
		g.chargeQueueing(ns)
	}
	if g.finalizer {
		s.finalizing(id, g, ns)
	}
}

// chargeEarly keeps, of a goroutine that was there before the trace and of which no
// stack was seen yet, what it waited for, in case that it turns out to serve a request.
func (s *scan) chargeEarly(g *goroutine, now int64) {
	v, ns := &g.service, now-g.since
	switch g.state {
	case waiting:
		v.before.waitNS += ns
	case runnable:
		stopped := s.sched.stoppedIn(g.since, now)
		v.before.stoppedNS += stopped
		v.before.runnableNS += ns - stopped
	}
}
