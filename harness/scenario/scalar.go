package scenario

import (
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// How the scalars are written; the schema shows the same patterns to editors.
var (
	durationPattern   = regexp.MustCompile(`^(([0-9]+(\.[0-9]*)?|\.[0-9]+)(ns|us|µs|ms|s|m|h))+$`)
	ratePattern       = regexp.MustCompile(`^([0-9]+(?:\.[0-9]+)?)/(s|m)$`)
	sizePattern       = regexp.MustCompile(`^([0-9]+)(B|kB|KiB|MB|MiB|GB|GiB)$`)
	byteRatePattern   = regexp.MustCompile(`^([0-9]+)(B|kB|KiB|MB|MiB|GB|GiB)/s$`)
	sharePattern      = regexp.MustCompile(`^([0-9]+(?:\.[0-9]+)?)%$`)
	comparisonPattern = regexp.MustCompile(`^(==|!=|<=|>=|<|>) *(-?[0-9]+)$`)
	cpuSetPattern     = regexp.MustCompile(`^[0-9]{1,4}(-[0-9]{1,4})?(,[0-9]{1,4}(-[0-9]{1,4})?)*$`)
)

// Duration is a time span, written with its unit: 500ms, 10s, 2m.
type Duration time.Duration

// String writes the duration as Go does: "1m30s".
func (d Duration) String() string { return time.Duration(d).String() }

// MarshalText is String.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText reads "10s". Negative spans have no meaning in a scenario and
// are refused, and so are numbers without a unit, 0 included.
func (d *Duration) UnmarshalText(text []byte) error {
	v, err := time.ParseDuration(string(text))
	if err != nil || !durationPattern.Match(text) {
		return fmt.Errorf("%q is not a duration of 0s or more; write a number with a unit, such as 500ms, 10s or 2m", text)
	}
	*d = Duration(v)
	return nil
}

// Rate is a frequency in events a second, written with its unit: 5000/s.
type Rate float64

// Hz is the rate in events a second.
func (r Rate) Hz() float64 { return float64(r) }

// String writes the rate in events a second: "5000/s".
func (r Rate) String() string { return strconv.FormatFloat(float64(r), 'f', -1, 64) + "/s" }

// MarshalText is String.
func (r Rate) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// UnmarshalText reads "5000/s", and "300/m" as 5 a second. A rate is above 0.
func (r *Rate) UnmarshalText(text []byte) error {
	wrong := fmt.Errorf("%q is not a rate; write a number above 0 and a unit, such as 5000/s or 300/m", text)
	m := ratePattern.FindStringSubmatch(string(text))
	if m == nil {
		return wrong
	}
	hz, err := strconv.ParseFloat(m[1], 64)
	if m[2] == "m" {
		hz /= 60
	}
	if err != nil || hz == 0 {
		return wrong
	}
	*r = Rate(hz)
	return nil
}

// Size is a number of bytes, written with its unit: 64MiB.
type Size int64

type sizeUnit struct {
	name  string
	bytes int64
}

// sizeUnits lists the units, the largest first.
func sizeUnits() []sizeUnit {
	return []sizeUnit{
		{"GiB", 1 << 30}, {"GB", 1e9}, {"MiB", 1 << 20}, {"MB", 1e6},
		{"KiB", 1 << 10}, {"kB", 1e3}, {"B", 1},
	}
}

// Bytes is the size in bytes.
func (s Size) Bytes() int64 { return int64(s) }

// String writes the size in the largest unit that leaves no fraction: "64MiB".
func (s Size) String() string {
	for _, u := range sizeUnits() {
		if s != 0 && int64(s)%u.bytes == 0 {
			return strconv.FormatInt(int64(s)/u.bytes, 10) + u.name
		}
	}
	return "0B"
}

// MarshalText is String.
func (s Size) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads "64MiB": B, kB, MB and GB of 1000, KiB, MiB and GiB of 1024.
func (s *Size) UnmarshalText(text []byte) error {
	wrong := fmt.Errorf("%q is not a size; write a whole number with a unit, such as 512KiB or 64MiB", text)
	m := sizePattern.FindStringSubmatch(string(text))
	if m == nil {
		return wrong
	}
	n, err := strconv.ParseInt(m[1], 10, 64)
	for _, u := range sizeUnits() {
		if u.name == m[2] && err == nil && n <= math.MaxInt64/u.bytes {
			*s = Size(n * u.bytes)
			return nil
		}
	}
	return wrong
}

// ByteRate is a speed in bytes a second, written with its unit: 1KiB/s.
type ByteRate int64

// BytesPerSecond is the speed in bytes a second.
func (r ByteRate) BytesPerSecond() int64 { return int64(r) }

// String writes the speed in the largest unit that leaves no fraction: "1KiB/s".
func (r ByteRate) String() string { return Size(r).String() + "/s" }

// MarshalText is String.
func (r ByteRate) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// UnmarshalText reads "1KiB/s". A speed is above 0.
func (r *ByteRate) UnmarshalText(text []byte) error {
	var perSecond Size
	size := strings.TrimSuffix(string(text), "/s")
	if !byteRatePattern.Match(text) || perSecond.UnmarshalText([]byte(size)) != nil || perSecond == 0 {
		return fmt.Errorf("%q is not a speed; write a whole number above 0 with a unit, such as 100B/s or 1KiB/s", text)
	}
	*r = ByteRate(perSecond)
	return nil
}

// Share is a part of a whole in percent, written with its sign: 2%.
type Share float64

// Fraction is the share as a number from 0 to 1.
func (s Share) Fraction() float64 { return float64(s) / 100 }

// String writes the share in percent: "2%".
func (s Share) String() string { return strconv.FormatFloat(float64(s), 'f', -1, 64) + "%" }

// MarshalText is String.
func (s Share) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads "2%". A share is above 0% and at most 100%.
func (s *Share) UnmarshalText(text []byte) error {
	m := sharePattern.FindStringSubmatch(string(text))
	if m != nil {
		if percent, err := strconv.ParseFloat(m[1], 64); err == nil && percent > 0 && percent <= 100 {
			*s = Share(percent)
			return nil
		}
	}
	return fmt.Errorf("%q is not a share; write a number above 0 and up to 100 with a percent sign, such as 2%% or 0.5%%", text)
}

// maxCPU is the highest CPU that sched_setaffinity can name with glibc's cpu_set_t.
const maxCPU = 1023

// CPUSet is a set of CPUs, written as taskset -c takes it: "0", "0-2,5".
type CPUSet string

// List is the CPUs by number, each once, in order; nil for the empty set.
func (c CPUSet) List() []int {
	list, err := parseCPUs(string(c))
	if err != nil {
		return nil // UnmarshalText lets none in
	}
	return list
}

// UnmarshalText reads "0-2,5".
func (c *CPUSet) UnmarshalText(text []byte) error {
	if _, err := parseCPUs(string(text)); err != nil {
		return err
	}
	*c = CPUSet(text)
	return nil
}

func parseCPUs(text string) ([]int, error) {
	wrong := fmt.Errorf("%q is not a set of CPUs; write their numbers, from 0 to %d, as taskset -c takes them, such as 0 or 0-2,5", text, maxCPU)
	if !cpuSetPattern.MatchString(text) {
		return nil, wrong
	}
	var list []int
	for part := range strings.SplitSeq(text, ",") {
		first, last, isRange := strings.Cut(part, "-")
		low, err := strconv.Atoi(first)
		high := low
		if isRange && err == nil {
			high, err = strconv.Atoi(last)
		}
		if err != nil || low > high || high > maxCPU || len(list) > maxCPU {
			return nil, wrong
		}
		for cpu := low; cpu <= high; cpu++ {
			list = append(list, cpu)
		}
	}
	slices.Sort(list)
	return slices.Compact(list), nil
}

// Comparison compares a number with a constant, written as in Go: > 100.
type Comparison struct {
	Op    string // "==", "!=", "<", "<=", ">" or ">="; empty: everything passes
	Value int64
}

// String is "> 100"; empty when everything passes.
func (c Comparison) String() string {
	if c.Op == "" {
		return ""
	}
	return c.Op + " " + strconv.FormatInt(c.Value, 10)
}

// MarshalText is String.
func (c Comparison) MarshalText() ([]byte, error) { return []byte(c.String()), nil }

// UnmarshalText reads "> 100".
func (c *Comparison) UnmarshalText(text []byte) error {
	m := comparisonPattern.FindStringSubmatch(string(text))
	if m != nil {
		if n, err := strconv.ParseInt(m[2], 10, 64); err == nil {
			*c = Comparison{Op: m[1], Value: n}
			return nil
		}
	}
	return fmt.Errorf("%q is not a comparison; write ==, !=, <, <=, > or >= and a whole number, such as \"> 100\"", text)
}
