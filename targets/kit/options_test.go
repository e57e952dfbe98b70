package kit

import (
	"bytes"
	"context"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func knobbed() Service {
	return Service{
		About: "A service for tests.",
		Knobs: map[string]string{
			"hold": "10ms", "workers": "4", "buffer": "16KiB",
			"keep": "true", "mode": "sleep|io", "name": "cache",
		},
		Build: func(context.Context, Options) (http.Handler, error) { return http.NotFoundHandler(), nil },
	}
}

func TestKnobsHaveTheirDefaults(t *testing.T) {
	o, err := NewOptions(knobbed(), Flawed)
	require.NoError(t, err)
	assert.True(t, o.Flawed())
	assert.Equal(t, 10*time.Millisecond, o.Duration("hold"))
	assert.Equal(t, 4, o.Int("workers"))
	assert.Equal(t, 16<<10, o.Bytes("buffer"))
	assert.True(t, o.Bool("keep"))
	assert.Equal(t, "sleep", o.String("mode"))
	assert.Equal(t, "cache", o.String("name"))
}

func TestKnobsAreSet(t *testing.T) {
	o, err := NewOptions(knobbed(), Fixed,
		"hold=0s", "workers=0", "buffer=3MiB", "keep=false", "mode=io", "name=a=b", "name=last")
	require.NoError(t, err)
	assert.False(t, o.Flawed())
	assert.Zero(t, o.Duration("hold"))
	assert.Zero(t, o.Int("workers"))
	assert.Equal(t, 3<<20, o.Bytes("buffer"))
	assert.False(t, o.Bool("keep"))
	assert.Equal(t, "io", o.String("mode"))
	assert.Equal(t, "last", o.String("name"), "the last setting of a knob counts")
}

func TestKnobsOfTheWrongKindPanic(t *testing.T) {
	o, err := NewOptions(knobbed(), Flawed)
	require.NoError(t, err)
	assert.PanicsWithValue(t, `kit: the service has no knob "holt"`, func() { o.Duration("holt") })
	assert.PanicsWithValue(t, `kit: knob "hold" is a duration such as 2500ms, 0s or more`, func() { o.Int("hold") })
}

func TestBadCommandLines(t *testing.T) {
	with := func(args ...string) []string {
		return append([]string{"-listen", "127.0.0.1:0", "-debug", "127.0.0.1:0", "-variant", "flawed"}, args...)
	}
	tests := []struct {
		name string
		args []string
		want string
	}{
		{"no address", []string{"-debug", "127.0.0.1:0", "-variant", "flawed"},
			"-listen is missing: give the address to serve on, such as 127.0.0.1:8080"},
		{"no debug address", []string{"-listen", "127.0.0.1:0", "-variant", "flawed"},
			"-debug is missing: give the address of the debug endpoints, such as 127.0.0.1:6060"},
		{"no variant", []string{"-listen", "127.0.0.1:0", "-debug", "127.0.0.1:0"},
			"-variant is missing: give flawed or fixed"},
		{"unknown variant", []string{"-listen", "127.0.0.1:0", "-debug", "127.0.0.1:0", "-variant", "slow"},
			`-variant "slow": use flawed or fixed`},
		{"unknown flag", with("-port", "80"), "flag provided but not defined: -port"},
		{"an argument", with("serve"), `unexpected argument "serve": everything is set by flags (-h lists them)`},
		{"no value", with("-set", "hold"), `-set "hold": write it as name=value`},
		{"unknown knob", with("-set", "holt=1ms"),
			`-set holt=1ms: unknown knob "holt": known are buffer, hold, keep, mode, name, workers`},
		{"not a duration", with("-set", "hold=10"), "-set hold=10: hold takes a duration such as 2500ms, 0s or more"},
		{"a negative duration", with("-set", "hold=-1s"), "-set hold=-1s: hold takes a duration such as 2500ms, 0s or more"},
		{"not a number", with("-set", "workers=1.5"), "-set workers=1.5: workers takes a whole number, 0 or more"},
		{"a negative number", with("-set", "workers=-1"), "-set workers=-1: workers takes a whole number, 0 or more"},
		{"a size without unit", with("-set", "buffer=16"), "-set buffer=16: buffer takes a size such as 16KiB"},
		{"a size beyond all memory", with("-set", "buffer=9999999GiB"), "-set buffer=9999999GiB: buffer takes a size such as 16KiB"},
		{"neither true nor false", with("-set", "keep=yes"), "-set keep=yes: keep takes true or false"},
		{"not one of the words", with("-set", "mode=spin"), "-set mode=spin: mode takes one of sleep, io"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var stderr bytes.Buffer
			code := run(t.Context(), knobbed(), tt.args, &stderr)
			assert.Equal(t, exitUsage, code)
			assert.Equal(t, tt.want+"\n", stderr.String())
		})
	}
}

func TestUnknownKnobOfAServiceWithoutKnobs(t *testing.T) {
	s := knobbed()
	s.Knobs = nil
	_, err := NewOptions(s, Flawed, "hold=1ms")
	assert.EqualError(t, err, `-set hold=1ms: unknown knob "hold": this target has none`)
}

func TestUsageNamesFlagsAndKnobs(t *testing.T) {
	var stderr bytes.Buffer
	assert.Equal(t, exitOK, run(t.Context(), knobbed(), []string{"-h"}, &stderr))
	for _, want := range []string{"A service for tests.", "-listen HOST:PORT", "-variant flawed", "buffer=16KiB", "mode=sleep|io"} {
		assert.Contains(t, stderr.String(), want)
	}
}

// Whatever is set, a knob that is accepted has a value its kind allows.
func FuzzSetting(f *testing.F) {
	for _, s := range []string{"hold=1ms", "workers=-3", "buffer=16KiB", "buffer=99999999999GiB", "mode=", "=", "keep=true", "hold"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, setting string) {
		o, err := NewOptions(knobbed(), Flawed, setting)
		if err != nil {
			return
		}
		assert.GreaterOrEqual(t, o.Duration("hold"), time.Duration(0))
		assert.GreaterOrEqual(t, o.Int("workers"), 0)
		assert.GreaterOrEqual(t, o.Bytes("buffer"), 0)
		assert.LessOrEqual(t, o.Bytes("buffer"), 1<<40)
		assert.Contains(t, []string{"sleep", "io"}, o.String("mode"))
	})
}
