// Command probed has a function of each shape that a probe must cope with. It
// must be built by Go 1.24 too.
package main

import (
	"os"
	"strconv"
	"sync"
	"time"
)

var sink int

type store struct {
	mu sync.Mutex
	n  int
}

type options struct {
	Limit int32
	Deep  bool
	Ratio float64
}

type reader interface{ Read([]byte) (int, error) }

//go:noinline
func (s *store) get(id string, opts options, p []byte, from reader, size uint16) (n int, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(p) > int(opts.Limit) {
		return s.n, nil
	}
	return len(id) + int(size), nil
}

//go:noinline
func manyReturns(n int) string {
	switch {
	case n == 1:
		return strconv.Itoa(n)
	case n == 2:
		return strconv.Itoa(n + n)
	case n == 3:
		return strconv.Itoa(n * n)
	}
	return ""
}

//go:noinline
func largeFrame(n int) byte {
	var frame [4096]byte
	fill(frame[:], n)
	return frame[n%len(frame)]
}

//go:noinline
func hugeFrame(n int) byte {
	var frame [1 << 16]byte
	fill(frame[:], n)
	return frame[n%len(frame)]
}

//go:noinline
func fill(b []byte, n int) { b[n%len(b)] = byte(n) }

//go:noinline
func leaf(a, b int) int { return a + b }

//go:nosplit
//go:noinline
func noSplit(n int) int { return leaf(n, 1) }

//go:noinline
func generic[T any](n int8, t T) any {
	if n > 0 {
		return t
	}
	return n
}

type pair[T any] struct {
	t T
	n int
}

//go:noinline
func (p *pair[T]) put(n int32, t T) int32 {
	p.t = t
	return n + int32(p.n)
}

func inlined(n int) int { return n*n + sink }

func both(n int) int { return n * sink }

// indirect keeps a copy of both that is not inlined.
var indirect = both

//go:noinline
func onStack(big [2]int, n int, f float32, u uint8) int { return big[0] + n + int(f) + int(u) }

//go:noinline
func forever() {
	for {
		time.Sleep(time.Hour)
	}
}

//go:noinline
func dense(n int) int {
	switch n { // through a table of addresses
	case 0:
		return leaf(n, 7)
	case 1:
		return leaf(n, 2) * 3
	case 2:
		return leaf(n, 9) - 1
	case 3:
		return leaf(3, n)
	case 4:
		return leaf(4, n) + n
	case 5:
		return leaf(n, n)
	case 6:
		return leaf(8, n) ^ 3
	case 7:
		return leaf(n, 1) | 8
	case 8:
		return leaf(n, 2) &^ 5
	}
	return n
}

func main() {
	n := len(os.Args)
	s := &store{}
	sink, _ = s.get("a", options{}, nil, nil, 1)
	sink += len(manyReturns(n)) + int(largeFrame(n)) + int(hugeFrame(n)) + leaf(n, n) + noSplit(n)
	generic(1, n)
	generic(2, "text")
	sink += int((&pair[string]{}).put(3, "text"))
	sink += inlined(n) + inlined(n+1) + both(n) + indirect(n) + dense(n)
	sink += onStack([2]int{n}, n, 1, 2)
	func(k int) {
		defer func() { recover() }()
		sink += k
	}(n)
	if n > 100 {
		forever()
	}
}
