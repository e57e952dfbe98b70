// Package health judges whether the load generator of a recording can be
// trusted. It is asked before any rule: where the generator was short of CPU,
// late, or kept from the machine by others, the target may look sick without
// being so, and nothing can be concluded from the recording, not even that the
// target is healthy.
//
// It is pure: a bundle's figures in, a Report out. What the target did to the
// load (it hung up, it let no more requests in) is a fact about the target, and
// no fault of the generator: such figures are told and not held against it.
//
// docs/load.md lists the checks, their limits and the reason for each limit.
package health

import (
	"fmt"

	"chokepoint/harness/bundle"
)

// In is what there is to judge.
type In struct {
	Manifest bundle.Manifest
	Load     *bundle.Load        // nil when the recording has no account of the load
	Proc     []bundle.ProcSample // by time; empty when the target's process was not seen
}

// Check is one figure held against its limit.
type Check struct {
	Name     string `json:"name"`
	Measured string `json:"measured"` // with units
	Limit    string `json:"limit"`    // with units
	// Known is false when the recording lacks what the check needs; Why says
	// what. Such a check is never held against the generator.
	Known bool   `json:"known"`
	OK    bool   `json:"ok"`             // false when not known
	Why   string `json:"why"`            // what the outcome means, a sentence without its full stop
	Mend  string `json:"mend,omitempty"` // what to change, where the check failed
}

// Failed reports whether the check speaks against the generator.
func (c Check) Failed() bool { return c.Known && !c.OK }

// Report is what there is to say of the generator.
type Report struct {
	// Checks are those that the load calls for (a closed loop has no rate to
	// hold), causes before symptoms.
	Checks  []Check `json:"checks"`
	Trusted bool    `json:"trusted"` // no check failed
	// Reason is what the first failed check says: a sentence without its full
	// stop. It is empty where the generator is trusted.
	Reason string `json:"reason,omitempty"`
}

// Judge holds the generator's figures against their limits.
func Judge(in In) Report {
	if in.Load == nil {
		return Report{Checks: []Check{}, Reason: "the bundle has no account of the load"}
	}
	e := newEvidence(in)
	r := Report{Checks: []Check{}, Trusted: true}
	for _, check := range []func(evidence) (Check, bool){
		reached, ownErrors, workerCPU, machineCPU, otherCPU, ownLag, inFlight, rate, sockets, dropped,
	} {
		c, applies := check(e)
		if !applies {
			continue
		}
		r.Checks = append(r.Checks, c)
		if c.Failed() && r.Trusted {
			r.Trusted, r.Reason = false, e.reason(c)
		}
	}
	return r
}

// reason is a failed check as one sentence.
func (e evidence) reason(c Check) string {
	if c.Name == nameReached && e.load.Generator.Reason != "" {
		return e.load.Generator.Reason // it has the figures and the mend already
	}
	return fmt.Sprintf("the load generator is not to be trusted: %s: %s, and the limit is %s: %s; %s",
		c.Name, c.Measured, c.Limit, c.Why, c.Mend)
}
