package account

import (
	"bytes"
	"errors"
	"io"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	vegeta "github.com/tsenart/vegeta/v12/lib"
)

// kept are the results that vegeta reads.
func kept(t *testing.T, in io.Reader) []vegeta.Result {
	t.Helper()
	var out []vegeta.Result
	decode := vegeta.NewDecoder(in)
	for {
		var r vegeta.Result
		err := decode.Decode(&r)
		if errors.Is(err, io.EOF) {
			return out
		}
		require.NoError(t, err)
		out = append(out, r)
	}
}

func TestResultsAreVegetas(t *testing.T) {
	base := time.Unix(1000, 0).UTC()
	var out bytes.Buffer
	r, err := NewResults(&out, base, "")
	require.NoError(t, err)
	require.True(t, r.Add(Exchange{Seq: 1, Method: "GET", URL: "http://h/1", Sent: 5, Ended: 12, Due: 1, Code: 200, BytesIn: 3, BytesOut: 4}))
	require.True(t, r.Add(Exchange{Seq: 2, Code: 503}))
	require.True(t, r.Add(Exchange{Seq: 3, Failure: kindReset}))
	written, lost, err := r.Close()
	require.NoError(t, err)
	assert.Equal(t, []int64{3, 0}, []int64{written, lost})
	_, _, err = r.Close()
	require.NoError(t, err, "closing twice does no harm")
	got := kept(t, &out)
	require.Len(t, got, 3)
	want := vegeta.Result{Seq: 1, Method: "GET", URL: "http://h/1", Timestamp: base.Add(5), Latency: 7, Code: 200, BytesIn: 3, BytesOut: 4}
	assert.True(t, want.Equal(got[0]), "%+v", got[0])
	assert.Equal(t, "503 Service Unavailable", got[1].Error)
	assert.Equal(t, kindReset, got[2].Error)
}

func TestResultsInPart(t *testing.T) {
	const n = 10_000
	run := func(mode string) []vegeta.Result {
		var out bytes.Buffer
		r, err := NewResults(&out, time.Now(), mode)
		require.NoError(t, err)
		for seq := range uint64(n) {
			require.True(t, r.Add(Exchange{Seq: seq, Code: 200}), "what is not wanted is not dropped")
		}
		_, _, err = r.Close()
		require.NoError(t, err)
		return kept(t, &out)
	}
	assert.Empty(t, run(ResultsNone))
	assert.Len(t, run(ResultsWhole), n)
	sampled := run(ResultsSampled)
	assert.InDelta(t, n/SampleEvery, len(sampled), 40)
	r := Results{every: SampleEvery}
	for _, result := range sampled {
		assert.True(t, r.Keeps(result.Seq))
	}
	assert.Equal(t, sampled[0].Seq, run(ResultsSampled)[0].Seq, "the same requests each time")
	_, err := NewResults(io.Discard, time.Now(), "half")
	require.ErrorContains(t, err, `results "half"; want whole, sampled or none`)
}

func TestResultsThatCannotBeWritten(t *testing.T) {
	r, err := NewResults(full{}, time.Now(), ResultsWhole)
	require.NoError(t, err)
	for range resultQueue {
		require.True(t, r.Add(Exchange{URL: "http://h/long enough to fill the buffer"}))
	}
	written, lost, err := r.Close()
	require.ErrorContains(t, err, "write results: disk full")
	assert.Positive(t, lost)
	assert.Equal(t, int64(resultQueue), written+lost)
}

func TestFullQueueDrops(t *testing.T) {
	r := &Results{every: 1, queue: make(chan Exchange, 1)}
	assert.True(t, r.Add(Exchange{}))
	assert.False(t, r.Add(Exchange{}), "nobody reads, and the attack must not wait")
}
