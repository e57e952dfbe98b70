package target

import (
	"bytes"
	"strings"
	"sync"
)

// tail keeps the last lines of what is written to it, each cut to a length
// that fits a terminal several times over.
type tail struct {
	mu      sync.Mutex
	lines   []string
	partial []byte
	cut     bool // partial has grown past its bound; the rest of the line is dropped
}

const (
	tailLines = 20
	tailWidth = 500 // bytes of a line
)

// Write never fails.
func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := len(p)
	for len(p) > 0 {
		line, rest, whole := bytes.Cut(p, []byte{'\n'})
		if room := tailWidth - len(t.partial); len(line) > room {
			line, t.cut = line[:room], true
		}
		t.partial = append(t.partial, line...)
		if whole {
			t.end()
		}
		p = rest
	}
	return n, nil
}

func (t *tail) end() {
	line := strings.TrimRight(strings.ToValidUTF8(string(t.partial), "?"), "\r")
	if t.cut {
		line += " ..."
	}
	t.partial, t.cut = t.partial[:0], false
	if len(t.lines) == tailLines {
		t.lines = append(t.lines[:0], t.lines[1:]...)
	}
	t.lines = append(t.lines, line)
}

// all returns the lines kept, a last one without its end included.
func (t *tail) all() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.partial) > 0 {
		t.end()
	}
	return append([]string(nil), t.lines...)
}

// quote sets lines out below an error message.
func quote(lines []string) string {
	if len(lines) == 0 {
		return "it printed nothing"
	}
	return "its last lines:\n  | " + strings.Join(lines, "\n  | ")
}
