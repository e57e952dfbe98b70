package signal

import (
	"fmt"

	"chokepoint/harness/bundle"
	"chokepoint/harness/signal/stack"
)

// turnSignals are those of requests that queue to write to one connection. One goroutine
// writes to a descriptor at a time, and all others wait in package poll for their turn:
// for each other, whatever the speed of whom it is written to. That he is why is seen
// from the one at its turn.
func turnSignals() []definition {
	return []definition{
		number("trace.write_turn_share", bundle.DimTrace, Share, func(e *evidence) (float64, error) {
			w, err := e.writeTurns()
			return w.share, err
		}, "Share of request time in waits for one's turn to write to a connection whose writer waits meanwhile for the peer to take what was written; those of goroutines that the request started and waits for count with it; of all the program's goroutine time in a program without a known server."),
		place("trace.write_turn_site", bundle.DimTrace, func(e *evidence) (stack.Frame, error) {
			w, err := e.writeTurns()
			return w.top, err
		}, "The program's line that writes, where they wait longest so."),
		number("trace.write_turn_full_share", bundle.DimTrace, Share, func(e *evidence) (float64, error) {
			w, err := e.writeTurns()
			if err == nil && w.top.IsZero() {
				err = errNone
			}
			return w.full, err
		}, "Share of the time waited at that line for one's turn in which the one that had it waited for the peer."),
		number("pprof.write_turn_share", bundle.DimPprof, Share, func(e *evidence) (float64, error) {
			sites, all, err := e.turnsParked()
			return min(1, share(int64(sum(sites)), all)), err
		}, "Share of the goroutines in handlers that waited for their turn to write when the goroutine profile was taken, at lines where another waited then for its peer to take what it wrote; of all the program's goroutines in a program without a known server."),
		place("pprof.write_turn_site", bundle.DimPprof, func(e *evidence) (stack.Frame, error) {
			sites, _, err := e.turnsParked()
			return top(sites).where, err
		}, "The program's line where most of them waited."),
		number("ebpf.sends_full", bundle.DimEBPF, Count, sendsFull,
			"Connections of the target to which a write waited for room in the send buffer, on average over the window."),
	}
}

// writeTurns is the request time in the queues of those who write.
type writeTurns struct {
	share, full float64
	top         stack.Frame
}

func (e *evidence) writeTurns() (writeTurns, error) {
	return once(e, "write turns", func() (writeTurns, error) {
		s, err := e.trace()
		if err != nil {
			return writeTurns{}, err
		}
		account, serves, err := base(s)
		if err != nil {
			return writeTurns{}, err
		}
		var w writeTurns
		var ns, most float64
		for _, c := range s.Syscalls {
			if c.TurnsFullNS == 0 {
				continue
			}
			queued := c.QueuedNS
			if serves {
				queued = c.QueuedRequestNS + c.QueuedChildNS
			}
			full := share(c.TurnsFullNS, c.TurnsNS)
			// Waits that the trace cuts are taken for such as those that it saw end.
			here := float64(queued) * full
			ns += here
			if here > most {
				most, w.top, w.full = here, c.Where, full
			}
		}
		w.share = min(1, share(int64(ns), account.TotalNS))
		return w, nil
	})
}

// turnsParked are the goroutines that waited for their turn to write, by line, and all that
// they are related to. A profile does not say who writes to what, so that one at the same
// line that waits for its peer stands for all that have their turn there.
func (e *evidence) turnsParked() (sites []site, all int64, err error) {
	p, err := e.profile(bundle.DimPprof, bundle.GoroutineProfile)
	if err != nil {
		return nil, 0, err
	}
	i := p.types["goroutine"]
	serving := func(x sample) bool { return stack.StageOf(x.frames) == stack.Handling }
	var handlers, ours int64
	full := map[stack.Frame]bool{}
	for _, x := range p.list {
		if serving(x) {
			handlers += x.values[i]
		}
		own := e.program.Own(x.frames)
		if own.IsZero() {
			continue
		}
		ours += x.values[i]
		if e.program.WaitOf(x.frames) == stack.NetWrite && !e.program.AwaitsTurn(x.frames) && !inCall(x.frames) {
			full[own] = true
		}
	}
	all = handlers
	if handlers == 0 {
		all = ours
	}
	return p.bySite("goroutine", func(x sample) (stack.Frame, bool) {
		own := e.program.Own(x.frames)
		return own, full[own] && (handlers == 0 || serving(x)) && e.program.WaitOf(x.frames) == stack.NetWrite && e.program.AwaitsTurn(x.frames)
	}), all, nil
}

// sendsFull counts a wait that the window cuts by what of it lies in the window.
func sendsFull(e *evidence) (float64, error) {
	n, err := document[bundle.Net](e, bundle.DimEBPF, bundle.EBPFNet)
	if err != nil {
		return 0, err
	}
	if n.Sends == nil {
		return 0, fmt.Errorf("ebpf: sends were not seen: %s", n.Absent["sends"])
	}
	return float64(n.Sends.BlockedTime.TotalNS) / float64(max(1, e.span(bundle.EBPFNet).Duration())), nil
}
