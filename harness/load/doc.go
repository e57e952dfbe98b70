// Package load sends requests to a target through the vegeta library and keeps
// an honest account of the concurrency that this reached.
//
// # What vegeta does and what is done here
//
// Vegeta owns the attack: its pacer loop, its workers, its requests. Two things
// are put around it. A pacer decides when the next request may leave; it waits
// inside Pace, so that it can be interrupted and can follow the number of
// requests in flight, and vegeta's loop never spins. A RoundTripper measures: it
// alone sees when a request really leaves and when its response has really
// ended, and it hands every measurement to one recorder. Vegeta's own results
// are drained at once and thrown away, because whoever reads them slowly
// throttles the attack without a word; the results in the bundle are made from
// the RoundTripper's measurements, in vegeta's encoding.
//
// # Concurrency
//
// A request is in flight from the moment it is handed to the connection pool
// until its response's body has been read to the end or failed. Open sockets are
// the client's established connections. Both are followed exactly, at each
// change, not by sampling: the minimum is the true minimum over the window, and
// the mean is the integral over time divided by the window.
//
// In a closed loop (RateHz 0) requests rise linearly to InFlight over the ramp;
// afterwards each ended request is followed by another at once, which stands
// ready: there are more workers than slots. A request that fails is not: as long as nothing succeeds, the pause before the next one grows,
// so that a dead target does not turn the generator into a connect loop.
//
// In an open loop the rate rises linearly to RateHz over the ramp and then stays.
// When each request was due follows from that in closed form, so the time between
// due and sent (send lag) is known for each request, and latency can be told
// corrected for coordinated omission.
//
// # The end
//
// Stop hangs up: requests in flight are cancelled, and are no errors of the
// target, and every connection is closed with SO_LINGER 0. The reset spares the
// machine ten thousand sockets in TIME_WAIT, which would take a third of the
// ephemeral ports from the next run. Connections that end while the attack runs
// end as those of any client do.
package load
