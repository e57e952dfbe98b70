package signal

import (
	"math"
	"time"

	"chokepoint/harness/bundle"
)

// clients is by how many the client's connections, or its requests in flight,
// became more in a span, by its own count, and how many there were before; zero where it
// did not count.
type clients struct {
	more, before float64
	halves       [2]comers // of the span
}

// comers are the new clients of a half of a span, at most, and the requests that ended in it.
type comers struct{ more, ended float64 }

// newClients counts what came in the span. The client counts once a second.
func (e *evidence) newClients(span bundle.Window) clients {
	l, err := e.load()
	if err != nil || len(l.Seconds) == 0 {
		return clients{}
	}
	// done is the last second that was over, at the one that it was in.
	at := func(ns int64) (done, in bundle.LoadSecond) {
		done = l.Seconds[0]
		for _, s := range l.Seconds {
			if s.StartNS <= ns {
				in = s
			}
			if s.StartNS+int64(time.Second) <= ns {
				done = s
			}
		}
		return done, in
	}
	more := func(from, to bundle.LoadSecond) float64 {
		return float64(max(0, to.OpenSockets-from.OpenSockets, to.InFlight-from.InFlight))
	}
	ended := func(from, to int64) float64 {
		var n int64
		for _, s := range l.Seconds {
			if from <= s.StartNS && s.StartNS < to {
				n += s.Ended
			}
		}
		return float64(n)
	}
	half := span.StartNS + (span.EndNS-span.StartNS)/2
	before, start := at(span.StartNS)
	done, middle := at(half)
	_, end := at(span.EndNS)
	// Starting to record stalls a target, and opens sockets in that second: they are there for
	// all but the first moment of the window, and are not new.
	return clients{
		more:   more(start, end),
		before: float64(max(start.OpenSockets, start.InFlight)),
		halves: [2]comers{
			{more(before, middle), ended(span.StartNS, half)},
			{more(done, end), ended(half, span.EndNS)},
		},
	}
}

// share is what part of all clients came in the span.
func (c clients) share() float64 { return c.more / max(1, c.more+c.before) }

// tells reports whether so many draws of what grew are enough to hold when it grew against when
// they came. Growth from before they came may be over, as that of a cache that has filled, while
// what came after was theirs: that takes as many as it takes to tell whether it goes on.
func (c clients) tells(drawn float64) bool {
	return c.halves[1].more < c.halves[0].more || drawn >= halfDraws
}

// holding is what the new clients hold, where the others held that much before they came:
// without end if there were no others.
func (c clients) holding(before float64) float64 {
	switch {
	case c.more == 0:
		return 0
	case c.before == 0:
		return math.Inf(1)
	}
	return c.more / c.before * max(0, before)
}

// draws is how many draws of what grew go with the new clients: for each of them as many as for
// each of the others before they came, as far as so few draws tell, but not more than
// all in use shared out evenly, and a half more.
func (c clients) draws(grown, inUse float64) float64 {
	before := max(0, inUse-grown)
	before += heapDoubt * math.Sqrt(before+1)
	return 1.5 * min(c.holding(before), c.share()*inUse)
}

// explains is how many of a kind are there because there are more clients, of which there
// were so many before: two for each, a reader and a writer say, or as many as there were for
// each of the others.
func (c clients) explains(before float64) float64 {
	return max(2*c.more, c.holding(before))
}

// step is by how much something grew in a span or a half of it, and the variance of that.
type step struct{ grown, variance float64 }

// holds is the share of a growth, in draws, that goes with the new clients: for each as much as
// for each of the others before they came, and a half more. Late is the growth in the span's
// second half, nil if that is not known.
func (c clients) holds(grown step, late *step, inUse float64) float64 {
	if c.more == 0 || grown.grown <= 0 {
		return 0
	}
	besides := 0.0
	if late != nil && c.tells(grown.grown) {
		first := step{grown.grown - late.grown, max(0, grown.variance-late.variance)}
		besides = c.besides(first, *late, 0)
	}
	return min(c.draws(grown.grown, inUse)/grown.grown, 1-besides)
}

// fewComers is the part of the other half's new clients that a half may have at most for
// its growth to be told from theirs.
const fewComers = 0.25

// besides is the share of a growth that cannot have come with new clients, by when they
// came and when it grew: 0 if that does not tell. A stall opens a hundred sockets at once, and
// what is kept for each request grows before and after as it did. In the half with
// few new clients no more is theirs than as much for each as if all growth of the other half
// were the clients', and a half more; each has so many at least. What is left, for the requests
// that ended there, is that of the others.
func (c clients) besides(first, late step, least float64) float64 {
	steps := [2]step{first, late}
	few := 0
	if c.halves[1].more < c.halves[0].more {
		few = 1
	}
	here, there := c.halves[few], c.halves[1-few]
	all := first.grown + late.grown
	if all <= 0 || there.more == 0 || here.ended <= 0 || here.more > fewComers*there.more {
		return 0
	}
	each := max(least, 1.5*steps[1-few].grown/there.more)
	left := steps[few].grown - each*here.more
	ratio := 1.5 * here.more / there.more
	if left <= heapDoubt*math.Sqrt(steps[few].variance+ratio*ratio*steps[1-few].variance) {
		return 0
	}
	return min(1, left*(here.ended+there.ended)/here.ended/all)
}
