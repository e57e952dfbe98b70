package health

import "chokepoint/harness/bundle"

// evidence is what the checks look at.
type evidence struct {
	load   *bundle.Load
	window float64 // seconds
	cpus   int     // of the machine; 0 when not known
	// recorded is true of a recording that holds the generator's figures process
	// by process. Older ones ran the generator inside the harness: their CPU time
	// is that of both, and lag and sockets were kept otherwise.
	recorded bool
	machine  machine
}

func newEvidence(in In) evidence {
	return evidence{
		load:     in.Load,
		window:   max(0, in.Manifest.Window.Duration().Seconds()),
		cpus:     max(0, in.Manifest.Host.CPUs),
		recorded: len(in.Load.Generator.Workers) > 0,
		machine:  newMachine(in),
	}
}

// generatorCPU is the CPU time of the generator's processes over the window, in seconds.
func generatorCPU(l *bundle.Load) float64 {
	var sum float64
	for _, w := range l.Generator.Workers {
		sum += max(0, w.CPUSeconds)
	}
	return max(sum, l.Generator.CPUSeconds, 0)
}

// machine says who had the machine's CPU time over the window, as shares of it.
// The machine's figures count in steps of 10 ms and those of the processes are
// read a moment apart, so every share is kept between 0 and 1.
type machine struct {
	missing                 string // why the shares are not known; empty where they are
	idle, target, generator float64
	// other is what none of target, generator and recording took: other
	// programs, and what the kernel does for nobody in particular.
	other float64
	// otherMissing says why other is not known.
	otherMissing string
}

// leastSpan is the least part of the window that samples must cover to stand for it.
const leastSpan = 0.5

func newMachine(in In) machine {
	if len(in.Load.Generator.Workers) == 0 {
		return machine{missing: "the recording does not hold the CPU time of the generator's processes"}
	}
	samples := within(in.Proc, in.Manifest.Window)
	if len(samples) < 2 {
		return machine{missing: "the target's process and the machine were not sampled in /proc"}
	}
	first, last := samples[0], samples[len(samples)-1]
	window := in.Manifest.Window.Duration().Seconds()
	span := float64(last.MonoNS-first.MonoNS) / 1e9
	total := float64(last.MachineTotalNS-first.MachineTotalNS) / 1e9
	idle := float64(last.MachineIdleNS-first.MachineIdleNS) / 1e9
	if window <= 0 || span < leastSpan*window {
		return machine{missing: "the samples of /proc cover less than half of the window"}
	}
	if total <= 0 || idle < 0 {
		return machine{missing: "the samples of /proc hold no CPU time of the machine"}
	}
	target := float64(last.UserNS+last.SystemNS-first.UserNS-first.SystemNS) / 1e9
	// What was counted over the window is taken for the time between the samples.
	scale := span / window
	m := machine{
		idle:      share(idle, total),
		target:    share(target, total),
		generator: share(generatorCPU(in.Load)*scale, total),
	}
	tool := in.Manifest.Tool.CPUSeconds
	if tool <= 0 {
		m.otherMissing = "the recording does not hold the CPU time of the recording itself"
		return m
	}
	m.other = max(0, 1-m.idle-m.target-m.generator-share(tool*scale, total))
	return m
}

// within are the samples of the window. Those taken at its very ends may lie a
// moment outside.
func within(samples []bundle.ProcSample, w bundle.Window) []bundle.ProcSample {
	const moment = 100e6 // ns; half of the time between two samples
	var in []bundle.ProcSample
	for _, s := range samples {
		if s.MonoNS >= w.StartNS-moment && s.MonoNS <= w.EndNS+moment {
			in = append(in, s)
		}
	}
	return in
}

func share(part, whole float64) float64 { return min(max(part/whole, 0), 1) }
