package stack

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"chokepoint/harness/gofunc"
)

func TestWorkOf(t *testing.T) {
	p := Program{MainModule: "shop"}
	at := func(name string, line int) Frame { return Frame{Function: name, File: name + ".go", Line: line} }
	handler := []Frame{at("main.serve", 10), at("net/http.HandlerFunc.ServeHTTP", 1), at("net/http.(*conn).serve", 1)}
	on := func(above ...Frame) []Frame { return append(above, handler...) }
	for _, tt := range []struct {
		name   string
		frames []Frame
		kind   WorkKind
		unit   Frame
		own    Frame
	}{
		{"its own instructions", on(at("main.scan", 3)), Computing, at("main.scan", 3), at("main.scan", 3)},
		{"copying", on(at("runtime.memmove", 1), at("main.scan", 3)), Computing, at("main.scan", 3), at("main.scan", 3)},
		{"a map", on(at("internal/runtime/maps.(*Map).getWithKeySmall", 1), at("runtime.mapaccess1_faststr", 1), at("main.scan", 3)), Computing, at("main.scan", 3), at("main.scan", 3)},
		{"a call that computes", on(at("crypto/sha256.block", 1), at("crypto/sha256.Sum256", 1), at("main.seal", 5)), Calling, at("main.seal", 5), at("main.seal", 5)},
		{"a pattern, with the memory it takes", on(at("runtime.mallocgc", 1), at("regexp/syntax.(*parser).push", 1), at("regexp.compile", 1), at("regexp.MustCompile", 1), at("main.check", 7)),
			SettingUp, at("main.check", 7), at("main.check", 7)},
		{"matching is no compiling", on(at("regexp.(*Regexp).doExecute", 1), at("regexp.(*Regexp).MatchString", 1), at("main.check", 8)), Calling, at("main.check", 8), at("main.check", 8)},
		{"a key, in a library", on(at("crypto/x509.ParsePKIXPublicKey", 1), at("example.com/auth.load", 4), at("main.verify", 9)),
			SettingUp, at("example.com/auth.load", 4), at("main.verify", 9)},
		{"a page made safe when it is first executed", on(at("html/template.(*escaper).escape", 1), at("html/template.escapeTemplate", 1), at("html/template.(*Template).lookupAndEscapeTemplate", 1), at("html/template.(*Template).ExecuteTemplate", 1), at("main.render", 7)),
			SettingUp, at("main.render", 7), at("main.render", 7)},
		{"a page executed", on(at("html/template.htmlReplacer", 1), at("html/template.htmlEscaper", 1), at("text/template.(*state).walk", 1), at("html/template.(*Template).ExecuteTemplate", 1), at("main.render", 7)),
			Answering, at("main.render", 7), at("main.render", 7)},
		{"encoding", on(at("encoding/json.appendString", 1), at("encoding/json.Marshal", 1), at("main.answer", 2)), Answering, at("main.answer", 2), at("main.answer", 2)},
		{"a name made canonical, in a library", on(at("runtime.mapaccess1_faststr", 1), at("net/textproto.canonicalMIMEHeaderKey", 1), at("net/textproto.CanonicalMIMEHeaderKey", 1), at("net/http.CanonicalHeaderKey", 1), at("example.com/rules.each", 6), at("main.guard", 4)),
			Calling, at("example.com/rules.each", 6), at("main.guard", 4)},
		{"the same for a header that is set", on(at("net/textproto.CanonicalMIMEHeaderKey", 1), at("net/textproto.MIMEHeader.Set", 1), at("net/http.Header.Set", 1), at("main.guard", 4)), Answering, at("main.guard", 4), at("main.guard", 4)},
		{"an address looked up in a list", on(at("net.(*IPNet).Contains", 1), at("main.blocked", 4)), Calling, at("main.blocked", 4), at("main.blocked", 4)},
		{"memory of an address", on(at("runtime.mallocgc", 1), at("net.ParseIP", 1), at("main.blocked", 3)), Managing, at("main.blocked", 3), at("main.blocked", 3)},
		{"the kernel below what computes", on(at("page_fault [kernel]", 0), at("net.ParseIP", 1), at("main.blocked", 3)), Answering, at("main.blocked", 3), at("main.blocked", 3)},
		{"a connection's address", on(at("net.(*conn).Write", 1), at("main.send", 3)), Answering, at("main.send", 3), at("main.send", 3)},
		{"hashing what is read", on(at("crypto/sha256.block", 1), at("io.Copy", 1), at("main.store", 2)), Answering, at("main.store", 2), at("main.store", 2)},
		{"the kernel", on(at("copy_to_user [kernel]", 0), at("main.scan", 3)), Answering, at("main.scan", 3), at("main.scan", 3)},
		{"memory", on(at("runtime.memclrNoHeapPointers", 1), at("runtime.mallocgcLarge", 1), at("main.build", 2)), Managing, at("main.build", 2), at("main.build", 2)},
		{"a lock", on(at("internal/sync.(*Mutex).lockSlow", 1), at("sync.(*Mutex).Lock", 1), at("main.get", 2)), Managing, at("main.get", 2), at("main.get", 2)},
		{"a channel", on(at("runtime.chansend", 1), at("runtime.chansend1", 1), at("main.put", 2)), Managing, at("main.put", 2), at("main.put", 2)},
		{"nothing of the program", []Frame{at("net/http.(*conn).serve", 1)}, NoWork, Frame{}, Frame{}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := p.WorkOf(tt.frames)
			assert.Equal(t, tt.kind, w.Kind)
			assert.Equal(t, tt.unit, w.Unit)
			assert.Equal(t, tt.own, w.Own)
		})
	}
	w := p.WorkOf(on(at("main.scan.func1", 4), at("slices.IndexFunc", 1), at("main.scan", 3)))
	assert.Equal(t, at("main.serve", 10), w.Caller, "a function's own closures do not call it")
}

func TestWorkWithin(t *testing.T) {
	p := Program{MainModule: "shop"}
	at := func(name string) Frame { return Frame{Function: name, File: "a.go", Line: 1} }
	for name, c := range map[string]struct {
		frames []string
		itself map[string]bool
	}{
		"steps":                     {[]string{"main.rank", "main.serve"}, map[string]bool{"main.rank": true, "main.serve": false}},
		"one that calls itself":     {[]string{"main.weigh", "main.visit", "main.each", "main.visit", "main.serve"}, map[string]bool{"main.weigh": true, "main.visit": true, "main.each": false, "main.serve": false}},
		"a literal of its own":      {[]string{"main.visit.func1", "slices.SortFunc[...]", "main.visit"}, map[string]bool{"main.visit": true}},
		"a literal started by name": {[]string{"main.rank", "main.build.func1", "main.every", "main.build.gowrap1", "runtime.goexit"}, map[string]bool{"main.rank": true, "main.build": false, "main.every": false}},
	} {
		t.Run(name, func(t *testing.T) {
			var frames []Frame
			for _, f := range c.frames {
				frames = append(frames, at(f))
			}
			got := map[string]bool{}
			for _, x := range p.WorkOf(frames).Within {
				got[gofunc.Base(x.Unit.Function)] = x.Itself
			}
			assert.Equal(t, c.itself, got)
		})
	}
}
