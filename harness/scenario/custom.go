package scenario

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode"
)

// maxCustomProbes is as many as the custom probe has room for.
const maxCustomProbes = 16

var (
	customNamePattern = regexp.MustCompile(`^[a-z0-9]+(-[a-z0-9]+)*$`)
	tracepointPattern = regexp.MustCompile(`^[A-Za-z0-9_]+/[A-Za-z0-9_]+$`)
)

// CustomProbe is a probe of one's own: a function of the target or a tracepoint of
// the kernel, exactly one of them.
type CustomProbe struct {
	// Name is in the artifacts: lower-case words joined by "-".
	Name string `yaml:"name" json:"name" jsonschema:"required"`
	// Function is a function of the program, a library or the Go runtime, as the Go
	// runtime prints it: main.(*store).get, main.serve.func1, main.(*cache[...]).put.
	Function string `yaml:"function" json:"function,omitempty"`
	// Tracepoint is a tracepoint of the kernel: tcp/tcp_retransmit_skb. Its number
	// (argument) is a field of its event.
	Tracepoint string `yaml:"tracepoint" json:"tracepoint,omitempty"`
	// Time measures how long calls of the function take, to each of its returns.
	Time bool `yaml:"time" json:"time,omitempty"`
	// SlowerThan keeps the goroutines and stacks of those calls alone that take longer.
	// Default: of all.
	SlowerThan Duration `yaml:"slower_than" json:"slower_than,omitempty"`
	// Argument is a number that calls come with, kept as a histogram by powers of two.
	// Default: none.
	Argument *CustomArgument `yaml:"argument" json:"argument,omitempty"`
	// Stacks keeps the user stacks of calls, as a profile.
	Stacks bool `yaml:"stacks" json:"stacks,omitempty"`
	// Everywhere counts a tracepoint whatever process runs just then. The kernel meets
	// some, such as retransmits, while it runs for nobody in particular. Default: in
	// the target's threads alone.
	Everywhere bool `yaml:"everywhere" json:"everywhere,omitempty"`
}

// CustomArgument is a number that calls of a function come with, or a field of a
// tracepoint.
type CustomArgument struct {
	// Name is the parameter's name in the source, a part of one (opts.Limit), or the
	// length of one: len(p), cap(p). Of a tracepoint it is the field's name.
	Name string `yaml:"name" json:"name" jsonschema:"required"`
	// Keep compares the number with a constant; others are counted as left out, and no
	// more is kept of them. Default: all pass.
	Keep Comparison `yaml:"keep" json:"keep,omitzero"`
}

// custom checks the declared probes.
func (c *checker) custom(p Capture) {
	asked := slices.Contains(p.EBPF, ProbeCustom)
	switch {
	case len(p.Custom) == 0 && asked:
		c.add("capture.custom", "is missing; capture.ebpf lists custom, so say which functions or tracepoints it is made of")
	case len(p.Custom) > 0 && p.EBPF != nil && !asked:
		c.add("capture.custom", "is given, and capture.ebpf does not list custom; add it there")
	case len(p.Custom) > maxCustomProbes:
		c.add("capture.custom", "has %d probes; there is room for %d", len(p.Custom), maxCustomProbes)
	}
	for i, probe := range p.Custom {
		field := fmt.Sprintf("capture.custom[%d]", i)
		c.customProbe(field, probe)
		if slices.ContainsFunc(p.Custom[:i], func(other CustomProbe) bool { return other.Name == probe.Name }) && probe.Name != "" {
			c.add(field+".name", "%s is the name of a probe above it", probe.Name)
		}
	}
}

func (c *checker) customProbe(field string, p CustomProbe) {
	switch {
	case p.Name == "":
		c.add(field+".name", "is missing; name the probe, such as session-get")
	case !customNamePattern.MatchString(p.Name):
		c.add(field+".name", "%q is not a name; use lower-case words joined by \"-\"", p.Name)
	}
	switch {
	case p.Function == "" && p.Tracepoint == "":
		c.add(field, "names nothing to probe; give function, such as main.(*store).get, or tracepoint, such as tcp/tcp_retransmit_skb")
	case p.Function != "" && p.Tracepoint != "":
		c.add(field, "names a function and a tracepoint; give one of them")
	case p.Function != "":
		c.customFunction(field, p)
	case !tracepointPattern.MatchString(p.Tracepoint):
		c.add(field+".tracepoint", "%q is not a tracepoint; write group/name, such as tcp/tcp_retransmit_skb", p.Tracepoint)
	case p.Time:
		c.add(field+".time", "has no meaning for a tracepoint, which happens at once; only a function has it")
	}
	if p.SlowerThan != 0 && !p.Time {
		c.add(field+".slower_than", "needs time: true, or nothing is known to be slow")
	}
	if a := p.Argument; a != nil && (a.Name == "" || strings.ContainsFunc(a.Name, unicode.IsSpace)) {
		c.add(field+".argument.name", "%q is not the name of a number; write the parameter's, such as n, len(p) or opts.Limit", a.Name)
	}
}

func (c *checker) customFunction(field string, p CustomProbe) {
	if !strings.Contains(p.Function, ".") || strings.ContainsFunc(p.Function, unicode.IsControl) {
		c.add(field+".function", "%q is not a function with its package, such as main.serve or main.(*store).get", p.Function)
	}
	if p.Everywhere {
		c.add(field+".everywhere", "has no meaning for a function, which is the target's; only a tracepoint has it")
	}
}
