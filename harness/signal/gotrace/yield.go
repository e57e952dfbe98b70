package gotrace

import "sort"

// yieldReason is the runtime's word for a goroutine that stops running because it
// called runtime.Gosched, and not because its time was over.
const yieldReason = "runtime.Gosched"

// yielded counts a call of runtime.Gosched by its stack. What the scheduler does then
// stands in CPU profiles without the goroutine's frames, so that only this tells whose
// doing it is.
func (s *scan) yielded(g *goroutine, at *place, reason string) {
	if reason != yieldReason || at.diag || g.diag {
		return
	}
	g.yields, g.yielded = g.yields+1, at
	if _, known := s.yields[at]; !known && len(s.yields) >= keptStacks {
		at = s.other
	}
	s.yields[at]++
}

// counted lists stacks by how often each was met, the most frequent first.
func counted(by map[*place]int64) []Sample {
	var out []Sample
	for at, n := range by {
		out = append(out, Sample{Frames: at.frames, Count: n})
	}
	sort.Slice(out, func(i, j int) bool {
		a, b := out[i], out[j]
		if a.Count != b.Count {
			return a.Count > b.Count
		}
		return lessFrames(a.Frames, b.Frames)
	})
	return out
}
