// Package testtrace records what a test does as an execution trace.
package testtrace

import (
	"bytes"
	"runtime/trace"
	"testing"

	"github.com/stretchr/testify/require"
)

// Record is the trace of the body, which runs in the goroutine of the caller. A test that
// is traced itself (go test -trace) is skipped, as a process has one trace at a time.
//
// Another goroutine starts and ends the trace: whoever is seen doing so, which takes that
// it is preempted there, serves diagnosis and not the program, and what it does afterwards
// is not counted as the program's.
func Record(t testing.TB, body func()) []byte {
	t.Helper()
	if trace.IsEnabled() {
		t.Skip("the tests are being traced themselves (go test -trace)")
	}
	var buf bytes.Buffer
	started := make(chan error)
	go func() { started <- trace.Start(&buf) }()
	require.NoError(t, <-started)
	body()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		trace.Stop()
	}()
	<-ended
	return buf.Bytes()
}
