package gotrace

import (
	"sort"
	"strings"

	"chokepoint/harness/signal/stack"
)

// Moments is what happened when, as far as it can hold up requests.
type Moments struct {
	// Marking is when the collector marked, Stops when it or the runtime had
	// stopped the world; each by start, and no two of a kind overlap.
	Marking, Stops []Span
	// Gauges are taken over slots of SlotNS from StartNS on: the sums of the
	// goroutines' time in each slot, in ns. Divided by SlotNS they are a mean
	// number of goroutines.
	StartNS, SlotNS int64
	// LockNS is the program's goroutines waiting for locks, RunnableNS those that
	// could run and had no P.
	LockNS, RunnableNS []int64
}

// Span is from one time to another, on the trace's clock.
type Span struct{ StartNS, EndNS int64 }

const (
	// keptSlots bounds the gauges: where a trace is longer than that many slots,
	// two become one. Slots begin at a millisecond.
	keptSlots     = 8192
	firstSlotNS   = int64(1e6)
	keptSpans     = 1 << 16
	stopRangeName = "stop-the-world"
)

// moments gathers Moments while the trace is read.
type moments struct{ Moments }

func newMoments() *moments { return &moments{Moments: Moments{SlotNS: firstSlotNS}} }

func (m *moments) span(name string, from, to int64) {
	list := &m.Marking
	if strings.HasPrefix(name, stopRangeName) {
		list = &m.Stops
	}
	if len(*list) < keptSpans {
		*list = append(*list, Span{from, to})
	}
}

// begin says when the trace begins; no time is charged before it.
func (m *moments) begin(now int64) { m.StartNS = now }

// charge takes the time that a goroutine spent in its state.
func (m *moments) charge(g *goroutine, from, to int64) {
	lock := g.state == waiting && g.blamed == stack.Lock
	if !lock && g.state != runnable {
		return
	}
	from = max(from, m.StartNS)
	if from >= to {
		return
	}
	for (to-m.StartNS)/m.SlotNS >= keptSlots {
		m.halve()
	}
	gauge := &m.RunnableNS
	if lock {
		gauge = &m.LockNS
	}
	last := int((to - 1 - m.StartNS) / m.SlotNS)
	for len(*gauge) <= last {
		*gauge = append(*gauge, 0)
	}
	for from < to {
		slot := (from - m.StartNS) / m.SlotNS
		end := min(to, m.StartNS+(slot+1)*m.SlotNS)
		(*gauge)[slot] += end - from
		from = end
	}
}

func (m *moments) halve() {
	m.SlotNS *= 2
	for _, gauge := range []*[]int64{&m.LockNS, &m.RunnableNS} {
		old := *gauge
		for i := range old {
			if i%2 == 0 {
				old[i/2] = old[i]
			} else {
				old[i/2] += old[i]
			}
		}
		*gauge = old[:(len(old)+1)/2]
	}
}

func (m *moments) finish(end int64) Moments {
	slots := 0
	if end > m.StartNS {
		slots = int((end - m.StartNS + m.SlotNS - 1) / m.SlotNS)
	}
	for slots > keptSlots {
		m.halve()
		slots = (slots + 1) / 2
	}
	for _, gauge := range []*[]int64{&m.LockNS, &m.RunnableNS} {
		for len(*gauge) < slots {
			*gauge = append(*gauge, 0)
		}
	}
	m.Marking, m.Stops = joined(m.Marking), joined(m.Stops)
	return m.Moments
}

// joined sorts spans and joins those that touch.
func joined(spans []Span) []Span {
	sort.Slice(spans, func(i, j int) bool { return spans[i].StartNS < spans[j].StartNS })
	var out []Span
	for _, s := range spans {
		if n := len(out); n > 0 && s.StartNS <= out[n-1].EndNS {
			out[n-1].EndNS = max(out[n-1].EndNS, s.EndNS)
			continue
		}
		out = append(out, s)
	}
	return out
}
