package rule

import (
	"slices"
	"strings"

	"chokepoint/harness/signal"
)

// What a template shows for a signal without a value.
const (
	missingNumber = "not captured"
	missingPlace  = "a place not captured"
)

// template is a sentence with signals in it: "{trace.lock_wait_share|percent}
// of request time waits at {where}". Two braces stand for one.
type template struct {
	parts []part
}

// part is text, or the signal that stands in its place.
type part struct {
	text   string
	name   string // of a signal, or "where"; empty for text
	format format // of a number
}

const whereName = "where"

// template checks a sentence against the catalogue.
func (l *language) template(text string) (*template, *fault) {
	t := &template{}
	var plain strings.Builder
	flush := func() {
		if plain.Len() > 0 {
			t.parts = append(t.parts, part{text: plain.String()})
			plain.Reset()
		}
	}
	for rest := text; rest != ""; {
		i := strings.IndexAny(rest, "{}")
		if i < 0 {
			plain.WriteString(rest)
			break
		}
		plain.WriteString(rest[:i])
		brace := rest[i : i+1]
		rest = rest[i+1:]
		if strings.HasPrefix(rest, brace) {
			plain.WriteString(brace)
			rest = rest[1:]
			continue
		}
		if brace == "}" {
			return nil, faultf(`has a } without {; write }} for a brace`)
		}
		end := strings.IndexAny(rest, "{}")
		if end < 0 || rest[end] == '{' {
			return nil, faultf(`has a { without }; write {{ for a brace`)
		}
		flush()
		p, f := l.placeholder(rest[:end])
		if f != nil {
			return nil, f
		}
		t.parts = append(t.parts, p)
		rest = rest[end+1:]
	}
	flush()
	return t, nil
}

func (l *language) placeholder(text string) (part, *fault) {
	name, formatName, hasFormat := strings.Cut(text, "|")
	name, formatName = strings.TrimSpace(name), strings.TrimSpace(formatName)
	p := part{name: name}
	d, known := l.catalogue[name]
	switch {
	case name == whereName, known && d.Kind == signal.Place:
		if hasFormat {
			return p, faultf("{%s}: %s is a place and takes no format", text, name)
		}
		return p, nil
	case !known:
		f := l.noSignal(name)
		f.message = "{" + text + "}: " + f.message
		return p, f
	case !hasFormat:
		p.format = defaultFormat(d.Unit)
		return p, nil
	}
	var names []string
	for _, f := range formats() {
		if slices.Contains(f.units, d.Unit) {
			if f.name == formatName {
				p.format = f
				return p, nil
			}
			names = append(names, f.name)
		}
	}
	return p, faultf("{%s}: %s is in %s and has no format %q; it takes %s", text, name, unitName(d.Unit), formatName, strings.Join(names, " or "))
}

func unitName(u signal.Unit) string {
	if u == signal.NoUnit {
		return "plain numbers"
	}
	return string(u)
}

// render fills in the evidence.
func (t *template) render(ev *evidence, where signal.Location) string {
	var b strings.Builder
	for _, p := range t.parts {
		switch {
		case p.name == "":
			b.WriteString(p.text)
		case p.name == whereName:
			b.WriteString(placeText(where))
		case p.format.text == nil:
			at, _ := ev.place(p.name)
			b.WriteString(placeText(at))
		default:
			value, ok := ev.number(p.name)
			if !ok {
				b.WriteString(missingNumber)
				continue
			}
			b.WriteString(p.format.text(value, ev.unit(p.name)))
		}
	}
	return b.String()
}

// signals lists those the sentence shows, in its order.
func (t *template) signals() []string {
	var names []string
	for _, p := range t.parts {
		if p.name != "" && p.name != whereName {
			names = append(names, p.name)
		}
	}
	return names
}

// templates are sentences that say the same from different evidence.
type templates []*template

// render shows the first sentence whose signals all have values, so that a
// rule which fires on part of its evidence need not show what it lacks; if
// there is none, the first.
func (all templates) render(ev *evidence, where signal.Location) string {
	if len(all) == 0 {
		return ""
	}
	for _, t := range all {
		if len(ev.without(t.signals())) == 0 {
			return t.render(ev, where)
		}
	}
	return all[0].render(ev, where)
}
