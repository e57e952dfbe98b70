package cli

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/term"

	"chokepoint/harness/run"
)

// progressLine shows how a run stands: on a terminal as one line that is painted
// over, elsewhere as a plain line at each new phase and every few seconds.
type progressLine struct {
	out      io.Writer
	terminal bool
	width    func() int

	mu    sync.Mutex
	phase run.Phase
	last  time.Time
	ended bool
}

// plainEvery is how often a plain line repeats within a phase.
const plainEvery = 5 * time.Second

// progress writes to the standard error, so that what is printed stays clean.
func (a *app) progress() *progressLine {
	p := &progressLine{out: a.err, width: func() int { return 100 }}
	if f, ok := a.err.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		p.terminal = true
		p.width = func() int {
			if w, _, err := term.GetSize(int(f.Fd())); err == nil && w > 20 {
				return w
			}
			return 80
		}
	}
	return p
}

func (p *progressLine) show(s run.Status) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ended {
		return
	}
	fresh := s.Phase != p.phase
	if !p.terminal && !fresh && time.Since(p.last) < plainEvery {
		return
	}
	p.phase, p.last = s.Phase, time.Now()
	p.paint(describe(s))
}

// line shows a few words in place of a status.
func (p *progressLine) line(words string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.ended {
		p.paint(words)
	}
}

func (p *progressLine) paint(text string) {
	if !p.terminal {
		fmt.Fprintln(p.out, text)
		return
	}
	if w := p.width() - 1; len([]rune(text)) > w {
		text = string([]rune(text)[:w])
	}
	fmt.Fprint(p.out, "\r\x1b[2K", text)
}

// end takes the painted line away; nothing is shown after it.
func (p *progressLine) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.ended && p.terminal {
		fmt.Fprint(p.out, "\r\x1b[2K")
	}
	p.ended = true
}

func describe(s run.Status) string {
	var b strings.Builder
	b.WriteString(s.Scenario)
	if s.Variant != "" {
		fmt.Fprintf(&b, " (%s)", s.Variant)
	}
	fmt.Fprintf(&b, "  %s", s.Phase)
	elapsed := time.Since(s.Since)
	if s.For > 0 {
		fmt.Fprintf(&b, " %.0f of %.0f s", min(elapsed, s.For).Seconds(), s.For.Seconds())
	} else if elapsed > 2*time.Second {
		fmt.Fprintf(&b, " %.0f s", elapsed.Seconds())
	}
	if s.Phase != run.Ramping && s.Phase != run.Capturing {
		return b.String()
	}
	fmt.Fprintf(&b, "  %d of %d in flight  %.0f/s  p50 %s  p99 %s  %d errors",
		s.Load.InFlight, s.Asked, s.Load.RateHz, brief(s.Load.P50), brief(s.Load.P99), s.Load.Errors)
	if s.Phase == run.Capturing {
		for _, d := range s.Dimensions {
			fmt.Fprintf(&b, "  %s: %s", d.Dimension, d.Text)
		}
	}
	return b.String()
}

// brief is a duration to three figures or so.
func brief(d time.Duration) string {
	switch {
	case d >= 10*time.Second:
		return d.Round(100 * time.Millisecond).String()
	case d >= time.Second:
		return d.Round(10 * time.Millisecond).String()
	case d >= time.Millisecond:
		return d.Round(100 * time.Microsecond).String()
	}
	return d.Round(time.Microsecond).String()
}
