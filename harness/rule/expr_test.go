package rule

import (
	"math"
	"testing"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"chokepoint/harness/signal"
)

func TestConditionIsThreeValued(t *testing.T) {
	const (
		high = "trace.lock_wait_share > 0.5"       // 0.9: true
		low  = "trace.lock_holder_share > 0.5"     // 0.1: false
		gone = "pprof.mutex_delay_top_share > 0.5" // no value
		away = "ebpf.wakeups > 5.0"                // no value
	)
	missing, both := []string{"pprof.mutex_delay_top_share"}, []string{"pprof.mutex_delay_top_share", "ebpf.wakeups"}
	tests := []struct {
		text    string
		want    truth
		missing []string
	}{
		{high, yes, nil},
		{low, no, nil},
		{gone, unknown, missing},
		{"!(" + gone + ")", unknown, missing},

		{high + " || " + gone, yes, nil},
		{gone + " || " + high, yes, nil},
		{low + " || " + gone, unknown, missing},
		{gone + " || " + low, unknown, missing},
		{low + " && " + gone, no, nil},
		{gone + " && " + low, no, nil},
		{high + " && " + gone, unknown, missing},
		{gone + " && " + high, unknown, missing},
		{gone + " && " + away, unknown, both},
		{gone + " || " + away, unknown, both},
		{gone + " || " + away + " || " + high, yes, nil},
		{gone + " && " + away + " && " + low, no, nil},

		// What cannot change the answer is not named as missing.
		{"(" + low + " && " + away + ") || " + gone, unknown, missing},
		{"(" + high + " || " + away + ") && " + gone, unknown, missing},

		{high + " ? " + low + " : " + gone, no, nil},
		{low + " ? " + low + " : " + gone, unknown, missing},
		{gone + " ? " + high + " : " + low, unknown, missing},

		{"known(trace.lock_wait_share)", yes, nil},
		{"known(pprof.mutex_delay_top_share)", no, nil},
		{"known(pprof.mutex_delay_top_share) ? " + gone + " : " + high, yes, nil},
		{"known(trace.lock_holder_site)", yes, nil},
		{"known(pprof.mutex_top_site)", no, nil},
		{"same_function(trace.lock_holder_site, trace.lock_holder_blocked_site)", yes, nil},
		{"trace.lock_holder_site == trace.lock_holder_blocked_site", no, nil},
		{"trace.lock_holder_site == trace.lock_holder_site", yes, nil},
		{"same_function(trace.lock_holder_site, pprof.mutex_top_site)", unknown, []string{"pprof.mutex_top_site"}},

		{"trace.lock_wait_share > 0", yes, nil}, // a whole number compares
		{"trace.lock_wait_share + trace.lock_holder_share >= 1", yes, nil},
		{"trace.lock_wait_share / (trace.lock_wait_share - trace.lock_wait_share) > 1000", yes, nil}, // +Inf
		{"least(trace.lock_wait_share, trace.lock_holder_share) < 0.2", yes, nil},
		{"greatest(trace.lock_wait_share, pprof.mutex_delay_top_share) > 0.5", unknown, missing},
		{"first(trace.lock_wait_share, pprof.mutex_delay_top_share) > 0.5", yes, nil},
		{"first(pprof.mutex_delay_top_share, trace.lock_wait_share) > 0.5", yes, nil},
		{"first(pprof.mutex_delay_top_share, ebpf.wakeups) > 0.5", unknown, both},
		{"first(trace.lock_holder_share, trace.lock_wait_share) > 0.5", no, nil},
		{"first(pprof.mutex_top_site, trace.lock_holder_site) == trace.lock_holder_site", yes, nil},
		{"int(trace.lock_wait_share * 1e300) > 0", unknown, []string{"trace.lock_wait_share"}}, // out of range
	}
	lang, err := newLanguage(catalogue())
	require.NoError(t, err)
	ev := lang.newEvidence(measured(map[string]any{
		"trace.lock_wait_share":          0.9,
		"trace.lock_holder_share":        0.1,
		"trace.lock_holder_site":         signal.Location{Function: "main.get", File: "store.go", Line: 41},
		"trace.lock_holder_blocked_site": signal.Location{Function: "main.get", File: "store.go", Line: 43},
	}))
	for _, tt := range tests {
		t.Run(tt.text, func(t *testing.T) {
			x, f := lang.compile(tt.text, cel.BoolType)
			require.Nil(t, f)
			got, missing := x.condition(ev)
			assert.Equal(t, tt.want, got)
			assert.Equal(t, tt.missing, missing)
		})
	}
}

func TestNumbersThatMeasureNothingAreMissing(t *testing.T) {
	lang, err := newLanguage(catalogue())
	require.NoError(t, err)
	for _, value := range []float64{math.NaN(), math.Inf(1), math.Inf(-1)} {
		ev := lang.newEvidence(measured(map[string]any{"trace.lock_wait_share": value, "trace.lock_holder_site": signal.Location{}}))
		x, f := lang.compile("trace.lock_wait_share > 0", cel.BoolType)
		require.Nil(t, f)
		got, missing := x.condition(ev)
		assert.Equal(t, unknown, got)
		assert.Equal(t, []string{"trace.lock_wait_share: its value is not a finite number"}, ev.reasons(missing))
		assert.Equal(t, []string{"trace.lock_holder_site"}, ev.without([]string{"trace.lock_holder_site"}))
	}
}

func TestImpactIsHeldBetween0And1(t *testing.T) {
	lang, err := newLanguage(catalogue())
	require.NoError(t, err)
	ev := lang.newEvidence(measured(map[string]any{"trace.lock_wait_share": 0.5}))
	for text, want := range map[string]float64{
		"trace.lock_wait_share":         0.5,
		"trace.lock_wait_share * 4.0":   1,
		"0.0 - trace.lock_wait_share":   0,
		"1":                             1,
		"trace.lock_wait_share / 0.0":   1,
		"(1.0 - 1.0) / 0.0":             0, // NaN
		"pprof.mutex_delay_top_share":   0, // missing
		"least(2.0, 3.0) - 1.5":         0.5,
		"greatest(0.25, -1.0)":          0.25,
		"known(ebpf.wakeups) ? 1.0:0.3": 0.3,
	} {
		x, f := lang.compile(text, cel.DoubleType, cel.IntType)
		require.Nil(t, f, text)
		got, _ := x.share(ev)
		assert.Equal(t, want, got, text)
	}
}

func TestCatalogueIsChecked(t *testing.T) {
	d := signal.Definition{Name: "trace.x", Dimension: "trace", Kind: signal.Number}
	_, err := newLanguage([]signal.Definition{d, d})
	assert.EqualError(t, err, "catalogue of signals: trace.x is defined twice")
	d.Kind = "colour"
	_, err = newLanguage([]signal.Definition{d})
	assert.EqualError(t, err, `catalogue of signals: trace.x has kind "colour"; it must be number or place`)
}

func TestSameFunction(t *testing.T) {
	for _, c := range []struct {
		p, q string
		want bool
	}{
		{"main.serve", "main.serve", true},
		{"main.serve.func1", "main.serve", true},
		{"main.serve", "main.serve.func2.1", true},
		{"main.Each[...].func1", "main.Each", true},
		{"main.serve.func1", "main.serve.func2", false}, // two handlers, written in one function
		{"main.serve", "main.server", false},
		{"main.(*api).get", "main.(*shop).get", false},
	} {
		at := func(function string) place { return place{Function: function, Line: 1} }
		assert.Equal(t, types.Bool(c.want), sameFunction(at(c.p), at(c.q)), "%s and %s", c.p, c.q)
	}
}
