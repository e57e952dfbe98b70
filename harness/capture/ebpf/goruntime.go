package ebpf

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/google/pprof/profile"

	"chokepoint/bpf"
	target "chokepoint/harness/binary"
	"chokepoint/harness/bundle"
)

// goRuntimeProbe reads bpf/goruntime.bpf.c.
type goRuntimeProbe struct {
	programs
	seen    map[string]bool   // by runtimePoint.what
	missing map[string]string // the same, with the reason
	reasons []string          // texts by number; empty when not known
}

// runtimePoint is a function of the Go runtime that tells something.
type runtimePoint struct {
	what      string   // name in bundle.GoRuntime.Counts
	functions []string // that tell it, best first; names differ between Go versions
	program   string
	returns   bool // on the returns, not at the start
	counts    bpf.GoRuntimeHappening
}

// longDelay is the program's LONG_DELAY_NS.
const longDelay = 100 * time.Microsecond

// The names that other parts of the reading depend on.
const (
	goParked       = "goroutines_parked"
	goReady        = "goroutines_ready"
	goReadyNetwork = "goroutines_ready_network"
	goRun          = "goroutines_run"
	goRunUnready   = "goroutines_run_unready"
	goLockSlow     = "mutex_lock_slow"
	goLocked       = "mutex_locked" // not in the artifact: it is LockSlow's count
)

func runtimePoints() []runtimePoint {
	const count = bpf.GoRuntimeProgChokepointHappens
	lockSlow := []string{"internal/sync.(*Mutex).lockSlow", "sync.(*Mutex).lockSlow"} // since 1.24; before
	return []runtimePoint{
		{goRun, []string{"runtime.execute"}, bpf.GoRuntimeProgChokepointExecute, false, bpf.GoRuntimeHappeningHAPPENING_RUN},
		{goReady, []string{"runtime.ready"}, bpf.GoRuntimeProgChokepointReady, false, bpf.GoRuntimeHappeningHAPPENING_READY},
		{goReadyNetwork, []string{"runtime.netpollready"}, bpf.GoRuntimeProgChokepointNetpollready, false, bpf.GoRuntimeHappeningHAPPENING_READY_NETWORK},
		{goParked, []string{"runtime.gopark"}, bpf.GoRuntimeProgChokepointGopark, false, 0},
		// newm may leave the start of the thread to another one; newm1 never does.
		{"threads_started", []string{"runtime.newm1", "runtime.newm"}, count, false, bpf.GoRuntimeHappeningHAPPENING_THREAD},
		// gcStart is called to ask whether a collection is due; this when it begins.
		{"collections_started", []string{"runtime.(*gcControllerState).startCycle"}, count, false, bpf.GoRuntimeHappeningHAPPENING_GC},
		{"finalizers_queued", []string{"runtime.queuefinalizer"}, count, false, bpf.GoRuntimeHappeningHAPPENING_FINALIZER},
		{"cleanups_queued", []string{"runtime.(*cleanupQueue).enqueue"}, count, false, bpf.GoRuntimeHappeningHAPPENING_CLEANUP},
		{"pool_get_slow", []string{"sync.(*Pool).getSlow"}, count, false, bpf.GoRuntimeHappeningHAPPENING_POOL_SLOW},
		{"pool_pin_slow", []string{"sync.(*Pool).pinSlow"}, count, false, bpf.GoRuntimeHappeningHAPPENING_POOL_PIN_SLOW},
		{"pool_misses", []string{"sync.(*Pool).getSlow"}, bpf.GoRuntimeProgChokepointPoolReturns, true, bpf.GoRuntimeHappeningHAPPENING_POOL_MISS},
		{goLocked, lockSlow, bpf.GoRuntimeProgChokepointLocked, true, bpf.GoRuntimeHappeningHAPPENING_LOCKED},
		{goLockSlow, lockSlow, bpf.GoRuntimeProgChokepointLockSlow, false, bpf.GoRuntimeHappeningHAPPENING_LOCK_SLOW},
	}
}

func (p *goRuntimeProbe) name() string { return GoRuntime }

func (p *goRuntimeProbe) load(s subject) error {
	spec, err := bpf.LoadGoRuntime()
	if err != nil {
		return err
	}
	p.seen, p.missing = map[string]bool{}, map[string]string{}
	if s.img != nil && s.img.file != nil {
		rg, wg, err := s.img.file.NetpollWaiters()
		if err != nil {
			p.missing[goReadyNetwork] = err.Error()
		}
		if err := setVariables(spec, map[string]any{"pd_rg": rg, "pd_wg": wg}); err != nil {
			return err
		}
	}
	if err := p.programs.load(spec, s); err != nil {
		return err
	}
	if s.img == nil {
		return p.tryUprobe(p.coll.Programs[bpf.GoRuntimeProgChokepointHappens])
	}
	if s.img.file == nil {
		return fmt.Errorf("%w: %s", errNoProcess, s.img.problem)
	}
	if s.img.file.Build().GoVersion == "" {
		return fmt.Errorf("the target's runtime cannot be watched: %w", target.ErrNotGo)
	}
	for _, point := range runtimePoints() {
		if p.missing[point.what] != "" {
			continue
		}
		if err := p.attach(point, s.img); err != nil {
			p.missing[point.what] = err.Error()
			continue
		}
		p.seen[point.what] = true
	}
	if len(p.seen) == 0 {
		return fmt.Errorf("capability missing: %s", p.missing[goParked])
	}
	if p.reasons, err = s.img.waitReasons(); err != nil {
		p.notes = append(p.notes, fmt.Sprintf("reasons to park have numbers for names: %v", err))
	}
	return nil
}

// waitReasons is the texts of the reasons to park, by number.
func (i *image) waitReasons() ([]string, error) {
	return i.file.WaitReasons(processMemory(i.pid), i.bias)
}

// attach puts a program on the first function of a point that the executable has.
func (p *goRuntimeProbe) attach(point runtimePoint, img *image) error {
	var probes []target.Probe
	var errs []error
	for _, function := range point.functions {
		found, err := img.file.Probes(function)
		if err == nil {
			probes = found
			break
		}
		errs = append(errs, err)
	}
	if probes == nil {
		return errors.Join(errs...)
	}
	var places []place
	for _, probe := range probes {
		if probe.Inlined > 0 {
			p.notes = append(p.notes, fmt.Sprintf("%s: %s is inlined in %d places, and calls there are not seen", point.what, probe.Function, probe.Inlined))
		}
		if !point.returns {
			places = append(places, place{probe.Start, uint64(point.counts)})
			continue
		}
		if len(probe.TailJumps) > 0 || len(probe.Returns) == 0 {
			return fmt.Errorf("%s: %w: not every way out of it is a return", probe.Function, target.ErrUnsafe)
		}
		for _, at := range probe.Returns {
			places = append(places, place{at, uint64(point.counts)})
		}
	}
	return p.attachUprobes(p.coll.Programs[point.program], img, places)
}

func (p *goRuntimeProbe) status() string { return thousands(p.events()) + " runtime events" }

func (p *goRuntimeProbe) write(ctx context.Context, w *bundle.Writer, window bundle.Window, img *image) (result, error) {
	var res result
	var err error
	if res.lost, err = p.lost(); err != nil {
		return res, err
	}
	stacks, err := p.stackReader()
	if err != nil {
		return res, err
	}
	r := &runtimeReading{window: window, img: img, stacks: stacks,
		parks: newProfile(
			&profile.ValueType{Type: "parks", Unit: "count"},
			&profile.ValueType{Type: "delay", Unit: "nanoseconds"},
			&profile.ValueType{Type: "parked", Unit: "nanoseconds"}),
		locks: newProfile(
			&profile.ValueType{Type: "contentions", Unit: "count"},
			&profile.ValueType{Type: "delay", Unit: "nanoseconds"}),
		byReason: map[uint32]*bundle.GoPark{}, doc: bundle.GoRuntime{Counts: map[string]int64{}, Missing: p.missing},
	}
	for _, read := range []func(*runtimeReading) error{p.readCounts, p.readReasons, p.readParks, p.closeParks, p.readLocks, p.closeLocks} {
		if err := read(r); err != nil {
			return res, err
		}
	}
	if r.folded > 0 {
		if res.lost == nil {
			res.lost = map[string]int64{}
		}
		res.lost["goroutines_folded"] = r.folded
	}
	res.notes = slices.Concat(p.notes, p.missingNotes())
	if img.noGoID != nil {
		res.notes = append(res.notes, fmt.Sprintf("samples have no goroutine id: %v", img.noGoID))
	}
	p.finish(r)
	if err := w.WriteJSON(bundle.EBPFGoRuntime, r.doc); err != nil {
		return res, err
	}
	res.artifacts = append(res.artifacts, bundle.EBPFGoRuntime)
	for _, out := range []struct {
		needs, path string
		prof        *profileBuilder
	}{{goParked, bundle.EBPFGoParkProfile, r.parks}, {goLockSlow, bundle.EBPFLockSlowProfile, r.locks}} {
		if !p.seen[out.needs] {
			continue
		}
		if err := writeProfile(ctx, w, out.path, out.prof, window, img, &kernelSymbols{}); err != nil {
			return res, err
		}
		res.artifacts = append(res.artifacts, out.path)
	}
	return res, nil
}

func (p *goRuntimeProbe) missingNotes() (notes []string) {
	for _, what := range slices.Sorted(maps.Keys(p.missing)) {
		notes = append(notes, fmt.Sprintf("capability missing: %s: %s", what, strings.ReplaceAll(p.missing[what], "\n", "; ")))
	}
	return notes
}

// runtimeReading is what the maps say, as it is put together.
type runtimeReading struct {
	window       bundle.Window
	img          *image
	stacks       *stackReader
	parks, locks *profileBuilder
	byReason     map[uint32]*bundle.GoPark
	lock         bundle.GoLocks
	folded       int64
	doc          bundle.GoRuntime
}

// open is how much of an interval that had not ended lies inside the window.
func (r *runtimeReading) open(since uint64) int64 {
	return max(0, r.window.EndNS-max(r.window.StartNS, int64(since)))
}

func (p *goRuntimeProbe) readCounts(r *runtimeReading) error {
	sum := func(which bpf.GoRuntimeHappening) (int64, error) {
		var each []uint64
		if err := p.coll.Maps["happened"].Lookup(uint32(which), &each); err != nil {
			return 0, fmt.Errorf("read runtime counts: %w", err)
		}
		var n uint64
		for _, cpu := range each {
			n += cpu
		}
		return int64(n), nil
	}
	for _, point := range runtimePoints() {
		if !p.seen[point.what] || point.what == goParked || point.what == goLocked {
			continue
		}
		n, err := sum(point.counts)
		if err != nil {
			return err
		}
		r.doc.Counts[point.what] = n
	}
	var err error
	if p.seen[goRun] && p.seen[goParked] {
		if r.doc.Counts[goRunUnready], err = sum(bpf.GoRuntimeHappeningHAPPENING_RUN_UNREADY); err != nil {
			return err
		}
	}
	r.folded, err = sum(bpf.GoRuntimeHappeningHAPPENING_GOROUTINE_FOLDED)
	return err
}

func (r *runtimeReading) reason(number uint32, names []string) *bundle.GoPark {
	if have, ok := r.byReason[number]; ok {
		return have
	}
	p := &bundle.GoPark{Reason: reasonName(number, names), Delay: bundle.GoDelay{Log2NS: make([]int64, len(bpf.GoRuntimeReasonTotals{}.DelayLog2Ns))}}
	r.byReason[number] = p
	return p
}

func reasonName(number uint32, names []string) string {
	switch {
	case int(number) >= len(names):
		return fmt.Sprintf("reason %d", number)
	case names[number] == "":
		return "unknown" // the runtime gives none
	}
	return names[number]
}

func (p *goRuntimeProbe) readReasons(r *runtimeReading) error {
	reasons := p.coll.Maps["reasons"]
	for number := range reasons.MaxEntries() {
		var each []bpf.GoRuntimeReasonTotals
		if err := reasons.Lookup(number, &each); err != nil {
			return fmt.Errorf("read parks by reason: %w", err)
		}
		for _, cpu := range each {
			if cpu.Parks == 0 && cpu.ParkedNs == 0 && cpu.Delays == 0 {
				continue
			}
			sum := r.reason(number, p.reasons)
			sum.Parks += int64(cpu.Parks)
			sum.ParkedNS += int64(cpu.ParkedNs)
			sum.Delay.Count += int64(cpu.Delays)
			sum.Delay.TotalNS += int64(cpu.DelayNs)
			sum.Delay.Over100US += int64(cpu.LongDelays)
			for slot, n := range cpu.DelayLog2Ns {
				sum.Delay.Log2NS[slot] += int64(n)
			}
		}
	}
	return nil
}

// park gives parked time and delay to a stack.
func (p *goRuntimeProbe) park(r *runtimeReading, stack int32, reason uint32, goid uint64, values ...int64) {
	row := r.stacks.userRow(stack, 0, r.img)
	row.exact = true
	row.values = values
	row.labels = append(r.goid(goid), label{key: "reason", value: reasonName(reason, p.reasons)})
	r.parks.add(row)
}

// goid labels a row with its goroutine, where those are known.
func (r *runtimeReading) goid(goid uint64) []label {
	if r.img.noGoID != nil {
		return nil
	}
	return []label{{key: "goid", number: int64(goid), unit: "id"}}
}

func (p *goRuntimeProbe) readParks(r *runtimeReading) error {
	var key bpf.GoRuntimeParkKey
	var each []bpf.GoRuntimeParkValue
	entries := p.coll.Maps["parks"].Iterate()
	for entries.Next(&key, &each) {
		var sum bpf.GoRuntimeParkValue
		for _, cpu := range each {
			sum.Parks += cpu.Parks
			sum.ParkedNs += cpu.ParkedNs
			sum.DelayNs += cpu.DelayNs
		}
		p.park(r, key.Stack, key.Reason, key.Goid, int64(sum.Parks), int64(sum.DelayNs), int64(sum.ParkedNs))
	}
	if err := entries.Err(); err != nil {
		return fmt.Errorf("read parks: %w", err)
	}
	return nil
}

// closeParks counts what goroutines still did when the window ended.
func (p *goRuntimeProbe) closeParks(r *runtimeReading) error {
	var at uint64
	var g bpf.GoRuntimeGoroutine
	entries := p.coll.Maps["goroutines"].Iterate()
	for entries.Next(&at, &g) {
		ns, reason := r.open(g.Since), uint32(g.Reason)
		switch doing := bpf.GoRuntimeDoing(g.Doing); {
		case ns == 0:
		case doing == bpf.GoRuntimeDoingDOING_PARK:
			r.reason(reason, p.reasons).ParkedNS += ns
			p.park(r, g.Stack, reason, g.Goid, 1, 0, ns)
		case doing == bpf.GoRuntimeDoingDOING_READY:
			addDelay(&r.reason(reason, p.reasons).Delay, ns)
			p.park(r, g.Stack, reason, g.Goid, 0, ns, 0)
		}
	}
	if err := entries.Err(); err != nil {
		return fmt.Errorf("read goroutines: %w", err)
	}
	return nil
}

func addDelay(d *bundle.GoDelay, ns int64) {
	d.Count++
	d.TotalNS += ns
	if ns > int64(longDelay) {
		d.Over100US++
	}
	d.Log2NS[min(log2(ns), len(d.Log2NS)-1)]++
}

func (r *runtimeReading) lockSlow(stack int32, goid uint64, times, ns int64) {
	r.lock.Count += times
	r.lock.TotalNS += ns
	row := r.stacks.userRow(stack, 0, r.img)
	row.exact = true
	row.values = []int64{times, ns}
	row.labels = r.goid(goid)
	r.locks.add(row)
}

func (p *goRuntimeProbe) readLocks(r *runtimeReading) error {
	var key bpf.GoRuntimeLockKey
	var each []bpf.GoRuntimeLockValue
	entries := p.coll.Maps["locks"].Iterate()
	for entries.Next(&key, &each) {
		var sum bpf.GoRuntimeLockValue
		for _, cpu := range each {
			sum.Times += cpu.Times
			sum.Ns += cpu.Ns
		}
		r.lockSlow(key.Stack, key.Goid, int64(sum.Times), int64(sum.Ns))
	}
	if err := entries.Err(); err != nil {
		return fmt.Errorf("read slow locks: %w", err)
	}
	return nil
}

// closeLocks counts who still waited for a lock when the window ended.
func (p *goRuntimeProbe) closeLocks(r *runtimeReading) error {
	var at uint64
	var l bpf.GoRuntimeLocking
	entries := p.coll.Maps["lockings"].Iterate()
	for entries.Next(&at, &l) {
		if ns := r.open(l.Since); ns > 0 {
			r.lockSlow(l.Stack, l.Goid, 1, ns)
		}
	}
	if err := entries.Err(); err != nil {
		return fmt.Errorf("read who waits for locks: %w", err)
	}
	return nil
}

// finish puts the parts into the document, those alone that were captured.
func (p *goRuntimeProbe) finish(r *runtimeReading) {
	if p.seen[goParked] {
		var all bundle.GoDelay
		all.Log2NS = make([]int64, len(bpf.GoRuntimeReasonTotals{}.DelayLog2Ns))
		r.doc.Counts[goParked] = 0
		for _, park := range r.byReason {
			r.doc.Counts[goParked] += park.Parks
			all.Count += park.Delay.Count
			all.TotalNS += park.Delay.TotalNS
			all.Over100US += park.Delay.Over100US
			for slot, n := range park.Delay.Log2NS {
				all.Log2NS[slot] += n
			}
			park.Delay.Log2NS = trimZeros(park.Delay.Log2NS)
			r.doc.Parks = append(r.doc.Parks, *park)
		}
		slices.SortFunc(r.doc.Parks, func(a, b bundle.GoPark) int {
			return cmp.Or(cmp.Compare(b.ParkedNS, a.ParkedNS), cmp.Compare(a.Reason, b.Reason))
		})
		if p.seen[goRun] && p.seen[goReady] {
			all.Log2NS = trimZeros(all.Log2NS)
			r.doc.Delay = &all
		}
	}
	if p.seen[goLockSlow] && p.seen[goLocked] {
		r.doc.LockSlow = &r.lock
	}
}
