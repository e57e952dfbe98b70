// Package account keeps the account of an attack in one process, and merges the
// accounts of several exactly.
//
// # What is exact
//
// Every request passes through one [Recorder], under one mutex, when it leaves
// and when it has ended. In flight and open sockets are therefore followed at
// each change and not by sampling: least and most are the true ones, and a mean
// is the integral over time divided by the time. Sums and maxima stand beside the
// histograms; percentiles alone have a histogram's precision, which is three
// digits (0.1%).
//
// Merging adds counts, integrals and histogram buckets; percentiles are read from
// the merged buckets, never averaged. What one process cannot know of another is
// bounded: the least in flight of all is no lower than the sum of what each had
// at least, the most no higher than the sum of what each had at most.
//
// # Which requests have a latency
//
// A request has two latencies: service time, from when it left until the end of its
// response had arrived, and corrected time, from when it was due. The second is free of
// coordinated omission (Gil Tene's term): a server that stalls also holds up
// requests that were due and could not leave, and these waited as well.
//
//   - A complete response counts, whatever its status.
//   - A request that took the whole of its timeout counts with the time that it
//     took. It would have needed at least that; leaving it out would let the worst
//     requests vanish from p99, just as coordinated omission does.
//   - Any other failure does not count: a refused connection is over in
//     microseconds, and a server that refuses everything would look fast. It is
//     in the figures of errors.
//
// The count of a distribution is therefore the number of requests ended less the
// failures that are no timeouts.
//
// A response arrives when the kernel has it, as far as the client knows that
// ([Exchange].Lay), and not when a generator that is short of CPU comes to read it:
// with 10,000 connections on a machine with other work to do, responses lay in their
// sockets for ten times as long as the server took. In a closed loop that time is
// lag of the next request in the same place, which is due when the response arrives.
//
// The window's latencies are of the requests that ended in it. One that is still
// in flight at its end has no latency yet: a stall that outlasts the window shows
// in the requests in flight, and in the seconds and the stage when it is over.
//
// Requests of badly behaved clients are in flight like others; apart from that
// they are in [Account.Clients] and nowhere else: a client that reads slowly on
// purpose says nothing about the target's latency.
//
// # Cost
//
// [Recorder.Send] and [Recorder.End] read the clock once each and allocate
// nothing. Once a second the histograms of the second are put by in compact form,
// some kilobytes; that is done outside the mutex, by a call that ends a request
// or looks at the figures, and never by one that sends.
package account
