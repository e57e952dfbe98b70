// Package worker is the border between the harness and the processes that make
// the load: how such a process is started, with which limits, and the stream by
// which the two speak.
//
// # The stream
//
// The harness writes to the worker's standard input and reads from its standard
// output; nothing else passes between them, so that a worker may one day stand on
// another machine behind any connection. Each side sends frames: one byte of
// kind, four bytes of length, most significant first, and so many bytes, at most
// 256 MiB. Every kind but Results carries one JSON value.
//
//	worker                              harness
//	Hello    protocol, version, pid
//	                                    Plan     what to send, and this worker's part of it
//	Ready    limits, engine
//	                                    Start    when to begin; all workers get the same time
//	Live     how things stand, 20 a second
//	Results  raw results, in vegeta's encoding
//	                                    Window   the measured window begins, or ends
//	                                    Read     what stands now is asked for
//	Reading  what has ended until now
//	                                    Release  the captured stage ends then
//	                                    Stop     hang up
//	Account  everything that was measured
//
// Failed, with a text, may come from the worker at any time, and is its last
// frame. Times are CLOCK_MONOTONIC in nanoseconds: worker and harness are on one
// machine. The version rises when a frame changes its meaning; the harness
// refuses a worker of another version, which happens when the program was
// replaced on disk while it ran.
//
// A worker whose standard input ends hangs up and exits: it never outlives the
// harness, however that ended.
package worker
