package cli

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"chokepoint/harness/capture"
	"chokepoint/harness/load"
	"chokepoint/harness/run"
	"chokepoint/harness/scenario"
)

func capturing(now time.Time) run.Status {
	return run.Status{
		Scenario: "lock-contention/held-over-sleep", Variant: scenario.Flawed,
		Phase: run.Capturing, Since: now.Add(-5 * time.Second), For: 10 * time.Second,
		Load: load.Status{Asked: 10_000, InFlight: 9_998, RateHz: 3912, P50: 2_512 * time.Millisecond, P99: 12_345 * time.Millisecond, CorrectedP99: 12_400 * time.Millisecond, Errors: 3},
		Dimensions: []capture.Status{
			{Dimension: "ebpf", Phase: capture.PhaseRecording, Text: "123,456 system calls, 45,678 switches, 900 samples"},
			{Dimension: "pprof", Phase: capture.PhaseLost, Text: "a reason\nof two lines"},
			{Dimension: "trace", Phase: capture.PhaseRecording, Text: "1.2 MiB\x1b[31m"},
		},
	}
}

func TestPainting(t *testing.T) {
	now := time.Now()
	assert.Equal(t, []string{
		"lock-contention/held-over-sleep (flawed)  capturing  5 of 10 s  [##########----------]",
		"  load   9998 of 10000 in flight, 3912/s, p50 2.51s, p99 12.3s (corrected 12.4s), 3 errors",
		"  seen   ebpf: 123,456 system calls, 45,678 switches, 900 samples  pprof: not captured",
		"         trace: 1.2 MiB [31m",
	}, painting(capturing(now), now, 90))

	for columns := 1; columns < 120; columns++ {
		for _, line := range painting(capturing(now), now, columns) {
			assert.LessOrEqual(t, textWidth(line), columns)
		}
	}
}

func TestPhasesWithoutLoadAreOneLine(t *testing.T) {
	now := time.Now()
	s := capturing(now)
	s.Phase, s.For = run.Writing, 0
	assert.Equal(t, []string{"lock-contention/held-over-sleep (flawed)  writing  5 s"}, painting(s, now, 90))
	s.Since = now
	assert.Equal(t, "lock-contention/held-over-sleep (flawed)  writing", plainLine(s, now))
}

func TestSpent(t *testing.T) {
	now := time.Now()
	for want, s := range map[string]run.Status{
		"":                       {Since: now.Add(-time.Second)},
		"3 s":                    {Since: now.Add(-3 * time.Second)},
		"0 of 0.5 s":             {Since: now, For: 500 * time.Millisecond},
		"6 of 6 s":               {Since: now.Add(-6900 * time.Millisecond), For: 6 * time.Second},
		"12 s, planned were 6 s": {Since: now.Add(-12 * time.Second), For: 6 * time.Second},
	} {
		assert.Equal(t, want, spent(s, now))
	}
}

func TestProgressOnATerminal(t *testing.T) {
	var out bytes.Buffer
	p := &progress{out: &out, terminal: true, width: func() int { return 200 }}
	s := capturing(time.Now())
	p.show(s)
	assert.Equal(t, 2, strings.Count(out.String(), "\n"), "three lines, and the cursor in the last")
	out.Reset()
	p.show(s)
	assert.True(t, strings.HasPrefix(out.String(), "\r\x1b[2A\x1b[2Klock-contention"), "the second painting begins where the first did: %q", out.String())
	out.Reset()
	p.words("a run", "diagnosing")
	assert.Equal(t, "\r\x1b[2A\x1b[2Ka run  diagnosing\x1b[J", out.String(), "fewer lines leave nothing below")
	out.Reset()
	p.end()
	assert.Equal(t, "\r\x1b[J", out.String())
	out.Reset()
	p.show(s)
	p.end()
	assert.Empty(t, out.String(), "nothing is shown after the end")
}

func TestProgressElsewhere(t *testing.T) {
	var out bytes.Buffer
	p := &progress{out: &out}
	s := capturing(time.Now())
	p.show(s)
	p.show(s)
	assert.Equal(t, 1, strings.Count(out.String(), "\n"), "a phase is told once until some seconds have passed")
	s.Phase = run.Writing
	p.show(s)
	assert.Equal(t, 2, strings.Count(out.String(), "\n"))
	p.end()
	assert.NotContains(t, out.String(), "\x1b")
}
