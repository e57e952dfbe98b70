// Package ebpf records the kernel's view of the target: its system calls, what
// the scheduler did with its threads, and where they were on the CPU.
//
// What is frequent is aggregated in kernel maps. Two kinds of event reach user
// space one by one: system calls that are slow, and intervals in which a goroutine
// had a thread and the thread no CPU. The programs filter on the target's process first, so that what they
// cost others is one comparison.
//
// Six probes exist. Each one that cannot be had says why and is lost alone.
//
//   - syscalls counts, times and places system calls. A call counts when it
//     began and ended inside the window. User stacks are kept for the calls in
//     stackCalls, and for them alone.
//   - sched gives on-CPU, run queue and off-CPU time, and what the machine's
//     CPUs did meanwhile. Threads that sleep or run from before the window to
//     after its end are counted for the whole of it.
//   - oncpu samples user and kernel stacks with the goroutine's id, 99 times a
//     second on every CPU.
//   - net counts what TCP did with the target's connections: accepts, sends,
//     resets, drops, segments sent again, connections opened and closed, and the
//     queues of its listening sockets.
//   - goruntime watches functions of the Go runtime: parks, scheduling delay, slow
//     ways. Goroutines parked since before attaching are not known until they run.
//   - custom counts and times functions and tracepoints that the scenario names.
//
// The last two put breakpoints into the target, each on an instruction that was
// compared with the file's first; see docs/ebpf.md.
//
// Of quick system calls and of the runtime's idle parking, the first 256 stacks of
// each kind and CPU are walked, and then about 50 a second: sums stay exact, the
// shares of stacks are a sample, and the price does not grow with the rate. Every
// other stack is walked.
//
// Profiles lack no caller that frame pointers lack: the assembly that enters
// the kernel has no frame, so its caller is taken from the stack's top word,
// after checking in the machine code that it follows a call of the leaf.
// What could not be kept is in a profile all the same, under a frame that says
// so ("[stack lost]", "[no stack]", "[stack cut]"), so that shares keep their denominator.
package ebpf

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/cilium/ebpf/rlimit"

	"chokepoint/harness/bundle"
	"chokepoint/harness/capture"
	"chokepoint/harness/clock"
)

// The probes of this dimension.
const (
	Syscalls = "syscalls"
	Sched    = "sched"
	OnCPU    = "oncpu"
	Net      = "net"

	GoRuntime = "goruntime"
	Custom    = "custom"
)

// A Kind is a probe that can be asked for.
type Kind struct {
	Name     string
	Question string // that it answers, as a sentence
	// Default is true when it is recorded unless a scenario says otherwise.
	Default bool

	make func(Config) probe
}

// Kinds is every probe there is, in the order of the manifest. It is the one list
// that a new probe is entered in.
func Kinds() []Kind {
	return []Kind{
		{Syscalls, "Which system calls does the target make, how long do they take, how do they fail, and from which lines?", true,
			func(c Config) probe { return &syscallsProbe{threshold: c.Slow} }},
		{Sched, "When do the target's threads wait for a CPU, when do they sleep, and where in the program?", true,
			func(Config) probe { return &schedProbe{} }},
		{OnCPU, "Which code of the target and of the kernel is on the CPUs, and for which goroutine?", true,
			func(Config) probe { return &onCPUProbe{} }},
		{Net, "Does the network stack refuse, drop, resend or hold back what the target's clients send and read?", true,
			func(Config) probe { return &netProbe{} }},
		{GoRuntime, "Why do goroutines park, how long do they wait to run again, and how often does the runtime take its slow ways?", false,
			func(Config) probe { return &goRuntimeProbe{} }},
		{Custom, "How often are functions or tracepoints of your own choice passed, how long do they take, and with which numbers?", false,
			func(c Config) probe { return &customProbe{declared: c.Custom} }},
	}
}

// Defaults names the probes that are recorded when none are asked for.
func Defaults() []string {
	var names []string
	for _, k := range Kinds() {
		if k.Default {
			names = append(names, k.Name)
		}
	}
	return names
}

// Config says what to record.
type Config struct {
	// Probes are the probes to record; Defaults when empty.
	Probes []string
	// Slow is from where on a system call is kept by itself; 0: none is.
	Slow time.Duration
	// Hooks are what hooks cost on this machine, where that was measured before.
	// Nil: Prepare measures those that the probes need, which takes some 200 ms.
	Hooks HookCosts
	// Unmetered leaves out what the probes cost, and so the kernel's statistics.
	Unmetered bool
	// Custom are the probes that the custom probe is made of.
	Custom []CustomProbe
}

// Recorder records the ebpf dimension of one target.
type Recorder struct {
	config Config
	room   map[string]uint32 // see subject

	mu     sync.Mutex // guards what Status may read meanwhile
	image  *image
	probes []*slot
	meter  *meter // nil: what they cost is not measured
	closed bool
}

// slot is a probe that was asked for, and what became of it.
type slot struct {
	probe  probe
	window bundle.Window
	loaded bool  // and so has maps to read
	lost   error // why it is not captured
}

// probe is one source in the kernel. Calls come in the order load, start, stop,
// detach, write; close comes always.
type probe interface {
	name() string
	// load puts the programs into the kernel and attaches them, not recording.
	load(s subject) error
	// start opens the window at a time in CLOCK_MONOTONIC nanoseconds.
	start(at int64) error
	// stop closes the window.
	stop(at int64) error
	// detach takes the programs off their hooks. The maps stay.
	detach() error
	// status is how much was recorded until now: "12,345 samples".
	status() string
	// write turns the maps into artifacts.
	write(ctx context.Context, w *bundle.Writer, window bundle.Window, img *image) (result, error)
	close() error
}

// result is what a probe wrote.
type result struct {
	artifacts []string
	lost      map[string]int64
	notes     []string // what is wrong with it although it was captured
}

// lose counts n of a kind as lost.
func (r *result) lose(kind string, n int64) {
	if r.lost == nil {
		r.lost = map[string]int64{}
	}
	r.lost[kind] += n
}

var _ capture.Recorder = (*Recorder)(nil)

// New makes a recorder.
func New(c Config) *Recorder { return &Recorder{config: c} }

// Dimension is bundle.DimEBPF.
func (r *Recorder) Dimension() string { return bundle.DimEBPF }

// Prepare reads the target's executable, loads the programs and attaches them;
// what they see is not recorded before Start. A probe that the machine does not
// allow is lost, with its reason in the manifest.
func (r *Recorder) Prepare(ctx context.Context, s capture.Subject) error {
	probes, err := newProbes(r.config)
	if err != nil {
		return err
	}
	if s.PID == 0 {
		return errors.New("ebpf: the target is a bare URL; eBPF needs its process on this machine, by pid")
	}
	r.mu.Lock()
	for _, p := range probes {
		r.probes = append(r.probes, &slot{probe: p})
	}
	r.mu.Unlock()

	if err := machineReady(); err != nil {
		r.loseAll(err)
		return nil
	}
	img, err := openImage(s.PID, s.Executable)
	if err != nil {
		return fmt.Errorf("ebpf: %w", err)
	}
	r.mu.Lock()
	r.image = img
	r.mu.Unlock()
	// Kernels before 5.11 charge maps to this limit; where it cannot be lifted, loading says so.
	_ = rlimit.RemoveMemlock()

	for _, slot := range r.probes {
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("ebpf: load probe %s: %w", slot.probe.name(), err)
		}
		subject := img.subject()
		subject.room = r.room
		if err := slot.probe.load(subject); err != nil {
			r.lose(slot, explain(slot.probe.name(), err))
			continue
		}
		r.mu.Lock()
		slot.loaded = true
		r.mu.Unlock()
	}
	if !r.config.Unmetered {
		r.meter = newMeter(ctx, s.PID, r.probes, r.config.Hooks)
	}
	return nil
}

func newProbes(c Config) ([]probe, error) {
	names := c.Probes
	if len(names) == 0 {
		names = Defaults()
	}
	var probes []probe
	var known []string
	for _, k := range Kinds() {
		known = append(known, k.Name)
		if slices.Contains(names, k.Name) {
			probes = append(probes, k.make(c))
		}
	}
	for _, name := range names {
		if !slices.Contains(known, name) {
			return nil, fmt.Errorf("ebpf: no probe is called %q; the probes are %s", name, strings.Join(known, ", "))
		}
	}
	return probes, nil
}

func (r *Recorder) lose(s *slot, why error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s.lost = errors.Join(why, s.probe.close())
}

func (r *Recorder) loseAll(why error) {
	for _, s := range r.probes {
		r.lose(s, why)
	}
}

// live calls do for each probe that is not lost, and loses those it fails for.
func (r *Recorder) live(doing string, do func(*slot) error) {
	for _, s := range r.probes {
		if s.lost != nil {
			continue
		}
		if err := do(s); err != nil {
			r.lose(s, fmt.Errorf("%s probe %s: %w", doing, s.probe.name(), err))
		}
	}
}

// Start opens the window of each probe.
func (r *Recorder) Start(context.Context) error {
	r.live("start", func(s *slot) error {
		s.window.StartNS = clock.MonoNS()
		return s.probe.start(s.window.StartNS)
	})
	r.meter.start()
	return nil
}

// Stop closes the windows and detaches.
func (r *Recorder) Stop(context.Context) error {
	r.meter.stop() // it reads programs that may be lost below
	// All windows first: detaching takes the kernel a while.
	ends := make(map[*slot]int64, len(r.probes))
	r.live("stop", func(s *slot) error {
		ends[s] = clock.MonoNS()
		return s.probe.stop(ends[s])
	})
	r.live("stop", func(s *slot) error {
		s.window.EndNS = ends[s]
		return s.probe.detach()
	})
	if r.image != nil {
		r.image.refresh() // what was mapped since; the target may be gone, and then this stays as it was
	}
	return nil
}

// Write writes the artifacts of every probe that recorded something.
func (r *Recorder) Write(ctx context.Context, w *bundle.Writer) (bundle.Dimension, error) {
	d := bundle.Dimension{Name: bundle.DimEBPF}
	var reasons []string
	for _, s := range r.probes {
		p := r.writeProbe(ctx, w, s)
		d.Captured = d.Captured || p.Captured
		if !p.Captured && !slices.Contains(reasons, p.Reason) {
			reasons = append(reasons, p.Reason)
		}
		d.Probes = append(d.Probes, p)
	}
	if err := ctx.Err(); err != nil {
		return d, fmt.Errorf("ebpf: write: %w", err)
	}
	if !d.Captured {
		d.Reason = strings.Join(reasons, "; ")
		if d.Reason == "" {
			d.Reason = "recording was not prepared"
		}
	}
	return d, nil
}

func (r *Recorder) writeProbe(ctx context.Context, w *bundle.Writer, s *slot) bundle.Probe {
	p := bundle.Probe{Name: s.probe.name(), Window: s.window}
	if s.lost == nil && s.window.EndNS == 0 {
		s.lost = errors.New("the recording was not started and stopped")
	}
	if s.lost != nil {
		p.Reason = s.lost.Error()
		return p
	}
	res, err := s.probe.write(ctx, w, s.window, r.image)
	p.Artifacts, p.Lost = res.artifacts, res.lost
	notes := res.notes
	if r.image.problem != "" {
		notes = append(notes, r.image.problem)
	}
	if err != nil {
		notes = append(notes, err.Error())
	}
	if p.Cost, err = r.meter.cost(s); err != nil {
		p.CostReason = err.Error()
	}
	p.Captured = len(p.Artifacts) > 0
	p.Reason = strings.Join(notes, "; ")
	return p
}

// Status says what each probe recorded until now.
func (r *Recorder) Status() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return "closed"
	}
	var parts []string
	for _, s := range r.probes {
		if s.loaded && s.lost == nil {
			parts = append(parts, s.probe.status())
		}
	}
	if len(parts) == 0 {
		return "nothing"
	}
	return strings.Join(parts, ", ")
}

// Close detaches the programs and releases their maps.
func (r *Recorder) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return nil
	}
	r.closed = true
	r.meter.stop()
	var errs []error
	for _, s := range r.probes {
		errs = append(errs, s.probe.close())
	}
	if r.image != nil {
		errs = append(errs, r.image.Close())
	}
	return errors.Join(errs...)
}
