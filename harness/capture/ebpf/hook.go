package ebpf

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// HookKind is a kind of hook by the way in which it costs time around the
// program that hangs on it, which the kernel's statistics of that program do not
// hold.
type HookKind string

// The kinds of hooks.
const (
	// HookSyscall is a tracepoint at the entry or the exit of a system call. While
	// one is in use the kernel takes its slow path into and out of every call.
	HookSyscall HookKind = "syscall"
	// HookTracepoint is any other tracepoint that calls its program directly.
	HookTracepoint HookKind = "tracepoint"
	// HookRecord is a tracepoint that makes a record of perf's for its program first.
	HookRecord HookKind = "tracepoint-record"
	// HookSample is the interrupt of a sampling clock.
	HookSample HookKind = "sample"
	// HookUprobe is the trap of a uprobe at an instruction that the kernel emulates.
	HookUprobe HookKind = "uprobe"
	// HookUnknown is none of these; what it costs is not known.
	HookUnknown HookKind = ""
)

// hookOf is the kind of hook that a program is made for.
func hookOf(s *ebpf.ProgramSpec) HookKind {
	switch s.Type {
	case ebpf.Tracing, ebpf.RawTracepoint:
		switch {
		case s.Type == ebpf.Tracing && s.AttachType != ebpf.AttachTraceRawTp:
			return HookUnknown
		case s.AttachTo == "sys_enter" || s.AttachTo == "sys_exit":
			return HookSyscall
		}
		return HookTracepoint
	case ebpf.TracePoint:
		return HookRecord
	case ebpf.PerfEvent:
		return HookSample
	case ebpf.Kprobe: // uprobes have the type of kprobes, which this project has none of
		return HookUprobe
	}
	return HookUnknown
}

// HookCost is what one run of a program costs beside the program itself, in
// nanoseconds.
type HookCost struct {
	Kind HookKind
	// NS is how much longer an event takes with an empty program on it, for each
	// program: the way there and back. It is the median over pairs of batches, and Q1
	// and Q3 are their quartiles.
	NS, Q1, Q3 float64
	// EmptyNS is what the kernel's statistics say that a run of the empty program
	// takes: their own reading of the clock, which is in the figures of every program.
	EmptyNS float64
	// StatisticsNS is how much longer a run takes while the kernel keeps statistics.
	StatisticsNS float64
	Pairs        int
	Err          error // why it could not be measured; the figures are then 0
}

// HookCosts are costs by kind.
type HookCosts map[HookKind]HookCost

// AllHooks lists the kinds of hooks that can be measured.
func AllHooks() []HookKind {
	return []HookKind{HookSyscall, HookTracepoint, HookRecord, HookSample, HookUprobe}
}

// MeasureHooks measures what hooks cost on this machine, by an empty program on a
// hook that this process alone runs into, where there is one: the tracepoint of a
// thread's renaming itself, a function of this program, a sampling clock of one
// thread. The tracepoints of system calls are everybody's: for a few milliseconds
// all processes pay for them. Batches with and without the hook take turns, so
// that what drifts hits both. A kind takes 10 to 400 ms, nearly all of it waiting for the
// kernel to take hooks off again.
//
// A kind that cannot be measured says why; the others are unharmed.
func MeasureHooks(ctx context.Context, kinds ...HookKind) HookCosts {
	costs := HookCosts{}
	for _, k := range kinds {
		c := HookCost{Kind: k}
		err := ctx.Err()
		if err == nil {
			c, err = measureHook(ctx, k)
		}
		if err != nil {
			c = HookCost{Kind: k, Err: fmt.Errorf("measure what a hook of kind %q costs: %w", k, err)}
		}
		costs[k] = c
	}
	return costs
}

const (
	// hookRounds is how often the hook is put on and taken off; each takes the
	// kernel up to 70 ms.
	hookRounds = 3
	// hookPairs of batches in a round.
	hookPairs = 15
	// hookLoop is how many events a batch has: long enough to be measured to a
	// nanosecond an event, short enough to be seldom interrupted.
	hookLoop = 300
)

// trigger is a way to run into a hook.
type trigger struct {
	programs []*ebpf.ProgramSpec
	// attach hangs the programs on the hook.
	attach func([]*ebpf.Program) (io.Closer, error)
	// batch runs into the hook n times and says how long that took.
	batch func(n int) (time.Duration, error)
}

// batches are the results of one hook's batches, in ns a run.
type batches struct{ bare, hooked, counted, inside []float64 }

func measureHook(ctx context.Context, k HookKind) (HookCost, error) {
	// A batch must stay on one thread, whose name, clock or memory it is about.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if k == HookSample {
		return measureSample(ctx)
	}
	t, err := triggerOf(k)
	if err != nil {
		return HookCost{}, err
	}
	programs, err := loadAll(t.programs)
	defer closeAll(programs)
	if err != nil {
		return HookCost{}, err
	}
	var b batches
	for range hookRounds {
		if err := ctx.Err(); err != nil {
			return HookCost{}, err
		}
		if err := b.round(t, programs); err != nil {
			return HookCost{}, err
		}
	}
	hooks, stats := make([]float64, len(b.bare)), make([]float64, len(b.bare))
	for i := range hooks {
		hooks[i], stats[i] = b.hooked[i]-b.bare[i], b.counted[i]-b.hooked[i]
	}
	c := HookCost{Kind: k, Pairs: len(hooks)}
	c.Q1, c.NS, c.Q3 = quartiles(hooks)
	_, c.StatisticsNS, _ = quartiles(stats)
	_, c.EmptyNS, _ = quartiles(b.inside)
	return c, nil
}

// round makes batches without the hook, with it, and with it and statistics.
func (b *batches) round(t trigger, programs []*ebpf.Program) error {
	batch := func(into *[]float64) error {
		// What was not run for a while is slow.
		if _, err := t.batch(hookLoop / 10); err != nil {
			return err
		}
		for range hookPairs {
			took, err := t.batch(hookLoop)
			if err != nil {
				return err
			}
			*into = append(*into, float64(took)/hookLoop/float64(len(programs)))
		}
		return nil
	}
	if err := batch(&b.bare); err != nil {
		return err
	}
	hook, err := t.attach(programs)
	if err != nil {
		return err
	}
	err = batch(&b.hooked)
	if err == nil {
		err = withStatistics(func() error {
			before, err := statistics(programs)
			if err == nil {
				err = batch(&b.counted)
			}
			if err != nil {
				return err
			}
			after, err := statistics(programs)
			runs := after.RunCount - before.RunCount
			if err == nil && runs < hookLoop*hookPairs {
				err = fmt.Errorf("the program saw %d of %d events", runs, hookLoop*hookPairs)
			}
			if err == nil {
				b.inside = append(b.inside, float64(after.Runtime-before.Runtime)/float64(runs))
			}
			return err
		})
	}
	return errors.Join(err, hook.Close())
}

// quartiles of values, which it sorts: the elements nearest to them.
func quartiles(values []float64) (q1, median, q3 float64) {
	slices.Sort(values)
	at := func(q float64) float64 { return values[int(q*float64(len(values)-1)+0.5)] }
	return at(0.25), at(0.5), at(0.75)
}

func withStatistics(do func() error) error {
	stats, err := ebpf.EnableStats(unix.BPF_STATS_RUN_TIME)
	if err != nil {
		return fmt.Errorf("have the kernel keep statistics of programs: %w", err)
	}
	return errors.Join(do(), stats.Close())
}

// statistics of several programs together.
func statistics(programs []*ebpf.Program) (ebpf.ProgramStats, error) {
	var sum ebpf.ProgramStats
	for _, p := range programs {
		s, err := p.Stats()
		if err != nil {
			return sum, fmt.Errorf("read the statistics of a program: %w", err)
		}
		sum.RunCount += s.RunCount
		sum.Runtime += s.Runtime
	}
	return sum, nil
}

func empty(t ebpf.ProgramType, at ebpf.AttachType, to string) *ebpf.ProgramSpec {
	return &ebpf.ProgramSpec{
		Name: "empty", Type: t, AttachType: at, AttachTo: to, License: "GPL",
		Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 0), asm.Return()},
	}
}

func loadAll(specs []*ebpf.ProgramSpec) ([]*ebpf.Program, error) {
	var programs []*ebpf.Program
	for _, s := range specs {
		p, err := ebpf.NewProgram(s)
		if err != nil {
			return programs, fmt.Errorf("load an empty program: %w", err)
		}
		programs = append(programs, p)
	}
	return programs, nil
}

func closeAll(programs []*ebpf.Program) {
	for _, p := range programs {
		_ = p.Close() // a descriptor of our own
	}
}

// closers close together.
type closers []io.Closer

func (all closers) Close() error {
	var errs []error
	for _, c := range all {
		errs = append(errs, c.Close())
	}
	return errors.Join(errs...)
}

func attachTracing(programs []*ebpf.Program) (io.Closer, error) {
	var links closers
	for _, p := range programs {
		l, err := link.AttachTracing(link.TracingOptions{Program: p})
		if err != nil {
			return nil, errors.Join(fmt.Errorf("attach an empty program: %w", err), links.Close())
		}
		links = append(links, l)
	}
	return links, nil
}

// timed is how long n calls of f take. It takes the thread's CPU time, so that it
// does not matter when others want the CPU.
func timed(n int, f func()) (time.Duration, error) {
	before, err := threadCPU()
	if err != nil {
		return 0, err
	}
	for range n {
		f()
	}
	after, err := threadCPU()
	return after - before, err
}

func threadCPU() (time.Duration, error) {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &ts); err != nil {
		return 0, fmt.Errorf("read the CPU time of this thread: %w", err)
	}
	return time.Duration(ts.Nano()), nil
}

func triggerOf(k HookKind) (trigger, error) {
	switch k {
	case HookSyscall:
		// The quickest of all system calls.
		call := func() { unix.RawSyscall(unix.SYS_GETPPID, 0, 0, 0) }
		return trigger{
			programs: []*ebpf.ProgramSpec{
				empty(ebpf.Tracing, ebpf.AttachTraceRawTp, "sys_enter"), empty(ebpf.Tracing, ebpf.AttachTraceRawTp, "sys_exit"),
			},
			attach: attachTracing,
			batch:  func(n int) (time.Duration, error) { return timed(n, call) },
		}, nil
	case HookTracepoint:
		return renaming(empty(ebpf.Tracing, ebpf.AttachTraceRawTp, "task_rename"), attachTracing)
	case HookRecord:
		return renaming(empty(ebpf.TracePoint, 0, ""), func(programs []*ebpf.Program) (io.Closer, error) {
			return link.Tracepoint("task", "task_rename", programs[0], nil)
		})
	case HookUprobe:
		return trapping()
	}
	return trigger{}, errors.New("there is no way to measure this kind")
}

// renaming has this thread take the name that it has, which runs into the
// tracepoint task_rename and is of no consequence.
func renaming(p *ebpf.ProgramSpec, attach func([]*ebpf.Program) (io.Closer, error)) (trigger, error) {
	name, err := os.ReadFile(fmt.Sprintf("/proc/self/task/%d/comm", unix.Gettid()))
	if err != nil {
		return trigger{}, fmt.Errorf("read this thread's name: %w", err)
	}
	text, err := unix.BytePtrFromString(string(name[:max(0, len(name)-1)])) // without its newline
	if err != nil {
		return trigger{}, fmt.Errorf("this thread's name: %w", err)
	}
	return trigger{
		programs: []*ebpf.ProgramSpec{p},
		attach:   attach,
		batch: func(n int) (time.Duration, error) {
			return timed(n, func() { rename(text) })
		},
	}, nil
}
