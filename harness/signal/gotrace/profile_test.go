package gotrace

import (
	"bytes"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/pprof/profile"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"chokepoint/harness/bundle"
	"chokepoint/harness/internal/testtrace"
	"chokepoint/harness/signal/requests"
)

// offCPU sums the samples of a profile that have all of these labels, given as pairs.
func offCPU(p *profile.Profile, labels ...string) (ns int64) {
	for _, s := range p.Sample {
		has := true
		for i := 0; i < len(labels); i += 2 {
			has = has && s.HasLabel(labels[i], labels[i+1])
		}
		if has {
			ns += s.Value[0]
		}
	}
	return ns
}

func worker(st *store, turns int) {
	for range turns {
		st.get(2 * time.Millisecond)
		spin(2 * time.Millisecond)
	}
}

// A program that serves no requests has its goroutines' time without a CPU in the
// profile all the same: as much as its account has, and what the kernel adds.
func TestOffCPUWithoutRequests(t *testing.T) {
	var st store
	data := testtrace.Record(t, func() {
		times(3, func(int) { worker(&st, 5) })
	})
	s := read(t, data)
	p := s.Served.OffCPUProfile(requests.Want{})
	require.NoError(t, p.CheckValid())
	var waits int64
	for _, w := range s.Program.Waits {
		waits += w.NS
		assert.Equal(t, s.Program.WaitNS(w.Wait), offCPU(p, requests.KindLabel, string(requests.WaitKind(w.Wait))), w.Wait)
	}
	assert.Equal(t, waits, offCPU(p, requests.StateLabel, "waiting"))
	assert.Equal(t, s.Program.RunnableNS, offCPU(p, requests.StateLabel, "runnable"), "standing still with the world included")
	assert.Equal(t, s.Program.SyscallNS, offCPU(p, requests.StateLabel, "syscall"))
	assert.Zero(t, offCPU(p, requests.StateLabel, "running"), "the kernel was not asked")

	// A goroutine that ran for long, and the kernel knows that it did not.
	at := slices.IndexFunc(s.Scheduler.LongRuns, func(r LongRun) bool { return strings.HasSuffix(r.Where.Function, ".(*store).get") })
	require.GreaterOrEqual(t, at, 0, "%+v", s.Scheduler.LongRuns)
	r := s.Scheduler.LongRuns[at]
	const us = int64(time.Microsecond)
	cuts := &bundle.Cuts{Intervals: []bundle.Cut{
		{GoID: r.Goroutine, LeftNS: r.StartNS + 100*us, BackNS: r.StartNS + 400*us, State: "runnable"},
		{GoID: r.Goroutine, LeftNS: r.StartNS + 500*us, WokenNS: r.StartNS + 600*us, BackNS: r.StartNS + 650*us, State: "disk"},
	}}
	with, err := ReadWith(bytes.NewReader(data), thisProgram, Beside{Kernel: requests.NewKernel(cuts, nil)})
	require.NoError(t, err)
	q := with.Served.OffCPUProfile(requests.Want{})
	assert.Equal(t, 350*us, offCPU(q, requests.KindLabel, string(requests.RunQueue)))
	assert.Equal(t, 100*us, offCPU(q, requests.KindLabel, string(requests.ThreadAsleep)))
	assert.Equal(t, offCPU(p, requests.StateLabel, "waiting"), offCPU(q, requests.StateLabel, "waiting"))
}

// Time of goroutines is in the profile once, whether they serve or not.
func TestOffCPUOfRequestsAndOthers(t *testing.T) {
	var st store
	s := served(t, mux(), plain, func(srv *httptest.Server) {
		times(2, func(i int) {
			if i == 0 {
				worker(&st, 3)
				return
			}
			for range 5 {
				get(t, srv.Client(), srv.URL+"/slow")
			}
		})
	})
	p := s.Served.OffCPUProfile(requests.Want{})
	all := band(t, table(s), requests.All)
	var of int64
	for _, k := range all.Kinds {
		if k.Kind.OffCPU() {
			of += k.NS
		}
	}
	assert.Equal(t, of, offCPU(p, requests.OfLabel, "request"))
	assert.Positive(t, offCPU(p, requests.OfLabel, "no request", requests.KindLabel, "sleep"))
	assert.Zero(t, offCPU(p, requests.OfLabel, "no request", requests.EndpointLabel, pkg+"slowHandler"))
	assert.GreaterOrEqual(t, offCPU(p, requests.OfLabel, "request", requests.KindLabel, "sleep", requests.EndpointLabel, pkg+"slowHandler"), int64(5*time.Millisecond))
}
