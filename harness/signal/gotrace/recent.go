package gotrace

import "chokepoint/harness/signal/stack"

// recent is what a goroutine last waited for or called the kernel for. Who turns
// out to have held a lock, though it never waited for it, is asked what it did
// in that time.
type recent struct {
	last [4]stretch
	n    int // stretches there have been
}

type stretch struct {
	at       *place
	wait     stack.Wait // empty for a system call
	from, to int64
}

func (r *recent) add(g *goroutine, from, to int64) {
	x := stretch{at: g.at, from: from, to: to}
	if g.state == waiting {
		x.wait = g.blamed
	}
	if r.n > 0 {
		// A wait is charged in several pieces when its stack is told again.
		if l := &r.last[(r.n-1)%len(r.last)]; l.to == from && l.at == x.at && l.wait == x.wait {
			l.to = to
			return
		}
	}
	r.last[r.n%len(r.last)] = x
	r.n++
}

// since says what the goroutine did in [from, to), as far back as is known; it
// returns the time that was accounted for. What is not a wait or a system call it
// was running or ready to run.
func (r *recent) since(from, to int64, did func(at *place, d Doing)) (ns int64) {
	if r.n > len(r.last) {
		from = max(from, r.last[r.n%len(r.last)].from)
	}
	rest := to - from
	for i := range min(r.n, len(r.last)) {
		x := &r.last[i]
		part := min(x.to, to) - max(x.from, from)
		if part <= 0 {
			continue
		}
		d := Doing{What: string(x.wait), NS: part}
		if x.wait == "" {
			d.What = "syscall"
		}
		if x.at != nil {
			d.Where = x.at.own
		}
		did(x.at, d)
		rest -= part
	}
	if rest > 0 {
		did(nil, Doing{What: "running", NS: rest})
	}
	return to - from
}
