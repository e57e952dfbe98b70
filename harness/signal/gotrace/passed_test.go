package gotrace

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"chokepoint/harness/internal/testtrace"
	"chokepoint/harness/signal/stack"
)

// ledgerBook is read by many at one line, by one for long at another, and written
// now and then.
type ledgerBook struct {
	rw      sync.RWMutex
	entries int
}

func (b *ledgerBook) entry() int {
	b.rw.RLock() // at: entry
	defer b.rw.RUnlock()
	return b.entries
}

func (b *ledgerBook) each(do func()) {
	b.rw.RLock()
	defer b.rw.RUnlock() // at: each unlock
	do()
}

func (b *ledgerBook) amend(work func()) {
	b.rw.Lock() // at: amend
	defer b.rw.Unlock()
	work()
	b.entries++
}

// lockFor and free take and release it in functions of their own.
func (b *ledgerBook) lockFor() { b.rw.Lock() } // at: lockFor
func (b *ledgerBook) free()    { b.rw.Unlock() }

func (b *ledgerBook) amendThroughHelpers(work func()) {
	b.lockFor()
	work()
	b.entries++
	b.free()
}

func nothing() {}

func sleepFor(d time.Duration) func() { return func() { time.Sleep(d) } }

// readWhile has n goroutines read again and again while body runs.
func (b *ledgerBook) readWhile(n int, every time.Duration, body func()) {
	var done atomic.Bool
	var readers sync.WaitGroup
	for range n {
		readers.Go(func() {
			for !done.Load() {
				b.entry()
				time.Sleep(every)
			}
		})
	}
	body()
	done.Store(true)
	readers.Wait()
}

// exportFor reads all for long, again and again, while a writer comes 5 ms after it
// has begun.
func (b *ledgerBook) exportFor(hold time.Duration, write func(func())) {
	for range 4 {
		var wg sync.WaitGroup
		wg.Go(func() { exportAll(b, sleepFor(hold)) })
		time.Sleep(5 * time.Millisecond)
		wg.Go(func() { write(nothing) })
		wg.Wait()
		time.Sleep(5 * time.Millisecond)
	}
}

//go:noinline
func exportAll(b *ledgerBook, do func()) {
	b.each(do) // at: exportAll
}

// The readers are woken by the writer, who had the lock for a moment: they, as it,
// had waited for the one that reads for long.
func TestReaderThatAWriterWaitsFor(t *testing.T) {
	for _, tt := range []struct {
		name  string
		write func(*ledgerBook) func(func())
	}{
		{"taken and released in one function", func(b *ledgerBook) func(func()) { return b.amend }},
		{"taken and released by helpers", func(b *ledgerBook) func(func()) { return b.amendThroughHelpers }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var b ledgerBook
			s := read(t, testtrace.Record(t, func() {
				b.readWhile(8, time.Millisecond, func() { b.exportFor(40*time.Millisecond, tt.write(&b)) })
			}))
			l := lockIn(t, s, "entry")
			require.NotEmpty(t, l.Holders)
			h := l.Holders[0]
			assert.Equal(t, pkg+"(*ledgerBook).each", h.Unlock.Function, "%+v", l.Holders)
			assert.True(t, h.Reads)
			assert.Greater(t, holderShare(l, "(*ledgerBook).each"), 0.8)
			assert.Greater(t, doingShare(h, string(stack.Sleep)), 0.8, "%+v", h)
			assert.Equal(t, lineIn(t, "passed_test.go", "exportAll"), h.Caller.Line)
			assert.Greater(t, h.NS, int64(4*25*time.Millisecond), "a writer waited that long at least")
			assert.LessOrEqual(t, holdersNS(l), s.DurationNS(), "no time has two holders")
			assert.Greater(t, l.WaitedNS, 4*h.NS, "eight readers queue behind the writer")
		})
	}
}

// A writer that waits for readers and then takes long itself owns its own part, and
// no more.
func TestWriterThatWaitsAndThenIsSlow(t *testing.T) {
	var b ledgerBook
	slow := func(func()) { b.amend(sleepFor(40 * time.Millisecond)) }
	s := read(t, testtrace.Record(t, func() {
		b.readWhile(8, time.Millisecond, func() { b.exportFor(15*time.Millisecond, slow) })
	}))
	l := lockIn(t, s, "entry")
	require.NotEmpty(t, l.Holders)
	h := l.Holders[0]
	assert.Equal(t, pkg+"(*ledgerBook).amend", h.Unlock.Function)
	assert.False(t, h.Reads)
	assert.Greater(t, holderShare(l, "(*ledgerBook).amend"), 0.6)
	assert.Greater(t, holderShare(l, "(*ledgerBook).each"), 0.05, "what the writer had to wait for is not its own")
	assert.Greater(t, doingShare(h, string(stack.Sleep)), 0.8)
	assert.LessOrEqual(t, holdersNS(l), s.DurationNS())
}

// A second writer queues for the first, which waits for a reader.
func TestWriterBehindAWriterThatWaits(t *testing.T) {
	var b ledgerBook
	s := read(t, testtrace.Record(t, func() {
		b.exportFor(40*time.Millisecond, func(work func()) {
			var writers sync.WaitGroup
			for range 4 {
				writers.Go(func() { b.amend(work) })
			}
			writers.Wait()
		})
	}))
	l := lockIn(t, s, "amend")
	require.NotEmpty(t, l.Holders)
	assert.Equal(t, pkg+"(*ledgerBook).each", l.Holders[0].Unlock.Function)
	assert.Greater(t, holderShare(l, "(*ledgerBook).each"), 0.8)
	assert.LessOrEqual(t, holdersNS(l), s.DurationNS())
}

// Many that read for a moment and one that writes for a moment hold nobody up.
func TestQuickReadersAndAQuickWriter(t *testing.T) {
	var b ledgerBook
	s := read(t, testtrace.Record(t, func() {
		b.readWhile(16, time.Millisecond, func() {
			for range 60 {
				b.amend(nothing)
				time.Sleep(2 * time.Millisecond)
			}
		})
	}))
	for _, l := range s.Locks {
		assert.LessOrEqual(t, holdersNS(l), s.DurationNS()/5, "%+v", l)
		assert.LessOrEqual(t, l.WaitedNS, s.Program.TotalNS/20, "%+v", l)
	}
}

// Step by step: which wait belongs to whom.
func TestWaitPassedOn(t *testing.T) {
	const rw = "sync.(*RWMutex)."
	at := func(function string, line int, wait stack.Wait, call string) *place {
		p := placeAt(function, line, wait)
		p.frames = append([]stack.Frame{{Function: rw + call}}, p.frames...)
		p.reads = stack.Reads(p.frames)
		return p
	}
	rlock, lock := at("main.view", 1, stack.Lock, "RLock"), at("main.edit", 5, stack.Lock, "Lock")
	export, edit := at("main.export", 9, "", "RUnlock"), at("main.edit", 7, "", "Unlock")
	mutex, other := placeAt("main.other", 1, stack.Lock), placeAt("main.other", 3, "")

	// end has by end the wait of g, as scan.woken does.
	end := func(l *locks, g, by *goroutine, at *place, now int64) {
		w, _ := l.endWait(g, now)
		g.acquired = &hold{at: w.at, since: now}
		g.readersLeft(w, at, now)
		l.release(by, at, w, now)
	}
	times := func(g Lock) map[string]int64 {
		out := map[string]int64{}
		for _, h := range g.Holders {
			out[h.Unlock.Function] += h.NS
		}
		return out
	}

	t.Run("a reader, a writer and who comes after", func(t *testing.T) {
		l := newLocks(stack.Program{})
		reader, writer, after, late := &goroutine{}, &goroutine{}, &goroutine{}, &goroutine{}
		l.wait(writer, lock, 10)
		l.wait(after, rlock, 20)
		end(l, writer, reader, export, 100)
		l.wait(late, rlock, 102) // only the writer had it by then
		end(l, after, writer, edit, 105)
		end(l, late, writer, edit, 105)
		got := l.list()
		require.Len(t, got, 1, "the writer's wait and those behind it are for one lock")
		assert.Equal(t, map[string]int64{"main.export": 90, "main.edit": 5}, times(got[0]))
		assert.EqualValues(t, 90+85+3, got[0].WaitedNS)
	})
	t.Run("other locks used alike cut nothing from a reader", func(t *testing.T) {
		l := newLocks(stack.Program{})
		reader, writer := &goroutine{}, &goroutine{}
		l.wait(writer, lock, 10)
		l.join(waitSite(lock), holdSite(export)).lastRelease = 60
		end(l, writer, reader, export, 100)
		assert.Equal(t, map[string]int64{"main.export": 90}, times(l.list()[0]))
	})
	t.Run("what a reader was woken to take after the writer asked is another lock", func(t *testing.T) {
		l := newLocks(stack.Program{})
		reader, writer := &goroutine{acquired: &hold{at: at("main.export", 2, stack.Lock, "RLock"), since: 50}}, &goroutine{}
		l.wait(writer, lock, 10)
		end(l, writer, reader, export, 100)
		assert.Equal(t, map[string]int64{"main.export": 90}, times(l.list()[0]))
		assert.True(t, l.list()[0].Holders[0].Acquire.IsZero())
	})
	t.Run("a mutex that the writer takes later is another lock", func(t *testing.T) {
		l := newLocks(stack.Program{})
		reader, writer, waits := &goroutine{}, &goroutine{}, &goroutine{}
		l.wait(writer, lock, 10)
		l.wait(waits, mutex, 20)
		end(l, writer, reader, export, 100)
		end(l, waits, writer, other, 110)
		assert.Len(t, l.list(), 2)
	})
	t.Run("who waits only since the writer has it waits for the writer", func(t *testing.T) {
		l := newLocks(stack.Program{})
		reader, writer, late := &goroutine{}, &goroutine{}, &goroutine{}
		l.wait(writer, lock, 10)
		end(l, writer, reader, export, 20)
		l.wait(late, rlock, 30)
		end(l, late, writer, edit, 90)
		assert.Len(t, l.list(), 2, "nothing says that it is the same lock")
		assert.Equal(t, map[string]int64{"main.edit": 60}, times(l.list()[0]))
	})
}

// lockIn is lockAt for this file.
func lockIn(t *testing.T, s *Summary, marker string) Lock {
	t.Helper()
	n := lineIn(t, "passed_test.go", marker)
	for _, l := range s.Locks {
		for _, w := range l.Waiters {
			if w.Where.Line == n {
				return l
			}
		}
	}
	t.Fatalf("nobody waited at %q; locks: %+v", marker, s.Locks)
	return Lock{}
}

func holdersNS(l Lock) (ns int64) {
	for _, h := range l.Holders {
		ns += h.NS
	}
	return ns
}
