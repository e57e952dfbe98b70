package mark_test

import (
	"bytes"
	"context"
	"io"
	"runtime"
	rtrace "runtime/trace"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/exp/trace"

	"chokepoint/mark"
)

// recorded is what the trace of f holds of regions, tasks and log events.
func recorded(t *testing.T, f func()) []string {
	t.Helper()
	var buf bytes.Buffer
	require.NoError(t, rtrace.Start(&buf))
	f()
	rtrace.Stop()
	r, err := trace.NewReader(&buf)
	require.NoError(t, err)
	var out []string
	tasks := map[trace.TaskID]string{}
	for {
		ev, err := r.ReadEvent()
		if err == io.EOF {
			return out
		}
		require.NoError(t, err, "after %v", out)
		switch ev.Kind() {
		case trace.EventRegionBegin:
			out = append(out, "region "+ev.Region().Type+" of "+tasks[ev.Region().Task])
		case trace.EventRegionEnd:
			out = append(out, "end "+ev.Region().Type)
		case trace.EventTaskBegin:
			tasks[ev.Task().ID] = ev.Task().Type
			out = append(out, "task "+ev.Task().Type+" of "+tasks[ev.Task().Parent])
		case trace.EventTaskEnd:
			out = append(out, "end task "+ev.Task().Type)
		case trace.EventLog:
			out = append(out, ev.Log().Category+" of "+tasks[ev.Log().Task]+": "+ev.Log().Message)
		}
	}
}

func TestMarksStandInTheTrace(t *testing.T) {
	got := recorded(t, func() {
		ctx, task := mark.Begin(context.Background(), "order", mark.String("route", "/order"))
		mark.Do(ctx, "outer", func() {
			n, err := mark.Call(ctx, "inner", func() (int, error) { return 7, io.EOF }, mark.Int("n", -3), mark.Bool("ok", true), mark.Duration("for", 1500*time.Millisecond))
			assert.Equal(t, 7, n)
			assert.Equal(t, io.EOF, err)
		})
		mark.Event(ctx, "sold", mark.String("why", `say "no"`), mark.String("", ""), mark.String("a b", "ü"))
		_, inner := mark.Begin(ctx, "receipt")
		inner.End()
		task.End()
		task.End()
	})
	assert.Equal(t, []string{
		"task order of ", "mark.task of order: route=/order",
		"region outer of order", "region inner of order", "mark.region of order: n=-3 ok=true for=1.5s", "end inner", "end outer",
		`sold of order: why="say \"no\"" _="" a_b=ü`,
		"task receipt of order", "end task receipt", "end task order",
	}, got)
}

// A region that ends out of turn makes the rest of a trace unreadable, so that
// recorded would fail.
func TestRegionsEndInTurnWhateverHappens(t *testing.T) {
	ctx := context.Background()
	got := recorded(t, func() {
		func() {
			defer func() { assert.Equal(t, "stop", recover()) }()
			mark.Do(ctx, "outer", func() { mark.Do(ctx, "panics", func() { panic("stop") }) })
		}()
		done := make(chan struct{})
		go func() {
			defer close(done)
			mark.Do(ctx, "exits", runtime.Goexit)
		}()
		<-done
		mark.Do(ctx, "after", func() {})
	})
	assert.Equal(t, []string{
		"region outer of ", "region panics of ", "end panics", "end outer",
		"region exits of ", "end exits", "region after of ", "end after",
	}, got)
}

func TestTaskEndsOnAnotherGoroutine(t *testing.T) {
	got := recorded(t, func() {
		_, task := mark.Begin(context.Background(), "moves")
		done := make(chan struct{})
		go func() { task.End(); close(done) }()
		<-done
	})
	assert.Equal(t, []string{"task moves of ", "end task moves"}, got)
}

// What began before the trace, or ends after it, does it no harm.
func TestTraceBeginsAndEndsInTheMiddle(t *testing.T) {
	ctx, task := mark.Begin(context.Background(), "early")
	assert.Nil(t, task)
	var got []string
	mark.Do(ctx, "around", func() {
		got = recorded(t, func() {
			mark.Do(ctx, "inside", func() {})
			task.End()
		})
	})
	assert.Equal(t, []string{"region inside of ", "end inside"}, got)

	var first bytes.Buffer
	require.NoError(t, rtrace.Start(&first))
	mark.Do(ctx, "across", func() {
		rtrace.Stop()
		got = recorded(t, func() { mark.Do(ctx, "inside", func() {}) })
	})
	assert.Equal(t, []string{"region inside of ", "end inside"}, got)
}

func TestOffAllocatesNothing(t *testing.T) {
	require.False(t, mark.On())
	ctx := context.Background()
	route, n := "/order", 0
	for name, f := range map[string]func(){
		"Do":    func() { mark.Do(ctx, "r", func() { n++ }, mark.String("route", route), mark.Int("n", n)) },
		"Call":  func() { _, _ = mark.Call(ctx, "r", func() (int, error) { n++; return n, nil }, mark.Int("n", n)) },
		"Begin": func() { _, task := mark.Begin(ctx, "t", mark.String("route", route)); task.End() },
		"Event": func() { mark.Event(ctx, "e", mark.String("route", route), mark.Bool("ok", true)) },
	} {
		assert.Zero(t, testing.AllocsPerRun(100, f), name)
	}
	assert.Positive(t, n)
}

func TestLongAttributesAreLeftOutAndCounted(t *testing.T) {
	got := recorded(t, func() {
		mark.Event(context.Background(), "e", mark.Int("a", 1), mark.String("long", strings.Repeat("x", 5000)), mark.Int("b", 2), mark.String("long", strings.Repeat("\x00", 1000)))
	})
	assert.Equal(t, []string{"e of : a=1 b=2 mark.cut=2"}, got)
}

func TestParseAttrsSaysWhere(t *testing.T) {
	for text, want := range map[string]string{
		"a":          "attributes: byte 0: want a key and =",
		"=b":         "attributes: byte 0: want a key and =",
		"a=":         "attributes: byte 2: the value must be quoted",
		"a=b  c=d":   "attributes: byte 4: want a key and =",
		`a="b`:       "attributes: byte 2: the quoted value is not a Go string",
		`a="b"c=d`:   "attributes: byte 5: want a space between two",
		"plain text": "attributes: byte 0: want a key and =",
	} {
		_, err := mark.ParseAttrs(text)
		assert.EqualError(t, err, want, text)
	}
	pairs, err := mark.ParseAttrs("")
	assert.NoError(t, err)
	assert.Empty(t, pairs)
}

// What is read and written again is the same text.
func FuzzAttrs(f *testing.F) {
	f.Add("route", "/a b", "n", "")
	f.Add("", "\xff\"=", "a=b", "ü\n")
	f.Fuzz(func(t *testing.T, k1, v1, k2, v2 string) {
		text := mark.Message(mark.String(k1, v1), mark.String(k2, v2))
		require.LessOrEqual(t, len(text), 1024)
		pairs, err := mark.ParseAttrs(text)
		require.NoError(t, err, text)
		require.NotEmpty(t, pairs)
		if len(text) < 900 && len(v1) < 400 && len(v2) < 400 {
			require.Equal(t, []string{v1, v2}, []string{pairs[0].Value, pairs[1].Value}, text)
		}
	})
}

func BenchmarkOff(b *testing.B) { benchmark(b) }

// BenchmarkOn is with a trace that goes nowhere; it includes its share of what
// the runtime does to write the trace out.
func BenchmarkOn(b *testing.B) {
	require.NoError(b, rtrace.Start(io.Discard))
	defer rtrace.Stop()
	benchmark(b)
}

func benchmark(b *testing.B) {
	ctx := context.Background()
	b.Run("Do", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			mark.Do(ctx, "verify", func() {})
		}
	})
	b.Run("DoWithAttrs", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			mark.Do(ctx, "verify", func() {}, mark.String("alg", "RS256"), mark.Int("keys", 3))
		}
	})
	b.Run("Task", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			_, task := mark.Begin(ctx, "checkout")
			task.End()
		}
	})
	b.Run("Event", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			mark.Event(ctx, "refused", mark.String("why", "expired"))
		}
	})
}
