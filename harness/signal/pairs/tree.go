package pairs

import "math"

// none is less than any time.
const none = math.MinInt64

// tree holds a value a place and finds places by the least value asked for.
type tree struct {
	leaves int
	most   []int64 // of each subtree; the root is 1
}

func newTree(values []int64) *tree {
	t := &tree{leaves: 1}
	for t.leaves < len(values) {
		t.leaves *= 2
	}
	t.most = make([]int64, 2*t.leaves)
	for i := range t.most {
		t.most[i] = none
	}
	copy(t.most[t.leaves:], values)
	for i := t.leaves - 1; i > 0; i-- {
		t.most[i] = max(t.most[2*i], t.most[2*i+1])
	}
	return t
}

func (t *tree) set(place int, value int64) {
	i := place + t.leaves
	t.most[i] = value
	for i /= 2; i > 0; i /= 2 {
		t.most[i] = max(t.most[2*i], t.most[2*i+1])
	}
}

// first is the first place in [from, to) with at least that value; -1 for none.
func (t *tree) first(from, to int, least int64) int {
	return t.below(1, 0, t.leaves, from, to, least)
}

func (t *tree) below(node, low, high, from, to int, least int64) int {
	switch {
	case high <= from, to <= low, t.most[node] < least, t.most[node] == none:
		return -1
	case high-low == 1:
		return low
	}
	middle := (low + high) / 2
	if i := t.below(2*node, low, middle, from, to, least); i >= 0 {
		return i
	}
	return t.below(2*node+1, middle, high, from, to, least)
}
