package signal

import (
	"errors"
	"time"

	"chokepoint/harness/bundle"
	"chokepoint/harness/signal/gotrace"
	"chokepoint/harness/signal/stack"
)

// orphanSignals find requests whose wait nobody is left to end: whoever should have called Done,
// Unlock or received has gone, by a panic that was recovered or an early return.
func orphanSignals() []definition {
	return []definition{
		number("trace.orphaned_share", bundle.DimTrace, Share, func(e *evidence) (float64, error) {
			o, err := e.orphaned()
			return o.share, err
		}, "Share of request time in waits for a WaitGroup, a lock or a receiver that lasted throughout the trace, where none such ended and no goroutine is seen that could end them; 0 where one may: it is at work, asleep, in I/O, holds a lock, or waits for an event."),
		place("trace.orphaned_site", bundle.DimTrace, func(e *evidence) (stack.Frame, error) {
			o, err := e.orphaned()
			return o.where, err
		}, "The program's line at which most requests wait so."),
		number("load.stopped_ratio", bundle.DimLoad, Ratio, stopped,
			"Length of the end of the window in which no request ended, all of it where none did, in relation to the longest 99th percentile of latency of the seconds before; 0 where requests ended until the end, or none was in flight."),
		number("load.never_ended", bundle.DimLoad, Nanosecond, func(e *evidence) (float64, error) {
			l, err := e.load()
			if err != nil {
				return 0, err
			}
			return neverEnded(l, e.manifest.Window), nil
		}, "Time from when requests were first in flight to the window's end in which not one of them had ended; 0 where one had."),
	}
}

func stopped(e *evidence) (float64, error) {
	l, err := e.load()
	if err != nil {
		return 0, err
	}
	return stoppedRatio(l, e.manifest.Window)
}

// stoppedRatio takes the time from the end of the last second in which a request ended: what
// stops the server may do so when the window has just begun.
func stoppedRatio(l *bundle.Load, w bundle.Window) (float64, error) {
	from := w.StartNS
	for _, s := range l.Seconds {
		if l.Requests.Ended > 0 && s.StartNS < w.EndNS && s.Ended > 0 {
			from = max(from, s.StartNS+int64(time.Second))
		}
	}
	if l.Requests.Ended == 0 && l.Reached.InFlightMin == 0 || l.Requests.Ended > 0 && w.EndNS-from < int64(time.Second) {
		return 0, nil // less than a second cannot be told from one that the window cuts
	}
	var longest float64
	for _, s := range l.Seconds {
		switch {
		case s.StartNS < from:
			if s.Ended > s.Errors {
				longest = max(longest, s.LatencyP99)
			}
		case s.StartNS < w.EndNS && s.InFlight == 0:
			return 0, nil // nobody asked for anything
		}
	}
	if longest <= 0 {
		return 0, errors.New("load: no request ended before that either")
	}
	return time.Duration(w.EndNS-from).Seconds() / longest, nil
}

// neverEnded is for a server that stood still before a request of the load had ended.
func neverEnded(l *bundle.Load, w bundle.Window) float64 {
	if l.Requests.Ended > 0 || l.Reached.InFlightMin == 0 {
		return 0
	}
	from := w.StartNS
	for _, s := range l.Seconds {
		if s.StartNS < w.EndNS && s.Ended > 0 {
			return 0
		}
		if s.InFlight > 0 {
			from = min(from, s.StartNS)
		}
	}
	return float64(w.EndNS - from)
}

// orphans are requests that nobody is left to wake; their share is 0 for none.
type orphans struct {
	share float64
	where stack.Frame
}

const (
	// fewestOrphans is how many requests must stand so: one or two may be watchers.
	fewestOrphans = 10
	// workingMost is the share of the trace's length that goroutines of the program may run
	// or be in system calls together where nobody is at work.
	workingMost = 0.01
)

func (e *evidence) orphaned() (orphans, error) {
	return once(e, "orphans", func() (orphans, error) {
		x, err := e.whoStands()
		if err != nil || !x.rests {
			return orphans{}, err
		}
		return findOrphans(e.program, x.list, x.calls, x.requests), nil
	})
}

// whoStands is who stood where in the trace, and what the machine code says of these functions;
// rests is whether nobody of the program is at work.
type whoStands struct {
	rests    bool
	list     []standing
	calls    calls
	requests float64 // on average
}

func (e *evidence) whoStands() (whoStands, error) {
	return once(e, "who stands", func() (whoStands, error) {
		s, err := e.trace()
		if err != nil {
			return whoStands{}, err
		}
		account, serves, err := base(s)
		if err != nil {
			return whoStands{}, err
		}
		if !serves || s.DurationNS() <= 0 {
			return whoStands{}, errors.New("trace: no requests are known as such")
		}
		c, err := e.callsByFunction()
		if err != nil {
			return whoStands{}, err
		}
		rests := float64(atWorkNS(s)) <= workingMost*float64(s.DurationNS())
		return whoStands{rests, c.choosing(e.program, standingInTrace(s)), c, float64(account.TotalNS) / float64(s.DurationNS())}, nil
	})
}

// atWorkNS is the time that goroutines of the program worked, or may have.
func atWorkNS(s *gotrace.Summary) int64 {
	return s.Program.RunningNS + s.Program.RunnableNS + s.Program.SyscallNS - s.AttendsNS
}

// findOrphans looks for them. Waits for a channel's next value and for a condition are left out, as
// are those in a select: it may be an event that they are there for. So is every recording in which
// a goroutine waits for such an event, or for time or a peer, as it may be on its way to end
// the others' wait; but for the main function, which waits for the end of the program, and those that
// have waited throughout for something to do.
func findOrphans(p stack.Program, list []standing, c calls, requests float64) orphans {
	var o orphans
	var all, most int64
	seen := c.waited(p, list)
	for _, x := range list {
		if x.requests == 0 && (x.wait == stack.NetAccept || p.Outermost(x.frames).Function == "main.main" && x.goroutines == 1) {
			continue
		}
		if x.goroutines > x.stuck {
			return orphans{}
		}
		if x.requests == 0 && (x.wait == stack.ChanRecv || x.wait == stack.Select) && p.Attends(x.frames) {
			continue
		}
		switch x.wait {
		case stack.WaitGroup, stack.ChanSend, stack.Lock:
			_, holds := c.holds(p, x.frames)
			if _, may := seen.holds(p, x.frames); holds || may {
				return orphans{} // a circle, if anything
			}
		default:
			return orphans{}
		}
		all += x.stuckReqs
		if x.stuckReqs > most {
			most, o.where = x.stuckReqs, baseFrame(p.Own(x.frames))
		}
	}
	if all < fewestOrphans {
		return orphans{}
	}
	o.share = min(1, float64(all)/max(1, requests))
	return o
}
