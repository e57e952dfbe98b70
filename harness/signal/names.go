package signal

import (
	"strings"

	"github.com/google/pprof/profile"

	"chokepoint/harness/bundle"
	"chokepoint/harness/gofunc"
)

// NamesOf is what a bundle knows of the names of its target's functions: what its
// executable told, and what its profiles and call sites name. What is missing or
// damaged of them teaches nothing, and is told by the signals that rest on it.
func NamesOf(b bundle.Evidence) *gofunc.Names { return namesOf(b, func(string, *profile.Profile) {}) }

// namesOf gives each profile to keep, which need not be parsed again.
func namesOf(b bundle.Evidence, keep func(path string, p *profile.Profile)) *gofunc.Names {
	m := b.Manifest()
	names := gofunc.NewNames(m.Target.MainModule)
	for _, a := range m.Artifacts {
		if !strings.HasSuffix(a.Path, ".pb.gz") {
			continue
		}
		data, err := b.ReadFile(a.Path)
		if err != nil {
			continue
		}
		p, err := profile.ParseData(data)
		if err != nil {
			continue
		}
		keep(a.Path, p)
		for _, f := range p.Function {
			names.Learn(f.Name, f.Filename, int(f.StartLine))
		}
	}
	var calls bundle.CallSites
	if b.ReadJSON(bundle.TargetCallSites, &calls) == nil {
		for _, s := range calls.Sites {
			names.Learn(s.Function, s.File, 0)
		}
		for _, l := range calls.Literals {
			names.Record(l.Function, l.File, l.Written)
		}
	}
	return names
}

// names is NamesOf the bundle, read when first asked for. It is no source of a signal:
// it tells what functions are called, and nothing of what they do.
func (e *evidence) names() *gofunc.Names {
	if e.known == nil {
		e.profiles = map[string]*profile.Profile{}
		e.known = namesOf(e.bundle, func(path string, p *profile.Profile) { e.profiles[path] = p })
	}
	return e.known
}

// calls is target/callsites.json with functions named as they are written.
func (e *evidence) calls() (*bundle.CallSites, error) {
	c, err := document[bundle.CallSites](e, "target", bundle.TargetCallSites)
	if err != nil {
		return nil, err
	}
	return once(e, "calls", func() (*bundle.CallSites, error) {
		named := &bundle.CallSites{Sites: make([]bundle.CallSite, len(c.Sites))}
		for i, s := range c.Sites {
			if w := e.names().Written(s.Function, s.File); w != gofunc.Printed(s.Function) {
				s.Function = w
			}
			named.Sites[i] = s
		}
		return named, nil
	})
}
