package signal

import (
	"fmt"

	"chokepoint/harness/bundle"
	"chokepoint/harness/signal/gotrace"
)

// endsEarly says that a trace which reads well to its end is not all that was
// asked for: one that was cut between two of its generations, of about a second
// each, does not tell it itself. Who recorded it knows. It is empty for a whole one.
func (e *evidence) endsEarly(s *gotrace.Summary) string {
	p, ok := e.manifest.Probe(bundle.TraceOut)
	if !ok || p.Reason == "" {
		return ""
	}
	return fmt.Sprintf("after %d events: %s", s.Events, p.Reason)
}
