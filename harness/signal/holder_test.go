package signal

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"chokepoint/harness/bundle"
	"chokepoint/harness/signal/gotrace"
	"chokepoint/harness/signal/stack"
)

func frameAt(function string, line int) stack.Frame {
	return stack.Frame{Function: function, File: "f.go", Line: line}
}

// contended is evidence of a lock in a trace that is 1000 ns long.
func contended(l gotrace.Lock, parked []gotrace.Parked, sites ...bundle.CallSite) *evidence {
	s := &gotrace.Summary{StartNS: 5000, EndNS: 6000, Parked: parked}
	return &evidence{
		program: stack.Program{MainModule: "acme.dev/relay"},
		reading: []map[string]bool{{}},
		parsed: map[string]result{
			"contention":        {value: contention{lock: l, waited: l.WaitedNS, whole: 1000, trace: s}},
			"calls by function": {value: newCalls(sites)},
		},
	}
}

func placeOf(t *testing.T, e *evidence, f func(*evidence) (stack.Frame, error)) stack.Frame {
	t.Helper()
	at, err := f(e)
	if err != nil {
		assert.ErrorIs(t, err, errNone)
		return stack.Frame{}
	}
	return at
}

func TestHolderBlocked(t *testing.T) {
	early, late := frameAt("main.get", 40), frameAt("main.get", 50)
	for name, tt := range map[string]struct {
		doing []gotrace.Doing
		want  stack.Frame
	}{
		"it works":                        {[]gotrace.Doing{{What: "running", NS: 960}, {What: "sleep", Where: early, NS: 40}}, stack.Frame{}},
		"it waits for a P":                {[]gotrace.Doing{{What: "runnable", NS: 950}, {What: "sleep", Where: early, NS: 50}}, stack.Frame{}},
		"a good part of it is off CPU":    {[]gotrace.Doing{{What: "running", NS: 800}, {What: "read", Where: late, NS: 150}, {What: "sleep", Where: early, NS: 50}}, late},
		"small parts that together count": {[]gotrace.Doing{{What: "running", NS: 880}, {What: "read", Where: late, NS: 61}, {What: "sleep", Where: early, NS: 59}}, late},
	} {
		t.Run(name, func(t *testing.T) {
			assert.Equal(t, tt.want, holderBlocked(gotrace.Lock{Holders: []gotrace.Holder{{ObservedNS: 1000, Doing: tt.doing}}}))
		})
	}
	assert.Zero(t, holderBlocked(gotrace.Lock{}))
}

// A holder that lets go of the lock is known by what it did under it.
func TestHolderDoes(t *testing.T) {
	take, send := frameAt("main.get", 40), frameAt("main.get.func1", 50)
	lock := func(doing ...gotrace.Doing) gotrace.Lock {
		return gotrace.Lock{WaitedNS: 900, ReleasedNS: 5990, Holders: []gotrace.Holder{{Unlock: frameAt("main.get", 60), Acquire: take, NS: 900, ObservedNS: 1000, Doing: doing}}}
	}
	e := contended(lock(gotrace.Doing{What: "write", Where: send, NS: 700}, gotrace.Doing{What: "running", NS: 300}), nil)
	v, err := heldUpShare(writing, room)(e)
	assert.NoError(t, err)
	assert.Equal(t, 0.7, v)
	assert.Equal(t, frameAt("main.get", 50), placeOf(t, e, heldUpSite(writing, room)))
	assert.Zero(t, placeOf(t, e, heldUpSite(reading, answers)))
	_, err = holderWork(e)
	assert.ErrorIs(t, err, errNone)

	e = contended(lock(gotrace.Doing{What: "upstream", Where: send, NS: 400}, gotrace.Doing{What: "read", Where: take, NS: 200}, gotrace.Doing{What: "running", NS: 400}), nil)
	assert.Equal(t, frameAt("main.get", 50), placeOf(t, e, heldUpSite(reading, answers)), "where most of it is")

	e = contended(lock(gotrace.Doing{What: "running", NS: 900}, gotrace.Doing{What: "write", Where: send, NS: 100}), nil)
	v, err = holderWork(e)
	assert.NoError(t, err)
	assert.Equal(t, 0.9, v)
	assert.Zero(t, placeOf(t, e, heldUpSite(writing, room)))
	assert.Zero(t, placeOf(t, e, holderWorkSite), "no samples")
	c, _ := e.contention()
	before, under, inside := frameAt("main.get", 35), frameAt("main.get", 52), frameAt("other.org/list.Find", 7)
	c.trace.Samples = []gotrace.Sample{
		{Frames: []stack.Frame{before}, Count: 90},
		{Frames: []stack.Frame{frameAt("runtime.memmove", 1), inside, under}, Count: 12},
		{Frames: []stack.Frame{under}, Count: 11},
		{Frames: []stack.Frame{frameAt("main.other", 9)}, Count: 90},
	}
	assert.Equal(t, inside, placeOf(t, e, holderWorkSite))
	c.trace.Samples[1].Count = fewestSamples - 1
	c.trace.Samples[2].Count = fewestSamples - 1
	assert.Zero(t, placeOf(t, e, holderWorkSite), "so few are chance")
}

// Who does not let go of a lock is known by where it stands.
func TestHolderThatKeepsIt(t *testing.T) {
	const lock, unlock = "sync.(*Mutex).Lock", "sync.(*Mutex).Unlock"
	call := func(callee, function string, line int) bundle.CallSite {
		return bundle.CallSite{Callee: callee, Function: function, File: "f.go", Line: line}
	}
	calls := []bundle.CallSite{
		call(lock, "other.org/h2.(*stream).body", 20), call(unlock, "other.org/h2.(*stream).body", 30),
		call(lock, "other.org/h2.(*pool).get", 90), call(unlock, "other.org/h2.(*pool).get", 95),
		call(lock, "other.org/ws.(*conn).send", 20), call(unlock, "other.org/ws.(*conn).send", 30),
	}
	write := stack.Frame{Function: "internal/poll.(*FD).Write"}
	stands := func(ns int64, w stack.Wait, frames ...stack.Frame) gotrace.Parked {
		p := stack.Program{MainModule: "acme.dev/relay"}
		return gotrace.Parked{Frames: frames, Where: p.Own(frames), Wait: w, Goroutines: 1, StoodNS: ns}
	}
	waits := stands(1000, stack.Lock, stack.Frame{Function: lock}, frameAt("other.org/h2.(*pool).get", 90), frameAt("main.pass", 42))
	hangs := stands(1000, stack.NetWrite, write, frameAt("other.org/h2.(*out).Write", 7), frameAt("other.org/h2.(*stream).body", 25))
	short := stands(100, stack.NetWrite, hangs.Frames...)
	let := stands(1000, stack.NetWrite, write, frameAt("other.org/h2.(*out).Write", 7), frameAt("other.org/h2.(*stream).body", 35))
	alien := stands(1000, stack.NetWrite, write, frameAt("other.org/ws.(*conn).send", 25), frameAt("main.push", 4))
	within := stands(1000, stack.NetWrite, append([]stack.Frame{write, frameAt("other.org/ws.(*conn).send", 25)}, hangs.Frames[2:]...)...)
	never := gotrace.Lock{WaitedNS: 1000}
	for name, tt := range map[string]struct {
		lock   gotrace.Lock
		parked gotrace.Parked
		share  float64
		where  stack.Frame
	}{
		"in a write all along":                       {never, hangs, 1, frameAt("other.org/h2.(*out).Write", 7)},
		"in a write of late":                         {never, short, 0.1, stack.Frame{}},
		"it has let go before":                       {never, let, 0, stack.Frame{}},
		"nobody waits for locks of that package":     {never, alien, 0, stack.Frame{}},
		"of two that it holds, the one waited for":   {never, within, 1, frameAt("other.org/ws.(*conn).send", 25)},
		"who had it let go early, and then nobody":   {gotrace.Lock{WaitedNS: 1000, ReleasedNS: 5100, Holders: []gotrace.Holder{{NS: 100, ObservedNS: 100, Doing: []gotrace.Doing{{What: "running", NS: 100}}}}}, hangs, 1, frameAt("other.org/h2.(*out).Write", 7)},
		"others get the lock all the time meanwhile": {gotrace.Lock{WaitedNS: 1000, ReleasedNS: 5900, Holders: []gotrace.Holder{{NS: 100, ObservedNS: 100, Doing: []gotrace.Doing{{What: "running", NS: 100}}}}}, hangs, 0, stack.Frame{}},
	} {
		t.Run(name, func(t *testing.T) {
			e := contended(tt.lock, []gotrace.Parked{waits, tt.parked}, calls...)
			v, err := heldUpShare(writing, room)(e)
			assert.NoError(t, err)
			assert.Equal(t, tt.share, v)
			assert.Equal(t, tt.where, placeOf(t, e, heldUpSite(writing, room)))
			v, err = heldUpShare(reading, answers)(e)
			assert.NoError(t, err)
			assert.Zero(t, v)
		})
	}
	_, err := heldUpShare(writing, room)(contended(gotrace.Lock{}, []gotrace.Parked{hangs}, calls...))
	assert.ErrorIs(t, err, errNone, "nobody waits for any lock")
}

func TestLockOfALibrarysOwnGoroutine(t *testing.T) {
	refresh, admit, renew := frameAt("other.org/keys.(*Cache).refresh", 165), frameAt("main.(*gate).admit.func3", 51), frameAt("other.org/keys.(*Cache).renew", 90)
	waiters := []gotrace.LockWaiter{{Where: renew, NS: 500}, {Where: admit, NS: 400}}
	want := frameAt("main.(*gate).admit", 51)
	for name, tt := range map[string]struct {
		holder  gotrace.Holder
		waiters []gotrace.LockWaiter
		want    stack.Frame
	}{
		"the program waits":               {gotrace.Holder{Unlock: refresh}, waiters, want},
		"it waited for it as well":        {gotrace.Holder{Unlock: refresh, Acquire: refresh}, waiters, want},
		"the program holds it by a call":  {gotrace.Holder{Unlock: admit}, waiters, stack.Frame{}},
		"the program took it":             {gotrace.Holder{Unlock: refresh, Acquire: admit}, waiters, stack.Frame{}},
		"the library waits for itself":    {gotrace.Holder{Unlock: refresh}, waiters[:1], stack.Frame{}},
		"nobody is known to have held it": {gotrace.Holder{}, waiters, stack.Frame{}},
	} {
		t.Run(name, func(t *testing.T) {
			l := gotrace.Lock{WaitedNS: 900, Waiters: tt.waiters}
			if !tt.holder.Unlock.IsZero() {
				l.Holders = []gotrace.Holder{tt.holder}
			}
			assert.Equal(t, tt.want, placeOf(t, contended(l, nil), lockAsking))
		})
	}
	e := contended(gotrace.Lock{WaitedNS: 900, Waiters: waiters, Holders: []gotrace.Holder{{Unlock: refresh}}}, nil)
	e.program.MainModule = ""
	assert.Zero(t, placeOf(t, e, lockAsking), "which code is the program's is not known")
}
