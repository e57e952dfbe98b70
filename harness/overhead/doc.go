// Package overhead measures what recording costs a target: it compares the
// target's CPU time per request, and the p99 of latency, with a dimension or a
// probe on and with nothing on, under one load and against one process.
//
// A round starts the target and the load once. In it short windows follow each
// other: nothing, one mode, nothing, the next mode, and so on, the modes in random
// order. Each window of a mode is compared with the windows of nothing just before
// and after it, so that a target that warms up, and a machine that slows down, hit
// both sides. One of the modes, the control, is nothing as well: how far its ratio
// is spread about 1 is how far noise alone goes.
//
// What is measured is the time while a mode is on. What it takes to begin and to
// end a recording (loading programs, asking for heap profiles, with a collection
// each) lies outside the windows.
//
// CPU time is the kernel's clock of the target's process, to the nanosecond;
// requests and their latency are from the load generator's account, read at the
// same moments.
package overhead
