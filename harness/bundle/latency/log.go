// Package latency reads what a bundle keeps of the latencies of requests: the
// histograms of each second (load/latency.hlog), and single results
// (load/results.gob). Both sides of the bundle use it.
package latency

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// The tags of a log's lines.
const (
	TagService   = "service"   // from sending a request to the end of its response
	TagCorrected = "corrected" // from when it was due
)

// Interval is one line of a log: the requests that ended in it.
type Interval struct {
	Line   int // of the text, from 1
	Tag    string
	Start  time.Duration // since the log's start
	Length time.Duration
	MaxUS  int64  // the longest latency, to the microsecond
	HDR    string // base64 of the histogram in HdrHistogram's V2 compressed encoding; values are µs
}

// Log is a latency log as it was read.
type Log struct {
	WallNS    int64 // Unix time of its start, to the millisecond
	MonoNS    int64 // CLOCK_MONOTONIC of its start; 0 when the log does not say
	Intervals []Interval
}

const (
	startPrefix = "#[StartTime: "
	monoText    = "CLOCK_MONOTONIC was "
	tagPrefix   = "Tag="
	// LongestLine holds the largest histogram of the geometry in use, 32,768
	// buckets of nine bytes in base64, and its figures.
	LongestLine = (32<<10)*9/3*4 + 4096
	// mostIntervals bounds what is read: both latencies of each second of a day.
	mostIntervals = 2 * 24 * 60 * 60
	// mostSeconds bounds times within a log, and mostUnix that of its start.
	mostSeconds = 1 << 32
	mostUnix    = 1 << 33
)

// ReadLog reads a log in HdrHistogram's log format without decoding its
// histograms. An error names the line.
func ReadLog(r io.Reader) (Log, error) {
	var log Log
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, LongestLine)
	for n := 1; lines.Scan(); n++ {
		line := string(bytes.TrimRight(lines.Bytes(), "\r"))
		if rest, ok := strings.CutPrefix(line, startPrefix); ok {
			text, _, _ := strings.Cut(rest, " ")
			unix, err := parseSeconds(text, mostUnix)
			if err != nil {
				return Log{}, fmt.Errorf("latency log: line %d: start time: %w", n, err)
			}
			log.WallNS = unix.Nanoseconds()
		}
		if _, rest, ok := strings.Cut(line, monoText); ok && line[0] == '#' {
			text, _, _ := strings.Cut(rest, " ")
			if ns, err := strconv.ParseInt(text, 10, 64); err == nil && ns >= 0 {
				log.MonoNS = ns
			}
		}
		if line == "" || line[0] == '#' || line[0] == '"' {
			continue
		}
		if len(log.Intervals) == mostIntervals {
			return Log{}, fmt.Errorf("latency log: line %d: more than %d intervals", n, mostIntervals)
		}
		i, err := parseInterval(line)
		if err != nil {
			return Log{}, fmt.Errorf("latency log: line %d: %w", n, err)
		}
		i.Line = n
		log.Intervals = append(log.Intervals, i)
	}
	if err := lines.Err(); err != nil {
		return Log{}, fmt.Errorf("latency log: %w", err)
	}
	return log, nil
}

func parseInterval(line string) (Interval, error) {
	var i Interval
	if rest, ok := strings.CutPrefix(line, tagPrefix); ok {
		i.Tag, line, _ = strings.Cut(rest, ",")
	}
	fields := strings.Split(line, ",")
	if len(fields) != 4 {
		return Interval{}, fmt.Errorf("%d fields beside the tag; want start, length, maximum and histogram", len(fields))
	}
	var most time.Duration
	for _, f := range []struct {
		name string
		text string
		to   *time.Duration
	}{{"start", fields[0], &i.Start}, {"length", fields[1], &i.Length}, {"maximum", fields[2], &most}} {
		var err error
		if *f.to, err = parseSeconds(f.text, mostSeconds); err != nil {
			return Interval{}, fmt.Errorf("%s: %w", f.name, err)
		}
	}
	i.MaxUS = most.Milliseconds() // "seconds" of the maximum are milliseconds
	i.HDR = fields[3]
	return i, nil
}

// parseSeconds reads a decimal number from 0 to most, to the thousandth.
func parseSeconds(text string, most float64) (time.Duration, error) {
	v, err := strconv.ParseFloat(text, 64)
	if err != nil || !(v >= 0 && v <= most) {
		return 0, fmt.Errorf("%q is not a number from 0 to %.0f", text, most)
	}
	return time.Duration(v*1000+0.5) * time.Millisecond, nil
}

// Each calls f for each bucket of the interval's histogram that is not empty, by
// rising latency, which is in µs and right to three digits.
func (i Interval) Each(f func(us, count int64)) (err error) {
	defer func() {
		// The histogram comes from a file, and what it makes the decoder trip over
		// is an error like any other.
		if p := recover(); p != nil {
			err = fmt.Errorf("latency log: line %d: histogram: %v", i.Line, p)
		}
	}()
	if len(i.HDR) > LongestLine {
		return fmt.Errorf("latency log: line %d: histogram: too long", i.Line)
	}
	h, err := hdrhistogram.DecodePacked([]byte(i.HDR))
	if err != nil {
		return fmt.Errorf("latency log: line %d: histogram: %w", i.Line, err)
	}
	negative := false
	h.ForEachBucket(func(value, count int64) bool {
		if negative = count < 0; negative {
			return false
		}
		if count > 0 {
			f(value, count)
		}
		return true
	})
	if negative {
		return fmt.Errorf("latency log: line %d: histogram: a count is negative", i.Line)
	}
	return nil
}
