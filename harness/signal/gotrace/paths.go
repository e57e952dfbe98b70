package gotrace

import (
	"slices"
	"sort"
	"strings"

	"golang.org/x/exp/trace"

	"chokepoint/harness/signal/stack"
	"chokepoint/mark"
)

// Kinds of Path.
const (
	RegionPath = "region"
	TaskPath   = "task"
	EventPath  = "event"
)

// Path is what the program itself marked under one name: all regions, tasks or
// log events of runtime/trace with it. Attributes are read where they are written
// as package mark does.
type Path struct {
	Kind string
	Name string
	// Count is how many began, or for events happened, inside the trace.
	Count int64
	// Open is how many had not ended when the trace did.
	Open int64
	// NS is, of a region, the time of goroutines in it, those of regions inside
	// it included; regions of the same name inside each other count once. Of a
	// task it is the time from begin to end. What began before the trace is not
	// known, and what had not ended counts up to its end.
	NS int64
	// SelfNS is, of a region, NS without regions inside it.
	SelfNS int64
	// RequestNS and RequestSelfNS are the parts of NS and SelfNS in requests.
	RequestNS, RequestSelfNS int64
	// EndedNS is the time from begin to end of those that ended, in sum.
	EndedNS int64
	// Doing is what the goroutines did in SelfNS, by time, largest first.
	Doing []Doing
	// Sites are the program's lines that mark, by time for regions and tasks.
	Sites []SiteTime
	// Attrs are by time, for events by count, largest first.
	Attrs []PathAttr
	// AttrsLost counts marks whose attributes had more different values than are kept.
	AttrsLost int64
}

// PathAttr is what one value of one attribute stands for.
type PathAttr struct {
	Key, Value    string
	Count         int64
	NS, RequestNS int64 // as NS and RequestNS of the Path
}

// TaskSpan is one task of the program, from begin to end.
type TaskSpan struct {
	Name           string
	StartNS, EndNS int64
}

// Bounds on what is kept of a trace's marks: a program may make up names.
const (
	keptPaths     = 512
	keptAttrs     = 64 // of a path: different pairs of key and value
	keptTaskSpans = 1 << 20
	keptOpenTasks = 1 << 20
)

// paths is told what the program marks, and how goroutines spend their time, and
// sums the one by the other.
type paths struct {
	byName map[pathKey]*path
	lost   int64 // marks under names beyond keptPaths

	regions map[trace.GoID][]*openRegion // innermost last
	tasks   map[trace.TaskID]*openTask
	spans   []TaskSpan

	requestNS, allNS int64 // Summary.MarkedRequestNS and MarkedNS
}

type pathKey struct{ kind, name string }

type path struct {
	Path
	doing map[Doing]int64
	sites map[stack.Frame]int64
	attrs map[mark.Pair]*PathAttr
}

type openRegion struct {
	path  *path
	site  stack.Frame
	since int64
	attrs []*PathAttr
	// What it has had so far, which is its attributes' too once they are told.
	ns, requestNS int64
}

type openTask struct {
	path  *path
	site  stack.Frame
	since int64
	attrs []*PathAttr
}

func newPaths() *paths {
	return &paths{
		byName:  map[pathKey]*path{},
		regions: map[trace.GoID][]*openRegion{},
		tasks:   map[trace.TaskID]*openTask{},
	}
}

// of is the path of that name; nil when there are too many.
func (p *paths) of(kind, name string) *path {
	key := pathKey{kind, name}
	if known, ok := p.byName[key]; ok {
		return known
	}
	if len(p.byName) >= keptPaths {
		p.lost++
		return nil
	}
	made := &path{
		Path:  Path{Kind: kind, Name: name},
		doing: map[Doing]int64{}, sites: map[stack.Frame]int64{}, attrs: map[mark.Pair]*PathAttr{},
	}
	p.byName[key] = made
	return made
}

// beginRegion must be called after the goroutine's time up to now was charged.
func (p *paths) beginRegion(id trace.GoID, name string, site stack.Frame, now int64) {
	r := &openRegion{path: p.of(RegionPath, name), site: site, since: now}
	if r.path != nil {
		r.path.Count++
		r.path.sites[site] += 0
	}
	p.regions[id] = append(p.regions[id], r)
}

// endRegion must be called after the goroutine's time up to now was charged. A
// region that began before the trace is not on the stack. The reader has seen to
// it that regions end the innermost first.
func (p *paths) endRegion(id trace.GoID, name string, now int64) {
	open := p.regions[id]
	if len(open) == 0 {
		return
	}
	last := open[len(open)-1]
	if last.path != nil {
		if last.path.Name != name {
			return
		}
		last.path.EndedNS += now - last.since
	}
	if len(open) == 1 {
		delete(p.regions, id)
		return
	}
	p.regions[id] = open[:len(open)-1]
}

// goroutineEnded forgets what a goroutine that is no more had open.
func (p *paths) goroutineEnded(id trace.GoID) { delete(p.regions, id) }

// charge adds time of a goroutine to the regions that it is in.
func (p *paths) charge(id trace.GoID, g *goroutine, ns int64) {
	request := g.request
	if g.ours || request {
		p.allNS += ns
	}
	if request {
		p.requestNS += ns
	}
	open := p.regions[id]
	if len(open) == 0 {
		return
	}
	d := g.doing(ns)
	for i, r := range open {
		if r.path == nil {
			continue
		}
		again := slices.ContainsFunc(open[i+1:], func(o *openRegion) bool { return o.path == r.path })
		if !again {
			r.ns += d.NS
			if request {
				r.requestNS += d.NS
			}
			r.path.NS += d.NS
			if request {
				r.path.RequestNS += d.NS
			}
			for _, a := range r.attrs {
				a.NS += d.NS
				if request {
					a.RequestNS += d.NS
				}
			}
		}
		if i < len(open)-1 {
			continue
		}
		r.path.SelfNS += d.NS
		if request {
			r.path.RequestSelfNS += d.NS
		}
		r.path.sites[r.site] += d.NS
		r.path.doing[Doing{What: d.What, Where: d.Where}] += d.NS
	}
}

func (p *paths) beginTask(id trace.TaskID, name string, site stack.Frame, now int64) {
	path := p.of(TaskPath, name)
	if path == nil || len(p.tasks) >= keptOpenTasks {
		p.lost++
		return
	}
	path.Count++
	p.tasks[id] = &openTask{path: path, site: site, since: now}
}

func (p *paths) endTask(id trace.TaskID, now int64) {
	t, ok := p.tasks[id]
	if !ok {
		return // it began before the trace
	}
	delete(p.tasks, id)
	t.charge(now)
	t.path.EndedNS += now - t.since
	if len(p.spans) < keptTaskSpans {
		p.spans = append(p.spans, TaskSpan{Name: t.path.Name, StartNS: t.since, EndNS: now})
	}
}

func (t *openTask) charge(now int64) {
	ns := now - t.since
	t.path.NS += ns
	t.path.sites[t.site] += ns
	for _, a := range t.attrs {
		a.NS += ns
	}
}

// log takes a log event: the attributes of a region or task, or an event of the
// program's own.
func (p *paths) log(id trace.GoID, task trace.TaskID, category, message string, site stack.Frame) {
	pairs, err := mark.ParseAttrs(message)
	if err != nil {
		pairs = nil // another package's log event may say what it likes
	}
	switch category {
	case mark.RegionAttrs:
		if open := p.regions[id]; len(open) > 0 {
			r := open[len(open)-1]
			attrs := r.path.add(pairs)
			for _, a := range attrs {
				a.NS += r.ns
				a.RequestNS += r.requestNS
			}
			r.attrs = append(r.attrs, attrs...)
		}
	case mark.TaskAttrs:
		if t, ok := p.tasks[task]; ok {
			t.attrs = append(t.attrs, t.path.add(pairs)...)
		}
	default:
		if path := p.of(EventPath, category); path != nil {
			path.Count++
			path.sites[site]++
			path.add(pairs)
		}
	}
}

// add counts attributes of one mark.
func (p *path) add(pairs []mark.Pair) []*PathAttr {
	if p == nil {
		return nil
	}
	var out []*PathAttr
	for _, pair := range pairs {
		a, ok := p.attrs[pair]
		if !ok {
			if len(p.attrs) >= keptAttrs {
				p.AttrsLost++
				continue
			}
			a = &PathAttr{Key: pair.Key, Value: pair.Value}
			p.attrs[pair] = a
		}
		a.Count++
		out = append(out, a)
	}
	return out
}

// finish ends what is open and lists the paths: by the time in requests, then by
// all of it, then by count, largest first. Goroutines' time must be charged.
func (p *paths) finish(now int64) []Path {
	for _, open := range p.regions {
		for _, r := range open {
			if r.path != nil {
				r.path.Open++
			}
		}
	}
	for _, t := range p.tasks {
		t.path.Open++
		t.charge(now)
	}
	out := make([]Path, 0, len(p.byName))
	for _, x := range p.byName {
		x.Sites = siteTimes(x.sites)
		for d, ns := range x.doing {
			d.NS = ns
			x.Doing = append(x.Doing, d)
		}
		sortDoing(x.Doing)
		for _, a := range x.attrs {
			x.Attrs = append(x.Attrs, *a)
		}
		sort.Slice(x.Attrs, func(i, j int) bool { return moreAttr(x.Attrs[i], x.Attrs[j]) })
		out = append(out, x.Path)
	}
	sort.Slice(out, func(i, j int) bool { return morePath(out[i], out[j]) })
	return out
}

func morePath(a, b Path) bool {
	switch {
	case a.RequestNS != b.RequestNS:
		return a.RequestNS > b.RequestNS
	case a.NS != b.NS:
		return a.NS > b.NS
	case a.Count != b.Count:
		return a.Count > b.Count
	case a.Kind != b.Kind:
		return a.Kind < b.Kind
	}
	return a.Name < b.Name
}

func moreAttr(a, b PathAttr) bool {
	switch {
	case a.NS != b.NS:
		return a.NS > b.NS
	case a.Count != b.Count:
		return a.Count > b.Count
	case a.Key != b.Key:
		return a.Key < b.Key
	}
	return a.Value < b.Value
}

// marker is the program's line that made a mark: the innermost frame that is
// neither the standard library's nor package mark's, which the program may hold
// as a package of its own.
func (s *scan) marker(at *place) stack.Frame {
	if at == nil {
		return stack.Frame{}
	}
	for i, f := range at.frames {
		if !markFrame(f) && !s.program.Foreign(f) {
			return s.program.Own(at.frames[i:])
		}
	}
	return stack.Frame{}
}

func markFrame(f stack.Frame) bool {
	return strings.HasPrefix(f.Function, "chokepoint/mark.") || strings.Contains(f.Function, "/chokepoint/mark.")
}

// marked takes the events that marks are made of.
func (s *scan) marked(ev *trace.Event, task trace.TaskID, now int64) {
	id := ev.Goroutine()
	at := s.place(ev.Stack())
	g := s.goroutine(id)
	if g != nil {
		// What it did until now was done outside a region that begins here, and
		// inside one that ends here.
		s.charge(id, g, now)
		// The stack says whose goroutine it is as any other does.
		s.settle(g, at)
		g.marks = true
	}
	switch ev.Kind() {
	case trace.EventRegionBegin:
		s.paths.beginRegion(id, ev.Region().Type, s.marker(at), now)
	case trace.EventRegionEnd:
		s.paths.endRegion(id, ev.Region().Type, now)
	case trace.EventTaskBegin:
		s.paths.beginTask(task, ev.Task().Type, s.marker(at), now)
	case trace.EventTaskEnd:
		s.paths.endTask(task, now)
	case trace.EventLog:
		l := ev.Log()
		s.paths.log(id, l.Task, l.Category, l.Message, s.marker(at))
	}
}
