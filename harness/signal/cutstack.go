package signal

import (
	"fmt"
	"strings"

	"chokepoint/harness/signal/stack"
)

// cutStack is how many frames a stack has at least that may have been cut: Go's CPU profiler keeps
// the innermost 64 (runtime.maxCPUProfStack); other profiles, and the kernel's walk, keep twice
// as many.
const cutStack = 64

// mendCut completes stacks that were cut. Code that calls itself, as parsers of nested things
// do, has so many frames that those of the program which called it are left out, and
// nobody could be told whose call it was. The rest is taken from the other stacks of the
// profile: what called the outermost function that was kept, where recursion was not so deep;
// of several that did, what most of them have.
func mendCut(list []sample) {
	starts := map[string]bool{} // the functions that goroutines, or threads, start in
	for _, x := range list {
		if n := len(x.frames); n > 0 && n < cutStack {
			starts[x.frames[n-1].Function] = true
		}
	}
	cut := func(x sample) bool {
		return len(x.frames) >= cutStack && !starts[x.frames[len(x.frames)-1].Function]
	}
	wanted := map[string]map[string]*tail{} // by function, by what called it
	for _, x := range list {
		if cut(x) {
			wanted[x.frames[len(x.frames)-1].Function] = map[string]*tail{}
		}
	}
	if len(wanted) == 0 {
		return
	}
	for _, x := range list {
		if cut(x) {
			continue
		}
		seen := map[string]bool{}
		for i := len(x.frames) - 2; i >= 0; i-- {
			name := x.frames[i].Function
			if wanted[name] == nil || seen[name] {
				continue
			}
			seen[name] = true
			rest := x.frames[i+1:]
			var calls strings.Builder
			for _, f := range rest {
				fmt.Fprintf(&calls, "%s:%d\n", f.Function, f.Line)
			}
			key := calls.String()
			if wanted[name][key] == nil {
				wanted[name][key] = &tail{key: key, frames: rest}
			}
			wanted[name][key].stacks++
		}
	}
	best := map[string][]stack.Frame{}
	for name, tails := range wanted {
		var most tail
		for _, t := range tails {
			if t.stacks > most.stacks || t.stacks == most.stacks && t.key < most.key {
				most = *t
			}
		}
		best[name] = most.frames
	}
	for i, x := range list {
		if cut(x) {
			list[i].frames = append(x.frames[:len(x.frames):len(x.frames)], best[x.frames[len(x.frames)-1].Function]...)
		}
	}
}

// tail is the outer end of a stack, and how many stacks have it.
type tail struct {
	key    string
	frames []stack.Frame
	stacks int
}
