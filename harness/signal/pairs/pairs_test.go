package pairs_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"chokepoint/harness/bundle"
	"chokepoint/harness/bundle/latency"
	"chokepoint/harness/signal/pairs"
	"chokepoint/harness/signal/requests"
)

const ms = int64(time.Millisecond)

// traffic is made up, and so it is known which request is which.
type traffic struct {
	client []latency.Request
	served []requests.Span
	truth  map[int]int // of served, the client's
	peers  map[int64]string
	trace  bundle.Window
}

// shape is what traffic is like.
type shape struct {
	rate          float64 // requests a second
	served        func(*rand.Rand) float64
	before, after float64 // medians; seconds
	foreign       int     // requests of others in the trace
	connections   int     // 0: none is known
}

// lognormal varies by a factor of ten or so.
func lognormal(r *rand.Rand, median, sigma float64) float64 {
	return median * math.Exp(sigma*r.NormFloat64())
}

func (s shape) make() traffic {
	r := rand.New(rand.NewPCG(1, 2))
	t := traffic{truth: map[int]int{}, peers: map[int64]string{}, trace: bundle.Window{StartNS: 10e9, EndNS: 15e9}}
	ns := func(seconds float64) int64 { return int64(seconds * 1e9) }
	add := func(start, answered, end int64, goroutine int64) bool {
		x := requests.Span{StartNS: start, AnsweredNS: answered, EndNS: end, Goroutine: goroutine}
		if end <= t.trace.StartNS || start >= t.trace.EndNS {
			return false
		}
		if x.StartNS < t.trace.StartNS {
			x.StartNS, x.CutStart = t.trace.StartNS, true
		}
		if x.EndNS > t.trace.EndNS {
			x.EndNS, x.CutEnd = t.trace.EndNS, true
		}
		t.served = append(t.served, x)
		return true
	}
	free := make([]int64, max(1, s.connections))
	for at := 5.0; at < 15; at += r.ExpFloat64() / s.rate {
		sent := ns(at)
		conn := slices.Index(free, slices.Min(free))
		local := ""
		if s.connections > 0 {
			sent = max(sent, free[conn])
			local = fmt.Sprint("127.0.0.1:", 1000+conn)
			t.peers[int64(conn)] = local
		}
		seen := sent + ns(lognormal(r, s.before, 0.8))
		answered := seen + ns(s.served(r))
		ended := answered + ns(lognormal(r, s.after, 0.8))
		free[conn] = ended
		i := len(t.client)
		t.client = append(t.client, latency.Request{StartNS: sent, EndNS: ended, Local: local})
		if add(seen, answered, answered+20_000, int64(conn)) {
			t.truth[len(t.served)-1] = i
		}
	}
	for range s.foreign {
		at := ns(10 + 5*r.Float64())
		add(at, at+ms, at+ms, -1)
	}
	return t
}

func quantile(ns []int64, q float64) float64 {
	slices.Sort(ns)
	return float64(ns[min(len(ns)-1, int(q*float64(len(ns))))])
}

func TestPairsOfKnownTraffic(t *testing.T) {
	long := func(spread float64) func(*rand.Rand) float64 {
		return func(r *rand.Rand) float64 { return 2.5 + spread*r.Float64() }
	}
	for _, c := range []struct {
		name  string
		shape shape
		// The least share of served requests that are paired, of pairs that are right
		// and of pairs that are sure.
		paired, right, sure float64
		// hopeless: nothing tells which is which, and few are called sure.
		hopeless bool
	}{
		{"few, of different length", shape{200, func(r *rand.Rand) float64 { return 1 + 3*r.Float64() }, 2e-4, 1e-4, 10, 0}, 0.99, 0.95, 0.9, false},
		{"4000 a second, nearly all alike", shape{4000, long(0.002), 2e-4, 1e-4, 25, 0}, 0.99, 0.6, 0.35, false},
		{"4000 a second, of different length", shape{4000, long(0.05), 2e-4, 1e-4, 25, 0}, 0.99, 0.6, 0.4, false},
		{"short ones among long ones", shape{4000, func(r *rand.Rand) float64 {
			if r.Float64() < 0.3 {
				return 0.001
			}
			return 2.5
		}, 2e-4, 1e-4, 25, 0}, 0.99, 0.7, 0.4, false},
		{"a long queue", shape{4000, long(0.01), 5e-3, 1e-3, 0, 0}, 0.98, 0, 0, true},
		{"by connection", shape{2000, long(0.05), 5e-3, 1e-3, 25, 6000}, 0.99, 1, 1, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			x := c.shape.make()
			if c.shape.connections == 0 {
				x.peers = nil
			}
			got := pairs.Of(x.client, x.served, x.trace, x.peers)
			servers, clients := map[int]bool{}, map[int]bool{}
			right, sure, sureRight := 0, 0, 0
			var before, truth []int64
			for _, p := range got {
				require.False(t, servers[p.Served] || clients[p.Client], "each is in one pair")
				servers[p.Served], clients[p.Client] = true, true
				is, own := x.truth[p.Served]
				ok := own && is == p.Client
				if ok {
					right++
				}
				if p.Sure {
					sure++
					if ok {
						sureRight++
					}
				}
				s := x.served[p.Served]
				if !s.CutStart {
					before = append(before, s.StartNS-x.client[p.Client].StartNS)
				}
			}
			possible := 0
			for s, c := range x.truth {
				if x.served[s].CutStart && x.served[s].CutEnd {
					continue
				}
				possible++
				if !x.served[s].CutStart {
					truth = append(truth, x.served[s].StartNS-x.client[c].StartNS)
				}
			}
			n := float64(len(got))
			t.Logf("%d of %d paired, %.1f%% right, %.1f%% sure, of these %.2f%% right; before p50 %.0f us for %.0f, p99 %.0f for %.0f",
				len(got), possible, 100*float64(right)/n, 100*float64(sure)/n, 100*float64(sureRight)/float64(sure),
				quantile(before, 0.5)/1e3, quantile(truth, 0.5)/1e3, quantile(before, 0.99)/1e3, quantile(truth, 0.99)/1e3)
			assert.Greater(t, n/float64(possible), c.paired)
			assert.GreaterOrEqual(t, float64(right)/n, c.right)
			assert.GreaterOrEqual(t, float64(sure)/n, c.sure)
			if c.hopeless {
				assert.Less(t, float64(sure)/n, 0.1)
				return
			}
			assert.Greater(t, float64(sureRight)/float64(sure), 0.998)
			for _, q := range []float64{0.5, 0.9} {
				assert.InEpsilon(t, quantile(truth, q), quantile(before, q), 0.15, "p%g of the time before the server saw it", 100*q)
			}
		})
	}
}

// TestPairsAreAsManyAsCanBe holds the two claims against every way to pair a few
// requests: there is no larger set, and a pair is sure if and only if every set of
// pairs of the same served requests has it.
func TestPairsAreAsManyAsCanBe(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	trace := bundle.Window{StartNS: 0, EndNS: 1 << 40}
	sure, all := 0, 0
	for range 4000 {
		var client []latency.Request
		var served []requests.Span
		at := func(from, n int64) int64 { return from + r.Int64N(n)*ms }
		for range 1 + r.IntN(5) {
			start := at(ms, 12)
			client = append(client, latency.Request{StartNS: start, EndNS: at(start, 12)})
		}
		for range 1 + r.IntN(5) {
			start := at(ms, 12)
			answered := at(start, 10)
			served = append(served, requests.Span{StartNS: start, AnsweredNS: answered, EndNS: answered + ms})
		}
		got := pairs.Of(client, served, trace, nil)
		most := 0
		var sets [][]int // of each served its client; -1: none
		var try func(of []int, taken int, n int)
		try = func(of []int, taken, n int) {
			if len(of) == len(served) {
				if n > most {
					most, sets = n, nil
				}
				if n == most {
					sets = append(sets, slices.Clone(of))
				}
				return
			}
			s := served[len(of)]
			try(append(of, -1), taken, n)
			for c, x := range client {
				if taken&(1<<c) == 0 && x.StartNS <= s.StartNS && x.EndNS >= s.AnsweredNS {
					try(append(of, c), taken|1<<c, n+1)
				}
			}
		}
		try(nil, 0, 0)
		require.Len(t, got, most, "%v %v", client, served)
		paired := make([]bool, len(served))
		for _, p := range got {
			paired[p.Served] = true
		}
		for _, p := range got {
			always := true
			for _, of := range sets {
				same := true
				for s, c := range of {
					same = same && (c >= 0) == paired[s]
				}
				always = always && (!same || of[p.Served] == p.Client)
			}
			require.Equal(t, always, p.Sure, "%v of %v in %v %v", p, got, client, served)
			all++
			if p.Sure {
				sure++
			}
		}
	}
	assert.Greater(t, sure, all/10)
	assert.Less(t, sure, all*9/10)
}

func TestWhatIsLeftOut(t *testing.T) {
	trace := bundle.Window{StartNS: 100 * ms, EndNS: 200 * ms}
	client := []latency.Request{
		{StartNS: 10 * ms, EndNS: 20 * ms},                     // outside
		{StartNS: 10 * ms, EndNS: 300 * ms},                    // throughout
		{StartNS: 110 * ms, EndNS: 150 * ms, NoResponse: true}, // given up
		{StartNS: 50 * ms, EndNS: 120 * ms},
		{StartNS: 150 * ms, EndNS: 250 * ms},
	}
	served := []requests.Span{
		{StartNS: 100 * ms, EndNS: 200 * ms, CutStart: true, CutEnd: true},
		{StartNS: 111 * ms, AnsweredNS: 112 * ms, EndNS: 113 * ms},
		{StartNS: 100 * ms, AnsweredNS: 119 * ms, EndNS: 121 * ms, CutStart: true},
		{StartNS: 151 * ms, AnsweredNS: 152 * ms, EndNS: 200 * ms, CutEnd: true}, // that was not the last of it
	}
	assert.Equal(t, []pairs.Pair{{3, 2, true}, {4, 3, true}}, pairs.Of(client, served, trace, nil))
	assert.Empty(t, pairs.Of(nil, served, trace, nil))
	assert.Empty(t, pairs.Of(client, nil, trace, nil))
	// On connections: another client's is nobody's.
	for i := range client {
		client[i].Local = fmt.Sprint("c", i)
	}
	served[2].Goroutine, served[3].Goroutine = 7, 8
	assert.Equal(t, []pairs.Pair{{3, 2, true}}, pairs.Of(client, served, trace, map[int64]string{7: "c3", 8: "other"}))
}

func BenchmarkOf(b *testing.B) {
	x := shape{20000, func(r *rand.Rand) float64 { return 0.5 * r.Float64() }, 2e-4, 1e-4, 25, 0}.make()
	b.ReportMetric(float64(len(x.served)), "requests")
	for b.Loop() {
		pairs.Of(x.client, x.served, x.trace, nil)
	}
}
