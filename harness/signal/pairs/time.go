package pairs

import (
	"cmp"
	"slices"
	"sort"
)

// byTime pairs what is left by containment.
func (m *matching) byTime() {
	b := newByTime(m)
	b.choose()
	b.match()
	b.prove()
	for s, c := range b.of {
		if c >= 0 {
			m.pairs = append(m.pairs, Pair{m.clients[c], m.servers[s], b.sure[s]})
		}
	}
}

// byTime numbers clients in the order of their start and servers in the order of
// theirs, so that the clients that had sent before a server's start, and the
// servers that started after a client had sent, are each a range of numbers.
type byTime struct {
	sent, ended     []int64 // of clients; by as much as clocks may differ, sooner and later
	began, answered []int64 // of servers
	chosen          []bool  // the servers that get one
	of              []int   // of each server its client; -1: none
	owner           []int   // of each client its server; -1: none
	sure            []bool
}

func newByTime(m *matching) *byTime {
	b := &byTime{sure: make([]bool, len(m.servers)), chosen: make([]bool, len(m.servers))}
	for _, c := range m.clients {
		b.sent = append(b.sent, m.client[c].StartNS-Tolerance)
		b.ended = append(b.ended, m.client[c].EndNS+Tolerance)
		b.owner = append(b.owner, -1)
	}
	for _, s := range m.servers {
		b.began = append(b.began, m.served[s].StartNS)
		b.answered = append(b.answered, answered(m.served[s]))
		b.of = append(b.of, -1)
	}
	return b
}

// before is how many clients had sent when the server began s.
func (b *byTime) before(s int) int {
	return sort.Search(len(b.sent), func(c int) bool { return b.sent[c] > b.began[s] })
}

// after is the first server that began after c had sent.
func (b *byTime) after(c int) int {
	return sort.Search(len(b.began), func(s int) bool { return b.began[s] >= b.sent[c] })
}

// choose says which servers get a client where there are not enough: other clients
// than the one whose requests are known may have been served. It goes backwards
// through the answers, and gives each the one that was sent last of the clients
// that had not ended by then. There is no way to serve more: a client that has not
// ended has not for all earlier answers either, so that it never pays to
// give away one that was sent sooner than need be. What goes without is what was
// answered when the clients that were still there had all been given away.
func (b *byTime) choose() {
	n := len(b.sent)
	nobody := make([]int64, n)
	for i := range nobody {
		nobody[i] = none
	}
	waiting := newTree(nobody) // the last sent first
	byEnd := b.byEnd()
	byAnswer := make([]int, len(b.answered))
	for s := range byAnswer {
		byAnswer[s] = s
	}
	slices.SortStableFunc(byAnswer, func(x, y int) int { return cmp.Compare(b.answered[y], b.answered[x]) })
	for _, s := range byAnswer {
		for ; len(byEnd) > 0 && b.ended[byEnd[len(byEnd)-1]] >= b.answered[s]; byEnd = byEnd[:len(byEnd)-1] {
			waiting.set(n-1-byEnd[len(byEnd)-1], 1)
		}
		if i := waiting.first(n-b.before(s), n, 1); i >= 0 {
			waiting.set(i, none)
			b.chosen[s] = true
		}
	}
}

// byEnd lists the clients in the order in which they ended.
func (b *byTime) byEnd() []int {
	list := make([]int, len(b.ended))
	for c := range list {
		list[c] = c
	}
	slices.SortStableFunc(list, func(x, y int) int { return cmp.Compare(b.ended[x], b.ended[y]) })
	return list
}

// match goes through the chosen servers in the order in which they began, and
// gives each the one that ended next of the clients that had sent by then. This too
// serves as many as can be, and so all of them, and what goes on side by side in
// the order of its ends.
func (b *byTime) match() {
	byEnd := b.byEnd()
	rank := make([]int, len(byEnd))
	nobody := make([]int64, len(byEnd))
	for r, c := range byEnd {
		rank[c], nobody[r] = r, none
	}
	waiting := newTree(nobody)
	next := 0
	for s, chosen := range b.chosen {
		if !chosen {
			continue
		}
		for limit := b.before(s); next < limit; next++ {
			waiting.set(rank[next], 1)
		}
		from := sort.Search(len(byEnd), func(r int) bool { return b.ended[byEnd[r]] >= b.answered[s] })
		if r := waiting.first(from, len(byEnd), 1); r >= 0 {
			waiting.set(r, none)
			b.of[s], b.owner[byEnd[r]] = byEnd[r], s
		}
	}
}

// prove finds the pairs that every pairing of the same servers has. A server may
// have another client if that one is free, or if its own server may in turn have
// another: so on to a free one, or around to the first. The pairs on such ways are
// not sure (Berge, 1957; they are the strongly connected components of the graph
// of who could take whose client, and what leads to a free one).
func (b *byTime) prove() {
	for s, c := range b.of {
		b.sure[s] = c >= 0
	}
	b.toFree()
	b.around()
}

// takers holds the servers that are paired; by it those are found that a client
// could have been for.
func (b *byTime) takers() *tree {
	values := make([]int64, len(b.of))
	for s, c := range b.of {
		values[s] = none
		if c >= 0 {
			values[s] = -b.answered[s]
		}
	}
	return newTree(values)
}

// taker takes one of those that c could have been for out of the tree; -1 if there
// is none.
func (b *byTime) taker(t *tree, c int) int {
	s := t.first(b.after(c), len(b.began), -b.ended[c])
	if s >= 0 {
		t.set(s, none)
	}
	return s
}

// toFree drops what leads to a client without a server.
func (b *byTime) toFree() {
	left := b.takers()
	var found []int
	for c, s := range b.owner {
		if s < 0 {
			found = append(found, c)
		}
	}
	for len(found) > 0 {
		c := found[len(found)-1]
		found = found[:len(found)-1]
		for s := b.taker(left, c); s >= 0; s = b.taker(left, c) {
			b.sure[s] = false
			found = append(found, b.of[s])
		}
	}
}

// around drops what leads back to itself, by two searches in depth: the second
// goes backwards, from what the first left last (Kosaraju and Sharir, 1981).
func (b *byTime) around() {
	ends := make([]int64, len(b.ended))
	for c := range ends {
		ends[c] = none
		if b.owner[c] >= 0 {
			ends[c] = b.ended[c]
		}
	}
	left := newTree(ends)
	var stack, order []int
	enter := func(s int) {
		left.set(b.of[s], none)
		stack = append(stack, s)
	}
	seen := make([]bool, len(b.of))
	for s, c := range b.of {
		if c < 0 || seen[s] {
			continue
		}
		seen[s] = true
		for enter(s); len(stack) > 0; {
			at := stack[len(stack)-1]
			if c := left.first(0, b.before(at), b.answered[at]); c >= 0 {
				seen[b.owner[c]] = true
				enter(b.owner[c])
				continue
			}
			stack = stack[:len(stack)-1]
			order = append(order, at)
		}
	}
	back := b.takers()
	clear(seen)
	for _, s := range slices.Backward(order) {
		if seen[s] {
			continue
		}
		seen[s] = true
		back.set(s, none)
		component := []int{s}
		for i := 0; i < len(component); i++ {
			for t := b.taker(back, b.of[component[i]]); t >= 0; t = b.taker(back, b.of[component[i]]) {
				seen[t] = true
				component = append(component, t)
			}
		}
		for _, t := range component {
			b.sure[t] = b.sure[t] && len(component) == 1
		}
	}
}
