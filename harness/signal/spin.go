package signal

import (
	"strings"

	"chokepoint/harness/gofunc"
	"chokepoint/harness/signal/gotrace"
	"chokepoint/harness/signal/stack"
)

const (
	// mostlyKernel is the share of a real I/O call's CPU that the system call
	// takes, at least; around it stand a lock and a few checks.
	mostlyKernel = 0.2
	// loopIsCalls is how much of a loop's CPU its calls take, at least, where it does
	// nothing but go round: it sets a deadline, calls, looks at the error and the clock,
	// and tells others to run, a few things of about one size. A function that does work
	// between its calls has less of them, and then what it does is not the calls' fault.
	loopIsCalls = 0.25
)

// spinning is a loop round a call that reads, writes or accepts and hardly ever reaches
// the kernel: its deadline has passed, so that it returns at once, and so does the next.
type spinning struct {
	where stack.Frame // the line of the call
	loop  int64       // samples of the loop
	all   int64       // samples in all
}

// spin finds the loop that takes most CPU.
func (e *evidence) spin(dim string) (spinning, error) {
	return once(e, "spin "+dim, func() (spinning, error) {
		list, err := e.cpuSamples(dim)
		if err != nil {
			return spinning{}, err
		}
		var yields []gotrace.Sample
		if s, err := e.trace(); err == nil { // without it, what yielding costs is nobody's
			yields = s.Yields
		}
		return spinOf(e.program, list, yields), nil
	})
}

// spun is what is known of a line whose calls read, write or accept.
type spun struct {
	count, kernel int64
	under         map[string]int64 // samples, by function of the program that they are under
}

func spinOf(p stack.Program, list, yields []gotrace.Sample) spinning {
	var s spinning
	lines := map[stack.Frame]*spun{}
	under := map[string]int64{}     // samples under a function of the program
	deadlines := map[string]int64{} // those that set a deadline
	for _, x := range list {
		s.all += x.Count
		c := p.CPUOf(x.Frames)
		if c.Own.IsZero() || c.Collecting {
			continue
		}
		sets := c.NetCall && setsDeadline(p, x.Frames)
		functions := functionsOf(p, x.Frames)
		for f := range functions {
			under[f] += x.Count
			if sets {
				deadlines[f] += x.Count
			}
		}
		if !c.NetCall || sets {
			continue
		}
		l := lines[c.Own]
		if l == nil {
			l = &spun{under: map[string]int64{}}
			lines[c.Own] = l
		}
		l.count += x.Count
		if c.InSyscall {
			l.kernel += x.Count
		}
		for f := range functions {
			l.under[f] += x.Count
		}
	}
	for at, l := range lines {
		if share(l.kernel, l.count) >= mostlyKernel {
			continue
		}
		loop := l.count
		if l.count >= fewestSamples {
			loop = max(loop, l.loop(p, list, yields, under, deadlines))
		}
		if loop > s.loop || loop == s.loop && less(at, s.where) {
			s.where, s.loop = at, loop
		}
	}
	return s
}

// loop is the CPU of the outermost function that does little else than the calls, with
// what the scheduler does because it lets others run each time round.
func (l *spun) loop(p stack.Program, list, yields []gotrace.Sample, under, deadlines map[string]int64) int64 {
	var most int64
	var function string
	for f, n := range l.under {
		if float64(n+deadlines[f]) < loopIsCalls*float64(under[f]) {
			continue
		}
		if under[f] > most || under[f] == most && f < function {
			most, function = under[f], f
		}
	}
	if most == 0 {
		return 0
	}
	var its int64
	for _, y := range yields {
		if functionsOf(p, y.Frames)[function] {
			its += y.Count
		}
	}
	return most + int64(share(its, samplesIn(yields))*float64(schedulingOf(p, list)))
}

// functionsOf are the functions outside the standard library that a stack is under, each
// by the name of the one that it is written in.
func functionsOf(p stack.Program, frames []stack.Frame) map[string]bool {
	functions := map[string]bool{}
	for _, f := range frames {
		if !f.Kernel() && !p.Foreign(f) {
			functions[gofunc.Base(f.Function)] = true
		}
	}
	return functions
}

// setsDeadline reports whether what the program calls there sets a deadline, which never
// reaches the kernel: it is part of a loop, and by itself no sign of one.
func setsDeadline(p stack.Program, frames []stack.Frame) bool {
	own := p.Own(frames)
	for _, f := range frames {
		if f == own {
			return false
		}
		name := f.Function[strings.LastIndexByte(f.Function, '.')+1:]
		if name == "setDeadlineImpl" || strings.HasPrefix(name, "Set") && strings.HasSuffix(name, "Deadline") {
			return true
		}
	}
	return false
}
