package heatmap_test

import (
	"bytes"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	vegeta "github.com/tsenart/vegeta/v12/lib"

	"chokepoint/harness/bundle"
	"chokepoint/harness/corpus"
	"chokepoint/harness/heatmap"
)

// Every recording of the corpus has a map, of all requests of its seconds.
func TestEveryRecordingHasAMap(t *testing.T) {
	for _, r := range corpus.Bundles(t) {
		t.Run(r.Name, func(t *testing.T) {
			t.Parallel()
			e := r.Open(t).Evidence()
			in, err := heatmap.Read(e, heatmap.FromLoad, nil)
			require.NoError(t, err)
			m := heatmap.New(in)
			var l bundle.Load
			require.NoError(t, e.ReadJSON(bundle.LoadSummary, &l))
			if l.Requests.Ended == 0 {
				return // they wait for longer than the window, on purpose or not
			}
			assert.Positive(t, m.Requests)
			assert.NotEmpty(t, m.Tracks)
			assert.GreaterOrEqual(t, m.Requests, l.Requests.Ended)
		})
	}
}

// record makes a bundle of 10 s from 100 s on, with the results of 2,000 requests.
func record(t *testing.T, sampled bool) bundle.Evidence {
	t.Helper()
	wall := time.Date(2026, 11, 27, 12, 0, 0, 0, time.UTC)
	dir := filepath.Join(t.TempDir(), "b")
	w, err := bundle.Create(dir, bundle.Manifest{Clock: bundle.Clock{MonoNS: 100e9, Wall: wall}, Window: bundle.Window{StartNS: 100e9, EndNS: 110e9}})
	require.NoError(t, err)
	var results bytes.Buffer
	encode := vegeta.NewEncoder(&results)
	for i := range 2000 {
		require.NoError(t, encode(&vegeta.Result{Code: 200, Timestamp: wall.Add(time.Duration(i) * 4900 * time.Microsecond), Latency: 20 * time.Millisecond}))
	}
	require.NoError(t, w.WriteFile(bundle.LoadResults, results.Bytes()))
	ended := int64(2000)
	if sampled {
		ended = 200_000
	}
	require.NoError(t, w.WriteJSON(bundle.LoadSummary, bundle.Load{Requests: bundle.LoadRequests{Ended: ended}}))
	require.NoError(t, w.WriteJSON(bundle.EBPFCuts, bundle.Cuts{Intervals: []bundle.Cut{
		{LeftNS: 101e9, BackNS: 103e9},
		{LeftNS: 101e9, WokenNS: 102e9, BackNS: 103e9},
		{LeftNS: 109e9, BackNS: 200e9}, // beyond the window
	}}))
	require.NoError(t, w.WriteFile(bundle.TraceOut, []byte("nonsense")))
	require.NoError(t, w.Finish())
	b, err := bundle.Open(dir)
	require.NoError(t, err)
	t.Cleanup(func() { b.Close() })
	return b.Evidence()
}

func TestReadTakesSingleResultsWhereTheyAreWhole(t *testing.T) {
	in, err := heatmap.Read(record(t, false), heatmap.FromLoad, nil)
	require.NoError(t, err)
	assert.Contains(t, in.Source, bundle.LoadResults)
	m := heatmap.New(in)
	assert.EqualValues(t, 2000, m.Requests)
	require.Len(t, m.Notes, 1, "the damaged trace is told")
	assert.Contains(t, m.Notes[0], bundle.TraceOut)

	i := slices.IndexFunc(m.Tracks, func(t heatmap.Track) bool { return t.Kind == "run-queue" })
	require.GreaterOrEqual(t, i, 0)
	perSecond := int(1e9 / m.ColumnNS)
	for second, want := range []float64{0, 1, 2, 0, 0, 0, 0, 0, 0, 1} {
		got := m.Tracks[i].Values[second*perSecond+perSecond/2]
		require.NotNil(t, got)
		assert.InDelta(t, want, *got, 0.01, "threads in the run queue in second %d", second)
	}
}

func TestReadRefusesASample(t *testing.T) {
	_, err := heatmap.Read(record(t, true), heatmap.FromLoad, nil)
	assert.ErrorIs(t, err, heatmap.ErrNoRequests)
	_, err = heatmap.Read(record(t, false), heatmap.FromTrace, nil)
	assert.ErrorIs(t, err, heatmap.ErrNoRequests)
	assert.ErrorContains(t, err, "no execution trace that can be read")
}
