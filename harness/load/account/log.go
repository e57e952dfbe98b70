package account

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"time"

	"chokepoint/harness/bundle/latency"
)

// The tags of a log's lines.
const (
	TagService   = latency.TagService
	TagCorrected = latency.TagCorrected
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

// ReadLog reads what WriteLog writes. An error names the line. The text is read
// by package latency, as whoever analyzes a bundle reads it; histograms must be of
// this package's geometry.
func ReadLog(r io.Reader) (Log, error) {
	text, err := latency.ReadLog(r)
	if err != nil {
		return Log{}, fmt.Errorf("account: %w", err)
	}
	log := Log{WallNS: text.WallNS}
	for _, t := range text.Intervals {
		i, err := interval(t)
		if err != nil {
			return Log{}, fmt.Errorf("account: latency log: line %d: %w", t.Line, err)
		}
		log.Intervals = append(log.Intervals, i)
	}
	return log, nil
}

func interval(t latency.Interval) (Interval, error) {
	h, err := decode(t.HDR)
	if err != nil {
		return Interval{}, err
	}
	switch {
	case h.Count == 0 && t.MaxUS != 0:
		return Interval{}, errors.New("maximum: the histogram is empty")
	case h.Count > 0 && (t.MaxUS > highest || bucketOf(t.MaxUS) != bucketOf(h.Max)):
		return Interval{}, fmt.Errorf("maximum: %d.%03d ms is not in the histogram's last bucket", t.MaxUS/1000, t.MaxUS%1000)
	}
	h.Max = t.MaxUS
	return Interval{Tag: t.Tag, Start: t.Start, Length: t.Length, Latency: h}, nil
}
