package ebpf

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"chokepoint/bpf"
	"chokepoint/harness/bundle"
	"chokepoint/harness/clock"
	"chokepoint/harness/procfs"
)

const (
	// While the kernel keeps statistics a run of a program takes 70 to 280 ns
	// longer, which was measured and is most of what a system call then costs. They are kept for
	// a twentieth of the time, in moments that come at random, so that they do not
	// keep step with what the target does.
	momentOn  = 20 * time.Millisecond
	momentOff = 380 * time.Millisecond // on average
	// firstWithin is when the first of them comes at the latest.
	firstWithin = 200 * time.Millisecond

	// othersFor is how long runs for other processes are measured before the load,
	// and othersLeast how many there must be.
	othersFor   = 10 * time.Millisecond
	othersLeast = 50
)

// metered is a program whose cost is known.
type metered struct {
	name    string
	program *ebpf.Program
	hook    HookKind
}

// metered lists the programs of a probe that are loaded, by name.
func (p *programs) metered() []metered {
	if p.coll == nil {
		return nil
	}
	var list []metered
	for name, program := range p.coll.Programs {
		list = append(list, metered{name, program, p.hooks[name]})
	}
	slices.SortFunc(list, func(a, b metered) int { return strings.Compare(a.name, b.name) })
	return list
}

// A probe is asked for its programs, and how often each ran for the target inside
// the window, by program. Programs it does not name have no such count.
type (
	hasPrograms   interface{ metered() []metered }
	hasTargetRuns interface {
		targetRuns() (map[string]int64, error)
	}
)

// meter measures what the programs of all probes cost the target.
type meter struct {
	pid      int
	hooks    HookCosts
	programs []*reading

	cpu        time.Duration // of the target when the window opened, then over the window
	window     bundle.Window
	statistics time.Duration // for which they were kept
	err        error         // why nothing is known

	stopping chan struct{}
	once     sync.Once // closes stopping
	ended    sync.WaitGroup
}

// reading is what the statistics say of one program.
type reading struct {
	metered
	slot    *slot
	runs    uint64
	ns      time.Duration
	otherNS float64 // a run for another process; 0: not known

	before ebpf.ProgramStats // at the beginning of a moment
}

// newMeter measures the hooks of the loaded programs, unless their costs are
// given, and what a run costs that is not for the target. It comes before the load.
func newMeter(ctx context.Context, pid int, slots []*slot, hooks HookCosts) *meter {
	m := &meter{pid: pid, hooks: hooks, stopping: make(chan struct{})}
	var kinds []HookKind
	for _, s := range slots {
		probe, ok := s.probe.(hasPrograms)
		if s.lost != nil || !ok {
			continue
		}
		for _, p := range probe.metered() {
			m.programs = append(m.programs, &reading{metered: p, slot: s})
			if p.hook != HookUnknown && !slices.Contains(kinds, p.hook) {
				kinds = append(kinds, p.hook)
			}
		}
	}
	if m.hooks == nil {
		m.hooks = MeasureHooks(ctx, kinds...)
	}
	m.err = m.measureOthers(ctx)
	return m
}

// measureOthers has this process, which no program is for, run into what it can.
func (m *meter) measureOthers(ctx context.Context) error {
	return m.moment(func() {
		for began := time.Now(); time.Since(began) < othersFor && ctx.Err() == nil; {
			for range 100 {
				unix.Getppid()
			}
			_ = unix.Nanosleep(&unix.Timespec{Nsec: 20_000}, nil) // for the scheduler's programs
		}
	}, func(r *reading, runs uint64, ns time.Duration) {
		if runs >= othersLeast {
			r.otherNS = m.net(r.hook, runs, ns) / float64(runs)
		}
	})
}

// net is a time by the statistics without what they make of an empty program.
func (m *meter) net(k HookKind, runs uint64, ns time.Duration) float64 {
	return max(0, float64(ns)-float64(runs)*m.hooks[k].EmptyNS)
}

// moment keeps statistics while do lasts, and tells what they say of each program.
func (m *meter) moment(do func(), tell func(r *reading, runs uint64, ns time.Duration)) error {
	return withStatistics(func() error {
		read := func(to func(*reading, ebpf.ProgramStats)) error {
			for _, r := range m.programs {
				s, err := r.program.Stats()
				if err != nil {
					return fmt.Errorf("read the statistics of program %s: %w", r.name, err)
				}
				to(r, *s)
			}
			return nil
		}
		if err := read(func(r *reading, s ebpf.ProgramStats) { r.before = s }); err != nil {
			return err
		}
		do()
		return read(func(r *reading, s ebpf.ProgramStats) {
			tell(r, s.RunCount-r.before.RunCount, s.Runtime-r.before.Runtime)
		})
	})
}

// start begins to measure.
func (m *meter) start() {
	if m == nil || m.err != nil {
		return
	}
	m.window.StartNS = clock.MonoNS()
	if m.cpu, m.err = procfs.CPU(m.pid); m.err != nil {
		return
	}
	m.ended.Go(func() {
		next := rand.N(firstWithin)
		for m.err == nil && m.wait(next) {
			m.err = m.measure()
			next = rand.N(2 * momentOff)
		}
	})
}

func (m *meter) measure() error {
	var lasted time.Duration
	err := m.moment(func() {
		began := time.Now()
		m.wait(momentOn)
		lasted = time.Since(began)
	}, func(r *reading, runs uint64, ns time.Duration) {
		r.runs += runs
		r.ns += ns
	})
	m.statistics += lasted
	return err
}

// wait is false when the window has ended meanwhile.
func (m *meter) wait(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-m.stopping:
		return false
	}
}

// stop ends what start began. It is safe to call twice.
func (m *meter) stop() {
	if m != nil {
		m.once.Do(m.end)
	}
}

func (m *meter) end() {
	close(m.stopping)
	m.ended.Wait()
	if m.err != nil || m.window.StartNS == 0 {
		return
	}
	m.window.EndNS = clock.MonoNS()
	cpu, err := procfs.CPU(m.pid)
	switch {
	case err != nil:
		m.err = err
	case m.statistics == 0:
		m.err = errors.New("the window was too short")
	}
	m.cpu = cpu - m.cpu
}

// cost is what the programs of one probe cost the target.
func (m *meter) cost(s *slot) (*bundle.ProbeCost, error) {
	if m == nil {
		return nil, nil
	}
	if m.err != nil {
		return nil, m.err
	}
	var counted map[string]int64
	if p, ok := s.probe.(hasTargetRuns); ok {
		var err error
		if counted, err = p.targetRuns(); err != nil {
			return nil, err
		}
	}
	c := &bundle.ProbeCost{TargetCPUNS: int64(m.cpu), StatisticsNS: int64(m.statistics)}
	for _, r := range m.programs {
		if r.slot != s {
			continue
		}
		runs, exact := counted[r.name]
		if !exact {
			runs = -1
		}
		p, notes := m.program(r, runs)
		c.Programs = append(c.Programs, p)
		for _, note := range notes {
			if !slices.Contains(c.Notes, note) {
				c.Notes = append(c.Notes, note)
			}
		}
		c.Runs += p.Runs
		c.ProgramNS += p.ProgramNS
		c.TargetRuns += p.TargetRuns
		c.TargetProgramNS += p.TargetProgramNS
		c.TargetHookNS += p.TargetHookNS
		c.TargetStatisticsNS += p.TargetStatisticsNS
	}
	if len(c.Programs) == 0 {
		return nil, nil
	}
	if m.cpu > 0 {
		c.TargetShare = float64(c.TargetProgramNS+c.TargetHookNS+c.TargetStatisticsNS) / float64(m.cpu)
	}
	return c, nil
}

// program is what one program cost. counted is how often it ran for the target;
// below 0 where nobody counted.
func (m *meter) program(r *reading, counted int64) (p bundle.ProgramCost, notes []string) {
	h := m.hooks[r.hook]
	whole := float64(m.window.Duration()) / float64(m.statistics)
	p = bundle.ProgramCost{
		Name: r.name, Hook: string(r.hook),
		Runs: round(float64(r.runs) * whole), ProgramNS: round(m.net(r.hook, r.runs, r.ns) * whole),
		HookNSPerRun: h.NS, HookNSPerRunQ1: h.Q1, HookNSPerRunQ3: h.Q3, OtherNSPerRun: r.otherNS,
	}
	p.TargetRuns = counted
	if counted < 0 {
		p.TargetRuns = p.Runs
		if r.hook != HookUprobe && p.Runs > 0 { // a uprobe is in the target's memory alone
			notes = append(notes, "all runs of "+r.name+" count as the target's, for it does not tell them apart")
		}
	}
	p.TargetProgramNS = round(float64(p.ProgramNS) - r.otherNS*float64(max(0, p.Runs-p.TargetRuns)))
	if p.TargetRuns == 0 {
		p.TargetProgramNS = 0
	}
	p.TargetHookNS = round(h.NS * float64(p.TargetRuns))
	p.TargetStatisticsNS = round(h.StatisticsNS * float64(p.TargetRuns) / whole)
	switch {
	case r.hook == HookUnknown:
		notes = append(notes, "what the hook of "+r.name+" costs is not known and not in the figures")
	case h.Err != nil:
		notes = append(notes, "what hooks cost is not in the figures: "+h.Err.Error())
	}
	return p, notes
}

// round is the nearest count; below 0, which is noise, it is 0.
func round(v float64) int64 { return int64(max(0, math.Round(v))) }

// targetRuns of the two ends of a system call: the calls that were counted.
func (p *syscallsProbe) targetRuns() (map[string]int64, error) {
	calls, err := p.calls()
	return map[string]int64{
		bpf.SyscallsProgChokepointSysEnter: int64(calls),
		bpf.SyscallsProgChokepointSysExit:  int64(calls),
	}, err
}

// targetRuns of the scheduler's programs. A switch away from a thread of the target
// is counted, and is followed by one back to it; a switch between two of its
// threads, which is both, counts twice. The half that the idle CPU runs costs the
// target nothing, so that this is the most it can be.
func (p *schedProbe) targetRuns() (map[string]int64, error) {
	each, err := p.cpus()
	if err != nil {
		return nil, err
	}
	var switches, wakeups, migrations uint64
	for _, cpu := range each {
		switches += cpu.Totals.Switches
		wakeups += cpu.Totals.Wakeups
		migrations += cpu.Totals.Migrations
	}
	return map[string]int64{
		bpf.SchedProgChokepointSchedSwitch:    2 * int64(switches),
		bpf.SchedProgChokepointSchedWakeup:    int64(wakeups),
		bpf.SchedProgChokepointSchedWakeupNew: 0, // with the others
		bpf.SchedProgChokepointSchedMigrate:   int64(migrations),
	}, nil
}

// targetRuns of the sampling clock: the samples that were taken.
func (p *onCPUProbe) targetRuns() (map[string]int64, error) {
	samples, err := p.eventsInWindow()
	return map[string]int64{bpf.OnCPUProgChokepointOncpu: samples}, err
}

// eventsInWindow is how much was recorded.
func (p *programs) eventsInWindow() (int64, error) {
	c, err := p.counters()
	if err != nil {
		return 0, err
	}
	n := c[bpf.SyscallsCounterCOUNTER_EVENTS]
	if p.base != nil {
		n -= p.base[bpf.SyscallsCounterCOUNTER_EVENTS]
	}
	return int64(n), nil
}

// targetRuns of the network's programs: what they counted as the target's. Changes
// of state are estimated from the connections opened: two for each beside its
// outcome.
func (p *netProbe) targetRuns() (map[string]int64, error) {
	t, err := p.readTotals()
	if err != nil {
		return nil, err
	}
	tallies, err := p.readTallies()
	if err != nil {
		return nil, err
	}
	failed := func(kind bpf.NetTallyKind) (n int64) {
		for _, times := range tallies[kind] {
			n += times
		}
		return n
	}
	changes := 2*(t.Connects+t.Incoming) + t.Connected + t.ConnectsFailed
	accepts := int64(t.Accepts) + failed(bpf.NetTallyKindTALLY_ACCEPT_ERROR)
	return map[string]int64{
		bpf.NetProgChokepointNetSend:          int64(t.Sends+t.SendsBlocked) + failed(bpf.NetTallyKindTALLY_SEND_ERROR),
		bpf.NetProgChokepointNetAccept4:       accepts,
		bpf.NetProgChokepointNetState:         int64(changes),
		bpf.NetProgChokepointNetRetransmit:    int64(t.Retransmits[0]),
		bpf.NetProgChokepointNetSynack:        int64(t.SynackRetransmits[0]),
		bpf.NetProgChokepointNetResetSent:     int64(t.ResetsSent[0]),
		bpf.NetProgChokepointNetResetReceived: int64(t.ResetsReceived[0]),
		bpf.NetProgChokepointNetDrop:          int64(t.Drops[0]),
	}, nil
}
