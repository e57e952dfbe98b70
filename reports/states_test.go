package reports

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"

	"chokepoint/harness/signal"
	"chokepoint/harness/signal/gotrace"
)

func TestSparkline(t *testing.T) {
	for _, c := range []struct {
		name   string
		series []float64
		want   string
	}{
		{"nothing", nil, ""},
		{"zeros are blank, and anything else is not", []float64{0, 1e-9, 0}, " █ "},
		{"to scale", []float64{1, 2, 3, 4, 5, 6, 7, 8}, "▂▃▄▅▆▇██"},
		{"a column is the most of its slots", []float64{0, 8, 0, 0, 0, 0, 4, 0, 0, 0}, "█ ▅ "},
	} {
		columns := 8
		if len(c.series) > 8 {
			columns = 4
		}
		assert.Equal(t, c.want, sparkline(c.series, columns), c.name)
	}
	assert.Equal(t, 48, utf8.RuneCountInString(sparkline(make([]float64, 48*5), 48)))
}

func TestStatesThatWereNotCapturedAreNotZero(t *testing.T) {
	p := &printer{width: 100}
	x := &signal.Where{}
	x.Scheduler.States = gotrace.States{SlotNS: 1e6, Running: []float64{0.5, 1}, Runnable: []float64{0, 300}, Waiting: []float64{5, 5}, Syscall: []float64{0, 0}, PUsed: []float64{1, 1}, PIdle: []float64{1, 1}}
	x.Threads = signal.Threads{Count: []float64{7, 7}}
	p.states(x)
	var rows []string
	for l := range strings.Lines(p.b.String()) {
		rows = append(rows, strings.Join(strings.Fields(l), " "))
	}
	assert.Contains(t, rows, "goroutines running 0.75 1 ▅█")
	assert.Contains(t, rows, "waiting for a P 150 300 █")
	assert.Contains(t, rows, "in a system call 0 0")
	assert.Contains(t, rows, "threads 7 7 ██")
	assert.Contains(t, rows, "in the run queue ? ? not captured")
}
