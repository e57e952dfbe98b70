package ebpf

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/cilium/ebpf"
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
// asks "which line?" of. A stack costs the target about a microsecond, so
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

// endCalls are those of stackCalls that read what has an end, and say by a result of 0
// that they are there: a file, a connection whose other side has closed. A pread is told
// where to read, and one beyond the end is no news.
func endCalls() []uint32 {
	return []uint32{
		unix.SYS_READ, unix.SYS_READV, unix.SYS_RECVFROM, unix.SYS_RECVMSG,
		unix.SYS_SENDFILE, unix.SYS_SPLICE, unix.SYS_COPY_FILE_RANGE,
	}
}

// idleCalls are those in which threads with nothing to do wait. However long they
// take, nobody need wait for them.
func idleCalls() []uint32 {
	return []uint32{
		unix.SYS_FUTEX, unix.SYS_EPOLL_WAIT, unix.SYS_EPOLL_PWAIT, unix.SYS_EPOLL_PWAIT2,
		unix.SYS_NANOSLEEP, unix.SYS_SCHED_YIELD, unix.SYS_RT_SIGTIMEDWAIT, unix.SYS_RESTART_SYSCALL,
	}
}

func callMask(nrs []uint32) (mask [8]uint64) {
	for _, nr := range nrs {
		mask[nr/64] |= 1 << (nr % 64)
	}
	return mask
}

// syscallsProbe reads bpf/syscalls.bpf.c.
type syscallsProbe struct {
	programs
	threshold time.Duration // from here on a call is slow
	slow      *ring[bpf.SyscallsSlowCall]
}

func (p *syscallsProbe) name() string { return Syscalls }

func (p *syscallsProbe) load(s subject) error {
	spec, err := bpf.LoadSyscalls()
	if err != nil {
		return err
	}
	if err := setVariables(spec, map[string]any{"slow_calls": slowMask(), "slow_ns": uint64(p.threshold)}); err != nil {
		return err
	}
	if err := p.programs.load(spec, s); err != nil {
		return err
	}
	if err := p.askForStacks(); err != nil {
		return err
	}
	if p.slow, err = newRing(p.coll.Maps["slow"], decodeSlow); err != nil {
		return err
	}
	return p.attachTracing()
}

// askForStacks tells the programs which calls' stacks are kept, and which of these read to an
// end: beside their sums, so that no other memory has to be looked at.
func (p *syscallsProbe) askForStacks() error {
	cpus, err := ebpf.PossibleCPU()
	if err != nil {
		return fmt.Errorf("how many CPUs are possible: %w", err)
	}
	asked := make([]bpf.SyscallsCallTotals, cpus)
	for _, nr := range stackCalls() {
		if nr == unix.SYS_FUTEX || isEpollWait(nr) {
			continue // these always have an op, and their stacks are kept by that
		}
		ask := bpf.SyscallsAskedASKED_STACKS
		if slices.Contains(endCalls(), nr) {
			ask |= bpf.SyscallsAskedASKED_ENDS
		}
		for i := range asked {
			asked[i].Asked = uint32(ask)
		}
		if err := p.coll.Maps["totals"].Put(nr, asked); err != nil {
			return fmt.Errorf("ask for the stacks of %s: %w", syscallName(nr), err)
		}
	}
	return nil
}

// eachTotals gives what every CPU counted of every call.
func (p *syscallsProbe) eachTotals(do func(nr uint32, each []bpf.SyscallsCallTotals)) error {
	totals := p.coll.Maps["totals"]
	for nr := range totals.MaxEntries() {
		var each []bpf.SyscallsCallTotals
		if err := totals.Lookup(nr, &each); err != nil {
			return fmt.Errorf("read syscall totals: %w", err)
		}
		do(nr, each)
	}
	return nil
}

// calls is how many calls were counted until now.
func (p *syscallsProbe) calls() (n uint64, err error) {
	err = p.eachTotals(func(_ uint32, each []bpf.SyscallsCallTotals) {
		for _, cpu := range each {
			n += cpu.Calls
		}
	})
	return n, err
}

func (p *syscallsProbe) events() uint64 {
	if p.coll == nil {
		return 0
	}
	n, err := p.calls()
	if err != nil {
		return 0
	}
	return n
}

func (p *syscallsProbe) close() error {
	return errors.Join(p.detach(), p.slow.close(), p.programs.close())
}

func decodeSlow(raw []byte) (s bpf.SyscallsSlowCall, err error) {
	_, err = binary.Decode(raw, binary.NativeEndian, &s)
	return s, err
}

// slowMask is every call but those that are idle.
func slowMask() (mask [8]uint64) {
	idle := callMask(idleCalls())
	for i := range mask {
		mask[i] = ^idle[i]
	}
	return mask
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
	if err := p.addEnds(calls); err != nil {
		return res, err
	}
	doc := bundle.Syscalls{Calls: byTotalTime(calls)}
	if doc.Epoll, err = p.readEpoll(); err != nil {
		return res, err
	}
	stacks, err := p.stackReader()
	if err != nil {
		return res, err
	}
	prof, err := p.readStacks(stacks, img, &doc.Epoll)
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
	return res, p.writeSlow(ctx, w, window, stacks, img, &res)
}

// writeSlow writes the slow calls, one by one and by stack.
func (p *syscallsProbe) writeSlow(ctx context.Context, w *bundle.Writer, window bundle.Window, reader *stackReader, img *image, res *result) error {
	p.slow.end()
	if err := p.slow.tell(res); err != nil {
		return err
	}
	stacks := newStackTable(reader, img)
	doc := bundle.SlowCalls{ThresholdNS: int64(p.threshold), Calls: []bundle.SlowCall{}}
	prof := newProfile(
		&profile.ValueType{Type: "calls", Unit: "count"},
		&profile.ValueType{Type: "time", Unit: "nanoseconds"},
	)
	for _, e := range p.slow.events {
		c := bundle.SlowCall{
			StartNS: int64(e.Start), NS: int64(e.Ns), Syscall: syscallName(e.Nr), Result: e.Result,
			GoID: int64(e.Goid), TID: int(e.Tid), Stack: stacks.index(e.Stack, e.Caller),
		}
		if e.Result < 0 && e.Result >= -4095 {
			c.Error = errnoName(uint32(-e.Result))
		}
		doc.Calls = append(doc.Calls, c)
		r := reader.userRow(e.Stack, e.Caller, img)
		r.values = []int64{1, c.NS}
		r.labels = []label{{key: "syscall", value: c.Syscall}}
		if c.GoID != 0 {
			r.labels = append(r.labels, label{key: "goid", number: c.GoID, unit: "id"})
		}
		prof.add(r)
	}
	slices.SortFunc(doc.Calls, func(a, b bundle.SlowCall) int {
		return cmp.Or(cmp.Compare(a.StartNS, b.StartNS), cmp.Compare(a.TID, b.TID))
	})
	doc.Stacks = stacks.frames
	if err := writeCompact(w, bundle.EBPFSlow, doc); err != nil {
		return err
	}
	res.artifacts = append(res.artifacts, bundle.EBPFSlow)
	if err := writeProfile(ctx, w, bundle.EBPFSlowProfile, prof, window, img, &kernelSymbols{}); err != nil {
		return err
	}
	res.artifacts = append(res.artifacts, bundle.EBPFSlowProfile)
	return nil
}

// readTotals is every call that was made, by number.
func (p *syscallsProbe) readTotals() (map[uint32]*bundle.Syscall, error) {
	calls := map[uint32]*bundle.Syscall{}
	err := p.eachTotals(func(nr uint32, each []bpf.SyscallsCallTotals) {
		c := &bundle.Syscall{Name: syscallName(nr), Log2NS: make([]int64, len(each[0].Log2Ns))}
		var again int64
		for _, cpu := range each {
			c.Count += int64(cpu.Calls)
			c.TotalNS += int64(cpu.Ns)
			again += int64(cpu.Again)
			for slot, n := range cpu.Log2Ns {
				c.Log2NS[slot] += int64(n)
			}
		}
		if again > 0 {
			c.Errors = map[string]int64{errnoName(uint32(unix.EAGAIN)): again}
		}
		if c.Count > 0 {
			c.Log2NS = trimZeros(c.Log2NS)
			calls[nr] = c
		}
	})
	return calls, err
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

// eachEnd gives what every CPU counted of the calls of a number that found an end.
func (p *syscallsProbe) eachEnd(do func(nr uint32, each []bpf.SyscallsOpTotals)) error {
	for _, nr := range endCalls() {
		var each []bpf.SyscallsOpTotals
		if err := p.coll.Maps["ends"].Lookup(nr, &each); err != nil {
			return fmt.Errorf("read how often %s found an end: %w", syscallName(nr), err)
		}
		do(nr, each)
	}
	return nil
}

func (p *syscallsProbe) addEnds(calls map[uint32]*bundle.Syscall) error {
	return p.eachEnd(func(nr uint32, each []bpf.SyscallsOpTotals) {
		c := calls[nr]
		if c == nil {
			return
		}
		c.Ended = new(int64)
		for _, cpu := range each {
			*c.Ended += int64(cpu.Sum.Calls)
		}
	})
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

// eachOp gives what every CPU counted of the calls that have an op.
func (p *syscallsProbe) eachOp(do func(bpf.SyscallsOp, bpf.SyscallsOpTotals)) error {
	ops := p.coll.Maps["ops"]
	for op := range ops.MaxEntries() {
		var each []bpf.SyscallsOpTotals
		if err := ops.Lookup(op, &each); err != nil {
			return fmt.Errorf("read the totals of futex and epoll: %w", err)
		}
		for _, cpu := range each {
			do(bpf.SyscallsOp(op), cpu)
		}
	}
	return nil
}

func (p *syscallsProbe) readEpoll() (bundle.EpollFacts, error) {
	var e bundle.EpollFacts
	err := p.eachOp(func(op bpf.SyscallsOp, t bpf.SyscallsOpTotals) {
		switch op {
		case bpf.SyscallsOpOP_EPOLL_ZERO:
			e.ZeroTimeout += int64(t.Sum.Calls)
		case bpf.SyscallsOpOP_EPOLL_FINITE, bpf.SyscallsOpOP_EPOLL_INFINITE:
		default:
			return
		}
		e.Waits += int64(t.Sum.Calls)
		e.ReturnedEvents += int64(t.Sum.Returned)
		e.Empty += int64(t.Empty)
		e.TotalNS += int64(t.Sum.Ns)
	})
	return e, err
}

// readStacks is calls and time by user stack. On the way it tells the
// program's own epoll waits from the runtime's.
func (p *syscallsProbe) readStacks(stacks *stackReader, img *image, e *bundle.EpollFacts) (*profileBuilder, error) {
	s := &syscallStacks{
		prof: newProfile(
			&profile.ValueType{Type: "calls", Unit: "count"},
			&profile.ValueType{Type: "time", Unit: "nanoseconds"},
		),
		stacks: stacks, img: img, epoll: e,
	}
	var key bpf.SyscallsCallKey
	var each []bpf.SyscallsCallValue
	entries := p.coll.Maps["calls"].Iterate()
	for entries.Next(&key, &each) {
		for _, cpu := range each {
			s.add(key, cpu)
		}
	}
	if err := entries.Err(); err != nil {
		return nil, fmt.Errorf("read syscall stacks: %w", err)
	}
	// Calls that the window's end kept from a stack of their own.
	err := p.eachTotals(func(_ uint32, each []bpf.SyscallsCallTotals) {
		for _, cpu := range each {
			if cpu.Asked != 0 {
				s.add(cpu.Given.Last, waiting(bpf.SyscallsCallValue{Calls: cpu.Calls, Ns: cpu.Ns}, cpu.Given.Sum))
			}
		}
	})
	if err != nil {
		return nil, err
	}
	err = p.eachOp(func(_ bpf.SyscallsOp, t bpf.SyscallsOpTotals) {
		s.add(t.Given.Last, waiting(t.Sum, t.Given.Sum))
	})
	if err != nil {
		return nil, err
	}
	err = p.eachEnd(func(_ uint32, each []bpf.SyscallsOpTotals) {
		for _, cpu := range each {
			s.add(cpu.Given.Last, waiting(cpu.Sum, cpu.Given.Sum))
		}
	})
	return s.prof, err
}

// waiting is what was counted and not given to a stack.
func waiting(counted, given bpf.SyscallsCallValue) bpf.SyscallsCallValue {
	return bpf.SyscallsCallValue{
		Calls:    counted.Calls - given.Calls,
		Ns:       counted.Ns - given.Ns,
		Returned: counted.Returned - given.Returned,
	}
}

// syscallStacks puts calls and time by user stack together.
type syscallStacks struct {
	prof   *profileBuilder
	stacks *stackReader
	img    *image
	epoll  *bundle.EpollFacts
}

func (s *syscallStacks) add(key bpf.SyscallsCallKey, sum bpf.SyscallsCallValue) {
	if sum.Calls == 0 {
		return
	}
	r := s.stacks.userRow(key.Stack, key.Caller, s.img)
	r.values = []int64{int64(sum.Calls), int64(sum.Ns)}
	r.labels = []label{{key: "syscall", value: syscallName(uint32(key.Nr))}}
	op := bpf.SyscallsOp(key.Op)
	if name := opName(op); name != "" {
		r.labels = append(r.labels, label{key: "op", value: name})
	}
	s.prof.add(r)
	// An epoll wait whose stack is not known, or not to its end, is given to neither.
	if isEpollWait(uint32(key.Nr)) && r.lost == "" && !s.img.passes(r.user, netpoll) {
		s.epoll.ProgramWaits += int64(sum.Calls)
		s.epoll.ProgramReturnedEvents += int64(sum.Returned)
		s.epoll.ProgramTotalNS += int64(sum.Ns)
		if op == bpf.SyscallsOpOP_EPOLL_ZERO {
			s.epoll.ProgramZeroTimeout += int64(sum.Calls)
		}
	}
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
	case bpf.SyscallsOpOP_READ_END:
		return "end"
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
