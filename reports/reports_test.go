package reports_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"html"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"chokepoint/harness/bundle"
	"chokepoint/harness/health"
	"chokepoint/harness/rule"
	"chokepoint/harness/signal"
	"chokepoint/harness/signal/gotrace"
	"chokepoint/harness/signal/requests"
	"chokepoint/harness/signal/stack"
	"chokepoint/harness/verdict"
	"chokepoint/reports"
)

var update = flag.Bool("update", false, "rewrite the golden files in testdata")

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		require.NoError(t, os.MkdirAll("testdata", 0o755))
		require.NoError(t, os.WriteFile(path, got, 0o644))
	}
	want, err := os.ReadFile(path)
	require.NoError(t, err, "run `go test ./reports -update` to make it")
	assert.Equal(t, string(want), string(got))
}

// flawed is a full report: two findings, a rule undecided, a dimension with a gap.
func flawed() reports.Report {
	store := func(function string, line int) signal.Location {
		return signal.Location{Function: function, File: "/src/sessions/store.go", Line: line}
	}
	load := &bundle.Load{
		Asked: bundle.LoadAsked{InFlight: 10000},
		Reached: bundle.LoadReached{
			InFlightMin: 9998, InFlightMean: 9999.6, InFlightMax: 10000, OpenSocketsMin: 10000, OpenSocketsMax: 10000,
			RateHz: 95.4, InFlightAtCapture: 10000, SocketsAtCapture: 10000,
		},
		Requests:       bundle.LoadRequests{Ended: 954, OK: 951, ByCode: map[string]int64{"200": 951, "503": 3}},
		LatencySeconds: bundle.Distribution{Count: 954, Mean: 24, P50: 21.4, P90: 39.9, P99: 44.25, Max: 45.1},
		Checks:         bundle.LoadChecks{Checked: 951},
		Generator:      bundle.GeneratorHealth{CPUSeconds: 1.75, ReachedInFlight: true},
	}
	for s := range 18 {
		load.Seconds = append(load.Seconds, bundle.LoadSecond{StartNS: int64(s) * 1e9, InFlight: min(10000, (s+1)*1700)})
	}
	return reports.Report{
		Bundle:   "runs/lock-contention-20261122",
		Scenario: reports.Scenario{Name: "lock-contention/held-over-sleep", Variant: "flawed", About: "A session store sleeps inside its critical section."},
		Host:     bundle.Host{OS: "linux", Arch: "amd64", Kernel: "6.18.0", CPUs: 2, MemoryBytes: 24 << 30},
		Target:   bundle.Target{GoVersion: "go1.26.8", MainModule: "example.com/sessions", GOMAXPROCS: 2, CPUsAllowed: 2},
		Window:   bundle.Window{StartNS: 7e9, EndNS: 17e9},
		Load:     load,
		Health: &health.Report{Trusted: true, Checks: []health.Check{
			{Name: "reached before capture", Measured: "10,000 requests in flight over 10,000 sockets when capture began", Limit: "what was asked for",
				Known: true, OK: true, Why: "the load that was asked for stood before capture began"},
			{Name: "own lag", Measured: "not known", Limit: "at most 2.14 s", Why: "the recording does not hold the generator's own part of the send lag"},
		}},
		Result: rule.Result{
			Findings: []rule.Finding{{
				Cause: "lock-contention", Rule: "lock-contention/mutex", Title: "Requests queue on one lock",
				Rank: 1, Impact: 0.97, ImpactOf: "of request time", Confidence: rule.High, Where: store("main.(*store).get", 41),
				Related: []rule.Related{{Role: "the holder sleeps here", Where: store("main.(*store).touch", 60)}},
				Because: "97% of request time waits for the lock taken at main.(*store).get (store.go:41); its holder spends 98% of its time asleep",
				Fix:     "Do the slow work before taking the lock, or give each key a lock of its own.",
				Dimensions: []rule.DimensionFinding{
					{Dimension: "ebpf", Stance: rule.Silent, Says: "a goroutine that waits for a lock does not enter the kernel"},
					{Dimension: "pprof", Stance: rule.Agrees, Says: "92.6% of the delay the mutex profile saw ends at one Unlock, in main.(*store).get (store.go:47)",
						Figures: []rule.Figure{{Signal: "pprof.mutex_delay_top_share", Value: 0.926, Unit: signal.Share}}},
					{Dimension: "trace", Stance: rule.Agrees, Says: "97% of request time is spent in Lock",
						Figures: []rule.Figure{{Signal: "trace.lock_wait_share", Value: 0.97, Unit: signal.Share}, {Signal: "trace.lock_hold_mean", Value: 10.4e6, Unit: signal.Nanosecond}}},
				},
				Confused: []string{"pool-exhaustion", "channel-bottleneck"},
				Also:     []string{"lock-contention/rwmutex"},
			}, {
				Cause: "gc-pressure", Rule: "gc-pressure", Title: "Allocation in the request path feeds the collector",
				Rank: 2, Impact: 0.04, ImpactOf: "of the target's CPU", Confidence: rule.Low,
				Because: "4% of CPU marks memory that a place not captured allocates",
				Fix:     "Reuse the buffer.\nMeasure again.",
				Dimensions: []rule.DimensionFinding{
					{Dimension: "ebpf", Stance: rule.NotCaptured, Says: "ebpf.gc_share: the oncpu probe was not captured: perf_event_open is not permitted; run as root"},
					{Dimension: "pprof", Stance: rule.Disagrees, Says: "0.4% of CPU samples are in the collector",
						Figures: []rule.Figure{{Signal: "pprof.gc_cpu_share", Value: 0.004, Unit: signal.Share}}},
					{Dimension: "trace", Stance: rule.Agrees, Says: "the collector runs 4% of the time",
						Figures: []rule.Figure{{Signal: "trace.gc_share", Value: 0.04, Unit: signal.Share}}},
				},
			}},
			Unknown: []rule.Unknown{{Cause: "netpoll-spin", Rule: "netpoll-spin/epoll", Missing: []string{"ebpf.epoll_waits_per_event, ebpf.epoll_site: the oncpu probe was not captured: perf_event_open is not permitted; run as root"}}},
			Silent:  []string{"finalizer-backlog", "pool-misuse/never-put"},
		},
		Verdict: &verdict.Verdict{
			Scenario: "lock-contention/held-over-sleep", Variant: "flawed", Outcome: verdict.Fail,
			Reasons: []verdict.Reason{
				{Outcome: verdict.Fail, Cause: "gc-pressure", Text: "gc-pressure is not expected (rank 2, confidence low)"},
				{Outcome: verdict.Pass, Cause: "lock-contention", Text: "lock-contention is found at main.(*store).get store.go:41, as expected"},
			},
			Expected: []verdict.ExpectedResult{}, Unexpected: []verdict.FindingRef{},
		},
		Dimensions: []bundle.Dimension{
			{Name: "ebpf", Captured: true, Probes: []bundle.Probe{
				{Name: "syscalls", Captured: true, Artifacts: []string{bundle.EBPFSyscalls, bundle.EBPFSyscallsProfile}, Lost: map[string]int64{"stacks_collided": 12, "events_dropped": 0}},
				{Name: "oncpu", Reason: "perf_event_open is not permitted; run as root"},
			}},
			{Name: "pprof", Captured: true, Probes: []bundle.Probe{{Name: "cpu", Captured: true, Artifacts: []string{bundle.CPUProfile}}, {Name: "mutex", Captured: true, Artifacts: []string{bundle.MutexProfile}}}},
			{Name: "trace", Captured: true, Probes: []bundle.Probe{{Name: "trace", Captured: true, Artifacts: []string{bundle.TraceOut}}}},
			{Name: "proc", Reason: "the target is a bare URL; name its process to read /proc"},
			{Name: "load", Captured: true, Probes: []bundle.Probe{{Name: "vegeta", Captured: true, Artifacts: []string{bundle.LoadResults, bundle.LoadSummary}}}},
		},
		Where: spent(),
		Notes: []string{"ebpf/oncpu.pb.gz is damaged: its signals are missing"},
	}
}

// spent is what a trace tells of requests that wait for a lock.
func spent() *signal.Where {
	lock := bundle.Frame{Function: "main.(*store).get", File: "/src/sessions/store.go", Line: 41}
	band := func(name string, requestCount, median int64) requests.Band {
		total := requestCount * median
		parts := []requests.PartTime{
			{Kind: requests.Kind(stack.Lock), Where: lock, Explained: true, NS: total * 97 / 100},
			{Kind: requests.Runnable, Cause: "woken", Explained: true, NS: total / 50},
			{Kind: requests.Running, NS: total - total*97/100 - total/50},
		}
		b := requests.Band{Name: name, Requests: requestCount, MedianNS: median}
		b.Account = requests.Account{TotalNS: total, ExplainedNS: total - parts[2].NS, UnexplainedNS: parts[2].NS, Parts: parts}
		for _, x := range parts {
			b.Kinds = append(b.Kinds, requests.KindTime{Kind: x.Kind, NS: x.NS})
		}
		return b
	}
	return &signal.Where{
		Source: "requests",
		Table:  requests.Table{TraceNS: 5e9, Bands: []requests.Band{band(requests.All, 954, 21e9), band(requests.P50, 95, 21.4e9), band(requests.P99, 10, 44.2e9)}},
		Scheduler: gotrace.Scheduler{States: gotrace.States{
			SlotNS: 1e9, Running: []float64{1.2, 0.4, 0, 1, 2}, Runnable: []float64{0, 0, 6, 0, 0}, Waiting: []float64{9990, 9991, 9985, 9992, 9990}, Syscall: []float64{0, 0, 0, 0.001, 0},
			PUsed: []float64{1, 1, 1, 1, 2}, PIdle: []float64{1, 1, 1, 1, 0},
		}},
		Threads: signal.Threads{Count: []float64{9, 9, 9, 10, 10}},
	}
}

// bare is the least there can be: a bundle of someone else's, with nothing in it.
func bare() reports.Report { return reports.Report{Bundle: "customer.tar.gz"} }

func TestText(t *testing.T) {
	for name, c := range map[string]struct {
		r reports.Report
		o reports.TextOptions
	}{
		"flawed.txt":        {flawed(), reports.TextOptions{}},
		"flawed-color.txt":  {flawed(), reports.TextOptions{Color: true}},
		"flawed-narrow.txt": {flawed(), reports.TextOptions{Width: 60}},
		"bare.txt":          {bare(), reports.TextOptions{}},
	} {
		t.Run(name, func(t *testing.T) {
			var b bytes.Buffer
			require.NoError(t, reports.Text(&b, c.r, c.o))
			golden(t, name, b.Bytes())
		})
	}
}

func TestColourChangesNothingElse(t *testing.T) {
	var plain, coloured bytes.Buffer
	require.NoError(t, reports.Text(&plain, flawed(), reports.TextOptions{}))
	require.NoError(t, reports.Text(&coloured, flawed(), reports.TextOptions{Color: true}))
	require.NotContains(t, plain.String(), "\x1b")
	assert.Equal(t, plain.String(), regexp.MustCompile("\x1b\\[[0-9;]*m").ReplaceAllString(coloured.String(), ""))
}

func TestTextKeepsWithinItsWidth(t *testing.T) {
	for _, width := range []int{60, 80, 120} {
		var b bytes.Buffer
		require.NoError(t, reports.Text(&b, flawed(), reports.TextOptions{Width: width}))
		for _, line := range strings.Split(b.String(), "\n") {
			assert.LessOrEqual(t, len([]rune(line)), width, line)
		}
	}
}

func TestNothingFoundSaysWhatThatMeans(t *testing.T) {
	for want, result := range map[string]rule.Result{
		"No bottleneck found: 2 rules had the evidence they need and stayed silent.":                 {Silent: []string{"a", "b"}},
		"No rule could be decided: 1 rule lacked evidence.":                                          {Unknown: []rule.Unknown{{Rule: "a"}}},
		"No bottleneck found by the 1 rule that had the evidence they need; 1 could not be decided.": {Silent: []string{"a"}, Unknown: []rule.Unknown{{Rule: "b"}}},
		"No rule was applied.": {},
	} {
		var b bytes.Buffer
		require.NoError(t, reports.Text(&b, reports.Report{Result: result}, reports.TextOptions{Width: 200}))
		assert.Contains(t, b.String(), want)
	}
}

// TestBoundByCPU holds that a target which used up its CPU is not just called one
// without a bottleneck.
func TestBoundByCPU(t *testing.T) {
	number := func(name string, v float64) map[string]signal.Signal {
		return map[string]signal.Signal{name: {Value: v}}
	}
	profiled := []bundle.Dimension{{Name: bundle.DimPprof, Captured: true, Probes: []bundle.Probe{{Name: "cpu", Captured: true, Artifacts: []string{bundle.CPUProfile}}}}}
	silent := rule.Result{Silent: []string{"a"}}
	for name, c := range map[string]struct {
		signals    map[string]signal.Signal
		dimensions []bundle.Dimension
		result     rule.Result
		want       string
	}{
		"nearly all":    {number("proc.allowed_used_share", 0.98), profiled, silent, "The target used 98% of the CPU that it may use: it is bound by CPU, and no single cause of that was found; `go tool pprof` of pprof/cpu.pb.gz shows what takes it."},
		"by the kernel": {number("ebpf.target_cpu_share", 0.91), nil, silent, "The target used 91% of the CPU that it may use: it is bound by CPU, and no single cause of that was found."},
		"one function's": {map[string]signal.Signal{
			"proc.allowed_used_share": {Value: 0.93}, "pprof.cpu_top_share": {Value: 0.84},
			"pprof.cpu_top_site": {Where: signal.Location{Function: "main.clone", File: "/src/shop/main.go", Line: 52}},
		}, nil, silent, "and no single cause of that was found; 84% of the CPU profile is at main.clone (main.go:52) and in what that calls."},
		"some":            {number("proc.allowed_used_share", 0.8), profiled, silent, ""},
		"not known":       {nil, profiled, silent, ""},
		"something found": {number("proc.allowed_used_share", 0.98), profiled, flawed().Result, ""},
	} {
		t.Run(name, func(t *testing.T) {
			r := reports.Report{Result: c.result, CPU: reports.NewCPUUse(signal.Set{Signals: c.signals}, c.dimensions)}
			var text, page bytes.Buffer
			require.NoError(t, reports.Text(&text, r, reports.TextOptions{Width: 300}))
			require.NoError(t, reports.HTML(&page, r))
			if c.want == "" {
				assert.NotContains(t, text.String()+page.String(), "bound by CPU")
				return
			}
			assert.Contains(t, text.String(), c.want)
			assert.Contains(t, html.UnescapeString(page.String()), c.want)
		})
	}
}

// TestWaitsAtOneLine holds that where nothing was found, and requests wait for most of
// their time at one line, the reader is told which.
func TestWaitsAtOneLine(t *testing.T) {
	const want = "Requests spend 97% of their time in lock, at main.(*store).get store.go:41. No rule takes that for a flaw:"
	said := func(r reports.Report) string {
		var text bytes.Buffer
		require.NoError(t, reports.Text(&text, r, reports.TextOptions{Width: 300}))
		return text.String()
	}
	silent := rule.Result{Silent: []string{"a"}}
	assert.Contains(t, said(reports.Report{Result: silent, Where: spent()}), want)
	assert.NotContains(t, said(reports.Report{Result: flawed().Result, Where: spent()}), "No rule takes that")
	for _, kind := range []requests.Kind{requests.Running, requests.Runnable} {
		busy := spent()
		busy.Table.Bands[0].Parts[0].Kind = kind
		assert.NotContains(t, said(reports.Report{Result: silent, Where: busy}), "No rule takes that")
	}
	assert.Contains(t, said(reports.Report{Result: silent, Where: spent()}), "another goroutine of the program has to end such a wait")
	upstream := spent()
	upstream.Table.Bands[0].Parts[0].Kind = requests.Kind(stack.HTTPClient)
	assert.Contains(t, said(reports.Report{Result: silent, Where: upstream}), "such as the answer of another service")

	stopped := reports.Report{Result: silent, Where: spent(), Window: bundle.Window{StartNS: 1, EndNS: 5e9}, Load: &bundle.Load{Reached: bundle.LoadReached{InFlightMin: 300}}}
	assert.Contains(t, said(stopped), "Not one request ended in the window, with 300 in flight all the while, and no rule found out why: 1 rule had the evidence they need.")
	stopped.Load.Reached.InFlightMax = 1400
	assert.Contains(t, said(stopped), "Not one request ended in the window, with 300 to 1,400 in flight all the while,")
	assert.Contains(t, said(stopped), "nothing in the recording shows who should end the wait")
	assert.NotContains(t, said(stopped), "No bottleneck found")
	stopped.Where.Still = []signal.Still{
		{Wait: stack.Cond, Where: bundle.Frame{Function: "main.(*mill).run", File: "/src/mill.go", Line: 70}, Goroutines: 1},
		{Wait: stack.ChanRecv, Where: bundle.Frame{Function: "main.flush", File: "/src/flush.go", Line: 9}, Goroutines: 12},
	}
	const still = "Of the program's goroutines outside of handlers, these stood still all the while, idle or held up: 1 in cond, at main.(*mill).run mill.go:70; 12 in receive, at main.flush flush.go:9."
	assert.Contains(t, strings.Join(strings.Fields(said(stopped)), " "), still)
	assert.Equal(t, stopped.Where.Still, reports.NewDocument(stopped).Still)
	for range 5 {
		stopped.Where.Still = append(stopped.Where.Still, stopped.Where.Still[1])
	}
	assert.Contains(t, strings.Join(strings.Fields(said(stopped)), " "), "; and at 2 lines more.")
	assert.Len(t, reports.NewDocument(stopped).Still, 5)
	stopped.Load.Requests.Ended = 1
	assert.NotContains(t, said(stopped), "stood still")
	assert.Empty(t, reports.NewDocument(stopped).Still)
	assert.Contains(t, said(stopped), "No bottleneck found")
	assert.NotContains(t, said(stopped), "nothing in the recording shows")

	little := spent()
	little.Table.Bands[0].Parts[0].NS /= 2
	assert.NotContains(t, said(reports.Report{Result: silent, Where: little}), "No rule takes that")
	tasks := spent()
	tasks.Source = "tasks"
	assert.NotContains(t, said(reports.Report{Result: silent, Where: tasks}), "No rule takes that")
}

func TestHeadlineWithoutVerdict(t *testing.T) {
	for want, result := range map[string]rule.Result{
		"2 FINDINGS  customer":     flawed().Result,
		"NOTHING FOUND  customer":  {Silent: []string{"a"}, Unknown: []rule.Unknown{{Rule: "b"}}},
		"COULD NOT TELL  customer": {Unknown: []rule.Unknown{{Rule: "a"}}},
	} {
		var b bytes.Buffer
		require.NoError(t, reports.Text(&b, reports.Report{Bundle: "customer", Result: result}, reports.TextOptions{}))
		first, _, _ := strings.Cut(b.String(), "\n")
		assert.Equal(t, want, first)
	}
}

func TestABundleCannotSteerTheTerminalNorThePage(t *testing.T) {
	r := flawed()
	hostile := "\x1b]0;owned\x07<script>alert(1)</script>\u202e"
	r.Bundle, r.Scenario.Name, r.Notes = hostile, hostile, []string{hostile}
	r.Result.Findings[0].Where.Function = hostile
	r.Result.Findings[0].Title = hostile
	r.Result.Findings[0].Dimensions[0].Says = hostile
	r.Result.Unknown[0].Missing = []string{hostile}
	r.Dimensions[0].Name = hostile
	r.Dimensions[0].Probes[0].Artifacts = []string{"javascript:alert(1)"}

	var b bytes.Buffer
	require.NoError(t, reports.Text(&b, r, reports.TextOptions{}))
	assert.NotContains(t, b.String(), "\x1b")
	assert.NotContains(t, b.String(), "\x07")
	assert.NotContains(t, b.String(), "\u202e")

	b.Reset()
	require.NoError(t, reports.HTML(&b, r))
	assert.NotContains(t, b.String(), "<script")
	assert.NotContains(t, b.String(), `href="javascript:`)
}

func TestJSON(t *testing.T) {
	for name, r := range map[string]reports.Report{"flawed.json": flawed(), "bare.json": bare()} {
		var b bytes.Buffer
		require.NoError(t, reports.JSON(&b, r))
		golden(t, name, b.Bytes())
		var d reports.Document
		decoder := json.NewDecoder(&b)
		decoder.DisallowUnknownFields()
		require.NoError(t, decoder.Decode(&d))
		assert.Equal(t, reports.NewDocument(r), d)
	}
}

func TestHTML(t *testing.T) {
	for name, r := range map[string]reports.Report{"flawed.html": flawed(), "bare.html": bare()} {
		var b bytes.Buffer
		require.NoError(t, reports.HTML(&b, r))
		golden(t, name, b.Bytes())
		// One file: nothing is fetched, nothing runs.
		for _, outside := range []string{"http://", "https://", "<script", "<link", "@import", "url(", "src="} {
			assert.NotContains(t, b.String(), outside)
		}
		assert.NotContains(t, b.String(), "ZgotmplZ", "html/template refused a value")
	}
}

type full struct{}

func (full) Write([]byte) (int, error) { return 0, errors.New("disk full") }

// TestAGeneratorNotToBeTrustedIsNamed holds that a reader of any report learns
// why nothing can be concluded, and what to change.
func TestAGeneratorNotToBeTrustedIsNamed(t *testing.T) {
	r := flawed()
	r.Health = &health.Report{Reason: "the load generator is not to be trusted: own lag: p99 3 s", Checks: []health.Check{
		{Name: "own lag", Measured: "p99 3 s", Limit: "at most 2.14 s", Known: true, Why: "requests left late", Mend: "run more workers"},
	}}
	r.FellShort = r.Health.Reason
	var b bytes.Buffer
	require.NoError(t, reports.Text(&b, r, reports.TextOptions{Width: 200}))
	assert.Contains(t, b.String(), r.Health.Reason)

	b.Reset()
	require.NoError(t, reports.HTML(&b, r))
	for _, part := range []string{r.Health.Reason, "past its limit", "p99 3 s", "at most 2.14 s", "requests left late; run more workers"} {
		assert.Contains(t, b.String(), part)
	}
}

func TestWriteErrorsAreReported(t *testing.T) {
	require.ErrorContains(t, reports.Text(full{}, flawed(), reports.TextOptions{}), "write report: disk full")
	require.ErrorContains(t, reports.JSON(full{}, flawed()), "disk full")
	require.ErrorContains(t, reports.HTML(full{}, flawed()), "write report: disk full")
}
