package main

import "slices"

// shelf recommends what is bought together.
type shelf struct {
	baskets, size int
	merge         func([][]uint32) []uint32
}

// related lists what customers who bought a product bought besides, each once.
func (s *shelf) related(product int) []uint32 {
	baskets := make([][]uint32, s.baskets)
	for i := range baskets {
		baskets[i] = make([]uint32, s.size)
		for k := range baskets[i] {
			// A quarter of what is bought was in a basket before.
			baskets[i][k] = uint32(product)*31 + uint32(i*s.size+k)*2654435761%uint32(3*s.baskets*s.size/4+1)
		}
	}
	return s.merge(baskets)
}

// unique merges baskets in their order, each product once.
func unique(baskets [][]uint32) []uint32 {
	var out []uint32
	for _, b := range baskets {
		for _, id := range b {
			if !slices.Contains(out, id) { // chokepoint:flaw cpu-hot-path
				out = append(out, id)
			}
		}
	}
	return out
}

// distinct is unique with a set of what is taken.
func distinct(baskets [][]uint32) []uint32 {
	var out []uint32
	taken := map[uint32]bool{}
	for _, b := range baskets {
		for _, id := range b {
			if !taken[id] {
				taken[id] = true
				out = append(out, id)
			}
		}
	}
	return out
}
