package ebpf

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

const (
	// calibrationPeriod between samples while their cost is measured: some
	// hundred samples in a few ten milliseconds.
	calibrationPeriod = 100 * time.Microsecond
	calibrationFor    = 30 * time.Millisecond
	// leastGap is what an interrupt takes at least. A reading of the clock takes a
	// tenth of it.
	leastGap = 300 * time.Nanosecond
	// leastSamples make a median.
	leastSamples = 20
)

// measureSample finds out what the interrupt of a sampling clock takes from the
// thread that it interrupts: a thread that reads the clock over and over sees
// every interrupt as a gap. Other interrupts are few against the samples, so that
// the median gap is that of a sample.
func measureSample(ctx context.Context) (HookCost, error) {
	program, err := ebpf.NewProgram(empty(ebpf.PerfEvent, 0, ""))
	if err != nil {
		return HookCost{}, fmt.Errorf("load an empty program: %w", err)
	}
	defer program.Close()
	plain, _, err := sampled(ctx, program, false)
	if err != nil {
		return HookCost{}, err
	}
	gaps, inside, err := sampled(ctx, program, true)
	if err != nil {
		return HookCost{}, err
	}
	c := HookCost{Kind: HookSample, Pairs: len(plain), EmptyNS: inside}
	c.Q1, c.NS, c.Q3 = quartiles(plain)
	_, counted, _ := quartiles(gaps)
	c.StatisticsNS = counted - c.NS
	return c, nil
}

// sampled samples this thread and returns the gaps that it sees, in ns, and with
// statistics what a run of the program takes by them.
func sampled(ctx context.Context, program *ebpf.Program, withStats bool) (gaps []float64, inside float64, err error) {
	attr := unix.PerfEventAttr{
		Type: unix.PERF_TYPE_SOFTWARE, Config: unix.PERF_COUNT_SW_CPU_CLOCK,
		Sample: uint64(calibrationPeriod.Nanoseconds()), Bits: unix.PerfBitDisabled,
	}
	fd, err := unix.PerfEventOpen(&attr, 0, -1, -1, unix.PERF_FLAG_FD_CLOEXEC)
	if err != nil {
		return nil, 0, fmt.Errorf("open a sampling clock: %w", err)
	}
	defer func() { err = errors.Join(err, unix.Close(fd)) }()
	if err := unix.IoctlSetInt(fd, unix.PERF_EVENT_IOC_SET_BPF, program.FD()); err != nil {
		return nil, 0, fmt.Errorf("attach an empty program to a sampling clock: %w", err)
	}
	watch := func() error {
		if err := unix.IoctlSetInt(fd, unix.PERF_EVENT_IOC_ENABLE, 0); err != nil {
			return fmt.Errorf("start a sampling clock: %w", err)
		}
		gaps = readGaps(ctx)
		return unix.IoctlSetInt(fd, unix.PERF_EVENT_IOC_DISABLE, 0)
	}
	if !withStats {
		err = watch()
	} else {
		err = withStatistics(func() error {
			before, err := program.Stats()
			if err == nil {
				err = watch()
			}
			if err != nil {
				return err
			}
			after, err := program.Stats()
			if err == nil && after.RunCount > before.RunCount {
				inside = float64(after.Runtime-before.Runtime) / float64(after.RunCount-before.RunCount)
			}
			return err
		})
	}
	if err == nil && len(gaps) < leastSamples {
		err = fmt.Errorf("in %s a clock of %s interrupted %d times", calibrationFor, calibrationPeriod, len(gaps))
	}
	return gaps, inside, err
}

// readGaps reads the clock for a while and returns the gaps that are no readings,
// less a usual reading, in ns.
func readGaps(ctx context.Context) []float64 {
	var gaps []float64
	began := time.Now()
	var last time.Duration
	readings, usual := 0, time.Duration(0)
	for last < calibrationFor && ctx.Err() == nil {
		for range 1000 { // ctx is not looked at between readings that count
			now := time.Since(began)
			if gap := now - last; gap >= leastGap {
				gaps = append(gaps, float64(gap))
			} else {
				readings++
				usual += gap
			}
			last = now
		}
		last = time.Since(began)
	}
	if readings > 0 {
		for i := range gaps {
			gaps[i] -= float64(usual) / float64(readings)
		}
	}
	return gaps
}
