package signal

import (
	"testing"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"chokepoint/harness/bundle"
	"chokepoint/harness/bundle/latency"
	"chokepoint/harness/signal/gotrace"
)

// Of requests that outlast a trace of 4 s, as many end as are due.
func TestEndsLater(t *testing.T) {
	const second = int64(time.Second)
	type ended struct {
		at      int64 // second of the load; the window is from 10 s to 15 s
		tag     string
		latency time.Duration
		count   int64
	}
	for name, c := range map[string]struct {
		ended []ended
		n     int
		want  float64
	}{
		"honest answers take 3 s, and none more": {[]ended{{11, latency.TagService, 3 * time.Second, 3000}}, 1000, 1.0 / 2500 * 2},
		"too few to say":                         {[]ended{{11, latency.TagService, 3 * time.Second, 3000}}, 20, 1.0 / 50 * 2},
		"answers take 10 s, and all end that are due": {
			[]ended{{11, latency.TagService, 10 * time.Second, 100}, {14, latency.TagService, 10 * time.Second, 100}}, 600, 201.0 / 1500 * 2},
		"what ended before the window or is due, not sent": {
			[]ended{{8, latency.TagService, 10 * time.Second, 100}, {11, latency.TagCorrected, 10 * time.Second, 100}, {15, latency.TagService, 10 * time.Second, 100}}, 1000, 1.0 / 2500 * 2},
		"nobody waits":     {nil, 0, 1},
		"more than stands": {[]ended{{11, latency.TagService, 5 * time.Second, 4000}}, 100, 1},
	} {
		t.Run(name, func(t *testing.T) {
			log := latency.Log{MonoNS: second}
			for s := range int64(16) { // the load began at 1 s
				for _, tag := range []string{latency.TagService, latency.TagCorrected} {
					h := hdrhistogram.New(1, int64(time.Minute/time.Microsecond), 3)
					i := latency.Interval{Tag: tag, Start: time.Duration(s * second), Length: time.Second}
					for _, x := range c.ended {
						if x.at == s+1 && x.tag == tag {
							require.NoError(t, h.RecordValues(x.latency.Microseconds(), x.count))
							i.MaxUS = max(i.MaxUS, x.latency.Microseconds())
						}
					}
					text, err := h.Encode(hdrhistogram.V2CompressedEncodingCookieBase)
					require.NoError(t, err)
					i.HDR = string(text)
					log.Intervals = append(log.Intervals, i)
				}
			}
			e := &evidence{
				manifest: bundle.Manifest{Window: bundle.Window{StartNS: 10 * second, EndNS: 15 * second}},
				parsed:   map[string]result{bundle.LoadLatency: {value: log}},
				reading:  []map[string]bool{{}},
			}
			got, err := e.endsLater(&gotrace.Summary{StartNS: 10 * second, EndNS: 14 * second}, c.n)
			require.NoError(t, err)
			assert.InDelta(t, c.want, got, 1e-9)
		})
	}
}
