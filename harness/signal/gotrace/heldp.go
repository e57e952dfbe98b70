package gotrace

import "golang.org/x/exp/trace"

// heldP is a P that belongs to a goroutine in a system call.
type heldP struct {
	by      trace.GoID
	site    *SiteCount
	since   int64
	request bool
}

// heldPs follows Ps into system calls. The runtime leaves a P with a goroutine that
// goes into one, and takes it away only when sysmon comes by and finds that the call
// lasts: after 20 µs at the soonest, and later the less there was to do. Until then nobody
// runs on it, whether the thread has a CPU or sleeps.
type heldPs struct {
	of map[trace.ProcID]heldP
	by map[trace.GoID]trace.ProcID
}

func newHeldPs() heldPs {
	return heldPs{of: map[trace.ProcID]heldP{}, by: map[trace.GoID]trace.ProcID{}}
}

// enters notes that a goroutine goes into a system call on a P.
func (h *heldPs) enters(id trace.GoID, g *goroutine, proc trace.ProcID, site *SiteCount, now int64) {
	if proc == trace.NoProc {
		return
	}
	h.release(proc, now)
	h.of[proc] = heldP{by: id, site: site, since: now, request: g.request}
	h.by[id] = proc
}

// leaves notes that the goroutine is out of it.
func (h *heldPs) leaves(id trace.GoID, now int64) {
	if p, ok := h.by[id]; ok {
		h.release(p, now)
	}
}

// release counts what the call had of a P that it no longer has.
func (h *heldPs) release(p trace.ProcID, now int64) {
	x, ok := h.of[p]
	if !ok {
		return
	}
	delete(h.of, p)
	delete(h.by, x.by)
	x.site.HeldNS += now - x.since
	if x.request {
		x.site.HeldRequestNS += now - x.since
	}
}

// finish counts what the end of the trace cuts.
func (h *heldPs) finish(now int64) {
	for p := range h.of {
		h.release(p, now)
	}
}
