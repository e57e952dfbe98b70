package llvm_test

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"chokepoint/harness/internal/llvm"
)

func TestCompare(t *testing.T) {
	f := func(name string, line int) llvm.Frame { return llvm.Frame{Function: name, File: "f.go", Line: line} }
	got := [][]llvm.Frame{{f("main.a", 1), f("main.b", 2)}, {f("main.a", 1)}, {f("main.c·1", 3)}, {f("main.a", 1)}, nil}
	want := [][]llvm.Frame{{f("main.a", 1), f("main.b", 2)}, {f("main.a", 2)}, {f("main.c.1", 3)}, {f("main.a", 1), f("main.b", 2)}, nil}
	c := llvm.Compare([]uint64{1, 2, 3, 4, 5}, got, want)
	assert.Equal(t, 3, c.Equal)
	assert.Equal(t, 4, c.Functions)
	assert.InDelta(t, 0.6, c.Share(), 1e-9)
	assert.Len(t, c.Unequal, 2)
	assert.Contains(t, c.Unequal[1], "main.a f.go:1 < main.b f.go:2")
}
