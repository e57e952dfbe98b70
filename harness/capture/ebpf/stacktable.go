package ebpf

import (
	"encoding/json"
	"fmt"

	"chokepoint/harness/bundle"
)

// stackTable gives single events their stacks by number, each stack once.
type stackTable struct {
	reader *stackReader
	img    *image
	frames [][]bundle.Frame
	known  map[stackKey]int
}

type stackKey struct {
	id     int32
	caller uint64
}

func newStackTable(r *stackReader, img *image) *stackTable {
	return &stackTable{reader: r, img: img, frames: [][]bundle.Frame{}, known: map[stackKey]int{}}
}

// index is the number of a stack in frames; -1 when it is not known.
func (t *stackTable) index(id int32, caller uint64) int {
	key := stackKey{id, caller}
	if n, ok := t.known[key]; ok {
		return n
	}
	r := t.reader.userRow(id, caller, t.img)
	n := -1
	if r.lost == "" || r.lost == frameCut {
		n = len(t.frames)
		frames := []bundle.Frame{}
		for _, pc := range r.sites(t.img.returnsTo) {
			for _, f := range t.img.frames(pc) {
				frames = append(frames, bundle.Frame{Function: f.Function, File: f.File, Line: f.Line})
			}
		}
		if r.lost != "" {
			frames = append(frames, bundle.Frame{Function: r.lost})
		}
		t.frames = append(t.frames, frames)
	}
	t.known[key] = n
	return n
}

// writeCompact writes v as JSON in one line: there may be many thousand events.
func writeCompact(w *bundle.Writer, path string, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("artifact %s: %w", path, err)
	}
	return w.WriteFile(path, append(data, '\n'))
}
