package ebpf

import (
	"context"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"chokepoint/harness/bundle"
	"chokepoint/harness/capture"
)

// Allocations of one size are as many as the program says that it made.
func TestAllocationsAreCounted(t *testing.T) {
	needBPF(t)
	k := startSource(t, "./testdata/allocs")
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	r := New(Config{Probes: []string{Custom}, Custom: []CustomProbe{{
		Name: "large", Function: "runtime.mallocgc", Argument: "size", Keep: Comparison{"==", 100_003}, Stacks: true,
	}}})
	t.Cleanup(func() { assert.NoError(t, r.Close()) })
	require.NoError(t, r.Prepare(ctx, capture.Subject{PID: k.cmd.Process.Pid, Executable: k.cmd.Path}))
	require.NoError(t, r.Start(ctx))
	k.tell(t)
	made, err := strconv.ParseInt(k.line(t), 10, 64)
	require.NoError(t, err)
	require.NoError(t, r.Stop(ctx))
	k.end(t)

	rec := recording{dir: filepath.Join(t.TempDir(), "bundle")}
	w, err := bundle.Create(rec.dir, bundle.Manifest{})
	require.NoError(t, err)
	rec.dim, err = r.Write(ctx, w)
	require.NoError(t, err)
	var doc bundle.Custom
	rec.json(t, bundle.EBPFCustom, &doc)
	require.Len(t, doc.Probes, 1)
	large := doc.Probes[0]
	require.Empty(t, large.Missing)
	assert.Equal(t, made, large.Counts.Calls)
	assert.GreaterOrEqual(t, large.Counts.LeftOut, made, "those one byte larger, and the runtime's own")
	assert.Zero(t, large.Counts.Unread)
	assert.Equal(t, made*100_003, large.Number.Sum)
	assert.Equal(t, made, sum(rec.profile(t, large.Profile), 0, "main.allocate", nil))
}
