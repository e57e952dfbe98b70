package signal

import (
	"bytes"
	"errors"
	"fmt"
	"time"

	"chokepoint/harness/bundle"
	"chokepoint/harness/bundle/latency"
	"chokepoint/harness/signal/gotrace"
)

// endsLater is the share that will end in as long as half of the trace of n requests
// that have waited throughout it, by what the client saw end; 1 where that is not known, or
// where they are too few to say.
//
// Where honest answers take longer than half of the trace, many waits from before it
// end in its second half, and those at the same line that will never end do not show. Who has
// waited for all of the trace is a request that has taken longer than it. How many of such end, of all
// endpoints together, the client counts, over all of the window. An honest wait
// that outlasts the trace ends a little later than those that do not: of requests that take L in
// all, n that have lasted for longer than T end at n/(L-T) a second.
//
// There may have been fewer of them when the window began, as they pile up: on average half as
// many, if there was none before. And one more may end than was seen to.
func (e *evidence) endsLater(s *gotrace.Summary, n int) (float64, error) {
	ended, over, err := e.endedAfter(time.Duration(s.DurationNS()))
	switch {
	case errors.Is(err, bundle.ErrDamaged):
		return 0, err
	case err != nil, n <= 0, over <= 0:
		return 1, nil
	}
	stood := float64(n) / 2 * over.Seconds()
	return min(1, float64(ended+1)/stood*time.Duration(s.DurationNS()/2).Seconds()), nil
}

// endedAfter is how many requests ended in the window that had taken so long or longer, and
// the time over which they are counted: the client's seconds that lie within the window.
func (e *evidence) endedAfter(long time.Duration) (n int64, over time.Duration, err error) {
	log, err := once(e, bundle.LoadLatency, func() (latency.Log, error) {
		data, err := e.bundle.ReadFile(bundle.LoadLatency)
		if err != nil {
			return latency.Log{}, missing(e.manifest, bundle.DimLoad, bundle.LoadLatency, err)
		}
		log, err := latency.ReadLog(bytes.NewReader(data))
		if err != nil {
			return latency.Log{}, fmt.Errorf("%s: %w: %w", bundle.LoadLatency, bundle.ErrDamaged, err)
		}
		return log, nil
	})
	if err != nil {
		return 0, 0, err
	}
	if log.MonoNS == 0 {
		return 0, 0, fmt.Errorf("%s: it does not say what CLOCK_MONOTONIC was at its start", bundle.LoadLatency)
	}
	w := e.manifest.Window
	for _, i := range log.Intervals {
		start := log.MonoNS + int64(i.Start)
		if i.Tag != latency.TagService || start < w.StartNS || start+int64(i.Length) > w.EndNS {
			continue
		}
		over += i.Length
		if i.MaxUS < long.Microseconds() {
			continue
		}
		if err := i.Each(func(us, count int64) {
			if us >= long.Microseconds() {
				n += count
			}
		}); err != nil {
			return 0, 0, fmt.Errorf("%s: %w: %w", bundle.LoadLatency, bundle.ErrDamaged, err)
		}
	}
	return n, over, nil
}
