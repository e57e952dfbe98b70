package main

import (
	"bytes"
	"context"
	"net/http"
	"sync"
)

// sectionRoom holds the largest section of a label.
const sectionRoom = 16 << 10

// labels renders delivery labels, section by section, each in a buffer of its
// own so that a section is sent whole or not at all.
type labels struct {
	sections *sync.Pool // nil: each label has a pool for itself
}

func newLabels(share bool) *labels {
	if share {
		return &labels{sections: newSections()}
	}
	return &labels{}
}

func newSections() *sync.Pool { return &sync.Pool{New: newSection} }

func newSection() any { return bytes.NewBuffer(make([]byte, 0, sectionRoom)) }

func (l *labels) render(_ context.Context, w http.ResponseWriter, o order) error {
	sections := l.sections
	if sections == nil {
		sections = newSections()
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")

	title := sections.Get().(*bytes.Buffer) // chokepoint:flaw pool-misuse
	title.Reset()
	writeTitle(title, "LABEL", o)
	_, _ = w.Write(title.Bytes()) // an error means that the caller has gone
	sections.Put(title)

	content := sections.Get().(*bytes.Buffer)
	content.Reset()
	for i := range o.rows {
		writeRow(content, o, i)
	}
	_, _ = w.Write(content.Bytes())
	sections.Put(content)

	total := sections.Get().(*bytes.Buffer)
	total.Reset()
	writeTotal(total, o)
	_, _ = w.Write(total.Bytes())
	sections.Put(total)
	return nil
}
