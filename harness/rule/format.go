package rule

import (
	"fmt"
	"math"
	"path"
	"strconv"
	"strings"

	"chokepoint/harness/signal"
)

// A format renders a number with its unit.
type format struct {
	name  string
	units []signal.Unit // that it can render
	text  func(value float64, unit signal.Unit) string
}

// formats lists what may stand after the bar in "{signal|format}". The first
// that takes a unit is that unit's default.
func formats() []format {
	return []format{
		{"percent", []signal.Unit{signal.Share, signal.Ratio}, percent},
		{"ratio", []signal.Unit{signal.Ratio, signal.Share}, ratio},
		{"duration", []signal.Unit{signal.Nanosecond, signal.Second}, duration},
		{"bytes", []signal.Unit{signal.Byte}, byteCount},
		{"rate", []signal.Unit{signal.Hertz}, rate},
		{"count", []signal.Unit{signal.Count, signal.NoUnit}, count},
	}
}

// defaultFormat is the format of a unit when a template names none.
func defaultFormat(unit signal.Unit) format {
	if unit == signal.Ratio {
		return format{"ratio", nil, ratio} // a ratio may exceed 1, where percents mislead
	}
	for _, f := range formats() {
		for _, u := range f.units {
			if u == unit {
				return f
			}
		}
	}
	return format{"count", nil, func(v float64, u signal.Unit) string { return count(v, u) + " " + string(u) }}
}

// String renders the figure's value with its unit: "63.2%", "2.6 ms".
func (f Figure) String() string { return defaultFormat(f.Unit).text(f.Value, f.Unit) }

// percent never rounds to 0% or 100% what is not: the difference between all
// and almost all is often the diagnosis.
func percent(v float64, _ signal.Unit) string {
	switch p := v * 100; {
	case p > 0 && p < 0.05:
		return "<0.1%"
	case p < 100 && p >= 99.95:
		return ">99.9%"
	default:
		return trimZero(strconv.FormatFloat(p, 'f', 1, 64)) + "%"
	}
}

func ratio(v float64, _ signal.Unit) string { return threeDigits(v) + "x" }

func rate(v float64, _ signal.Unit) string { return threeDigits(v) + " per second" }

func count(v float64, _ signal.Unit) string {
	if v == math.Trunc(v) {
		return grouped(strconv.FormatFloat(v, 'f', 0, 64))
	}
	return threeDigits(v)
}

func duration(v float64, unit signal.Unit) string {
	ns := v
	if unit == signal.Second {
		ns = v * 1e9
	}
	switch size := math.Abs(ns); {
	case size == 0:
		return "0 s"
	case size < 999.5:
		return threeDigits(ns) + " ns"
	case size < 999.5e3:
		return threeDigits(ns/1e3) + " µs"
	case size < 999.5e6:
		return threeDigits(ns/1e6) + " ms"
	case size < 120e9:
		return threeDigits(ns/1e9) + " s"
	default:
		return threeDigits(ns/60e9) + " min"
	}
}

func byteCount(v float64, _ signal.Unit) string {
	units := []string{"B", "KiB", "MiB", "GiB"}
	i := 0
	for ; i < len(units)-1 && math.Abs(v) >= 1024; i++ {
		v /= 1024
	}
	if i == 0 {
		return trimZero(strconv.FormatFloat(v, 'f', 1, 64)) + " B"
	}
	return threeDigits(v) + " " + units[i]
}

// threeDigits keeps three significant digits, and all digits before the point.
func threeDigits(v float64) string {
	size := math.Abs(v)
	if size == 0 {
		return "0"
	}
	if size < 1e-4 || size >= 1e15 {
		return strconv.FormatFloat(v, 'g', 3, 64)
	}
	decimals := max(2-int(math.Floor(math.Log10(size))), 0)
	text := strconv.FormatFloat(v, 'f', decimals, 64)
	if strings.Contains(text, ".") {
		text = strings.TrimSuffix(strings.TrimRight(text, "0"), ".")
	}
	return grouped(text)
}

func trimZero(text string) string { return strings.TrimSuffix(text, ".0") }

// grouped sets commas between thousands.
func grouped(text string) string {
	sign, digits := "", text
	if strings.HasPrefix(digits, "-") {
		sign, digits = "-", digits[1:]
	}
	whole, rest := digits, ""
	if i := strings.IndexByte(digits, '.'); i >= 0 {
		whole, rest = digits[:i], digits[i:]
	}
	for i := len(whole) - 3; i > 0; i -= 3 {
		whole = whole[:i] + "," + whole[i:]
	}
	return sign + whole + rest
}

// placeText renders a location: "main.(*store).get (store.go:41)".
func placeText(at signal.Location) string {
	switch {
	case at.IsZero():
		return missingPlace
	case at.File == "":
		return at.Function
	}
	return fmt.Sprintf("%s (%s:%d)", at.Function, path.Base(at.File), at.Line)
}
