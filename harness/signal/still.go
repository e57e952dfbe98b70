package signal

import (
	"cmp"
	"slices"

	"chokepoint/harness/bundle"
	"chokepoint/harness/signal/gotrace"
	"chokepoint/harness/signal/stack"
)

// Still is goroutines of the program, outside of handlers, that stood in one kind of wait at one
// line for the whole trace. Most are idle; where requests wait for ever, one may be what they
// wait for.
type Still struct {
	Wait       stack.Wait   `json:"wait"`
	Where      bundle.Frame `json:"where"`
	Goroutines int64        `json:"goroutines"`
}

// stillStanding lists them: first those in waits that another goroutine has to end and that are not
// for work to come. Who accepts connections or waits for a client's next request is left out, as
// is the main function, which waits for the end of the program.
func stillStanding(p stack.Program, s *gotrace.Summary) []Still {
	type key struct {
		wait stack.Wait
		own  stack.Frame
	}
	at := map[key]int64{}
	for _, x := range s.Parked {
		n := x.Throughout - x.ThroughoutRequests
		if n <= 0 || x.Wait == stack.NetAccept || stack.ServingOf(x.Frames) == stack.BetweenRequests || n == 1 && p.Outermost(x.Frames).Function == "main.main" {
			continue
		}
		at[key{x.Wait, x.Where}] += n
	}
	list := make([]Still, 0, len(at))
	for k, n := range at {
		list = append(list, Still{Wait: k.wait, Where: bundle.Frame{Function: k.own.Function, File: k.own.File, Line: k.own.Line}, Goroutines: n})
	}
	idle := func(w stack.Wait) int {
		if keptWaiting(w) || w == stack.ChanSend {
			return 0
		}
		return 1
	}
	slices.SortFunc(list, func(a, b Still) int {
		return cmp.Or(cmp.Compare(idle(a.Wait), idle(b.Wait)), -cmp.Compare(a.Goroutines, b.Goroutines),
			cmp.Compare(a.Where.Function, b.Where.Function), cmp.Compare(a.Where.Line, b.Where.Line), cmp.Compare(a.Wait, b.Wait))
	})
	return list
}
