package signal

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"chokepoint/harness/signal/gotrace"
	"chokepoint/harness/signal/stack"
)

func TestLeft(t *testing.T) {
	p := stack.Program{MainModule: "shop"}
	at := func(name string, line int) stack.Frame {
		return stack.Frame{Function: name, File: "shop.go", Line: line}
	}
	of := func(n int64, frames ...stack.Frame) gotrace.Sample {
		return gotrace.Sample{Frames: append(frames, at("main.serve", 9), at("net/http.(*conn).serve", 1)), Count: n}
	}
	distance, stretch := at("main.distance", 3), at("main.stretch", 5)
	compiles := func(n int64) gotrace.Sample { return of(n, at("regexp.compile", 1), at("main.check", 7)) }
	collects := func(n int64) gotrace.Sample {
		return gotrace.Sample{Frames: []stack.Frame{at("runtime.gcBgMarkWorker", 1)}, Count: n}
	}
	allocates := func(n int64, name string) gotrace.Sample { return of(n, at("runtime.mallocgc", 1), at(name, 4)) }
	encodes := func(n int64) gotrace.Sample { return of(n, at("encoding/json.Marshal", 1)) }
	for _, tt := range []struct {
		name                       string
		samples                    []gotrace.Sample
		computing, second, setting int64
	}{
		{"one hot function", []gotrace.Sample{of(60, distance), of(20, stretch), encodes(20)}, 100, 100, 40},
		{"two that hide each other", []gotrace.Sample{of(40, distance), of(35, stretch), encodes(25)}, 65, 60, 60},
		{"two that do not: the second has not half of what the first leaves", []gotrace.Sample{of(38, distance), of(30, stretch), encodes(32)}, 100, 100, 100},
		{"two of a quarter each", []gotrace.Sample{of(26, distance), of(24, stretch), encodes(50)}, 100, 100, 100},
		{"one function, by itself and by a package", []gotrace.Sample{of(6, distance), of(38, at("container/heap.down", 1), at("container/heap.Pop", 1), distance), of(32, at("sort.Ints", 1), distance), encodes(24)}, 100, 100, 100},
		{"a hot function and a pattern", []gotrace.Sample{of(36, distance), compiles(36), encodes(28)}, 64, 64, 64},
		{"a hot function and a pattern of the user's", []gotrace.Sample{of(45, distance), compiles(12), encodes(43)}, 100, 100, 100},
		{"a hot function and another's memory", []gotrace.Sample{of(40, distance), collects(30), allocates(20, "main.note"), encodes(10)}, 70, 100, 60},
		{"a hot function and its own memory", []gotrace.Sample{of(40, distance), collects(30), allocates(20, "main.distance"), encodes(10)}, 100, 100, 100},
		{"a function and everybody's memory", []gotrace.Sample{of(36, distance), collects(30), allocates(8, "main.note"), allocates(8, "main.list"), allocates(9, "main.show"), allocates(9, "main.page")}, 100, 100, 100},
		{"too few samples to tell", []gotrace.Sample{of(4, distance), of(4, stretch), encodes(2)}, 10, 10, 10},
		{"nothing of the program's", []gotrace.Sample{collects(50)}, 50, 50, 50},
	} {
		t.Run(tt.name, func(t *testing.T) {
			computing, second, setting := hottest(p, tt.samples).left()
			assert.Equal(t, []int64{tt.computing, tt.second, tt.setting}, []int64{computing, second, setting})
		})
	}
}

func TestMemoryThatCostsMost(t *testing.T) {
	p := stack.Program{MainModule: "shop"}
	at := func(name string, line int) stack.Frame {
		return stack.Frame{Function: name, File: "shop.go", Line: line}
	}
	of := func(n int64, frames ...stack.Frame) gotrace.Sample {
		return gotrace.Sample{Frames: append(frames, at("main.serve", 9), at("net/http.(*conn).serve", 1)), Count: n}
	}
	allocates := func(n int64, line int, name string) gotrace.Sample {
		return of(n, at("runtime.memclrNoHeapPointers", 1), at("runtime.mallocgc", 1), at("other.com/codec.grow", 2), at(name, line))
	}
	collects := func(n int64) gotrace.Sample {
		return gotrace.Sample{Frames: []stack.Frame{at("runtime.gcBgMarkWorker", 1)}, Count: n}
	}
	for _, tt := range []struct {
		name        string
		samples     []gotrace.Sample
		all, memory int64
		line        int
	}{
		{"nobody's", []gotrace.Sample{collects(50), of(50, at("main.parse", 3))}, 0, 0, 0},
		{"large objects of a library's", []gotrace.Sample{allocates(60, 4, "main.read"), allocates(20, 5, "main.read"), collects(20)}, 100, 100, 4},
		{"with its work", []gotrace.Sample{allocates(30, 4, "main.read"), of(30, at("other.com/codec.next", 8), at("main.read", 4)), collects(20), of(20, at("main.render", 7))}, 80, 50, 4},
		{"a part of collecting", []gotrace.Sample{allocates(30, 4, "main.read"), allocates(10, 7, "main.render"), collects(20), of(40, at("main.render", 7))}, 45, 45, 4},
		{"too few samples to tell", []gotrace.Sample{allocates(9, 4, "main.read")}, 0, 0, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := hottest(p, tt.samples).allocates
			assert.Equal(t, []int64{tt.all, tt.memory, int64(tt.line)}, []int64{got.all, got.memory, int64(got.where.Line)})
		})
	}
}
