package request

import "math"

// turns is an order of templates in which each occurs in proportion to its
// weight and as evenly spread as can be.
type turns struct {
	order []int
	// shift is the number of requests after which the order moves on by one; at
	// 0 it never does. Without it a template would meet only some of the rows
	// of a file when the lengths of both have a divisor in common: of two
	// templates sent by turns, one would have the even rows, one the odd.
	shift uint64
}

// newTurns orders templates that use values with these numbers of rows.
func newTurns(templates []Template, rows []int) turns {
	t := turns{order: orderOf(templates)}
	// At each multiple of shift both the order and the rows begin anew, so that
	// after len(order) times as many requests each template has met each row.
	const most = 1 << 40 // more are not sent
	for _, n := range rows {
		from := max(t.shift, uint64(len(t.order)))
		if next := from / gcd(from, uint64(n)) * uint64(n); next < most {
			t.shift = next
		}
	}
	return t
}

// at is the template of the kth request of a source.
func (t turns) at(k uint64) int {
	if t.shift > 0 {
		k += k / t.shift
	}
	return t.order[k%uint64(len(t.order))]
}

// turnCount is the length of the order of templates.
func turnCount(templates []Template) int {
	total, divisor := divide(templates)
	return total / divisor
}

// divide is the sum of the weights and their greatest common divisor.
func divide(templates []Template) (total int, divisor int) {
	var common uint64
	for _, t := range templates {
		total += t.weight()
		common = gcd(common, uint64(max(0, t.weight())))
	}
	return total, max(1, int(common))
}

func orderOf(templates []Template) []int {
	total, divisor := divide(templates)
	total /= divisor
	order := make([]int, total)
	credit := make([]int, len(templates))
	for i := range order {
		best, most := 0, math.MinInt
		for j, t := range templates {
			credit[j] += t.weight() / divisor
			if credit[j] > most {
				best, most = j, credit[j]
			}
		}
		credit[best] -= total
		order[i] = best
	}
	return order
}

func gcd(a, b uint64) uint64 {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}
