package ebpf

import (
	"context"
	"errors"
	"math"

	"github.com/cilium/ebpf/rlimit"
)

// Capability says whether this machine lets this user run a probe.
type Capability struct {
	Probe   string // "syscalls"
	OK      bool
	Missing string // what is not there; empty when OK
	Mend    string // the command or change that gives it; may be empty

	Question string // that the probe answers
	// Needs is which capabilities it uses, and whether they are held.
	Needs []Need
	// Lacks makes the probe poorer although it is OK.
	Lacks []Lack
}

// Check finds out what can be recorded by loading and attaching the programs of
// every probe, for no process, and taking them off again.
func Check(ctx context.Context) []Capability {
	ready := machineReady()
	_ = rlimit.RemoveMemlock() // as in Prepare
	held, heldErr := effectiveCapabilities()
	var out []Capability
	for _, k := range Kinds() {
		p := k.make(Config{})
		err := ready
		if err == nil {
			err = ctx.Err()
		}
		if err == nil {
			// No process has this number: the kernel's limit is 2^22.
			err = errors.Join(explain(p.name(), p.load(subject{tgid: math.MaxUint32})), p.close())
		}
		c := Capability{Probe: p.name(), OK: err == nil, Question: k.Question, Needs: Needs(k.Name)}
		for i := range c.Needs {
			c.Needs[i].Held = heldErr == nil && holdsOrStandIn(held, c.Needs[i].Capability)
		}
		if c.OK && heldErr == nil {
			c.Lacks = lacks(k.Name, held)
		}
		if err != nil {
			c.Missing = err.Error()
		}
		var s *shortfall
		if errors.As(err, &s) {
			c.Missing, c.Mend = s.missing, s.mend
		}
		out = append(out, c)
	}
	return out
}
