package ebpf

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/pprof/profile"
	"golang.org/x/sys/unix"

	"chokepoint/bpf"
	"chokepoint/harness/bundle"
)

// sampleRate is how often every CPU is looked at, in Hz: not a divisor of what
// timers usually run at, so that it does not keep step with them.
const sampleRate = 99

// samplePeriod is the CPU time that one sample stands for.
const samplePeriod = time.Second / sampleRate

// onCPUProbe reads bpf/oncpu.bpf.c.
type onCPUProbe struct {
	programs
	clocks []int // a perf event on each CPU
}

func (p *onCPUProbe) name() string { return OnCPU }

func (p *onCPUProbe) load(s subject) error {
	spec, err := bpf.LoadOnCPU()
	if err != nil {
		return err
	}
	if err := p.programs.load(spec, s); err != nil {
		return err
	}
	cpus, err := onlineCPUs()
	if err != nil {
		return err
	}
	for _, cpu := range cpus {
		if err := p.openEvent(cpu); err != nil {
			return err
		}
	}
	return nil
}

// openEvent attaches the program to a clock on one CPU, which does not tick yet.
func (p *onCPUProbe) openEvent(cpu int) error {
	attr := unix.PerfEventAttr{
		Type:   unix.PERF_TYPE_SOFTWARE,
		Config: unix.PERF_COUNT_SW_CPU_CLOCK,
		Sample: sampleRate,
		Bits:   unix.PerfBitFreq | unix.PerfBitDisabled,
	}
	fd, err := unix.PerfEventOpen(&attr, -1, cpu, -1, unix.PERF_FLAG_FD_CLOEXEC)
	if err != nil {
		return fmt.Errorf("open the sampling clock of CPU %d: %w", cpu, err)
	}
	p.clocks = append(p.clocks, fd)
	prog := p.coll.Programs[bpf.OnCPUProgChokepointOncpu]
	if err := unix.IoctlSetInt(fd, unix.PERF_EVENT_IOC_SET_BPF, prog.FD()); err != nil {
		return fmt.Errorf("attach to the sampling clock of CPU %d: %w", cpu, err)
	}
	return nil
}

func (p *onCPUProbe) start(at int64) error {
	if err := p.programs.start(at); err != nil {
		return err
	}
	for _, fd := range p.clocks {
		if err := unix.IoctlSetInt(fd, unix.PERF_EVENT_IOC_ENABLE, 0); err != nil {
			return fmt.Errorf("start the sampling clock: %w", err)
		}
	}
	return nil
}

func (p *onCPUProbe) detach() error {
	var errs []error
	for _, fd := range p.clocks {
		errs = append(errs, unix.Close(fd))
	}
	p.clocks = nil
	return errors.Join(append(errs, p.programs.detach())...)
}

func (p *onCPUProbe) close() error {
	return errors.Join(p.detach(), p.programs.close())
}

func (p *onCPUProbe) status() string { return thousands(p.events()) + " samples" }

func (p *onCPUProbe) write(ctx context.Context, w *bundle.Writer, window bundle.Window, img *image) (result, error) {
	var res result
	res.notes = p.notes
	var err error
	if res.lost, err = p.lost(); err != nil {
		return res, err
	}
	if img.noGoID != nil {
		res.notes = append(res.notes, fmt.Sprintf("samples have no goroutine id: %v", img.noGoID))
	}
	kernel, hidden, err := readKernelSymbols()
	if hidden {
		note := "kernel functions have no names: /proc/kallsyms hides addresses; mend: " + kernelNamesMend
		if err != nil {
			note = fmt.Sprintf("kernel functions have no names: %v", err)
		}
		res.notes = append(res.notes, note)
	}
	prof := newProfile(
		&profile.ValueType{Type: "samples", Unit: "count"},
		&profile.ValueType{Type: "cpu", Unit: "nanoseconds"},
	)
	prof.period, prof.every = &profile.ValueType{Type: "cpu", Unit: "nanoseconds"}, int64(samplePeriod)

	stacks, err := p.stackReader()
	if err != nil {
		return res, err
	}
	var key bpf.OnCPUSampleKey
	var n uint64
	entries := p.coll.Maps["samples"].Iterate()
	for entries.Next(&key, &n) {
		r := stacks.userRow(key.User, key.Caller, img)
		// No kernel stack is the rule: the sample was taken in user code. Of one
		// that collided the user stack still says where.
		r.kernel, _ = stacks.stack(key.Kernel)
		r.exact = r.exact || len(r.kernel) == 0
		r.values = []int64{int64(n), int64(n) * int64(samplePeriod)}
		if img.noGoID == nil {
			r.labels = []label{{key: "goid", number: int64(key.Goid), unit: "id"}}
		}
		prof.add(r)
	}
	if err := entries.Err(); err != nil {
		return res, fmt.Errorf("read samples: %w", err)
	}
	if err := writeProfile(ctx, w, bundle.EBPFOnCPUProfile, prof, window, img, kernel); err != nil {
		return res, err
	}
	res.artifacts = append(res.artifacts, bundle.EBPFOnCPUProfile)
	return res, nil
}
