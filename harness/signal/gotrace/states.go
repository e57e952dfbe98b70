package gotrace

import (
	"math"

	"golang.org/x/exp/trace"
)

// States is how many goroutines and Ps were in which state, over time: mean
// numbers in slots of SlotNS from StartNS on, of which the last may be cut short
// by the trace's end. Goroutines are all of the process, the runtime's own
// included.
//
// Threads (Ms) have no states of their own in a trace. As many as there are
// goroutines running or in system calls are at work for these; those that hold a
// P beyond are looking for work, and all others are parked.
type States struct {
	StartNS int64 `json:"start_ns"`
	SlotNS  int64 `json:"slot_ns"`

	Running  []float64 `json:"goroutines_running"`
	Runnable []float64 `json:"goroutines_runnable"` // and waiting for a P
	Waiting  []float64 `json:"goroutines_waiting"`
	Syscall  []float64 `json:"goroutines_in_syscall"`
	// A P is in use while it runs a goroutine, looks for one, or belongs to a thread
	// in a system call that nobody has taken it from yet.
	PUsed []float64 `json:"ps_used"`
	PIdle []float64 `json:"ps_idle"`
}

// Mean of a series of equal slots; the last, which may be shorter, counts as one.
func Mean(series []float64) float64 {
	var sum float64
	for _, v := range series {
		sum += v
	}
	return sum / float64(max(1, len(series)))
}

// What states are kept of: goroutines by state, then Ps.
const (
	pUsed = iota + int(inSyscall) + 1
	pIdle
	kinds
)

const (
	// stateSlots bounds the slots: where a trace is longer, two become one. It is even.
	stateSlots = 256
	// firstStateSlotNS is what slots begin at.
	firstStateSlotNS = int64(1e6)
)

// states counts while the trace is read. A change takes as long as it takes to add
// two numbers: it is counted to the end of the slot, as if there were no other.
type states struct {
	startNS, slotNS, endNS int64 // of the current slot: its end

	now   [kinds]int64 // how many there are
	base  [kinds]int64 // and were when the slot began
	delta [kinds]int64 // what the changes since add to base times the slot's length
	done  [kinds][]int64
	// early is, by slot, how many showed up in it and had been so from the start.
	early [kinds][stateSlots]int64
}

func (s *states) begin(now int64) {
	s.startNS, s.slotNS = now, firstStateSlotNS
	s.endNS = now + s.slotNS
}

// move counts that something is in another state from now on; gone is none.
func (s *states) move(from, to int, now int64) {
	s.reach(now)
	rest := s.endNS - now
	s.now[from]--
	s.delta[from] -= rest
	s.now[to]++
	s.delta[to] += rest
}

// found counts something that has been in its state since the trace began.
func (s *states) found(to int, now int64) {
	s.reach(now)
	s.now[to]++
	s.delta[to] += s.slotNS
	s.early[to][len(s.done[to])]++
}

// reach ends the slots before a time.
func (s *states) reach(now int64) {
	for now >= s.endNS && s.endNS < math.MaxInt64 {
		s.roll()
	}
}

func (s *states) roll() {
	for k := range kinds {
		s.done[k] = append(s.done[k], s.base[k]*s.slotNS+s.delta[k])
	}
	s.base, s.delta = s.now, [kinds]int64{}
	if len(s.done[0]) == stateSlots {
		s.backfill()
		for k := range kinds {
			d := s.done[k]
			for i := 0; i < len(d); i += 2 {
				d[i/2] = d[i] + d[i+1]
			}
			s.done[k] = d[:len(d)/2]
		}
		s.slotNS *= 2
	}
	if s.endNS > math.MaxInt64-s.slotNS {
		s.endNS = math.MaxInt64 // a damaged trace has any times
		return
	}
	s.endNS += s.slotNS
}

// backfill gives slots what showed up only after them.
func (s *states) backfill() {
	for k := range kinds {
		n := s.early[k][min(len(s.done[k]), stateSlots-1)]
		if len(s.done[k]) == stateSlots {
			n = 0
		}
		for i := len(s.done[k]) - 1; i >= 0; i-- {
			s.done[k][i] += n * s.slotNS
			n += s.early[k][i]
		}
		s.early[k] = [stateSlots]int64{}
	}
}

func (s *states) finish(now int64) States {
	s.reach(now)
	s.backfill()
	last := now - (s.endNS - s.slotNS)
	out := States{StartNS: s.startNS, SlotNS: s.slotNS}
	for k, to := range map[int]*[]float64{
		int(running): &out.Running, int(runnable): &out.Runnable, int(waiting): &out.Waiting, int(inSyscall): &out.Syscall,
		pUsed: &out.PUsed, pIdle: &out.PIdle,
	} {
		series := make([]float64, 0, len(s.done[k])+1)
		for _, ns := range s.done[k] {
			series = append(series, float64(ns)/float64(s.slotNS))
		}
		if last > 0 {
			ns := s.base[k]*s.slotNS + s.delta[k] - s.now[k]*(s.slotNS-last)
			series = append(series, float64(ns)/float64(last))
		}
		*to = series
	}
	return out
}

func (s *states) goroutine(from, to trace.GoState, now int64) {
	switch from {
	case to:
	case trace.GoUndetermined:
		s.found(int(stateOf(to)), now)
	default:
		s.move(int(stateOf(from)), int(stateOf(to)), now)
	}
}

func (s *states) proc(from, to trace.ProcState, now int64) {
	switch from {
	case to:
	case trace.ProcUndetermined:
		s.found(stateOfProc(to), now)
	default:
		s.move(stateOfProc(from), stateOfProc(to), now)
	}
}

func stateOfProc(p trace.ProcState) int {
	switch p {
	case trace.ProcRunning:
		return pUsed
	case trace.ProcIdle:
		return pIdle
	}
	return int(gone)
}
