package health

import (
	"fmt"
	"strings"

	"chokepoint/harness/bundle"
)

// The limits. docs/load.md gives the reason of each.
const (
	// leastOfAsked of the concurrency, rate and connections asked for must be there.
	leastOfAsked = 0.95
	// mostLag is how late the generator may send by itself, p99, in seconds;
	// mostLagOfService is the same in relation to the median service time. The
	// wider of the two holds.
	mostLag          = 0.010
	mostLagOfService = 0.10
	// fewestLags is how many requests must have ended for their lag to have a 99th percentile.
	// Of fewer it is the slowest: where a target stops at the beginning of the window, the few
	// that still end are those that left while capture began, which always takes some ms.
	fewestLags = 100
	// mostWorkerCPU of the CPUs that a worker may use may be busy.
	mostWorkerCPU = 0.90
	// scarceIdle: with less of the machine's CPU time idle, whoever runs keeps
	// another from running.
	scarceIdle = 0.05
	// mostly: whoever has this share of the machine's CPU time has most of it.
	mostly = 0.50
	// mostOther of the machine's CPU time may go to others, unless as much stands idle.
	mostOther = 0.20
	// mostLost of the requests that ended may be missing from the account, or
	// have failed on the generator's side.
	mostLost = 0.01
)

// Names of the checks.
const (
	nameReached    = "reached before capture"
	nameOwnErrors  = "failures of the generator's own"
	nameWorkerCPU  = "CPU of the busiest worker"
	nameMachineCPU = "CPU taken from the target"
	nameOtherCPU   = "CPU of other processes"
	nameOwnLag     = "own lag"
	nameInFlight   = "in flight"
	nameRate       = "rate"
	nameSockets    = "open sockets"
	nameDropped    = "results dropped"
)

// noWindow says why nothing is known of a window without length.
const noWindow = "the recording has no window"

func unknown(name, limit, why string) (Check, bool) {
	return Check{Name: name, Measured: "not known", Limit: limit, Why: why}, true
}

// judged completes a check that could be made: fine or wrong is what it means.
func judged(c Check, ok bool, fine, wrong, mend string) (Check, bool) {
	c.Known, c.OK, c.Why = true, ok, fine
	if !ok {
		c.Why, c.Mend = wrong, mend
	}
	return c, true
}

func reached(e evidence) (Check, bool) {
	r := e.load.Reached
	c := Check{
		Name:     nameReached,
		Measured: fmt.Sprintf("%s requests in flight over %s sockets when capture began", count(float64(r.InFlightAtCapture)), count(float64(r.SocketsAtCapture))),
		Limit:    "what was asked for",
	}
	wrong := e.load.Generator.Reason
	if wrong == "" {
		wrong = "the load that was asked for did not stand when capture began"
	}
	return judged(c, e.load.Generator.ReachedInFlight,
		"the load that was asked for stood before capture began", wrong,
		"ask for less, give it a longer ramp, or lift what stands in the way")
}

// ownFailures are the kinds of failure that package load counts when the
// generator could not even reach the target. All others are the target's.
func ownFailures() []string {
	return []string{"too many open files in the load generator", "no free local port", "host not found"}
}

func ownErrors(e evidence) (Check, bool) {
	q := e.load.Requests
	if q.Ended <= 0 {
		return Check{}, false
	}
	var failed int64
	var kinds []string
	for _, kind := range ownFailures() {
		if n := q.ByError[kind]; n > 0 {
			failed += n
			kinds = append(kinds, kind)
		}
	}
	part := share(float64(failed), float64(q.Ended))
	c := Check{
		Name:     nameOwnErrors,
		Measured: fmt.Sprintf("%s of %s requests (%s)", count(float64(failed)), count(float64(q.Ended)), percent(part)),
		Limit:    "at most " + percent(mostLost),
	}
	return judged(c, part <= mostLost,
		"the generator could send what it meant to send",
		"requests failed before they reached the target ("+strings.Join(kinds, ", ")+")",
		"raise `ulimit -n`, spread the load over more source addresses, or ask for fewer connections")
}

// workerCPU looks for a generator that is its own bottleneck.
func workerCPU(e evidence) (Check, bool) {
	limit := "at most " + percent(mostWorkerCPU) + " of the CPUs it may use"
	if !e.recorded || e.window <= 0 {
		return unknown(nameWorkerCPU, limit, "the recording does not hold the CPU time of the generator's processes")
	}
	busiest, at, may := 0.0, 0, 0
	for i, w := range e.load.Generator.Workers {
		n := w.GOMAXPROCS
		if e.cpus > 0 {
			n = min(n, e.cpus)
		}
		if n <= 0 {
			continue
		}
		if used := max(0, w.CPUSeconds) / (e.window * float64(n)); may == 0 || used > busiest {
			busiest, at, may = used, i, n
		}
	}
	if may == 0 {
		return unknown(nameWorkerCPU, limit, "the recording does not hold how many CPUs the generator's processes may use")
	}
	c := Check{
		Name: nameWorkerCPU,
		Measured: fmt.Sprintf("worker %d of %d used %s of CPU in %s, %s of the %s it may use", at+1, len(e.load.Generator.Workers),
			seconds(e.load.Generator.Workers[at].CPUSeconds), seconds(e.window), percent(busiest), plural(may, "CPU")),
		Limit: limit,
	}
	return judged(c, busiest <= mostWorkerCPU,
		"the generator had CPU to spare",
		"the generator was its own bottleneck, so its waiting stands in the latency and the load is lighter than asked",
		"run more workers, let each use more CPUs (gomaxprocs), or ask for less load")
}

// machineCPU looks for a target that is starved by the generator. Where CPU
// stands idle nobody is starved. Where none does, somebody has taken it: a
// target that spins or computes takes the most itself, and that is a finding;
// other programs have a check of their own. What remains is a generator that
// took more than the target and more than all others.
func machineCPU(e evidence) (Check, bool) {
	limit := fmt.Sprintf("where less than %s stands idle, no more than the target or than all others took", percent(scarceIdle))
	m := e.machine
	if m.missing != "" {
		return unknown(nameMachineCPU, limit, m.missing)
	}
	rest := max(0, 1-m.idle-m.target-m.generator)
	c := Check{
		Name: nameMachineCPU,
		Measured: fmt.Sprintf("generator %s, target %s, all others %s, idle %s of the machine's CPU time",
			percent(m.generator), percent(m.target), percent(rest), percent(m.idle)),
		Limit: limit,
	}
	starves := m.idle < scarceIdle && m.generator > m.target && m.generator > rest
	return judged(c, !starves,
		"the generator did not keep the target from a CPU",
		"the generator took most of a machine without idle CPU, so that a healthy target looks starved",
		"ask for less load or for a rate, use the lean engine, or give generator and target CPUs of their own")
}

// otherCPU looks for programs that have nothing to do with the run. Where CPU
// stands idle as well, they are no harm: a database beside the server belongs there.
func otherCPU(e evidence) (Check, bool) {
	limit := fmt.Sprintf("at most %s of the machine's CPU time, or as much idle", percent(mostOther))
	m := e.machine
	for _, missing := range []string{m.missing, m.otherMissing} {
		if missing != "" {
			return unknown(nameOtherCPU, limit, missing)
		}
	}
	c := Check{
		Name:     nameOtherCPU,
		Measured: fmt.Sprintf("%s of the machine's CPU time, with %s idle", percent(m.other), percent(m.idle)),
		Limit:    limit,
	}
	return judged(c, m.other <= mostOther || m.idle >= mostOther,
		"other processes left enough CPU to target and generator",
		"other processes took CPU that target and generator lacked, so that a healthy target looks starved",
		"end what else runs on the machine, and record again")
}

// ownLag looks at how late the generator was by itself: from when a request was
// due and had a place, to when it left. In a closed loop that is how long a place
// stood empty.
func ownLag(e evidence) (Check, bool) {
	service := max(0, e.load.LatencySeconds.P50)
	most := max(mostLag, mostLagOfService*service)
	limit := fmt.Sprintf("at most %s, the wider of %s and %s of the median service time of %s",
		seconds(most), seconds(mostLag), percent(mostLagOfService), seconds(service))
	lag := e.load.Generator.OwnLagSeconds
	switch {
	case !e.recorded:
		return unknown(nameOwnLag, limit, "the recording does not hold the generator's own part of the send lag")
	case lag.Count == 0:
		return unknown(nameOwnLag, limit, "no request ended in the window")
	case lag.Count < fewestLags && lag.P99 > most:
		return unknown(nameOwnLag, limit, fmt.Sprintf("only %d requests ended in the window, too few to tell from one that left late, by %s", lag.Count, seconds(lag.Max)))
	}
	c := Check{Name: nameOwnLag, Measured: "p99 " + seconds(lag.P99), Limit: limit}
	if lag.P99 > most && e.targetHogs() {
		return excused(c, hogs)
	}
	return judged(c, lag.P99 <= most,
		"the generator sent requests when they were due",
		"the generator sent requests late by itself, so the load is more uneven than asked and corrected latency is partly its own",
		"run more workers, let each use more CPUs (gomaxprocs), or ask for less load")
}

func inFlight(e evidence) (Check, bool) {
	asked := float64(e.load.Asked.InFlight)
	if asked <= 0 {
		return Check{}, false // a rate is what was asked for
	}
	limit := "at least " + percent(leastOfAsked) + " of what was asked for"
	switch {
	case e.window <= 0:
		return unknown(nameInFlight, limit, noWindow)
	case e.load.Asked.RateHz > 0 && !e.recorded:
		return unknown(nameInFlight, limit, "the recording does not tell the concurrency asked for from the most allowed")
	}
	mean := max(0, e.load.Reached.InFlightMean)
	c := Check{
		Name:     nameInFlight,
		Measured: fmt.Sprintf("%s of %s requests (%s) on average over the window", count(mean), count(asked), percent(mean/asked)),
		Limit:    limit,
	}
	if mean < leastOfAsked*asked && targetFails(e.load) {
		return excused(c, "requests failed at the target, and the generator waits before it follows one that failed")
	}
	if mean < leastOfAsked*asked && e.targetHogs() {
		return excused(c, hogs)
	}
	mend := "run more workers, or ask for less in flight"
	if e.load.Asked.RateHz > 0 {
		mend = "raise the rate, or ask for less in flight: in flight is rate times latency"
	}
	return judged(c, mean >= leastOfAsked*asked,
		"the concurrency that was asked for stood over the window",
		"the target was recorded under less concurrency than was asked for", mend)
}

func rate(e evidence) (Check, bool) {
	asked, sent := e.load.Asked.RateHz, max(0, e.load.Reached.SentRateHz)
	asked *= wellBehaved(e.load)
	if asked <= 0 {
		return Check{}, false // a closed loop, or clients that are all badly behaved
	}
	limit := "at least " + percent(leastOfAsked) + " of what was asked for"
	switch {
	case e.window <= 0:
		return unknown(nameRate, limit, noWindow)
	case !e.recorded:
		return unknown(nameRate, limit, "the recording does not hold how many requests were sent a second")
	}
	c := Check{
		Name:     nameRate,
		Measured: fmt.Sprintf("%s of %s requests sent a second (%s)", count(sent), count(asked), percent(sent/asked)),
		Limit:    limit,
	}
	if sent < leastOfAsked*asked && targetHolds(e.load) {
		return excused(c, "requests waited because as many as may be were in flight, and corrected latency holds that wait")
	}
	if sent < leastOfAsked*asked && e.targetHogs() {
		return excused(c, hogs)
	}
	return judged(c, sent >= leastOfAsked*asked,
		"requests left at the rate that was asked for",
		"the generator did not keep up with the rate that was asked for",
		"run more workers, let each use more CPUs (gomaxprocs), or ask for a lower rate")
}

// wellBehaved is the share of clients that are. The others break their connections and are
// counted by themselves, and both was asked for.
func wellBehaved(l *bundle.Load) float64 {
	var others float64
	for _, c := range l.Clients {
		others += max(0, c.Share)
	}
	return 1 - min(others, 1)
}

func sockets(e evidence) (Check, bool) {
	asked := float64(e.load.Asked.Connections)
	if asked <= 0 || strings.HasPrefix(e.load.Asked.Protocol, "http/2") {
		return Check{}, false
	}
	limit := "at least " + percent(leastOfAsked) + " of what was asked for"
	if e.window <= 0 {
		return unknown(nameSockets, limit, noWindow)
	}
	asked *= wellBehaved(e.load)
	if asked < 1 {
		return Check{}, false
	}
	least := max(0, float64(e.load.Reached.OpenSocketsMin))
	c := Check{
		Name:     nameSockets,
		Measured: fmt.Sprintf("at least %s of %s sockets open over the window (%s)", count(least), count(asked), percent(least/asked)),
		Limit:    limit,
	}
	if least < leastOfAsked*asked && targetFails(e.load) {
		return excused(c, "requests failed at the target, which costs their connections")
	}
	return judged(c, least >= leastOfAsked*asked,
		"the connections that were asked for stayed open",
		"the target was recorded with fewer connections than were asked for",
		"raise `ulimit -n`, see whether the target closes idle connections, or ask for fewer")
}

func dropped(e evidence) (Check, bool) {
	lost, ended := max(0, e.load.Generator.ResultsDropped), max(0, e.load.Requests.Ended)
	part := 0.0
	if lost > 0 {
		part = share(float64(lost), float64(max(ended, lost)))
	}
	c := Check{
		Name:     nameDropped,
		Measured: fmt.Sprintf("%s of %s (%s)", count(float64(lost)), count(float64(ended)), percent(part)),
		Limit:    "at most " + percent(mostLost) + " of the requests that ended",
	}
	return judged(c, part <= mostLost,
		"the account of the requests is complete",
		"results were lost, and those that are kept may be the quick ones",
		"ask for less load, or keep only a sample of the results")
}

// excused is a figure below its limit for which the target is the reason.
func excused(c Check, why string) (Check, bool) {
	c.Known, c.OK, c.Why = true, true, "the target is the reason, not the generator: "+why
	return c, true
}

// targetFails reports whether so many requests failed at the target that they
// account for what is missing of what was asked.
func targetFails(l *bundle.Load) bool {
	var failed int64
	for _, n := range l.Requests.ByError {
		failed += max(0, n)
	}
	for _, kind := range ownFailures() {
		failed -= max(0, l.Requests.ByError[kind])
	}
	return float64(failed) > (1-leastOfAsked)*float64(l.Requests.Ended)
}

// hogs is the excuse that targetHogs gives.
const hogs = "it took most of a machine without idle CPU"

// targetHogs reports whether the generator was short of CPU because the target
// took most of the machine's. Schedulers share fairly: whoever is left with less
// than half of a machine wanted less than half, and came late by the other's doing.
func (e evidence) targetHogs() bool {
	m := e.machine
	return m.missing == "" && m.idle < scarceIdle && m.target > mostly
}

// targetHolds reports whether requests of an open loop left late because the
// target held every place in flight, and not by the generator's doing.
func targetHolds(l *bundle.Load) bool {
	all, own := l.Generator.SendLagSeconds, l.Generator.OwnLagSeconds
	full := l.Asked.AtMost > 0 && l.Reached.InFlightMax >= l.Asked.AtMost
	if all.Count == 0 || full && all.Count < fewestLags { // lag is told of requests that ended, and none did, or too few
		return full
	}
	// Those that waited for a place may not have ended yet either.
	return all.Mean > 0 && own.Mean <= all.Mean/2 || full && own.P99 <= mostLag
}
