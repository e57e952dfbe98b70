// Package clock reads CLOCK_MONOTONIC, the one clock of a recording: the
// kernel's bpf_ktime_get_ns and the Go execution trace keep the same time.
package clock

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// MonoNS is CLOCK_MONOTONIC in nanoseconds.
func MonoNS() int64 {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		// The kernel cannot refuse this clock; only a broken argument could.
		panic(fmt.Sprintf("clock_gettime(CLOCK_MONOTONIC): %v", err))
	}
	return ts.Nano()
}

// Both reads CLOCK_MONOTONIC and the wall clock at the same moment, to within
// the microsecond that two calls take.
func Both() (monoNS int64, wall time.Time) {
	return MonoNS(), time.Now()
}
