package reports

import (
	"fmt"
	"strings"

	"chokepoint/harness/signal"
)

// mostStill is how many lines are told of: who stands still is often idle, and a long list hides
// the one that is not.
const mostStill = 5

// still is the goroutines outside of handlers that stood still all along, where no request ended
// and no rule says why: the first thing to look through then.
func (r Report) still() []signal.Still {
	if r.Where == nil || !r.stopped() || len(r.Result.Findings) > 0 {
		return nil
	}
	return r.Where.Still[:min(mostStill, len(r.Where.Still))]
}

// stillSentence is empty where there are none.
func (r Report) stillSentence() string {
	list := r.still()
	if len(list) == 0 {
		return ""
	}
	var parts []string
	for _, x := range list {
		parts = append(parts, fmt.Sprintf("%s in %s, at %s %s", count(x.Goroutines), x.Wait, x.Where.Function, fileLine(signal.Location{File: x.Where.File, Line: x.Where.Line})))
	}
	if more := len(r.Where.Still) - len(list); more > 0 {
		parts = append(parts, "and at "+plural(more, "line")+" more")
	}
	return "Of the program's goroutines outside of handlers, these stood still all the while, idle or held up: " + strings.Join(parts, "; ") + "."
}
