package stack

import (
	"slices"
	"strings"

	"chokepoint/harness/gofunc"
)

// CPU is what a stack sampled on a CPU was busy with.
type CPU struct {
	// Own is the program's innermost frame; zero when the work is the
	// runtime's or the standard library's own.
	Own Frame
	// Collecting: the work is the garbage collector's, by its workers, by
	// assists or by sweeping.
	Collecting bool
	// Idling: it is the collector's too, and done only because the CPU had nothing
	// else to do: it ends as soon as there is something to run, and costs nobody.
	// Such work is not Collecting.
	Idling bool
	// Allocating: the work is an allocation for the program.
	Allocating bool
	// PoolNew: the work makes a new value for a sync.Pool that had none;
	// PoolUser is the program's line that called Get.
	PoolNew  bool
	PoolUser Frame
	// NetCall: the program's innermost frame is in a call that reads, writes
	// or accepts on a connection or listener.
	NetCall bool
	// Polling: the program's innermost frame is in a call of epoll_wait or
	// poll of its own, not through the runtime's poller.
	Polling bool
	// InSyscall: the sample is at a system call or in the kernel.
	InSyscall bool
}

// CPUOf classifies a stack sampled on a CPU.
func (p Program) CPUOf(frames []Frame) CPU {
	var c CPU
	own := p.ownIndex(frames)
	above := frames
	if own >= 0 {
		c.Own = frames[own]
		above = frames[:own]
	}
	for i, f := range above {
		name := f.Function
		switch {
		case f.Kernel():
			c.InSyscall = c.InSyscall || i == 0
		case syscallLeaf(name):
			c.InSyscall = true
		case strings.HasPrefix(name, "runtime.mallocgc"), name == "runtime.growslice", name == "runtime.newobject", name == "runtime.makeslice":
			c.Allocating = true
		case strings.HasPrefix(name, "internal/poll.(*FD)."), netCall(name):
			c.NetCall = true
		case pollCall(name):
			c.Polling = true
		}
	}
	c.Idling = slices.ContainsFunc(frames, func(f Frame) bool { return f.Function == "runtime.gcDrainMarkWorkerIdle" })
	c.Collecting = !c.Idling && slices.ContainsFunc(frames, func(f Frame) bool { return collecting(f.Function) })
	if user, ok := p.PoolNew(frames); ok {
		c.PoolNew, c.PoolUser = true, user
	}
	return c
}

// PoolNew reports whether the stack makes a new value under sync.Pool.Get, and
// which line of the program called Get.
func (p Program) PoolNew(frames []Frame) (user Frame, ok bool) {
	for i, f := range frames {
		if f.Function == "sync.(*Pool).Get" && i > 0 && !poolsOwn(frames[i-1]) {
			return p.Own(frames[i+1:]), true
		}
	}
	return Frame{}, false
}

// poolsOwn reports whether what Get calls there is part of the pool itself, and
// not the New function: the queues of sync, or what the runtime does for it.
func poolsOwn(f Frame) bool {
	pkg := gofunc.Package(f.Function)
	return pkg == "" || pkg == "sync" || pkg == "sync/atomic" || pkg == "runtime" || f.Kernel() || strings.HasPrefix(pkg, "internal/")
}

// PoolPin reports whether the stack sets up the per-P part of a sync.Pool,
// which happens once a pool and collection, and which line of the program used
// the pool.
func (p Program) PoolPin(frames []Frame) (user Frame, ok bool) {
	for i, f := range frames {
		if f.Function == "sync.(*Pool).pinSlow" {
			return p.Own(frames[i+1:]), true
		}
	}
	return Frame{}, false
}

func syscallLeaf(name string) bool {
	switch name {
	case "internal/runtime/syscall.Syscall6", "runtime/internal/syscall.Syscall6", "internal/runtime/syscall/linux.Syscall6",
		"syscall.Syscall", "syscall.Syscall6", "syscall.RawSyscall", "syscall.RawSyscall6", "syscall.rawSyscallNoError", "syscall.rawVforkSyscall":
		return true
	}
	return false
}

func pollCall(name string) bool {
	i := strings.LastIndexByte(name, '.')
	switch name[i+1:] {
	case "EpollWait", "EpollPwait", "Poll", "Ppoll", "Select", "Pselect":
		return strings.HasPrefix(name, "syscall.") || strings.HasPrefix(name, "golang.org/x/sys/unix.")
	}
	return false
}

func netCall(name string) bool {
	// Not crypto/tls, whose calls compute, nor net.Pipe, which is memory.
	if !strings.HasPrefix(name, "net.(") || strings.HasPrefix(name, "net.(*pipe)") {
		return false
	}
	i := strings.LastIndexByte(name, '.')
	op := name[i+1:]
	for _, prefix := range []string{"Accept", "accept", "Read", "read", "Write", "write"} {
		if strings.HasPrefix(op, prefix) {
			return true
		}
	}
	return false
}

func collecting(name string) bool {
	switch name {
	case "runtime.gcBgMarkWorker", "runtime.bgsweep", "runtime.bgscavenge", "runtime.gcStart", "runtime.gcMarkDone",
		"runtime.gcMarkTermination", "runtime.deductSweepCredit", "runtime.sweepone", "runtime.(*sweepLocked).sweep",
		"runtime.wbBufFlush":
		return true
	}
	return strings.HasPrefix(name, "runtime.gcDrain") || strings.HasPrefix(name, "runtime.gcAssistAlloc")
}
