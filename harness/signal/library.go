package signal

import (
	"cmp"
	"slices"

	"chokepoint/harness/bundle"
	"chokepoint/harness/signal/stack"
)

// library is the line of somebody's library that the program's line most often has
// below it: a flaw may be the library's, and then a person wants to know both. It is
// zero where the program's line calls Go's own packages alone.
//
// What a line waits in counts for places of the trace, what it spends and allocates
// for those of pprof, and on-CPU time and system calls for those of the kernel.
func (e *evidence) library(dimension string, at stack.Frame) stack.Frame {
	found, err := once(e, "libraries of "+dimension, func() (map[stack.Frame]stack.Frame, error) {
		t := libraries{}
		switch dimension {
		case bundle.DimTrace:
			if s, err := e.trace(); err == nil {
				for _, x := range s.Libraries {
					t.add(x.Own, x.Library, float64(x.Waits))
				}
			}
		case bundle.DimPprof:
			for _, artifact := range []string{bundle.CPUProfile, bundle.MutexProfile, bundle.BlockProfile, bundle.AllocsProfile, bundle.HeapProfile} {
				t.profile(e, dimension, artifact)
			}
		case bundle.DimEBPF:
			t.profile(e, dimension, bundle.EBPFOnCPUProfile)
			t.profile(e, dimension, bundle.EBPFSyscallsProfile)
		}
		return t.most(), nil
	})
	if err != nil {
		return stack.Frame{}
	}
	return found[baseFrame(at)]
}

// libraries sums how much each line of a library has below each of the program's.
type libraries map[stack.Frame]map[stack.Frame]float64

func (t libraries) add(own, library stack.Frame, weight float64) {
	if library.IsZero() || library.File == "" { // what has no file is the kernel's
		return
	}
	own = baseFrame(own)
	if t[own] == nil {
		t[own] = map[stack.Frame]float64{}
	}
	t[own][library] += weight
}

// profile adds the last value of each sample, as a share of all: of a profile of
// the heap that is bytes in use, of the others time or bytes.
func (t libraries) profile(e *evidence, dimension, artifact string) {
	p, err := e.profile(dimension, artifact)
	if err != nil {
		return
	}
	last := func(x sample) float64 { return float64(x.values[len(x.values)-1]) }
	var all float64
	for _, x := range p.list {
		all += last(x)
	}
	if all == 0 {
		return
	}
	for _, x := range p.list {
		if library := e.program.Library(x.frames); !library.IsZero() {
			t.add(e.program.Own(x.frames), library, last(x)/all)
		}
	}
}

func (t libraries) most() map[stack.Frame]stack.Frame {
	out := map[stack.Frame]stack.Frame{}
	for own, below := range t {
		lines := make([]stack.Frame, 0, len(below))
		for f := range below {
			lines = append(lines, f)
		}
		out[own] = slices.MinFunc(lines, func(a, b stack.Frame) int {
			return cmp.Or(-cmp.Compare(below[a], below[b]), cmp.Compare(a.Function, b.Function), cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line))
		})
	}
	return out
}
