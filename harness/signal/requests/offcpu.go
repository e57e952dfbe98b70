package requests

import "sort"

// OffCPU is for how long of an interval the kernel kept the goroutine's thread
// from a CPU, or the thread slept. It is 0 where nothing is known.
func (k *Kernel) OffCPU(goroutine, from, to int64) int64 {
	if k == nil || k.byGoroutine[goroutine] == nil {
		return 0
	}
	cuts := k.byGoroutine[goroutine].cuts
	var ns int64
	// Cuts of one goroutine follow each other: it has one thread at a time.
	for _, x := range cuts[sort.Search(len(cuts), func(i int) bool { return cuts[i].BackNS > from }):] {
		if x.LeftNS >= to {
			break
		}
		ns += min(x.BackNS, to) - max(x.LeftNS, from)
	}
	return ns
}
