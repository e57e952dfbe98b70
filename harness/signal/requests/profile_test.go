package requests

import (
	"bytes"
	"testing"

	"github.com/google/pprof/profile"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"chokepoint/harness/signal/stack"
)

// opened is a profile as go tool pprof gets it.
func opened(t *testing.T, p *profile.Profile) *profile.Profile {
	t.Helper()
	require.NotNil(t, p)
	var buf bytes.Buffer
	require.NoError(t, p.Write(&buf))
	p, err := profile.ParseData(buf.Bytes())
	require.NoError(t, err)
	require.NoError(t, p.CheckValid())
	require.Len(t, p.SampleType, 1)
	assert.Equal(t, "nanoseconds", p.SampleType[0].Unit)
	return p
}

// sumOf adds up the samples that have all of these labels, given as pairs.
func sumOf(p *profile.Profile, labels ...string) (sum int64) {
	for _, s := range p.Sample {
		has := true
		for i := 0; i < len(labels); i += 2 {
			has = has && s.HasLabel(labels[i], labels[i+1])
		}
		if has {
			sum += s.Value[0]
		}
	}
	return sum
}

// agrees holds a profile against the table of the same requests.
func agrees(t *testing.T, tab Table, p *profile.Profile, takes func(Kind) bool) {
	t.Helper()
	for _, b := range tab.Bands {
		of := []string{OfLabel, requestTime}
		if b.Name != All {
			of = append(of, BandLabel, b.Name)
		}
		var taken int64
		for _, k := range b.Kinds {
			want := k.NS
			if !takes(k.Kind) {
				want = 0
			}
			taken += want
			assert.Equal(t, want, sumOf(p, append(of, KindLabel, string(k.Kind))...), "%s in band %s", k.Kind, b.Name)
		}
		assert.Equal(t, taken, sumOf(p, of...), "band %s", b.Name)
	}
	for _, e := range tab.Endpoints {
		var taken int64
		for _, k := range e.Kinds {
			if takes(k.Kind) {
				taken += k.NS
			}
		}
		assert.Equal(t, taken, sumOf(p, OfLabel, requestTime, EndpointLabel, e.Name), e.Name)
	}
}

func anyKind(Kind) bool { return true }

func TestProfilesSumUpToTheTable(t *testing.T) {
	for name, n := range map[string]int{
		"a few, of which each is in several bands": 8,
		"a thousand":                    1000,
		"more than are kept one by one": MaxKept + MaxKept/2,
	} {
		t.Run(name, func(t *testing.T) {
			r, _ := fill(t, n)
			tab := r.Table(Want{})
			p := opened(t, r.Profile(Want{}))
			agrees(t, tab, p, anyKind)
			agrees(t, tab, opened(t, r.OffCPUProfile(Want{})), Kind.OffCPU)
			all, _ := tab.Band(All)
			assert.Equal(t, all.Started.TotalNS, sumOf(p, OfLabel, startedTime))

			if n > MaxKept {
				require.Greater(t, tab.Counts.KeptOneIn, int64(1))
				return
			}
			one := Want{Endpoint: tab.Endpoints[0].Name}
			agrees(t, r.Table(one), opened(t, r.Profile(one)), anyKind)
			agrees(t, r.Table(one), opened(t, r.OffCPUProfile(one)), Kind.OffCPU)
		})
	}
}

// The reasons of the kernel stand beside those of the runtime, and those of
// goroutines that serve no request apart.
func TestOffCPUByReason(t *testing.T) {
	parts := NewParts()
	r := NewRecorder(parts)
	where := stack.Frame{Function: "main.get", File: "a.go", Line: 3}
	add := func(k Kind) PartID {
		return parts.Add(Part{Kind: k, Where: where, Frames: []stack.Frame{where}, Basis: ByStack})
	}
	lock, ran, queued, noP, asleep, call := add(WaitKind(stack.Lock)), add(Running), add(RunQueue), add(Runnable), add(ThreadAsleep), add(Syscall)
	o := r.Begin(0, 1)
	for p, ns := range map[PartID]int64{lock: 50, ran: 20, queued: 10, noP: 8, asleep: 7, call: 5} {
		o.Add(p, ns)
	}
	r.End(o, 100, false)
	r.Other(lock, 1000)
	r.Other(queued, 300)
	r.Other(lock, 0)

	p := opened(t, r.OffCPUProfile(Want{}))
	assert.EqualValues(t, 80, sumOf(p, OfLabel, requestTime))
	assert.EqualValues(t, 10, sumOf(p, OfLabel, requestTime, KindLabel, string(RunQueue), StateLabel, "running"))
	assert.EqualValues(t, 7, sumOf(p, KindLabel, string(ThreadAsleep), StateLabel, "running"))
	assert.EqualValues(t, 8, sumOf(p, KindLabel, string(Runnable), StateLabel, "runnable"))
	assert.EqualValues(t, 5, sumOf(p, KindLabel, string(Syscall), StateLabel, "syscall"))
	assert.EqualValues(t, 1050, sumOf(p, KindLabel, string(stack.Lock), StateLabel, "waiting"))
	assert.Zero(t, sumOf(p, KindLabel, string(Running)))
	assert.EqualValues(t, 1300, sumOf(p, OfLabel, otherTime))
	assert.Zero(t, sumOf(opened(t, r.Profile(Want{})), OfLabel, otherTime), "it is of requests")

	one := opened(t, r.OffCPUProfile(Want{Endpoint: NotSeen}))
	assert.Zero(t, sumOf(one, OfLabel, otherTime), "other goroutines have no endpoint")
	assert.EqualValues(t, 80, sumOf(one))

	idle := NewRecorder(NewParts())
	assert.Nil(t, idle.Profile(Want{}))
	assert.Nil(t, idle.OffCPUProfile(Want{}))
}
