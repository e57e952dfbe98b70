package signal

import (
	"fmt"
	"time"

	"chokepoint/harness/bundle"
	"chokepoint/harness/signal/gotrace"
)

// A trace may end so much before its recording did, or a tenth of the recording if
// that is more: the runtime writes its last events when it is told to stop, and the
// recording ends when they have arrived.
const endsEarlyNS = int64(250 * time.Millisecond)

// endsEarly says that a trace which reads well to its end is not all that was
// recorded: one that was cut between two of its generations, of about a second
// each, does not tell it itself. It is empty for a whole one.
func (e *evidence) endsEarly(s *gotrace.Summary) string {
	p, ok := e.manifest.Probe(bundle.TraceOut)
	if !ok || p.Window.Duration() <= 0 {
		return ""
	}
	short := p.Window.EndNS - s.EndNS
	if short <= max(endsEarlyNS, int64(p.Window.Duration())/10) {
		return ""
	}
	return fmt.Sprintf("after %d events: it ends %s before its recording did", s.Events, time.Duration(short).Round(time.Millisecond))
}
