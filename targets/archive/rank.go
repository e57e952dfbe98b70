package main

// graph is pages that refer to each other.
type graph struct {
	links [][fanout]int32 // of each page, to others
	score []float64
	next  []float64
}

const (
	fanout  = 8    // links of a page
	damping = 0.85 // of a reader's clicks that follow a link
	passes  = 100
)

func newGraph(pages int) *graph {
	g := &graph{links: make([][fanout]int32, max(1, pages)), score: make([]float64, max(1, pages)), next: make([]float64, max(1, pages))}
	seed := uint32(1)
	for i := range g.links {
		for k := range g.links[i] {
			seed = seed*1664525 + 1013904223
			g.links[i][k] = int32(seed % uint32(len(g.links)))
		}
	}
	return g
}

// rank works out how likely a reader is to be at each page, and returns the
// likelihood of the likeliest in relation to the mean.
func (g *graph) rank(passes int) (highest float64) {
	n := float64(len(g.links))
	for i := range g.score {
		g.score[i] = 1 / n
	}
	for range passes {
		score, next := g.score, g.next
		for i := range next {
			next[i] = (1 - damping) / n
		}
		for i := range g.links {
			for _, to := range g.links[i] { // chokepoint:flaw preemption-stall
				next[to] += damping / fanout * score[i]
			}
		}
		g.score, g.next = next, score
	}
	for _, s := range g.score {
		highest = max(highest, s*n)
	}
	return highest
}
