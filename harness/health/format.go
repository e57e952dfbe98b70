package health

import (
	"math"
	"strconv"
	"strings"
)

// percent renders a share: 0.953 as "95.3%". Two digits after the point keep
// what is just below a limit from reading like the limit.
func percent(share float64) string { return decimal(share*100, 2) + "%" }

// seconds renders a time in the unit that suits it: 0.0123 as "12.3 ms".
func seconds(v float64) string {
	switch {
	case v < 0.9995e-3:
		return decimal(v*1e6, 0) + " µs"
	case v < 0.9995:
		return threeDigits(v*1e3) + " ms"
	}
	return threeDigits(v) + " s"
}

// count renders a number of things, with a digit after the point below ten.
func count(v float64) string {
	v = max(0, v)
	if v < 10 {
		return decimal(v, 1)
	}
	digits := decimal(v, 0)
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return digits
}

func plural(n int, one string) string {
	if n == 1 {
		return "1 " + one
	}
	return count(float64(n)) + " " + one + "s"
}

// threeDigits keeps three significant digits, and all before the point.
func threeDigits(v float64) string {
	return decimal(v, max(0, 2-int(math.Floor(math.Log10(max(v, 1))))))
}

// decimal keeps at most so many digits after the point, and no zeros at the end.
func decimal(v float64, digits int) string {
	text := strconv.FormatFloat(v, 'f', digits, 64)
	if strings.Contains(text, ".") {
		text = strings.TrimRight(strings.TrimRight(text, "0"), ".")
	}
	return text
}
