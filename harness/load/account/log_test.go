package account

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"chokepoint/harness/bundle/latency"
)

func someAccount() Account {
	return Account{
		StartNS: 42, WallNS: 1_700_000_000_250_000_000,
		Seconds: []Second{
			{StartNS: 42, Service: histogramOf(100, 200, 300), Corrected: histogramOf(150, 250, 1_234_567)},
			{StartNS: 42 + secondNS},
			{StartNS: 42 + 3*secondNS, Service: histogramOf(0, 5), Corrected: histogramOf(highest)},
		},
	}
}

func TestLogRoundTrip(t *testing.T) {
	random := rand.New(rand.NewPCG(5, 6))
	for _, a := range []Account{{}, someAccount(), played(plan(random, 500, 4*secondNS), 4*secondNS)} {
		var out bytes.Buffer
		require.NoError(t, a.WriteLog(&out))
		log, err := ReadLog(&out)
		require.NoError(t, err)
		assert.Equal(t, a.WallNS/1e6, log.WallNS/1e6)
		require.Len(t, log.Intervals, 2*len(a.Seconds))
		for i, s := range a.Seconds {
			for j, want := range []Interval{{Tag: TagService, Latency: s.Service}, {Tag: TagCorrected, Latency: s.Corrected}} {
				want.Start, want.Length = time.Duration(s.StartNS-a.StartNS), time.Second
				want.Latency.Sum = 0 // is not in a log
				assert.Equal(t, want, log.Intervals[2*i+j])
			}
		}
	}
}

// TestLogIsReadByTheLibrary: what other HDR tools do with it.
func TestLogIsReadByTheLibrary(t *testing.T) {
	var out bytes.Buffer
	require.NoError(t, someAccount().WriteLog(&out))
	assert.Contains(t, out.String(), "#[StartTime: 1700000000.250 (seconds since epoch), 2023-11-14T22:13:20Z]\n")
	assert.Contains(t, out.String(), "\nTag=corrected,0.000,1.000,1234.567,HIST", "the maximum is in ms")
	r := hdrhistogram.NewHistogramLogReader(&out)
	type line struct {
		tag   string
		start int64 // ms since the log's start
		n     int64
	}
	var lines []line
	for {
		h, err := r.NextIntervalHistogram()
		require.NoError(t, err)
		if h == nil {
			break
		}
		assert.Equal(t, int64(1000), h.EndTimeMs()-h.StartTimeMs())
		lines = append(lines, line{h.Tag(), h.StartTimeMs() - 1_700_000_000_250, h.TotalCount()})
	}
	assert.Equal(t, []line{
		{"service", 0, 3}, {"corrected", 0, 3}, {"service", 1000, 0}, {"corrected", 1000, 0}, {"service", 3000, 2}, {"corrected", 3000, 1},
	}, lines)
}

func TestDamagedLogs(t *testing.T) {
	hdr, err := new(encoder).encode(histogramOf(5000))
	require.NoError(t, err)
	for _, tc := range []struct{ text, want string }{
		{"#comment\nTag=a,0,1\n", "line 2: 2 fields beside the tag"},
		{"1,2,3,4,5\n", "line 1: 5 fields"},
		{"x,1,5.000," + hdr, `start: "x" is not a number`},
		{"0,-1,5.000," + hdr, `length: "-1" is not a number`},
		{"0,1,NaN," + hdr, `maximum: "NaN" is not a number`},
		{"0,1,9.000," + hdr, "maximum: 9.000 ms is not in the histogram's last bucket"},
		{"0,1,5.000,HISTF", "line 1: histogram: "},
		{"#[StartTime: long ago]", "start time"},
		{strings.Repeat("x", latency.LongestLine+1), "too long"},
	} {
		_, err := ReadLog(strings.NewReader(tc.text))
		require.ErrorContains(t, err, tc.want)
	}
}

type full struct{}

func (full) Write([]byte) (int, error) { return 0, errors.New("disk full") }

func TestLogThatCannotBeWritten(t *testing.T) {
	require.ErrorContains(t, someAccount().WriteLog(full{}), "latency log: disk full")
}

func FuzzReadLog(f *testing.F) {
	var out bytes.Buffer
	require.NoError(f, someAccount().WriteLog(&out))
	f.Add(out.Bytes())
	f.Add([]byte("Tag=a,0,1,2\n#[StartTime: 1 \n\"x\n\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		log, err := ReadLog(bytes.NewReader(data))
		if err != nil {
			return
		}
		for _, i := range log.Intervals {
			// What was read is written and read the same.
			var again bytes.Buffer
			require.NoError(t, i.write(&again, new(encoder)))
			if strings.ContainsAny(i.Tag, "\r\n") || i.Tag == "" {
				continue
			}
			back, err := ReadLog(&again)
			require.NoError(t, err)
			require.Equal(t, []Interval{i}, back.Intervals)
		}
	})
}

func BenchmarkWriteLog(b *testing.B) {
	random := rand.New(rand.NewPCG(1, 1))
	d := newDense()
	for range 20_000 {
		d.record(int64(500 + 300*random.ExpFloat64()*4))
	}
	h := d.histogram()
	b.ReportMetric(float64(len(h.packed)), "packed-B")
	b.Run("encode", func(b *testing.B) {
		b.ReportAllocs()
		var e encoder
		for b.Loop() {
			_, _ = e.encode(h)
		}
	})
	b.Run("library", func(b *testing.B) {
		b.ReportAllocs()
		text, _ := new(encoder).encode(h)
		theirs, _ := hdrhistogram.Decode([]byte(text))
		for b.Loop() {
			_, _ = theirs.EncodeV2()
		}
	})
	b.Run("decode", func(b *testing.B) {
		b.ReportAllocs()
		text, _ := new(encoder).encode(h)
		b.ReportMetric(float64(len(text)), "base64-B")
		b.ReportMetric(float64(len(h.packed)), "packed-B")
		for b.Loop() {
			_, _ = decode(text)
		}
	})
	b.Run("pack", func(b *testing.B) {
		for b.Loop() {
			_ = d.histogram()
		}
	})
	b.Run("plus", func(b *testing.B) {
		for b.Loop() {
			_ = h.plus(h)
		}
	})
}
