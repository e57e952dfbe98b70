package gotrace

import (
	"sort"
	"strconv"

	"chokepoint/harness/signal/stack"
)

func itoa(n int) string { return strconv.Itoa(n) }

// siteTimes lists sites by time, largest first.
func siteTimes(m map[stack.Frame]int64) []SiteTime {
	out := make([]SiteTime, 0, len(m))
	for f, ns := range m {
		out = append(out, SiteTime{f, ns})
	}
	sort.Slice(out, func(i, j int) bool {
		if out[i].NS != out[j].NS {
			return out[i].NS > out[j].NS
		}
		return less(out[i].Where, out[j].Where)
	})
	return out
}

func largest(m map[stack.Frame]int64) stack.Frame {
	if s := siteTimes(m); len(s) > 0 {
		return s[0].Where
	}
	return stack.Frame{}
}

func sortWaits(ws []WaitTime) {
	sort.Slice(ws, func(i, j int) bool {
		if ws[i].NS != ws[j].NS {
			return ws[i].NS > ws[j].NS
		}
		if ws[i].Wait != ws[j].Wait {
			return ws[i].Wait < ws[j].Wait
		}
		return less(ws[i].Where, ws[j].Where)
	})
}

func sortDoing(ds []Doing) {
	sort.Slice(ds, func(i, j int) bool {
		if ds[i].NS != ds[j].NS {
			return ds[i].NS > ds[j].NS
		}
		if ds[i].What != ds[j].What {
			return ds[i].What < ds[j].What
		}
		return less(ds[i].Where, ds[j].Where)
	})
}
