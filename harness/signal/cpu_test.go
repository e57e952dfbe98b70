package signal

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"chokepoint/harness/bundle"
	"chokepoint/harness/signal/gotrace"
	"chokepoint/harness/signal/stack"
)

func TestHottest(t *testing.T) {
	p := stack.Program{MainModule: "shop"}
	at := func(name string, line int) stack.Frame {
		return stack.Frame{Function: name, File: "shop.go", Line: line}
	}
	of := func(n int64, frames ...stack.Frame) gotrace.Sample { return gotrace.Sample{Frames: frames, Count: n} }
	serve := at("main.serve", 9)
	t.Run("one function by its lines and closures", func(t *testing.T) {
		h := hottest(p, []gotrace.Sample{
			of(30, at("main.scan", 3), serve), of(25, at("main.scan.func1", 4), at("slices.IndexFunc", 1), at("main.scan", 3), serve),
			of(20, at("encoding/json.Marshal", 1), serve), of(25, at("runtime.gcBgMarkWorker", 1)),
		})
		assert.EqualValues(t, 100, h.all)
		assert.EqualValues(t, 55, h.computing.value)
		assert.Equal(t, at("main.scan", 3), h.computing.where)
		assert.True(t, h.computing.library.IsZero())
		assert.Zero(t, h.setup.value)
	})
	t.Run("steps of an honest handler are no function", func(t *testing.T) {
		h := hottest(p, []gotrace.Sample{
			of(30, at("sort.Ints", 1), at("main.serve", 4)), of(30, at("crypto/sha256.Sum256", 1), at("main.serve", 5)), of(40, at("encoding/json.Marshal", 1), at("main.serve", 6)),
		})
		assert.EqualValues(t, 30, h.computing.value)
	})
	t.Run("a loop and its small helpers are one function", func(t *testing.T) {
		h := hottest(p, []gotrace.Sample{
			of(35, at("main.least", 30), at("main.distance", 22), at("main.search", 14), serve), of(40, at("main.distance", 20), at("main.search", 14), serve), of(25, at("encoding/json.Marshal", 1), serve),
		})
		assert.EqualValues(t, 75, h.computing.value)
		assert.Equal(t, at("main.distance", 20), h.computing.where)
	})
	t.Run("a handler and its steps are not", func(t *testing.T) {
		h := hottest(p, []gotrace.Sample{of(35, at("main.price", 30), serve), of(35, at("main.weigh", 20), serve), of(10, serve), of(20, at("encoding/json.Marshal", 1), serve)})
		assert.EqualValues(t, 35, h.computing.value)
	})
	t.Run("a framework that is on the stack twice is not", func(t *testing.T) {
		next := at("github.com/gin-gonic/gin.(*Context).Next", 192)
		h := hottest(p, []gotrace.Sample{of(40, at("main.price", 30), serve, next, next), of(40, at("main.weigh", 20), serve, next, next), of(20, at("encoding/json.Marshal", 1), serve, next, next)})
		assert.EqualValues(t, 40, h.computing.value)
		assert.Equal(t, at("main.price", 30), h.computing.where)
	})
	t.Run("functions that call each other in turn", func(t *testing.T) {
		h := hottest(p, []gotrace.Sample{
			of(30, at("main.factor", 30), at("main.term", 20), at("main.expr", 10), at("main.factor", 31), at("main.term", 20), at("main.expr", 10), serve),
			of(30, at("main.term", 21), at("main.expr", 10), at("main.factor", 31), at("main.term", 20), at("main.expr", 10), serve),
			of(10, at("main.factor", 30), at("main.term", 20), at("main.expr", 10), serve), of(30, at("encoding/json.Marshal", 1), serve),
		})
		assert.EqualValues(t, 70, h.computing.value)
	})
	t.Run("a sort and its comparison", func(t *testing.T) {
		h := hottest(p, []gotrace.Sample{
			of(40, at("sort.insertionSort_func", 1), at("sort.Slice", 1), at("main.rank", 12), serve),
			of(45, at("main.rank.func1", 13), at("sort.insertionSort_func", 1), at("sort.Slice", 1), at("main.rank", 12), serve), of(15, serve),
		})
		assert.EqualValues(t, 85, h.computing.value)
		assert.Equal(t, at("main.rank", 12), h.computing.where)
	})
	t.Run("one package at several lines", func(t *testing.T) {
		h := hottest(p, []gotrace.Sample{
			of(40, at("crypto/sha256.block", 1), at("crypto/sha256.(*digest).Write", 1), at("main.stretch", 12), serve),
			of(35, at("crypto/sha256.block", 1), at("crypto/sha256.(*digest).Sum", 1), at("main.stretch", 13), serve), of(25, at("encoding/json.Marshal", 1), serve),
		})
		assert.EqualValues(t, 75, h.computing.value)
		assert.Equal(t, at("main.stretch", 12), h.computing.where)
	})
	t.Run("a library's many functions", func(t *testing.T) {
		h := hottest(p, []gotrace.Sample{
			of(30, at("example.com/tags.scan", 4), at("example.com/tags.Parse", 9), at("main.greet", 7), serve),
			of(25, at("runtime.memmove", 1), at("example.com/tags.grow", 5), at("example.com/tags.Parse", 9), at("main.greet", 7), serve),
			of(20, at("strings.Index", 1), at("example.com/tags.Parse", 8), at("main.greet", 7), serve), of(25, at("encoding/json.Marshal", 1), serve),
		})
		assert.EqualValues(t, 75, h.computing.value)
		assert.Equal(t, at("main.greet", 7), h.computing.where)
		assert.Equal(t, at("example.com/tags.scan", 4), h.computing.library)
	})
	t.Run("setting up at one line", func(t *testing.T) {
		h := hottest(p, []gotrace.Sample{of(90, at("regexp.compile", 1), at("main.check", 7), serve), of(10, serve)})
		assert.EqualValues(t, 90, h.setup.value)
		assert.Equal(t, at("main.check", 7), h.setup.where)
	})
	t.Run("setting up in a function of several steps is up to its caller", func(t *testing.T) {
		h := hottest(p, []gotrace.Sample{
			of(40, at("encoding/pem.Decode", 1), at("main.load", 3), at("main.check", 7), serve), of(50, at("crypto/x509.ParsePKIXPublicKey", 1), at("main.load", 5), at("main.check", 7), serve),
		})
		assert.EqualValues(t, 90, h.setup.value)
		assert.Equal(t, at("main.check", 7), h.setup.where)
	})
	t.Run("setting up in several functions below one is that one's", func(t *testing.T) {
		h := hottest(p, []gotrace.Sample{
			of(28, at("text/template/parse.Parse", 1), at("main.page", 23), at("main.render", 27), at("main.show", 4), serve),
			of(25, at("html/template.(*escaper).escape", 1), at("html/template.(*Template).ExecuteTemplate", 1), at("main.render", 32), at("main.show", 4), serve),
			of(20, at("text/template.(*state).walk", 1), at("html/template.(*Template).ExecuteTemplate", 1), at("main.render", 32), at("main.show", 4), serve), of(27, serve),
		})
		assert.EqualValues(t, 53, h.setup.value)
		assert.Equal(t, at("main.render", 27), h.setup.where)
	})
	t.Run("one of them that has enough is not its caller's", func(t *testing.T) {
		h := hottest(p, []gotrace.Sample{
			of(50, at("text/template/parse.Parse", 1), at("main.page", 23), at("main.render", 27), at("main.show", 4), serve),
			of(20, at("regexp.compile", 1), at("main.check", 12), at("main.render", 32), at("main.show", 4), serve), of(30, serve),
		})
		assert.EqualValues(t, 50, h.setup.value)
		assert.Equal(t, at("main.page", 23), h.setup.where)
	})
	t.Run("setting up in steps of what all requests go through is the steps'", func(t *testing.T) {
		logging := at("main.logging.func1", 3)
		h := hottest(p, []gotrace.Sample{
			of(40, at("text/template/parse.Parse", 1), at("main.page", 23), logging, at("net/http.HandlerFunc.ServeHTTP", 1)),
			of(35, at("regexp.compile", 1), at("main.check", 12), logging, at("net/http.HandlerFunc.ServeHTTP", 1)), of(25, serve),
		})
		assert.EqualValues(t, 40, h.setup.value)
		assert.Equal(t, at("main.page", 23), h.setup.where)
	})
	t.Run("setting up in a function literal that a library calls back", func(t *testing.T) {
		h := hottest(p, []gotrace.Sample{
			of(40, at("encoding/pem.Decode", 1), at("main.load", 3), at("main.check.func1", 7), at("example.com/jwt.Parse", 9), at("main.parse", 8), at("main.check", 6), serve),
			of(50, at("crypto/x509.ParsePKIXPublicKey", 1), at("main.load", 5), at("main.check.func1", 7), at("example.com/jwt.Parse", 9), at("main.parse", 8), at("main.check", 6), serve),
		})
		assert.EqualValues(t, 90, h.setup.value)
		assert.Equal(t, "main.check", h.setup.where.Function)
		assert.Equal(t, 7, h.setup.where.Line)
	})
	t.Run("in a library", func(t *testing.T) {
		h := hottest(p, []gotrace.Sample{of(90, at("example.com/auth.rounds", 4), at("main.check", 7), serve), of(10, serve)})
		assert.Equal(t, at("main.check", 7), h.computing.where)
		assert.Equal(t, at("example.com/auth.rounds", 4), h.computing.library)
	})
}

func TestLeastShare(t *testing.T) {
	for _, tt := range []struct {
		share   float64
		samples int64
		expects float64
	}{
		{0.3, 0, 0}, {0, 100, 0}, {1, 4, 0.5}, {0.37, 66, 0.262}, {0.37, 6600, 0.358},
	} {
		assert.InDelta(t, tt.expects, leastShare(tt.share, tt.samples), 0.001, "%g of %d", tt.share, tt.samples)
	}
}

func TestBarred(t *testing.T) {
	for _, tt := range []struct {
		name                string
		procs, allowed      int
		quota               float64
		used, idle, expects float64
	}{
		{"half of the CPUs", 1, 2, 0, 1, 0.8, 0.8},
		{"no more than the kernel allows", 1, 2, 1.5, 1, 0.8, 0.5},
		{"a quota of what it has", 1, 8, 1, 1, 6, 0},
		{"all of them", 2, 2, 0, 1, 1, 0},
		{"more than there are", 4, 2, 0, 1, 1, 0},
		{"none of many idle", 60, 64, 0, 60, 0, 0},
		{"it does nothing", 1, 2, 0, 0, 2, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			e := &evidence{manifest: bundle.Manifest{Target: bundle.Target{GOMAXPROCS: tt.procs, CPUsAllowed: tt.allowed, CPUQuota: tt.quota}}, reading: []map[string]bool{{}}, parsed: map[string]result{
				bundle.ProcMetrics: {err: errNone}, bundle.TraceOut: {err: errNone},
			}}
			got, err := e.barred(tt.idle, tt.used)
			assert.NoError(t, err)
			assert.InDelta(t, tt.expects, got, 1e-9)
		})
	}
}
