// Package attack makes the load of one process: vegeta's attacker, with a meter
// around what sends the requests.
//
// A pacer ([schedule]) says when the next request is due, a [gate] how many may be in
// flight, [request] what is sent, and [client] sends it. What drives them depends on
// the client's engine: a [loop] of this package has the lean one, vegeta's Attacker
// has net/http. The Attacker takes as much CPU as the lean engine and the kernel
// together: it passes each request over two channels and three goroutines, builds
// what an http.Client wants, and spare workers must stand ready. Both are driven by
// vegeta's Pacer and send vegeta's targets; results are written in its encoding.
//
// The meter in between measures: it alone sees when a request really leaves and
// when its response has really ended, and gives every measurement to one [account].
// Vegeta's Attacker has it for a RoundTripper. The Attacker's own results are drained
// at once and thrown away, because whoever reads them slowly throttles the attack
// without a word.
//
// A request is in flight from when it is handed to the client until its
// response's body has been read to the end, or failed.
//
// In a closed loop a place that becomes free is taken at once: by the goroutine that
// has freed it or, under vegeta's Attacker, by one of the workers beyond the places,
// which stand ready with their next request. A request that fails is followed as
// fast, except that, as long as nothing succeeds, the pause before the next one
// grows, so that a dead target does not turn the load into a connect loop. In an
// open loop requests leave when they are due, whatever became of others, as long
// as there is a place.
//
// The end hangs up: requests in flight are cut off, and are no errors of the
// target. Connections are reset, which spares the machine ten thousand sockets
// in TIME_WAIT; those that end while the attack runs end as any client's do.
//
// [schedule]: chokepoint/harness/load/schedule
// [request]: chokepoint/harness/load/request
// [client]: chokepoint/harness/load/client
// [account]: chokepoint/harness/load/account
package attack
