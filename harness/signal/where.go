package signal

import (
	"cmp"
	"fmt"

	"chokepoint/harness/bundle"
	"chokepoint/harness/signal/gotrace"
	"chokepoint/harness/signal/requests"

	"github.com/google/pprof/profile"
)

// Where says where the time of a recording's requests went.
type Where struct {
	// Source is "requests" of net/http's server, or "tasks" of runtime/trace where
	// there are none; empty where there is neither.
	Source string `json:"source"`
	// Cut says where reading the trace ended early, and why.
	Cut   string         `json:"cut,omitempty"`
	Table requests.Table `json:"table"`
	// Tasks are those of runtime/trace beside the requests; nil for none.
	Tasks     *requests.Table   `json:"tasks,omitempty"`
	Scheduler gotrace.Scheduler `json:"scheduler"`
	Outside   Outside           `json:"outside"`
	Threads   Threads           `json:"threads"`
	BothEnds  BothEnds          `json:"both_ends"`
	Machine   Machine           `json:"machine"`
	Kernel    KernelView        `json:"kernel"`
	// Turns are what requests of all endpoints wait for each other for, longest first.
	Turns []Turn `json:"turns"`
	// Still are goroutines outside of handlers that waited throughout the trace.
	Still []Still `json:"still,omitempty"`

	recorder *requests.Recorder
	want     requests.Want
}

// Profile is the same as a pprof profile, of the requests in Table; nil for none.
func (w *Where) Profile() *profile.Profile { return w.spans(w.recorder.Profile(w.want)) }

// OffCPUProfile is the time of goroutines without a CPU, by reason; nil for none.
func (w *Where) OffCPUProfile() *profile.Profile { return w.spans(w.recorder.OffCPUProfile(w.want)) }

// spans says of which time a profile is.
func (w *Where) spans(p *profile.Profile) *profile.Profile {
	if p != nil {
		p.DurationNanos = w.Table.TraceNS
	}
	return p
}

// Outside is an estimate of the time that requests spent before the server saw
// them and after it had answered: in sockets' queues, on the way and in the
// client. It holds over the whole, and for no single request: by Little's law
// time is as requests in flight, and those the client had in flight and no
// goroutine of the server served were outside.
type Outside struct {
	// Missing says why there is no estimate.
	Missing string `json:"missing,omitempty"`
	// InFlight is the mean number of requests in flight at the client over the
	// load's window, and Served the mean number that the trace saw being served.
	InFlight float64 `json:"in_flight"`
	Served   float64 `json:"served"`
	// Share is the share of the client's request time that was outside; 0 where
	// the two differ by less than they can be told apart.
	Share float64 `json:"share"`
	// What the client saw, in seconds.
	ClientP50 float64 `json:"client_p50"`
	ClientP99 float64 `json:"client_p99"`
}

// Machine is what of the machine's CPUs stood idle, by the kernel's account.
type Machine struct {
	Missing string `json:"missing,omitempty"`
	CPUs    int    `json:"cpus"`
	// MayUse is how many CPUs the process may use at a time: the lesser of
	// GOMAXPROCS and what the kernel allows it. 0: not known.
	MayUse int `json:"may_use"`
	// MayUseFrom says where GOMAXPROCS is from: "runtime", which was asked, or
	// "trace", which has as many Ps. Empty where only the kernel's word is there.
	MayUseFrom string `json:"may_use_from,omitempty"`
	// Source is the artifact that IdleShare is from.
	Source string `json:"source,omitempty"`
	// IdleShare is the share of the machine's CPU time that was idle, and
	// BarredShare the most of it that could not have been the process's, as it may
	// not use that many CPUs: it is 0 for a process that may use all.
	IdleShare   float64 `json:"idle_share"`
	BarredShare float64 `json:"barred_share"`
}

// KernelView says what of the kernel's view of single goroutines there was.
type KernelView struct {
	// CutsMissing says why it is not known when threads lost their CPUs, and
	// SlowMissing why slow system calls are not known.
	CutsMissing string `json:"cuts_missing,omitempty"`
	SlowMissing string `json:"slow_missing,omitempty"`
	// Covered is the share of the trace's length that the cuts were recorded over.
	Covered float64 `json:"covered"`
	// Lost counts events of the cuts that the recording knows it missed.
	Lost map[string]int64 `json:"lost,omitempty"`
}

func (e *evidence) where(endpoint string) (*Where, error) {
	return once(e, "where "+endpoint, func() (*Where, error) {
		s, err := e.trace()
		if err != nil {
			return nil, err
		}
		w := &Where{Cut: cmp.Or(s.Cut, e.endsEarly(s)), Scheduler: s.Scheduler, Threads: e.threads(s), Machine: e.machine(s), Kernel: e.kernelView(s), Turns: e.turns(s), Still: stillStanding(e.program, s)}
		want := requests.Want{Endpoint: endpoint, TraceNS: s.DurationNS(), OffCPU: w.Kernel.CutsMissing == ""}
		w.recorder, w.want = s.Served, want
		w.Table = s.Served.Table(want)
		if endpoint == "" {
			w.Outside = e.outside(s, w.Table)
		} else {
			w.Outside = e.outside(s, s.Served.Table(requests.Want{})) // it is of all
		}
		w.BothEnds = e.bothEnds(s, endpoint, w.Table)
		if s.Tasks.Counts().Requests > 0 {
			tasks := s.Tasks.Table(want)
			w.Tasks = &tasks
		}
		switch {
		case s.Served.Counts().Requests > 0:
			w.Source = "requests"
		case w.Tasks != nil:
			// The program serves by another server than net/http's, and marks its work.
			w.Source, w.recorder, w.Table, w.Tasks = "tasks", s.Tasks, *w.Tasks, nil
		}
		return w, nil
	})
}

func (e *evidence) outside(s *gotrace.Summary, served requests.Table) Outside {
	l, err := e.load()
	if err != nil {
		return Outside{Missing: err.Error()}
	}
	o := Outside{InFlight: l.Reached.InFlightMean, ClientP50: l.LatencySeconds.P50, ClientP99: l.LatencySeconds.P99}
	all, ok := served.Band(requests.All)
	switch {
	case !ok:
		o.Missing = "no requests of a known server in the trace"
	case s.DurationNS() <= 0 || o.InFlight <= 0:
		o.Missing = "load: nothing was in flight"
	default:
		o.Served = float64(all.TotalNS) / float64(s.DurationNS())
		o.Share = max(0, 1-o.Served/o.InFlight)
	}
	return o
}

func (e *evidence) machine(s *gotrace.Summary) Machine {
	m, err := e.idle()
	if err != nil {
		return Machine{Missing: err.Error()}
	}
	procs := e.manifest.Target.GOMAXPROCS
	switch {
	case procs > 0:
		m.MayUseFrom = "runtime"
	case s.Scheduler.Procs > 0:
		procs, m.MayUseFrom = s.Scheduler.Procs, "trace"
	}
	m.MayUse = procs
	if allowed := e.manifest.Target.CPUsAllowed; allowed > 0 && (procs == 0 || allowed < procs) {
		m.MayUse = allowed
	}
	if barred := m.CPUs - m.MayUse; m.MayUse > 0 && barred > 0 {
		m.BarredShare = min(m.IdleShare, share(int64(barred), int64(m.CPUs)))
	}
	return m
}

// idle is how idle the machine was, by its scheduler, else by /proc.
func (e *evidence) idle() (Machine, error) {
	c, err := document[bundle.Sched](e, bundle.DimEBPF, bundle.EBPFSched)
	if err == nil {
		return Machine{
			CPUs: c.CPUs, Source: bundle.EBPFSched,
			IdleShare: idleShare(c, e.span(bundle.EBPFSched)),
		}, nil
	}
	samples, procErr := lines[bundle.ProcSample](e, bundle.DimProc, bundle.ProcSamples)
	if procErr != nil || len(samples) < 2 || e.manifest.Host.CPUs == 0 {
		return Machine{}, err
	}
	first, last := samples[0], samples[len(samples)-1]
	total := last.MachineTotalNS - first.MachineTotalNS
	if total <= 0 {
		return Machine{}, err
	}
	return Machine{
		CPUs: e.manifest.Host.CPUs, Source: bundle.ProcSamples,
		IdleShare: min(1, share(max(0, last.MachineIdleNS-first.MachineIdleNS), total)),
	}, nil
}

func (e *evidence) kernelView(s *gotrace.Summary) KernelView {
	var k KernelView
	if _, err := document[bundle.Cuts](e, bundle.DimEBPF, bundle.EBPFCuts); err != nil {
		k.CutsMissing = err.Error()
	} else {
		k.Covered = 1
		if p, ok := e.manifest.Probe(bundle.EBPFCuts); ok {
			k.Lost = p.Lost
			if p.Window.Duration() > 0 {
				both := min(p.Window.EndNS, s.EndNS) - max(p.Window.StartNS, s.StartNS)
				k.Covered = share(max(0, both), s.DurationNS())
			}
		}
	}
	if _, err := document[bundle.SlowCalls](e, bundle.DimEBPF, bundle.EBPFSlow); err != nil {
		k.SlowMissing = err.Error()
	}
	return k
}

// bandOf is a band of the requests of a bundle.
func (e *evidence) bandOf(name string) (requests.Band, *Where, error) {
	w, err := e.where("")
	if err != nil {
		return requests.Band{}, nil, err
	}
	b, ok := w.Table.Band(name)
	if !ok || b.TotalNS == 0 {
		return requests.Band{}, nil, fmt.Errorf("trace: no requests in it")
	}
	return b, w, nil
}
