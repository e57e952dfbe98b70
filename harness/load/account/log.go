package account

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
)

// The tags of a log's lines.
const (
	TagService   = "service"
	TagCorrected = "corrected"
)

// Interval is one line of a log: a histogram of the requests that ended in it.
type Interval struct {
	Tag     string
	Start   time.Duration // since the log's start
	Length  time.Duration
	Latency Histogram // µs; the sum is not in a log
}

// Log is a latency log as it was read.
type Log struct {
	WallNS    int64 // Unix time of its start, to the millisecond
	Intervals []Interval
}

// WriteLog writes the latencies of each second to w in HdrHistogram's log format,
// version 1.3: for each second a line tagged service and one tagged corrected,
// whose values are microseconds.
func (a Account) WriteLog(w io.Writer) error {
	out := bufio.NewWriter(w)
	start := time.Unix(0, a.WallNS).UTC()
	unix := seconds(start.UnixMicro())
	for _, line := range []string{
		"#[Histogram log format version 1.3]",
		"#Values are latencies in microseconds; Interval_Max is in milliseconds.",
		"#service: from sending a request to the end of its response; corrected: from when it was due.",
		fmt.Sprintf("#StartTime is the wall clock when the load began; CLOCK_MONOTONIC was %d ns.", a.StartNS),
		fmt.Sprintf("#[StartTime: %.3f (seconds since epoch), %s]", unix, start.Format(time.RFC3339)),
		fmt.Sprintf("#[BaseTime: %.3f (seconds since epoch)]", unix),
		`"StartTimestamp","Interval_Length","Interval_Max","Interval_Compressed_Histogram"`,
	} {
		fmt.Fprintln(out, line) // an error stays in out until Flush
	}
	var e encoder
	for _, s := range a.Seconds {
		since := time.Duration(s.StartNS - a.StartNS)
		for _, i := range []Interval{
			{Tag: TagService, Start: since, Length: time.Second, Latency: s.Service},
			{Tag: TagCorrected, Start: since, Length: time.Second, Latency: s.Corrected},
		} {
			if err := i.write(out, &e); err != nil {
				return fmt.Errorf("account: latency log: %w", err)
			}
		}
	}
	if err := out.Flush(); err != nil {
		return fmt.Errorf("account: latency log: %w", err)
	}
	return nil
}

func (i Interval) write(w io.Writer, e *encoder) error {
	hdr, err := e.encode(i.Latency)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(w, "Tag=%s,%.3f,%.3f,%.3f,%s\n",
		i.Tag, i.Start.Seconds(), i.Length.Seconds(), float64(i.Latency.Max)/1000, hdr)
	return err
}

const (
	startPrefix = "#[StartTime: "
	tagPrefix   = "Tag="
	// longestLine holds the largest histogram and its figures.
	longestLine = longestHDR + 1024
	// mostIntervals bounds what is read: both latencies of each second of a day.
	mostIntervals = 2 * 24 * 60 * 60
	// mostSeconds bounds times within a log, and mostUnix that of its start.
	mostSeconds = 1 << 32
	mostUnix    = 1 << 33
)

// ReadLog reads what WriteLog writes. An error names the line.
func ReadLog(r io.Reader) (Log, error) {
	var log Log
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, longestLine)
	for n := 1; lines.Scan(); n++ {
		line := string(bytes.TrimRight(lines.Bytes(), "\r"))
		if rest, ok := strings.CutPrefix(line, startPrefix); ok {
			text, _, _ := strings.Cut(rest, " ")
			unix, err := parseSeconds(text, mostUnix)
			if err != nil {
				return Log{}, fmt.Errorf("account: latency log: line %d: start time: %w", n, err)
			}
			log.WallNS = unix.Nanoseconds()
		}
		if line == "" || line[0] == '#' || line[0] == '"' {
			continue
		}
		if len(log.Intervals) == mostIntervals {
			return Log{}, fmt.Errorf("account: latency log: line %d: more than %d intervals", n, mostIntervals)
		}
		i, err := parseInterval(line)
		if err != nil {
			return Log{}, fmt.Errorf("account: latency log: line %d: %w", n, err)
		}
		log.Intervals = append(log.Intervals, i)
	}
	if err := lines.Err(); err != nil {
		return Log{}, fmt.Errorf("account: latency log: %w", err)
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
	h, err := decode(fields[3])
	if err != nil {
		return Interval{}, err
	}
	us := most.Milliseconds() // "seconds" of the maximum are milliseconds
	switch {
	case h.Count == 0 && us != 0:
		return Interval{}, errors.New("maximum: the histogram is empty")
	case h.Count > 0 && (us > highest || bucketOf(us) != bucketOf(h.Max)):
		return Interval{}, fmt.Errorf("maximum: %s ms is not in the histogram's last bucket", fields[2])
	}
	h.Max = us
	i.Latency = h
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
