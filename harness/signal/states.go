package signal

import (
	"chokepoint/harness/bundle"
	"chokepoint/harness/signal/gotrace"
)

// Threads is what the kernel and /proc know of the threads (Ms) of the process
// beside what the trace has of goroutines and Ps: mean numbers in the slots of
// Scheduler.States. A series that is not known is null, and Missing says why.
type Threads struct {
	// Count is all threads of the process, as /proc has it; slots between two
	// readings hold the earlier one. Those that no goroutine has and that are not
	// looking for one are parked.
	Count []float64 `json:"threads"`
	// RunQueue is threads that the runtime takes for running or in a system call
	// and that wait for a CPU; Asleep those that the kernel put to sleep.
	RunQueue []float64 `json:"threads_in_run_queue"`
	Asleep   []float64 `json:"threads_asleep"`
	Missing  []string  `json:"missing,omitempty"`
}

func (e *evidence) threads(s *gotrace.Summary) Threads {
	var t Threads
	x := s.Scheduler.States
	slots := len(x.Running)
	samples, err := lines[bundle.ProcSample](e, bundle.DimProc, bundle.ProcSamples)
	switch {
	case err != nil:
		t.Missing = append(t.Missing, err.Error())
	case len(samples) == 0:
		t.Missing = append(t.Missing, bundle.ProcSamples+" holds no sample")
	default:
		t.Count = make([]float64, slots)
		next := 0
		for i := range slots {
			middle := x.StartNS + int64(i)*x.SlotNS + x.SlotNS/2
			for next+1 < len(samples) && samples[next+1].MonoNS <= middle {
				next++
			}
			t.Count[i] = float64(samples[next].Threads)
		}
	}
	cuts, err := document[bundle.Cuts](e, bundle.DimEBPF, bundle.EBPFCuts)
	if err != nil {
		t.Missing = append(t.Missing, err.Error())
		return t
	}
	t.RunQueue, t.Asleep = make([]float64, slots), make([]float64, slots)
	for _, c := range cuts.Intervals {
		woken := c.LeftNS
		if c.State != "runnable" {
			woken = c.BackNS
			if c.WokenNS != 0 {
				woken = min(max(c.WokenNS, c.LeftNS), c.BackNS)
			}
		}
		cover(t.Asleep, x, s.EndNS, c.LeftNS, woken)
		cover(t.RunQueue, x, s.EndNS, woken, c.BackNS)
	}
	return t
}

// cover adds one thing that was there from one time to another.
func cover(series []float64, x gotrace.States, end, from, to int64) {
	from, to = max(from, x.StartNS), min(to, end)
	for from < to {
		i := (from - x.StartNS) / x.SlotNS
		begin := x.StartNS + i*x.SlotNS
		until := min(begin+x.SlotNS, end)
		if i >= int64(len(series)) || until <= from {
			return
		}
		next := min(to, until)
		series[i] += float64(next-from) / float64(until-begin)
		from = next
	}
}
