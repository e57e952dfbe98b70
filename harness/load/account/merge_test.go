package account

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"chokepoint/harness/bundle"
)

// planned is one request of a made-up attack; times are ns since the base.
type planned struct {
	Exchange
	hungUp bool
}

// plan makes a random attack of n requests over ns nanoseconds.
func plan(random *rand.Rand, n int, ns int64) []planned {
	failures := []string{kindReset, KindRefused, "timeout waiting for the response", kindCut}
	out := make([]planned, n)
	for i := range out {
		sent := random.Int64N(ns) + 1
		x := Exchange{
			Seq: uint64(i), Sent: sent, Ended: sent + random.Int64N(ns/4)>>random.IntN(20),
			Code: []int{200, 204, 302, 404, 503}[random.IntN(5)], BytesIn: random.Int64N(1 << random.IntN(30)),
			Checked: random.IntN(3) == 0, Missing: random.IntN(9) == 0, Behaviour: max(0, random.IntN(12)-9),
		}
		if random.IntN(3) > 0 {
			x.Due = max(1, sent-random.Int64N(1+sent)>>random.IntN(8))
			x.Free = max(0, sent-random.Int64N(1+sent))
		}
		if random.IntN(6) == 0 {
			x.Code, x.Failure = 0, failures[random.IntN(len(failures))]
		}
		if random.IntN(20) == 0 {
			x.Foreign = "another's"
		}
		x.Misbehaved = x.Behaviour > 0 && random.IntN(2) == 0
		out[i] = planned{Exchange: x, hungUp: random.IntN(30) == 0}
	}
	return out
}

// played is what a Recorder makes of the requests, and of a window inside them.
func played(requests []planned, ns int64) Account {
	r := newAtHand(Config{
		Behaviours: []string{"slow", "gone"}, Stages: 3,
		StageAt: func(t int64) int { return int(3 * t / ns) },
	})
	type event struct {
		at int64
		do func()
	}
	var events []event
	for _, p := range requests {
		x := p.Exchange
		ended := x.Ended
		events = append(events,
			event{x.Sent, func() { r.Socket(+1); r.Send(&x) }},
			event{ended, func() {
				if p.hungUp {
					r.HungUp()
				} else {
					r.End(&x)
				}
				r.Socket(-1)
			}})
	}
	slices.SortStableFunc(events, func(a, b event) int { return int(a.at - b.at) })
	r.Begin(r.Mono(0))
	r.BeginWindow(r.Mono(ns / 3))
	r.EndWindow(r.Mono(2 * ns / 3))
	for _, e := range events {
		r.clock = e.at
		e.do()
	}
	r.clock = 2 * ns
	r.Finish()
	return r.Account()
}

// TestMergeIsExact: what several processes did of one attack, merged, is what
// one process would have recorded that did all of it.
func TestMergeIsExact(t *testing.T) {
	const ns = 6 * secondNS
	for seed := range uint64(12) {
		random := rand.New(rand.NewPCG(seed, 1))
		requests := plan(random, 1+random.IntN(800), ns)
		parts := make([][]planned, 1+random.IntN(4))
		for _, p := range requests {
			i := random.IntN(len(parts))
			parts[i] = append(parts[i], p)
		}
		whole := played(requests, ns)
		accounts := make([]Account, 0, len(parts))
		for _, part := range parts {
			accounts = append(accounts, overTheWire(t, played(part, ns)))
		}
		merged, err := Merge(accounts)
		require.NoError(t, err)

		// Least and most of all are bounded by those of each.
		for _, of := range []struct {
			name          string
			bound, actual int
		}{
			{"in flight", whole.Window.InFlightMin, merged.Window.InFlightMin},
			{"sockets", whole.Window.SocketsMin, merged.Window.SocketsMin},
			{"in flight", merged.Window.InFlightMax, whole.Window.InFlightMax},
			{"sockets", merged.Window.SocketsMax, whole.Window.SocketsMax},
		} {
			require.GreaterOrEqual(t, of.bound, of.actual, of.name)
		}
		merged.Window.InFlightMin, merged.Window.InFlightMax = whole.Window.InFlightMin, whole.Window.InFlightMax
		merged.Window.SocketsMin, merged.Window.SocketsMax = whole.Window.SocketsMin, whole.Window.SocketsMax
		merged.Window.CPUNS, whole.Window.CPUNS = 0, 0
		require.Equal(t, whole, merged, "seed %d in %d parts", seed, len(parts))

		var l, m bundle.Load
		whole.Fill(&l)
		merged.Fill(&m)
		require.Equal(t, l, m)
	}
}

// overTheWire is what arrives of a.
func overTheWire(t *testing.T, a Account) Account {
	t.Helper()
	data, err := json.Marshal(a)
	require.NoError(t, err)
	var back Account
	require.NoError(t, json.Unmarshal(data, &back))
	require.Equal(t, a, back)
	return back
}

// TestSecondsTravelAsOneByOne: the one encoder changes nothing.
func TestSecondsTravelAsOneByOne(t *testing.T) {
	seconds := played(plan(rand.New(rand.NewPCG(8, 8)), 300, 4*secondNS), 4*secondNS).Seconds
	together, err := json.Marshal(seconds)
	require.NoError(t, err)
	apart, err := json.Marshal([]Second(seconds))
	require.NoError(t, err)
	assert.JSONEq(t, string(apart), string(together))
}

func TestMergeOfUnequalAccounts(t *testing.T) {
	first := Account{
		Schema: Schema, StartNS: 1000, WallNS: 5000,
		Window: Window{StartNS: 2000, EndNS: 12_000, ObservedNS: 10_000, InFlightNS: 50_000, CPUNS: 7},
		Stages: []Stage{{}},
		Seconds: []Second{
			{StartNS: 1000, InFlightNS: secondNS, Sent: 1},
			{StartNS: 1000 + secondNS, InFlightNS: 3 * secondNS, Sent: 2, Stage: 0},
		},
	}
	second := first
	second.Window = Window{StartNS: 2000, EndNS: 12_000, ObservedNS: 5_000, InFlightNS: 10_000, CPUNS: 5} // began late
	second.Seconds = []Second{{StartNS: 1000 + secondNS, InFlightNS: secondNS, Sent: 5}}
	third := Account{Schema: Schema, StartNS: 1000, WallNS: 5000, Stages: []Stage{{}}} // died before its first second
	for _, order := range [][]Account{{first, second, third}, {third, second, first}} {
		merged, err := Merge(order)
		require.NoError(t, err)
		var l bundle.Load
		merged.Fill(&l)
		assert.InDelta(t, 7, l.Reached.InFlightMean, 1e-9, "the mean of one is 5, of the other 2")
		assert.Equal(t, int64(12), merged.Window.CPUNS)
		require.Len(t, l.Seconds, 2)
		assert.Equal(t, []int{1, 4}, []int{l.Seconds[0].InFlight, l.Seconds[1].InFlight})
		assert.Equal(t, []int64{1, 7}, []int64{l.Seconds[0].Sent, l.Seconds[1].Sent})
	}
}

func TestMergeRefuses(t *testing.T) {
	good := func() Account {
		return Account{
			Schema: Schema, StartNS: 1000, Stages: make([]Stage, 2),
			Clients: []Client{{Behaviour: "slow"}}, Seconds: []Second{{StartNS: 1000}},
		}
	}
	_, err := Merge(nil)
	require.ErrorContains(t, err, "no accounts")
	for want, change := range map[string]func(*Account){
		"process 2: its account has schema 7; want 1":         func(a *Account) { a.Schema = 7 },
		"process 2: it has 1 stages, the first 2":             func(a *Account) { a.Stages = a.Stages[:1] },
		"process 2: its badly behaved clients are not those":  func(a *Account) { a.Clients[0].Behaviour = "x" },
		"process 2: its seconds begin 5 ns off those of the ": func(a *Account) { a.Seconds[0].StartNS += 5 },
	} {
		bad := good()
		change(&bad)
		_, err := Merge([]Account{good(), bad})
		require.ErrorContains(t, err, want)
	}
}

func TestMergedKindsAreBounded(t *testing.T) {
	var accounts []Account
	for i := range 3 {
		kinds := map[string]int64{"common": 10}
		for j := range maxKinds - 1 {
			kinds[fmt.Sprintf("kind %d of %d", j, i)] = int64(1 + i)
		}
		accounts = append(accounts, Account{Schema: Schema, Window: Window{StartNS: 1, ByError: kinds}})
	}
	merged, err := Merge(accounts)
	require.NoError(t, err)
	var l bundle.Load
	merged.Fill(&l)
	kinds := l.Requests.ByError
	assert.Len(t, kinds, maxKinds+1)
	assert.Equal(t, int64(30), kinds["common"])
	var all int64
	for _, n := range kinds {
		all += n
	}
	assert.Equal(t, int64(30+(1+2+3)*(maxKinds-1)), all)
}
