package binary

import (
	"slices"
	"strings"

	"chokepoint/harness/bundle"
	"chokepoint/harness/gofunc"
)

// DiagnosticSites is the call sites of DiagnosticCallees, and of those functions
// of the main module, methods or such as put into a map, that put into maps or
// slices: a value that is allocated on one line is often kept by a call on another.
// What libraries put into their own maps and slices is left out; there is a lot of
// it, and no line of it can be changed. Calls of functions that lock or unlock for their
// caller are there, of libraries too: whoever holds a lock of theirs has called them.
// With it go the names of Literals.
func (f *File) DiagnosticSites() (bundle.CallSites, error) {
	sites, err := f.CallSites(DiagnosticCallees())
	if err != nil {
		return sites, err
	}
	module := f.Build().MainModule
	sites.Sites = slices.DeleteFunc(sites.Sites, func(s bundle.CallSite) bool {
		return bundle.Puts(s.Callee) && !own(s.Function, module)
	})
	var keepers []string
	for _, s := range sites.Sites {
		name := gofunc.Plain(s.Function)
		method := strings.Contains(name, ").")
		if bundle.Puts(s.Callee) && (method || s.Callee != growslice) && gofunc.Base(name) == name {
			keepers = append(keepers, name)
		}
	}
	slices.Sort(keepers)
	more, err := f.CallSites(slices.Compact(keepers))
	if err != nil {
		return sites, err
	}
	for _, s := range more.Sites {
		// A function that has grown its stack begins again, by a jump.
		if own(s.Function, module) && gofunc.Plain(s.Function) != s.Callee {
			sites.Sites = append(sites.Sites, s)
		}
	}
	sites.Literals = f.Literals()
	return f.wrapped(sites)
}

// wrapped adds the calls of functions that take a lock for their caller, or release it,
// and where these have such callers in turn, the calls of those.
func (f *File) wrapped(sites bundle.CallSites) (bundle.CallSites, error) {
	asked := map[string]bool{}
	have := map[bundle.CallSite]bool{}
	for _, s := range sites.Sites {
		have[s] = true
	}
	for {
		var fresh []string
		l := sites.Locking()
		for _, of := range []map[string]bool{l.Locks, l.Unlocks} {
			for name := range of {
				if !asked[name] && !gofunc.Standard(name) {
					asked[name] = true
					fresh = append(fresh, name)
				}
			}
		}
		if len(fresh) == 0 {
			return sites, nil
		}
		more, err := f.callSites(fresh, true)
		if err != nil {
			return sites, err
		}
		for _, s := range more.Sites {
			if gofunc.Plain(s.Function) != s.Callee && !have[s] {
				have[s] = true
				sites.Sites = append(sites.Sites, s)
			}
		}
	}
}

// own reports whether a function is the main module's.
func own(function, module string) bool {
	pkg := gofunc.Package(function)
	return pkg == "main" || module != "" && (pkg == module || strings.HasPrefix(pkg, module+"/"))
}
