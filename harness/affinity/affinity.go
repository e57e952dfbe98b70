// Package affinity starts processes on chosen CPUs.
package affinity

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"

	"golang.org/x/sys/unix"
)

// Start calls start, which starts a process, so that the process may run on cpus
// alone; on all that this process may use where there are none. A process
// inherits the affinity of the thread that starts it, so that it never runs
// anywhere else, and Go's runtime counts the CPUs that it may use.
func Start(cpus []int, start func() error) error {
	if len(cpus) == 0 {
		return start()
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var before, during unix.CPUSet
	if err := unix.SchedGetaffinity(0, &before); err != nil {
		return fmt.Errorf("read which CPUs this process may use: %w", err)
	}
	for _, cpu := range cpus {
		if !before.IsSet(cpu) {
			return fmt.Errorf("run on CPU %d: this process may not use it, or the machine does not have it; it may use %v", cpu, list(before))
		}
		during.Set(cpu)
	}
	if err := unix.SchedSetaffinity(0, &during); err != nil {
		return fmt.Errorf("run on CPUs %v: %w", cpus, err)
	}
	err := start()
	if back := unix.SchedSetaffinity(0, &before); back != nil {
		err = errors.Join(err, fmt.Errorf("run on CPUs %v again: %w", list(before), back))
	}
	return err
}

// Allowed lists the CPUs that this process may use: those of its first thread.
func Allowed() ([]int, error) {
	var set unix.CPUSet
	if err := unix.SchedGetaffinity(os.Getpid(), &set); err != nil {
		return nil, fmt.Errorf("read which CPUs this process may use: %w", err)
	}
	return list(set), nil
}

// Self binds every thread of this process to cpus, and so those that it starts
// later.
func Self(cpus []int) error {
	var set unix.CPUSet
	for _, cpu := range cpus {
		set.Set(cpu)
	}
	// A thread that is not bound yet may start another meanwhile, so until a look
	// finds none.
	bound := map[string]bool{}
	for found := true; found; {
		found = false
		threads, err := os.ReadDir("/proc/self/task")
		if err != nil {
			return fmt.Errorf("list this process's threads: %w", err)
		}
		for _, t := range threads {
			if bound[t.Name()] {
				continue
			}
			bound[t.Name()], found = true, true
			tid, err := strconv.Atoi(t.Name())
			if err != nil {
				return fmt.Errorf("list this process's threads: %w", err)
			}
			if err := unix.SchedSetaffinity(tid, &set); err != nil && !errors.Is(err, unix.ESRCH) {
				return fmt.Errorf("run on CPUs %v: %w", cpus, err)
			}
		}
	}
	return nil
}

func list(set unix.CPUSet) []int {
	cpus := make([]int, 0, set.Count())
	for cpu := 0; len(cpus) < set.Count(); cpu++ {
		if set.IsSet(cpu) {
			cpus = append(cpus, cpu)
		}
	}
	return cpus
}
