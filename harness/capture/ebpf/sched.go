package ebpf

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/google/pprof/profile"

	"chokepoint/bpf"
	"chokepoint/harness/bundle"
)

// schedProbe reads bpf/sched.bpf.c.
type schedProbe struct {
	programs
	cuts *ring[bpf.SchedCut]
}

func (p *schedProbe) name() string { return Sched }

func (p *schedProbe) load(s subject) error {
	spec, err := bpf.LoadSched()
	if err != nil {
		return err
	}
	if err := p.programs.load(spec, s, bpf.SchedProgChokepointSchedMigrate); err != nil {
		return err
	}
	if p.cuts, err = newRing(p.coll.Maps["cuts"], decodeCut); err != nil {
		return err
	}
	return p.attachTracing()
}

func (p *schedProbe) close() error {
	return errors.Join(p.detach(), p.cuts.close(), p.programs.close())
}

func decodeCut(raw []byte) (c bpf.SchedCut, err error) {
	_, err = binary.Decode(raw, binary.NativeEndian, &c)
	return c, err
}

// events is how many switches were counted until now.
func (p *schedProbe) events() uint64 {
	if p.coll == nil {
		return 0
	}
	each, err := p.cpus()
	if err != nil {
		return 0
	}
	var n uint64
	for _, cpu := range each {
		n += cpu.Totals.Switches
	}
	return n
}

func (p *schedProbe) status() string { return thousands(p.events()) + " switches" }

func (p *schedProbe) write(ctx context.Context, w *bundle.Writer, window bundle.Window, img *image) (result, error) {
	var res result
	res.notes = p.notes
	var err error
	if res.lost, err = p.lost(); err != nil {
		return res, err
	}
	stacks, err := p.stackReader()
	if err != nil {
		return res, err
	}
	s := &schedReading{window: window, img: img, stacks: stacks,
		off: newProfile(delay()), queue: newProfile(delay()),
		doc: bundle.Sched{OffCPUNS: map[string]int64{}}}
	for _, read := range []func(*schedReading) error{p.readCPUs, p.readWaits, p.readEnded, p.closeThreads} {
		if err := read(s); err != nil {
			return res, err
		}
	}
	s.doc.RunQueueLog2NS = trimZeros(s.doc.RunQueueLog2NS)
	if s.unseenCPUs > 0 {
		// Nothing was switched there since attaching: idle, or held by one thread.
		res.lose("cpus_without_switch", int64(s.unseenCPUs))
	}
	if err := w.WriteJSON(bundle.EBPFSched, s.doc); err != nil {
		return res, err
	}
	res.artifacts = append(res.artifacts, bundle.EBPFSched)
	for _, out := range []struct {
		path string
		prof *profileBuilder
	}{{bundle.EBPFOffCPUProfile, s.off}, {bundle.EBPFRunQueueProfile, s.queue}} {
		if err := writeProfile(ctx, w, out.path, out.prof, window, img, &kernelSymbols{}); err != nil {
			return res, err
		}
		res.artifacts = append(res.artifacts, out.path)
	}
	return res, p.writeCuts(w, s, &res)
}

// writeCuts writes the intervals in which a goroutine had a thread and that no CPU.
func (p *schedProbe) writeCuts(w *bundle.Writer, s *schedReading, res *result) error {
	p.cuts.end()
	if err := p.cuts.tell(res); err != nil {
		return err
	}
	if s.img.noGoID != nil {
		res.notes = append(res.notes, fmt.Sprintf("goroutines are not known: %v", s.img.noGoID))
		return nil
	}
	stacks := newStackTable(s.stacks, s.img)
	doc := bundle.Cuts{Intervals: []bundle.Cut{}}
	for _, e := range p.cuts.events {
		c := bundle.Cut{
			LeftNS: int64(e.Left), WokenNS: int64(e.Woken), BackNS: int64(e.Back),
			GoID: int64(e.Goid), TID: int(e.Tid), State: stateName(bpf.SchedState(e.State)), Stack: stacks.index(e.Stack, e.Caller),
		}
		if bpf.SchedState(e.State) != bpf.SchedStateSTATE_RUNNABLE && e.Nr != noSyscall {
			c.Syscall = syscallName(e.Nr)
		}
		doc.Intervals = append(doc.Intervals, c)
	}
	slices.SortFunc(doc.Intervals, func(a, b bundle.Cut) int {
		return cmp.Or(cmp.Compare(a.LeftNS, b.LeftNS), cmp.Compare(a.TID, b.TID))
	})
	doc.Stacks = stacks.frames
	if err := writeCompact(w, bundle.EBPFCuts, doc); err != nil {
		return err
	}
	res.artifacts = append(res.artifacts, bundle.EBPFCuts)
	return nil
}

// noSyscall is what the kernel keeps for the number of the system call of a thread
// that is in none.
const noSyscall = 1<<32 - 1

func delay() *profile.ValueType { return &profile.ValueType{Type: "delay", Unit: "nanoseconds"} }

// schedReading is what the maps say, as it is put together.
type schedReading struct {
	window     bundle.Window
	img        *image
	stacks     *stackReader
	off, queue *profileBuilder
	doc        bundle.Sched
	unseenCPUs int
}

// open is how much of an interval that had not ended lies inside the window.
func (s *schedReading) open(since uint64) int64 {
	if since == 0 {
		return 0
	}
	return max(0, s.window.EndNS-max(s.window.StartNS, int64(since)))
}

// wait gives off-CPU or run queue time to a stack.
func (s *schedReading) wait(state bpf.SchedState, stack int32, caller uint64, ns int64) {
	r := s.stacks.userRow(stack, caller, s.img)
	r.values = []int64{ns}
	if state == bpf.SchedStateSTATE_RUNNABLE {
		s.queue.add(r)
		return
	}
	r.labels = []label{{key: "state", value: stateName(state)}}
	s.off.add(r)
}

// readCPUs is what the CPUs did, and what was counted on each.
func (p *schedProbe) readCPUs(s *schedReading) error {
	online, err := onlineCPUs()
	if err != nil {
		return err
	}
	s.doc.CPUs = len(online)
	each, err := p.cpus()
	if err != nil {
		return err
	}
	s.addTotals(each)
	for _, n := range online {
		if n >= len(each) {
			continue
		}
		cpu := each[n]
		if cpu.Holder == uint32(bpf.SchedHolderHOLDER_UNKNOWN) {
			s.unseenCPUs++
			s.doc.UnknownNS += int64(s.window.Duration())
		} else if int(cpu.Holder) < len(cpu.Ns) {
			cpu.Ns[cpu.Holder] += uint64(s.open(cpu.Since))
		}
		s.doc.IdleNS += int64(cpu.Ns[bpf.SchedHolderHOLDER_IDLE])
		s.doc.TargetOnCPUNS += int64(cpu.Ns[bpf.SchedHolderHOLDER_TARGET])
		s.doc.OtherOnCPUNS += int64(cpu.Ns[bpf.SchedHolderHOLDER_OTHER])
		s.doc.UnknownNS += int64(cpu.Ns[bpf.SchedHolderHOLDER_UNKNOWN])
	}
	return nil
}

// cpus is what each possible CPU counted.
func (p *schedProbe) cpus() ([]bpf.SchedCpu, error) {
	var each []bpf.SchedCpu
	if err := p.coll.Maps["cpus"].Lookup(uint32(0), &each); err != nil {
		return nil, fmt.Errorf("read what CPUs counted: %w", err)
	}
	return each, nil
}

// addTotals adds up what CPUs counted, and what they had put by when the window ended.
func (s *schedReading) addTotals(each []bpf.SchedCpu) {
	s.doc.RunQueueLog2NS = make([]int64, len(each[0].Totals.RunQueueLog2Ns))
	for _, cpu := range each {
		t := cpu.Totals
		s.doc.Switches += int64(t.Switches)
		s.doc.Wakeups += int64(t.Wakeups)
		s.doc.Migrations += int64(t.Migrations)
		s.doc.Threads += int(t.Threads)
		s.doc.RunQueueNS += int64(t.RunQueueNs)
		for slot, n := range t.RunQueueLog2Ns {
			s.doc.RunQueueLog2NS[slot] += int64(n)
		}
		for state, ns := range t.OffNs {
			if ns > 0 {
				s.doc.OffCPUNS[stateName(bpf.SchedState(state))] += int64(ns)
			}
		}
		if late := cpu.Preempted; late.Sum.Times > 0 {
			s.wait(bpf.SchedStateSTATE_RUNNABLE, late.Last.Stack, late.Last.Caller, int64(late.Sum.Ns))
		}
		for _, late := range cpu.Idle {
			if late.Asleep.Times > 0 {
				s.wait(bpf.SchedStateSTATE_SLEEP, late.Stack, late.Caller, int64(late.Asleep.Ns))
			}
			if late.Queued.Times > 0 {
				s.wait(bpf.SchedStateSTATE_RUNNABLE, late.Stack, late.Caller, int64(late.Queued.Ns))
			}
		}
	}
}

func (p *schedProbe) readWaits(s *schedReading) error {
	var key bpf.SchedWaitKey
	var each []bpf.SchedWaitValue
	entries := p.coll.Maps["waits"].Iterate()
	for entries.Next(&key, &each) {
		var ns uint64
		for _, cpu := range each {
			ns += cpu.Ns
		}
		s.wait(bpf.SchedState(key.State), key.Stack, key.Caller, int64(ns))
	}
	if err := entries.Err(); err != nil {
		return fmt.Errorf("read waits: %w", err)
	}
	return nil
}

// readEnded is what threads did that are no more.
func (p *schedProbe) readEnded(s *schedReading) error {
	var each []bpf.SchedThreadSums
	if err := p.coll.Maps["ended"].Lookup(uint32(0), &each); err != nil {
		return fmt.Errorf("read ended threads: %w", err)
	}
	var ended bundle.ThreadTimes
	for _, cpu := range each {
		addTimes(&ended, cpu)
	}
	if ended != (bundle.ThreadTimes{}) {
		s.doc.ByThread = append(s.doc.ByThread, ended)
	}
	return nil
}

func addTimes(t *bundle.ThreadTimes, sums bpf.SchedThreadSums) {
	t.OnCPUNS += int64(sums.OnCpuNs)
	t.RunQueueNS += int64(sums.RunQueueNs)
	t.OffCPUNS += int64(sums.OffNs)
	t.Switches += int64(sums.Switches)
	t.Wakeups += int64(sums.Wakeups)
	t.Migrations += int64(sums.Migrations)
}

// eachThread gives every thread that is known.
func (p *schedProbe) eachThread(do func(bpf.SchedThread)) error {
	array := p.coll.Maps["threads"]
	places := make([]uint32, array.MaxEntries())
	threads := make([]bpf.SchedThread, len(places))
	n, err := array.BatchLookup(new(ebpf.MapBatchCursor), places, threads, nil)
	if err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) { // which is how it says that this was all
		return fmt.Errorf("read threads: %w", err)
	}
	for _, t := range threads[:n] {
		if t.Tid != 0 {
			do(t)
		}
	}
	var tid uint32
	var t bpf.SchedThread
	entries := p.coll.Maps["others"].Iterate()
	for entries.Next(&tid, &t) {
		do(t)
	}
	if err := entries.Err(); err != nil {
		return fmt.Errorf("read threads: %w", err)
	}
	return nil
}

// closeThreads counts what threads were still doing when the window ended.
func (p *schedProbe) closeThreads(s *schedReading) error {
	err := p.eachThread(func(t bpf.SchedThread) {
		times := bundle.ThreadTimes{TID: int(t.Tid)}
		addTimes(&times, t.Sums)
		s.close(t, &times)
		if times != (bundle.ThreadTimes{TID: int(t.Tid)}) {
			s.doc.ByThread = append(s.doc.ByThread, times)
		}
	})
	if err != nil {
		return err
	}
	slices.SortFunc(s.doc.ByThread, func(a, b bundle.ThreadTimes) int {
		return cmp.Or(cmp.Compare(b.OnCPUNS, a.OnCPUNS), cmp.Compare(b.OffCPUNS, a.OffCPUNS), cmp.Compare(a.TID, b.TID))
	})
	return nil
}

// close ends the interval that a thread was in.
func (s *schedReading) close(t bpf.SchedThread, times *bundle.ThreadTimes) {
	ns := s.open(t.Since)
	state := bpf.SchedState(t.State)
	switch {
	case ns == 0:
		return
	case state == bpf.SchedStateSTATE_ON_CPU:
		times.OnCPUNS += ns
		if t.Ran == 0 {
			s.doc.Threads++ // it ran through the window without a switch
		}
		return
	case state == bpf.SchedStateSTATE_RUNNABLE:
		times.RunQueueNS += ns
		s.doc.RunQueueNS += ns
		s.doc.RunQueueLog2NS[min(log2(ns), len(s.doc.RunQueueLog2NS)-1)]++
	default:
		times.OffCPUNS += ns
		s.doc.OffCPUNS[stateName(state)] += ns
	}
	s.wait(state, t.Stack, t.Caller, ns)
}

// log2 is the slot of a histogram by powers of two that n belongs to.
func log2(n int64) int {
	slot := 0
	for n > 1 {
		n >>= 1
		slot++
	}
	return slot
}

func stateName(s bpf.SchedState) string {
	switch s {
	case bpf.SchedStateSTATE_RUNNABLE:
		return "runnable"
	case bpf.SchedStateSTATE_SLEEP:
		return "sleep"
	case bpf.SchedStateSTATE_DISK:
		return "disk"
	case bpf.SchedStateSTATE_STOPPED:
		return "stopped"
	}
	return "other"
}

// onlineCPUs is the numbers of the CPUs in use.
func onlineCPUs() ([]int, error) {
	const path = "/sys/devices/system/cpu/online"
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("which CPUs are online: %w", err)
	}
	cpus, err := parseCPUList(strings.TrimSpace(string(data)))
	if err != nil {
		return nil, fmt.Errorf("which CPUs are online: %s: %w", path, err)
	}
	return cpus, nil
}

// parseCPUList reads "0-3,8".
func parseCPUList(s string) ([]int, error) {
	const most = 1 << 16 // beyond any kernel's NR_CPUS
	var cpus []int
	for part := range strings.SplitSeq(s, ",") {
		from, to, isRange := strings.Cut(part, "-")
		first, err := strconv.Atoi(from)
		last := first
		if err == nil && isRange {
			last, err = strconv.Atoi(to)
		}
		if err != nil || first < 0 || last < first || last >= most {
			return nil, fmt.Errorf("%q is no list of CPUs", s)
		}
		for n := first; n <= last; n++ {
			cpus = append(cpus, n)
		}
	}
	return cpus, nil
}
