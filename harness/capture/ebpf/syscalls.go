package ebpf

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"

	"github.com/google/pprof/profile"
	"golang.org/x/sys/unix"

	"chokepoint/bpf"
	"chokepoint/harness/bundle"
)

//go:generate go run gen_names.go

// netpoll is the function of the Go runtime that polls for the network. An
// epoll wait below it is the runtime's; any other is the program's own.
const netpoll = "runtime.netpoll"

// stackCalls are the calls whose user stacks are kept: those that a diagnosis
// asks "which line?" of. A stack costs the target about half a microsecond, so
// calls that are cheap, frequent and never at fault (clock reads, sigreturn,
// madvise, yields) are counted and timed without one.
func stackCalls() []uint32 {
	return []uint32{
		unix.SYS_FUTEX,
		unix.SYS_EPOLL_WAIT, unix.SYS_EPOLL_PWAIT, unix.SYS_EPOLL_PWAIT2, unix.SYS_EPOLL_CTL,
		unix.SYS_POLL, unix.SYS_PPOLL, unix.SYS_SELECT, unix.SYS_PSELECT6,
		unix.SYS_ACCEPT, unix.SYS_ACCEPT4, unix.SYS_CONNECT,
		unix.SYS_READ, unix.SYS_READV, unix.SYS_PREAD64, unix.SYS_PREADV, unix.SYS_RECVFROM, unix.SYS_RECVMSG,
		unix.SYS_WRITE, unix.SYS_WRITEV, unix.SYS_PWRITE64, unix.SYS_PWRITEV, unix.SYS_SENDTO, unix.SYS_SENDMSG,
		unix.SYS_SENDFILE, unix.SYS_SPLICE, unix.SYS_COPY_FILE_RANGE,
		unix.SYS_FSYNC, unix.SYS_FDATASYNC, unix.SYS_SYNC_FILE_RANGE, unix.SYS_SYNCFS, unix.SYS_MSYNC, unix.SYS_FTRUNCATE,
		unix.SYS_OPEN, unix.SYS_OPENAT, unix.SYS_OPENAT2, unix.SYS_SOCKET,
		unix.SYS_FLOCK, unix.SYS_FCNTL, unix.SYS_RENAME, unix.SYS_RENAMEAT, unix.SYS_RENAMEAT2, unix.SYS_UNLINK, unix.SYS_UNLINKAT,
		unix.SYS_NEWFSTATAT, unix.SYS_STATX, unix.SYS_GETDENTS64,
		unix.SYS_WAIT4, unix.SYS_WAITID, unix.SYS_CLONE, unix.SYS_CLONE3, unix.SYS_EXECVE,
		unix.SYS_CLOCK_NANOSLEEP, unix.SYS_IO_URING_ENTER,
	}
}

// frequentCalls are those of stackCalls that servers make for every request,
// and the runtime around them. Of these a quick one that succeeds stands for
// the next few of its kind: see recent_stack_id in bpf/chokepoint.bpf.h.
// futex is not among them: which line wakes whom is asked of every call.
func frequentCalls() []uint32 {
	return []uint32{
		unix.SYS_READ, unix.SYS_READV, unix.SYS_RECVFROM, unix.SYS_RECVMSG,
		unix.SYS_WRITE, unix.SYS_WRITEV, unix.SYS_SENDTO, unix.SYS_SENDMSG,
		unix.SYS_EPOLL_CTL,
	}
}

func callMask(nrs []uint32) (mask [8]uint64) {
	for _, nr := range nrs {
		mask[nr/64] |= 1 << (nr % 64)
	}
	return mask
}

// syscallsProbe reads bpf/syscalls.bpf.c.
type syscallsProbe struct{ programs }

func (p *syscallsProbe) name() string { return Syscalls }

func (p *syscallsProbe) load(s subject) error {
	spec, err := bpf.LoadSyscalls()
	if err != nil {
		return err
	}
	err = setVariables(spec, map[string]any{
		"nr_futex":       uint32(unix.SYS_FUTEX),
		"nr_epoll_wait":  uint32(unix.SYS_EPOLL_WAIT),
		"nr_epoll_pwait": uint32(unix.SYS_EPOLL_PWAIT), "nr_epoll_pwait2": uint32(unix.SYS_EPOLL_PWAIT2),
		"stack_calls":    callMask(stackCalls()),
		"frequent_calls": callMask(frequentCalls()),
	})
	if err != nil {
		return err
	}
	if err := p.programs.load(spec, s); err != nil {
		return err
	}
	return p.attachTracing()
}

func (p *syscallsProbe) status() string { return thousands(p.events()) + " system calls" }

func (p *syscallsProbe) write(ctx context.Context, w *bundle.Writer, window bundle.Window, img *image) (result, error) {
	var res result
	res.notes = p.notes
	var err error
	if res.lost, err = p.lost(); err != nil {
		return res, err
	}
	calls, err := p.readTotals()
	if err != nil {
		return res, err
	}
	if err := p.addFailures(calls); err != nil {
		return res, err
	}
	doc := bundle.Syscalls{Calls: byTotalTime(calls)}
	if doc.Epoll, err = p.readEpoll(); err != nil {
		return res, err
	}
	prof, err := p.readStacks(img, &doc.Epoll)
	if err != nil {
		return res, err
	}
	if err := w.WriteJSON(bundle.EBPFSyscalls, doc); err != nil {
		return res, err
	}
	res.artifacts = append(res.artifacts, bundle.EBPFSyscalls)
	if err := writeProfile(ctx, w, bundle.EBPFSyscallsProfile, prof, window, img, &kernelSymbols{}); err != nil {
		return res, err
	}
	res.artifacts = append(res.artifacts, bundle.EBPFSyscallsProfile)
	return res, nil
}

// readTotals is every call that was made, by number.
func (p *syscallsProbe) readTotals() (map[uint32]*bundle.Syscall, error) {
	calls := map[uint32]*bundle.Syscall{}
	totals := p.coll.Maps["totals"]
	for nr := range totals.MaxEntries() {
		var each []bpf.SyscallsCallTotals
		if err := totals.Lookup(nr, &each); err != nil {
			return nil, fmt.Errorf("read syscall totals: %w", err)
		}
		c := &bundle.Syscall{Name: syscallName(nr), Log2NS: make([]int64, len(each[0].Log2Ns))}
		for _, cpu := range each {
			c.Count += int64(cpu.Calls)
			c.TotalNS += int64(cpu.Ns)
			for slot, n := range cpu.Log2Ns {
				c.Log2NS[slot] += int64(n)
			}
		}
		if c.Count > 0 {
			c.Log2NS = trimZeros(c.Log2NS)
			calls[nr] = c
		}
	}
	return calls, nil
}

func (p *syscallsProbe) addFailures(calls map[uint32]*bundle.Syscall) error {
	var key bpf.SyscallsErrorKey
	var each []uint64
	entries := p.coll.Maps["failures"].Iterate()
	for entries.Next(&key, &each) {
		c := calls[key.Nr]
		if c == nil {
			continue
		}
		if c.Errors == nil {
			c.Errors = map[string]int64{}
		}
		for _, n := range each {
			c.Errors[errnoName(key.Code)] += int64(n)
		}
	}
	if err := entries.Err(); err != nil {
		return fmt.Errorf("read syscall errors: %w", err)
	}
	return nil
}

func byTotalTime(calls map[uint32]*bundle.Syscall) []bundle.Syscall {
	out := make([]bundle.Syscall, 0, len(calls))
	for _, c := range calls {
		out = append(out, *c)
	}
	slices.SortFunc(out, func(a, b bundle.Syscall) int {
		return cmp.Or(cmp.Compare(b.TotalNS, a.TotalNS), cmp.Compare(a.Name, b.Name))
	})
	return out
}

func (p *syscallsProbe) readEpoll() (bundle.EpollFacts, error) {
	var e bundle.EpollFacts
	var each []bpf.SyscallsEpollTotals
	if err := p.coll.Maps["epoll"].Lookup(uint32(0), &each); err != nil {
		return e, fmt.Errorf("read epoll totals: %w", err)
	}
	for _, cpu := range each {
		e.Waits += int64(cpu.Waits)
		e.ZeroTimeout += int64(cpu.ZeroTimeout)
		e.ReturnedEvents += int64(cpu.Events)
		e.Empty += int64(cpu.Empty)
		e.TotalNS += int64(cpu.Ns)
	}
	return e, nil
}

// readStacks is calls and time by user stack. On the way it tells the
// program's own epoll waits from the runtime's.
func (p *syscallsProbe) readStacks(img *image, e *bundle.EpollFacts) (*profileBuilder, error) {
	prof := newProfile(
		&profile.ValueType{Type: "calls", Unit: "count"},
		&profile.ValueType{Type: "time", Unit: "nanoseconds"},
	)
	stacks := p.stackReader()
	var key bpf.SyscallsCallKey
	var each []bpf.SyscallsCallValue
	entries := p.coll.Maps["calls"].Iterate()
	for entries.Next(&key, &each) {
		var sum bpf.SyscallsCallValue
		for _, cpu := range each {
			sum.Calls += cpu.Calls
			sum.Ns += cpu.Ns
			sum.Returned += cpu.Returned
		}
		r := stacks.userRow(key.Stack, key.Caller, img)
		r.values = []int64{int64(sum.Calls), int64(sum.Ns)}
		r.labels = []label{{key: "syscall", value: syscallName(uint32(key.Nr))}}
		op := bpf.SyscallsOp(key.Op)
		if name := opName(op); name != "" {
			r.labels = append(r.labels, label{key: "op", value: name})
		}
		prof.add(r)
		// An epoll wait whose stack is not known is given to neither.
		if isEpollWait(uint32(key.Nr)) && r.lost == "" && !img.passes(r.user, netpoll) {
			e.ProgramWaits += int64(sum.Calls)
			e.ProgramReturnedEvents += int64(sum.Returned)
			e.ProgramTotalNS += int64(sum.Ns)
			if op == bpf.SyscallsOpOP_EPOLL_ZERO {
				e.ProgramZeroTimeout += int64(sum.Calls)
			}
		}
	}
	if err := entries.Err(); err != nil {
		return nil, fmt.Errorf("read syscall stacks: %w", err)
	}
	return prof, nil
}

// passes reports whether a stack of return addresses has a frame of function.
func (i *image) passes(stack []uint64, function string) bool {
	for _, pc := range stack {
		for _, f := range i.frames(pc - 1) {
			if f.Function == function {
				return true
			}
		}
	}
	return false
}

func isEpollWait(nr uint32) bool {
	return nr == unix.SYS_EPOLL_WAIT || nr == unix.SYS_EPOLL_PWAIT || nr == unix.SYS_EPOLL_PWAIT2
}

func opName(op bpf.SyscallsOp) string {
	switch op {
	case bpf.SyscallsOpOP_FUTEX_WAIT:
		return "wait"
	case bpf.SyscallsOpOP_FUTEX_WAKE:
		return "wake"
	case bpf.SyscallsOpOP_FUTEX_OTHER:
		return "other"
	case bpf.SyscallsOpOP_EPOLL_ZERO:
		return "zero"
	case bpf.SyscallsOpOP_EPOLL_FINITE:
		return "finite"
	case bpf.SyscallsOpOP_EPOLL_INFINITE:
		return "infinite"
	}
	return ""
}

func syscallName(nr uint32) string {
	if name, ok := syscallNames[nr]; ok {
		return name
	}
	return "syscall_" + strconv.FormatUint(uint64(nr), 10)
}

// errnoName names an error of a system call, those included that the kernel
// keeps to itself and turns into a restart.
func errnoName(code uint32) string {
	switch code {
	case 512:
		return "ERESTARTSYS"
	case 513:
		return "ERESTARTNOINTR"
	case 514:
		return "ERESTARTNOHAND"
	case 516:
		return "ERESTART_RESTARTBLOCK"
	}
	if name := unix.ErrnoName(unix.Errno(code)); name != "" {
		return name
	}
	return "errno_" + strconv.FormatUint(uint64(code), 10)
}
