package cli

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/jedib0t/go-pretty/v6/text"
	"golang.org/x/term"

	"chokepoint/harness/run"
)

// plainEvery is how often a plain line repeats within a phase.
const plainEvery = 5 * time.Second

// progress shows how a run stands: on a terminal as a few lines that are painted
// over, elsewhere as a plain line at each new phase and every few seconds.
//
// The cursor is never hidden and no mode of the terminal is changed, so that
// nothing needs to be put right however the program ends.
type progress struct {
	out      io.Writer
	terminal bool
	width    func() int // columns

	mu      sync.Mutex
	phase   run.Phase
	last    time.Time
	painted int // lines on the screen
	ended   bool
}

// progress writes to the standard error, so that what is printed stays clean.
func (a *app) progress() *progress {
	p := &progress{out: a.err, width: func() int { return 80 }}
	if f, ok := a.err.(*os.File); ok && term.IsTerminal(int(f.Fd())) && os.Getenv("TERM") != "dumb" {
		p.terminal = true
		p.width = func() int {
			if w, _, err := term.GetSize(int(f.Fd())); err == nil && w > 0 {
				return w
			}
			return 80
		}
	}
	return p
}

// show is called with each status of a run.
func (p *progress) show(s run.Status) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ended {
		return
	}
	if p.terminal {
		p.paint(painting(s, time.Now(), p.width()-1))
		return
	}
	if s.Phase == p.phase && time.Since(p.last) < plainEvery {
		return
	}
	p.phase, p.last = s.Phase, time.Now()
	fmt.Fprintln(p.out, plainLine(s, p.last))
}

// words shows a few words of a run in place of a status.
func (p *progress) words(name, what string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch line := name + "  " + what; {
	case p.ended:
	case p.terminal:
		p.paint([]string{cut(line, p.width()-1)})
	default:
		fmt.Fprintln(p.out, line)
	}
}

// paint replaces the lines on the screen. None is as wide as the screen: the
// last column would make the terminal wrap.
func (p *progress) paint(lines []string) {
	var b strings.Builder
	b.WriteString(p.toTop())
	for i, line := range lines {
		if i > 0 {
			b.WriteByte('\n')
		}
		b.WriteString("\x1b[2K" + line) // erase the line
	}
	b.WriteString("\x1b[J") // erase what is below
	p.painted = len(lines)
	fmt.Fprint(p.out, b.String())
}

// toTop takes the cursor to the beginning of the first painted line.
func (p *progress) toTop() string {
	if p.painted > 1 {
		return fmt.Sprintf("\r\x1b[%dA", p.painted-1)
	}
	return "\r"
}

// end takes the painted lines away; nothing is shown after it.
func (p *progress) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.painted > 0 {
		fmt.Fprint(p.out, p.toTop()+"\x1b[J")
	}
	p.painted, p.ended = 0, true
}

// cut shortens a line to a number of columns.
func cut(line string, columns int) string {
	if textWidth(line) <= columns {
		return line
	}
	return text.Snip(line, max(columns, 1), "…")
}

// textWidth is how many columns a line takes.
func textWidth(line string) int { return text.StringWidthWithoutEscSequences(line) }
