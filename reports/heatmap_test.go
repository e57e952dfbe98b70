package reports_test

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"io"
	"math"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"chokepoint/harness/heatmap"
	"chokepoint/harness/signal"
	"chokepoint/reports"
)

// heatInput is ten seconds of requests in two bands, without any randomness: a
// pause of 150 ms at 6 s, in which a collection ran, and a second band from 2 s on.
func heatInput() heatmap.Input {
	const ms, start, length = int64(1e6), int64(100e9), int64(10e9)
	in := heatmap.Input{Source: "a test <of> names & signs", StartNS: start, EndNS: start + length}
	series := heatmap.Series{Kind: "collection", What: "the collector marked", Unit: "share of the time", Source: "trace/trace.out", StartNS: start + 1000*ms, SlotNS: 10 * ms, Values: make([]float64, 900)}
	busy := heatmap.Series{Kind: "run-queue", What: "threads waited for a CPU", Unit: "threads", Source: "ebpf/cuts.json", StartNS: start, SlotNS: 50 * ms, Values: make([]float64, 200)}
	for i := range busy.Values {
		busy.Values[i] = 2 + math.Sin(float64(i)*0.7) + math.Sin(float64(i)*0.11)
	}
	for i := range 15 {
		series.Values[500+i] = 1
	}
	in.Series = []heatmap.Series{series, busy}
	for i := range int64(4000) {
		end := start + i*length/4000
		// A golden ratio's multiples are spread evenly, as random numbers are not.
		u := math.Mod(float64(i)*0.6180339887, 1)
		took := 20e6 * math.Exp(0.9*(u-0.5))
		if i%5 == 0 {
			took *= 12
		}
		if pause := start + 6000*ms; end >= pause && end < pause+150*ms {
			took += float64(pause + 150*ms - end)
			end = pause + 150*ms
		}
		in.Points = append(in.Points, heatmap.Point{EndNS: end, LatencyNS: int64(took), Count: 1, Failed: i%1000 == 7})
	}
	return in
}

func TestHeatmapGolden(t *testing.T) {
	m := heatmap.New(heatInput())
	require.Len(t, m.Bands, 2)
	require.NotEmpty(t, m.Spells)

	var svg, text, again bytes.Buffer
	require.NoError(t, reports.HeatmapSVG(&svg, m))
	golden(t, "heatmap.svg", svg.Bytes())
	require.NoError(t, reports.HeatmapText(&text, m))
	golden(t, "heatmap.txt", text.Bytes())
	doc, err := json.MarshalIndent(m, "", " ")
	require.NoError(t, err)
	golden(t, "heatmap.json", doc)

	require.NoError(t, reports.HeatmapSVG(&again, heatmap.New(heatInput())))
	assert.Equal(t, svg.String(), again.String())
}

// The picture is XML, stands alone, and says in words what it shows.
func TestHeatmapSVGStandsAlone(t *testing.T) {
	for name, in := range map[string]heatmap.Input{"full": heatInput(), "empty": {Source: "nothing", EndNS: 1e9}} {
		t.Run(name, func(t *testing.T) {
			var svg bytes.Buffer
			require.NoError(t, reports.HeatmapSVG(&svg, heatmap.New(in)))
			decode := xml.NewDecoder(bytes.NewReader(svg.Bytes()))
			elements := map[string]int{}
			for {
				token, err := decode.Token()
				if err == io.EOF {
					break
				}
				require.NoError(t, err)
				if e, ok := token.(xml.StartElement); ok {
					elements[e.Name.Local]++
					for _, a := range e.Attr {
						assert.False(t, strings.HasPrefix(a.Value, "http") && a.Name.Local != "xmlns", "%s=%s", a.Name.Local, a.Value)
						assert.NotContains(t, a.Value, "NaN")
						assert.NotContains(t, a.Value, "ZgotmplZ")
					}
				}
			}
			assert.Equal(t, 1, elements["svg"])
			assert.Equal(t, 1, elements["desc"])
			assert.Zero(t, elements["script"])
			assert.NotContains(t, svg.String(), "url(")
		})
	}
}

func TestHTMLHoldsTheHeatmap(t *testing.T) {
	r := flawed()
	var page bytes.Buffer
	require.NoError(t, reports.HTML(&page, r))
	assert.NotContains(t, page.String(), "Latency over time")
	m := heatmap.New(heatInput())
	r.Heatmap = &m
	page.Reset()
	require.NoError(t, reports.HTML(&page, r))
	assert.Contains(t, page.String(), `<svg xmlns="http://www.w3.org/2000/svg" class="hm"`)
	assert.Contains(t, page.String(), "the collector marked")
}

func TestReportsSayWhatTheProgramMarked(t *testing.T) {
	r := flawed()
	r.Marked = []signal.Marked{
		{Kind: "region", Name: "wait for <connection>", Share: 0.491, Count: 1204, MeanNS: 4_710_000_000, Doing: "db conn", Where: signal.Location{Function: "main.(*store).get", File: "/src/store.go", Line: 47}},
		{Kind: "task", Name: "checkout", Count: 1200, MeanNS: 9_000_000_000, Attrs: []string{"route=/checkout"}},
		{Kind: "event", Name: "refused\x1b[31m", Count: 1},
	}
	for name, want := range map[string][]string{
		"text": {"Marked by the program", "49.1% of request time, 1,204 regions, mostly in db conn, 4.71 s each", "1,200 tasks, 9 s each; route=/checkout", "1 event"},
		"html": {"wait for &lt;connection&gt;", "49.1%", "route=/checkout", "store.go:47"},
		"json": {`"mean_ns": 4710000000`},
	} {
		var out bytes.Buffer
		switch name {
		case "text":
			require.NoError(t, reports.Text(&out, r, reports.TextOptions{Width: 200}))
			assert.NotContains(t, out.String(), "\x1b", "a name from the target does not steer the terminal")
		case "html":
			require.NoError(t, reports.HTML(&out, r))
		case "json":
			require.NoError(t, reports.JSON(&out, r))
		}
		for _, w := range want {
			assert.Contains(t, out.String(), w, name)
		}
	}
}
