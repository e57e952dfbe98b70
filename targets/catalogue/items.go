package main

import (
	"bytes"
	"runtime/debug"
	"strconv"

	"chokepoint/targets/kit"
)

// item is one thing on sale. Items are linked by what is bought together.
type item struct {
	name    string
	cents   int64
	related [4]*item
}

// newItems returns n items.
func newItems(n int) []*item {
	items := make([]*item, max(1, n))
	for i := range items {
		items[i] = &item{name: "item " + strconv.Itoa(i), cents: int64(100 + i%9973)}
	}
	for i, it := range items {
		for k := range it.related {
			it.related[k] = items[(i*(k+7)+k+1)%len(items)]
		}
	}
	return items
}

// stock answers from the items in memory, for which a limit is set.
type stock struct{ items []*item }

func newStock(o kit.Options) *stock {
	limit := o.Bytes("ample")
	if o.Flawed() {
		limit = o.Bytes("budget")
	}
	limitMemory(int64(limit))
	return &stock{items: newItems(o.Int("items"))}
}

// limitMemory has the process keep to what it was granted.
func limitMemory(bytes int64) {
	debug.SetMemoryLimit(bytes) // chokepoint:flaw gc-thrash
}

func (s *stock) page(b *bytes.Buffer, seq uint64) {
	it := s.items[seq%uint64(len(s.items))]
	for i := range 64 {
		b.WriteString(it.name)
		b.WriteByte(' ')
		b.WriteString(strconv.FormatInt(it.cents, 10))
		b.WriteByte('\n')
		it = it.related[i%len(it.related)]
	}
}
