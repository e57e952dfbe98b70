package run

import (
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// ownCPU is the CPU time of this process between begin and end: what recording
// takes from the machine. Children, such as the load's workers, do not count.
type ownCPU struct {
	mu            sync.Mutex
	begun, lasted time.Duration
}

func (c *ownCPU) begin() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.begun = processCPU()
}

func (c *ownCPU) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lasted = processCPU() - c.begun
}

func (c *ownCPU) seconds() float64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.lasted.Seconds()
}

func processCPU() time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
