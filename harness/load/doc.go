// Package load sends requests to a target, from processes of its own, and keeps
// an honest account of the concurrency and the rate that this reached.
//
// A [Generator] starts one or more workers, which are this program under another
// name: load on the target's machine must share neither heap nor descriptors with
// the capture, and its collector must not stop for the harness's garbage. Each
// makes its part of the load ([attack]) and speaks a plain stream with the
// harness ([worker]); they begin at the same moment, and what they measured is
// merged exactly ([account]).
//
// What is asked for is a list of stages ([schedule]), in requests in flight (a
// closed loop) or requests a second (an open loop). One stage is captured: its
// time begins when its level has been reached, which WaitReached observes, and
// the stages after it follow by the clock.
//
// A worker that dies ends the load: what is left is not what was asked for.
//
// [attack]: chokepoint/harness/load/attack
// [worker]: chokepoint/harness/load/worker
// [account]: chokepoint/harness/load/account
// [schedule]: chokepoint/harness/load/schedule
package load
