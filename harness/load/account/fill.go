package account

import (
	"cmp"
	"maps"
	"slices"
	"strconv"
	"time"

	"chokepoint/harness/bundle"
)

// µs and bytes as units of a bundle's distributions.
const (
	microsecond = 1e-6 // of a second
	inBytes     = 1
)

// Fill writes the account's figures into l. What the account does not know it
// leaves alone: what was asked for, the bounds of stages, the share of each badly
// behaved client, and of the generator's health all but CPU, lag and drops.
func (a Account) Fill(l *bundle.Load) {
	w := a.Window
	l.Reached = bundle.LoadReached{
		InFlightMin: w.InFlightMin, InFlightMax: w.InFlightMax, InFlightAtCapture: w.InFlightAtStart,
		OpenSocketsMin: w.SocketsMin, OpenSocketsMax: w.SocketsMax, SocketsAtCapture: w.SocketsAtStart,
	}
	if w.ObservedNS > 0 {
		l.Reached.InFlightMean = float64(w.InFlightNS) / float64(w.ObservedNS)
	}
	if length := time.Duration(w.EndNS - w.StartNS).Seconds(); w.EndNS > w.StartNS {
		l.Reached.RateHz = float64(w.Ended) / length
		l.Reached.SentRateHz = float64(w.Sent) / length
	}
	l.Requests = bundle.LoadRequests{
		Ended: w.Ended, OK: w.OK,
		ByCode: make(map[string]int64, len(w.ByCode)), ByError: boundKinds(w.ByError),
	}
	for code, n := range w.ByCode {
		l.Requests.ByCode[strconv.Itoa(code)] = n
	}
	l.ResponseBytes = w.Bytes.Distribution(inBytes)
	l.LatencySeconds = w.Service.Distribution(microsecond)
	l.CorrectedSeconds = w.Corrected.Distribution(microsecond)
	l.Checks = w.Checks
	l.Generator.CPUSeconds = time.Duration(w.CPUNS).Seconds()
	l.Generator.ResultsDropped = w.Dropped
	l.Generator.SendLagSeconds = w.SendLag.Distribution(microsecond)
	l.Generator.OwnLagSeconds = w.OwnLag.Distribution(microsecond)
	l.Generator.SendLagP99 = l.Generator.SendLagSeconds.P99
	a.fillStages(l)
	a.fillClients(l)
	l.Seconds = make([]bundle.LoadSecond, 0, len(a.Seconds))
	for _, s := range a.Seconds {
		l.Seconds = append(l.Seconds, s.Summary())
	}
}

func (a Account) fillStages(l *bundle.Load) {
	l.Stages = append(l.Stages, make([]bundle.LoadStage, max(0, len(a.Stages)-len(l.Stages)))...)
	for i, s := range a.Stages {
		to := &l.Stages[i]
		to.Sent, to.Ended, to.Errors = s.Sent, s.Ended, s.Errors
		to.LatencySeconds = s.Service.Distribution(microsecond)
		to.CorrectedSeconds = s.Corrected.Distribution(microsecond)
	}
}

func (a Account) fillClients(l *bundle.Load) {
	l.Clients = append(l.Clients, make([]bundle.LoadClient, max(0, len(a.Clients)-len(l.Clients)))...)
	for i, c := range a.Clients {
		to := &l.Clients[i]
		to.Behaviour, to.Ended, to.ByError = c.Behaviour, c.Ended, boundKinds(c.ByError)
		to.Seconds = c.InFlight.Distribution(microsecond)
	}
}

// boundKinds keeps the most frequent kinds and makes one of the rest: the kinds
// of several processes together may be more than one would have told apart.
func boundKinds(kinds map[string]int64) map[string]int64 {
	if len(kinds) <= maxKinds+1 {
		return maps.Clone(kinds)
	}
	out := make(map[string]int64, maxKinds+1)
	names := slices.SortedFunc(maps.Keys(kinds), func(a, b string) int {
		return cmp.Or(cmp.Compare(kinds[b], kinds[a]), cmp.Compare(a, b))
	})
	for _, name := range names {
		to := name
		if len(out) >= maxKinds {
			to = kindOther
		}
		out[to] += kinds[name]
	}
	return out
}
