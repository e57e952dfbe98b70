package signal

import (
	"slices"

	"chokepoint/harness/bundle"
	"chokepoint/harness/signal/stack"
)

// inNumber is the share of all open descriptors from which those that are none of the
// load's connections are in number: to close them sooner leaves room for a tenth more, and
// a tenth of calls refused is what running out of descriptors means (see the rule
// fd-exhaustion).
const inNumber = 0.1

// opensFiles is the line that opens the files which a target holds beside the load's
// connections, where these are in number: of what is open they are what the program can do
// with less of, by closing them sooner. The heap profile draws some of what is in memory,
// and a file takes less of it than a connection, so that thousands may not be drawn once.
// Counts say it: what is no TCP socket is a file, and the kernel knows who opens files.
//
// Files that were opened long ago and are kept on purpose are no matter of the line that
// opens one now and then: opening must be what is refused, or more files must have been
// opened in the window than are open, which then are not those of before.
func (e *evidence) opensFiles() (stack.Frame, bool) {
	held, sockets, ok := e.socketsHeld()
	if !ok {
		return stack.Frame{}, false
	}
	files := held - sockets
	beyond := e.beyondClients() // without bound where the load is not known
	if float64(files) < inNumber*float64(held) || float64(files) < goodPart*beyond {
		return stack.Frame{}, false
	}
	s, err := document[bundle.Syscalls](e, bundle.DimEBPF, bundle.EBPFSyscalls)
	if err != nil {
		return stack.Frame{}, false
	}
	opens := descriptorCalls()[1]
	var opened int64
	for _, c := range s.Calls {
		if slices.Contains(opens, c.Name) {
			opened += c.Count
			for _, n := range c.Errors {
				opened -= n
			}
		}
	}
	refused, err := e.refused()
	if err != nil || !slices.Equal(refused.calls, opens) && opened <= int64(files) {
		return stack.Frame{}, false
	}
	sites, err := e.callsOf(opens)
	if err != nil {
		return stack.Frame{}, false
	}
	var all int64
	for _, x := range sites {
		all += x.value
	}
	if t := top(sites); t.value > 0 && float64(t.value) >= goodPart*float64(all) {
		return baseFrame(t.where), true
	}
	return stack.Frame{}, false
}

// socketsHeld is how many descriptors the target has open, and how many of them are TCP
// sockets, when these were last counted.
func (e *evidence) socketsHeld() (held, sockets int, ok bool) {
	samples, err := lines[bundle.ProcSample](e, bundle.DimProc, bundle.ProcSamples)
	if err != nil {
		return 0, 0, false
	}
	for _, x := range slices.Backward(samples) {
		if x.Sockets == nil { // they are counted less often than the rest
			continue
		}
		for _, n := range x.Sockets {
			sockets += n
		}
		return x.FDs, sockets, true
	}
	return 0, 0, false
}
