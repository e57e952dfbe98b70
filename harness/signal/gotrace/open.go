package gotrace

import (
	"fmt"
	"io"

	"golang.org/x/exp/trace"
)

// open begins to read a trace. Those of Go 1.21 and older are parsed whole by it,
// so that a damaged one may make the parser trip here already.
func open(r io.Reader) (tr *trace.Reader, err error) {
	defer func() {
		if p := recover(); p != nil {
			tr, err = nil, fmt.Errorf("the trace is damaged: %v", p)
		}
	}()
	return trace.NewReader(r)
}
