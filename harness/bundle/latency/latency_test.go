package latency_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	vegeta "github.com/tsenart/vegeta/v12/lib"

	"chokepoint/harness/bundle"
	"chokepoint/harness/bundle/latency"
)

func logOf(t testing.TB, us ...int64) string {
	t.Helper()
	h := hdrhistogram.New(1, 1<<40, 3)
	for _, v := range us {
		require.NoError(t, h.RecordValue(v))
	}
	text, err := h.Encode(hdrhistogram.V2CompressedEncodingCookieBase)
	require.NoError(t, err)
	return fmt.Sprintf("#StartTime is the wall clock when the load began; CLOCK_MONOTONIC was 42 ns.\n#[StartTime: 1700000000.250 (seconds since epoch), x]\n\"a\",\"b\"\nTag=service,3.000,1.000,%.3f,%s\n", float64(h.Max())/1000, text)
}

func TestReadLog(t *testing.T) {
	log, err := latency.ReadLog(strings.NewReader(logOf(t, 5, 7, 7, 12)))
	require.NoError(t, err)
	assert.EqualValues(t, 42, log.MonoNS)
	assert.EqualValues(t, 1_700_000_000_250_000_000, log.WallNS)
	require.Len(t, log.Intervals, 1)
	i := log.Intervals[0]
	assert.Equal(t, latency.TagService, i.Tag)
	assert.Equal(t, 4, i.Line)
	assert.Equal(t, 3*time.Second, i.Start)
	assert.EqualValues(t, 12, i.MaxUS)
	got := map[int64]int64{}
	require.NoError(t, i.Each(func(us, n int64) { got[us] = n }))
	assert.Equal(t, map[int64]int64{5: 1, 7: 2, 12: 1}, got)

	i.HDR = "HISTnonsense"
	assert.ErrorContains(t, i.Each(func(int64, int64) {}), "latency log: line 4: histogram")
}

func FuzzReadLog(f *testing.F) {
	f.Add([]byte(logOf(f, 1, 1000, 1_000_000)))
	f.Add([]byte("0,1,0,HISTFAAAAA"))
	f.Fuzz(func(t *testing.T, data []byte) {
		log, err := latency.ReadLog(bytes.NewReader(data))
		if err != nil {
			return
		}
		for _, i := range log.Intervals {
			if len(i.HDR) > 4096 {
				continue
			}
			_ = i.Each(func(us, n int64) { require.Positive(t, n) })
		}
	})
}

func results(t testing.TB, wall time.Time) []byte {
	var b bytes.Buffer
	encode := vegeta.NewEncoder(&b)
	for i, r := range []vegeta.Result{
		{Code: 200, Timestamp: wall.Add(time.Second), Latency: 20 * time.Millisecond},
		{Code: 503, Timestamp: wall.Add(2 * time.Second), Latency: time.Second, Error: "503 Service Unavailable"},
		{Timestamp: wall.Add(3 * time.Second), Latency: time.Minute, Error: "timeout"},
		{Code: 302, Timestamp: wall.Add(4 * time.Second)},
	} {
		r.Seq = uint64(i)
		require.NoError(t, encode(&r))
	}
	return b.Bytes()
}

func TestReadResults(t *testing.T) {
	wall := time.Date(2026, 11, 27, 12, 0, 0, 0, time.UTC)
	clock := bundle.Clock{MonoNS: 500e9, Wall: wall}
	data := results(t, wall)
	got, err := latency.ReadResults(bytes.NewReader(data), clock)
	require.NoError(t, err)
	assert.Equal(t, []latency.Request{
		{StartNS: 501e9, EndNS: 501_020_000_000},
		{StartNS: 502e9, EndNS: 503e9, Failed: true},
		{StartNS: 503e9, EndNS: 563e9, Failed: true, NoResponse: true},
		{StartNS: 504e9, EndNS: 504e9},
	}, got)

	got, err = latency.ReadResults(bytes.NewReader(data[:len(data)-3]), clock)
	assert.ErrorContains(t, err, "results: after 3: ")
	assert.Len(t, got, 3, "what could be read is not lost")
	_, err = latency.ReadResults(bytes.NewReader(data), bundle.Clock{Wall: wall.Add(time.Hour)})
	assert.ErrorContains(t, err, "results: after 0: a request began at", "before the machine did")
}

func FuzzReadResults(f *testing.F) {
	wall := time.Date(2026, 11, 27, 12, 0, 0, 0, time.UTC)
	f.Add(results(f, wall))
	f.Fuzz(func(t *testing.T, data []byte) {
		got, _ := latency.ReadResults(bytes.NewReader(data), bundle.Clock{MonoNS: 500e9, Wall: wall})
		for _, r := range got {
			require.LessOrEqual(t, r.StartNS, r.EndNS)
		}
	})
}
