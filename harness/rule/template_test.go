package rule

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"chokepoint/harness/signal"
)

func TestEveryNumberIsShownWithItsUnit(t *testing.T) {
	for _, tt := range []struct {
		value float64
		unit  signal.Unit
		want  string
	}{
		{0.632, signal.Share, "63.2%"},
		{1, signal.Share, "100%"},
		{0, signal.Share, "0%"},
		{0.9999, signal.Share, ">99.9%"},
		{0.00001, signal.Share, "<0.1%"},
		{0.0005, signal.Share, "0.1%"},
		{-0.5, signal.Share, "-50%"},
		{6832, signal.Ratio, "6,832x"},
		{1.9, signal.Ratio, "1.9x"},
		{0.096, signal.Ratio, "0.096x"},
		{19255, signal.Count, "19,255"},
		{1234567, signal.NoUnit, "1,234,567"},
		{4.5, signal.NoUnit, "4.5"},
		{-1234, signal.Count, "-1,234"},
		{350, signal.Nanosecond, "350 ns"},
		{2.6e6, signal.Nanosecond, "2.6 ms"},
		{999.6e3, signal.Nanosecond, "1 ms"},
		{0, signal.Nanosecond, "0 s"},
		{1.94, signal.Second, "1.94 s"},
		{0.000018, signal.Second, "18 µs"},
		{600, signal.Second, "10 min"},
		{512, signal.Byte, "512 B"},
		{1.5 * 1024 * 1024, signal.Byte, "1.5 MiB"},
		{3 << 40, signal.Byte, "3,072 GiB"},
		{4400, signal.Hertz, "4,400 per second"},
		{2, signal.Unit("furlongs"), "2 furlongs"},
	} {
		assert.Equal(t, tt.want, Figure{Value: tt.value, Unit: tt.unit}.String())
	}
}

func TestTemplate(t *testing.T) {
	lang, err := newLanguage(catalogue())
	require.NoError(t, err)
	site := signal.Location{Function: "main.(*store).get", File: "/src/store.go", Line: 41}
	ev := lang.newEvidence(measured(map[string]any{
		"trace.lock_wait_share":      0.97,
		"ebpf.epoll_wait_mean":       350.0,
		"ebpf.epoll_waits_per_event": 1.25,
		"proc.rss":                   2048.0,
		"trace.lock_holder_site":     site,
	}))
	for text, want := range map[string]string{
		"":      "",
		"plain": "plain",
		"{trace.lock_wait_share|percent} of time": "97% of time",
		"{ trace.lock_wait_share | percent }":     "97%",
		"{trace.lock_wait_share|ratio}":           "0.97x",
		"{ebpf.epoll_waits_per_event}":            "1.25x",
		"{ebpf.epoll_waits_per_event|percent}":    "125%",
		"{ebpf.epoll_wait_mean|duration}":         "350 ns",
		"{proc.rss|bytes}":                        "2 KiB",
		"at {where}":                              "at main.(*store).get (store.go:41)",
		"at {trace.lock_holder_site}":             "at main.(*store).get (store.go:41)",
		"{{literal}} {where}":                     "{literal} main.(*store).get (store.go:41)",
		"{pprof.mutex_delay_top_share} of delay":  "not captured of delay",
		"at {pprof.mutex_top_site}":               "at a place not captured",
	} {
		tmpl, f := lang.template(text)
		require.Nil(t, f, text)
		assert.Equal(t, want, tmpl.render(ev, site))
	}
}

func TestFirstSentenceWithAllItsEvidenceIsShown(t *testing.T) {
	lang, err := newLanguage(catalogue())
	require.NoError(t, err)
	all := templates{}
	for _, text := range []string{"trace: {trace.lock_wait_share}", "profile: {pprof.mutex_delay_top_share} at {pprof.mutex_top_site}", "profile: {pprof.mutex_delay_top_share}"} {
		tmpl, f := lang.template(text)
		require.Nil(t, f)
		all = append(all, tmpl)
	}
	for want, values := range map[string]map[string]any{
		"trace: 50%":                      {"trace.lock_wait_share": 0.5, "pprof.mutex_delay_top_share": 0.25},
		"profile: 25%":                    {"pprof.mutex_delay_top_share": 0.25},
		"profile: 25% at main.f (f.go:1)": {"pprof.mutex_delay_top_share": 0.25, "pprof.mutex_top_site": signal.Location{Function: "main.f", File: "f.go", Line: 1}},
		"trace: not captured":             {},
	} {
		assert.Equal(t, want, all.render(lang.newEvidence(measured(values)), signal.Location{}))
	}
	assert.Empty(t, templates(nil).render(lang.newEvidence(measured(nil)), signal.Location{}))
}

func TestTemplateFaults(t *testing.T) {
	lang, err := newLanguage(catalogue())
	require.NoError(t, err)
	for text, want := range map[string]string{
		"{trace.lock_wait_shar|percent}": `{trace.lock_wait_shar|percent}: there is no signal "trace.lock_wait_shar"`,
		"{}":                             `{}: there is no signal ""`,
		"a { b":                          "has a { without }; write {{ for a brace",
		"a { b {where}":                  "has a { without }; write {{ for a brace",
		"a } b":                          "has a } without {; write }} for a brace",
		"{where|percent}":                "{where|percent}: where is a place and takes no format",
		"{proc.rss|percent}":             `{proc.rss|percent}: proc.rss is in bytes and has no format "percent"; it takes bytes`,
		"{proc.threads|duration}":        `{proc.threads|duration}: proc.threads is in plain numbers and has no format "duration"; it takes count`,
		"{trace.lock_wait_share|}":       `{trace.lock_wait_share|}: trace.lock_wait_share is in share and has no format ""; it takes percent or ratio`,
	} {
		_, f := lang.template(text)
		require.NotNil(t, f, text)
		assert.Equal(t, want, f.message)
	}
}

func FuzzTemplate(f *testing.F) {
	lang, err := newLanguage(catalogue())
	require.NoError(f, err)
	ev := lang.newEvidence(measured(map[string]any{"trace.lock_wait_share": 0.5}))
	for _, seed := range []string{"", "{", "}}{{", "{where}", "{trace.lock_wait_share|percent} {{ }}", "{trace.lock_holder_site}", "{|}", "{proc.rss|bytes}"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		tmpl, fault := lang.template(text)
		if fault != nil {
			return
		}
		if a, b := tmpl.render(ev, signal.Location{}), tmpl.render(ev, signal.Location{}); a != b {
			t.Fatalf("rendered twice: %q and %q", a, b)
		}
	})
}

func FuzzFigure(f *testing.F) {
	for _, unit := range []string{"share", "ratio", "count", "ns", "s", "bytes", "per second", ""} {
		f.Add(1234.5, unit)
		f.Add(-1e-300, unit)
		f.Add(1e300, unit)
	}
	f.Fuzz(func(t *testing.T, value float64, unit string) {
		require.NotEmpty(t, Figure{Value: value, Unit: signal.Unit(unit)}.String())
	})
}
