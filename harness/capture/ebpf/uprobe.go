package ebpf

import (
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	target "chokepoint/harness/binary"
)

// errNoProcess is for probes on functions when there is no process to look into.
var errNoProcess = errors.New("the target's executable could not be read")

// breakpoint is int3, which a probe or a debugger puts in place of an
// instruction's first byte.
const breakpoint = 0xcc

// A place is one instruction of the target and the cookie that the program gets there.
type place struct {
	point  target.ProbePoint
	cookie uint64
}

// attachUprobes puts a program on instructions of the target's executable, for its
// process alone, after comparing what stands there in the process with what the
// file says: a breakpoint in the midst of an instruction would break the program.
func (p *programs) attachUprobes(prog *ebpf.Program, img *image, places []place) error {
	if img == nil || img.file == nil {
		return errNoProcess
	}
	var opts link.UprobeMultiOptions
	opts.PID = uint32(img.pid)
	for _, at := range places {
		if err := img.verify(at.point); err != nil {
			return err
		}
		opts.Addresses = append(opts.Addresses, at.point.Offset)
		opts.Cookies = append(opts.Cookies, at.cookie)
	}
	exe, err := link.OpenExecutable(img.running())
	if err != nil {
		return fmt.Errorf("open the target's executable: %w", err)
	}
	l, err := exe.UprobeMulti(nil, prog, &opts)
	if err != nil {
		return uprobeRefused(err)
	}
	p.links = append(p.links, l)
	return nil
}

func uprobeRefused(err error) error {
	if errors.Is(err, ebpf.ErrNotSupported) {
		return &shortfall{
			missing: "this kernel cannot attach a program to several functions at once",
			mend:    "use Linux 6.6 or later; the other probes work without",
			cause:   err,
		}
	}
	return fmt.Errorf("attach to functions of the target: %w", err)
}

// running is the path that leads to the file that runs, even if another stands in
// its place now.
func (i *image) running() string { return fmt.Sprintf("/proc/%d/exe", i.pid) }

// verify compares an instruction in the process with the file's. Another probe may
// stand on it already, with its breakpoint in place of the first byte.
func (i *image) verify(at target.ProbePoint) error {
	there := make([]byte, len(at.Bytes))
	if _, err := processMemory(i.pid).ReadAt(there, int64(at.Addr+i.bias)); err != nil {
		return fmt.Errorf("look at the code before probing it: memory of process %d at %#x: %w", i.pid, at.Addr+i.bias, err)
	}
	probed := len(there) > 0 && there[0] == breakpoint && bytes.Equal(there[1:], at.Bytes[1:])
	if !probed && !bytes.Equal(there, at.Bytes) {
		return fmt.Errorf("%w: at %#x the process has % x where its file has % x", target.ErrUnsafe, at.Addr, there, at.Bytes)
	}
	return nil
}

// processMemory is that of a process, by its addresses. /proc/PID/mem would take
// CAP_DAC_READ_SEARCH for a process of another user, beside CAP_SYS_PTRACE.
type processMemory int

// ReadAt implements io.ReaderAt.
func (pid processMemory) ReadAt(p []byte, at int64) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	local := unix.Iovec{Base: &p[0]}
	local.SetLen(len(p))
	n, err := unix.ProcessVMReadv(int(pid), []unix.Iovec{local}, []unix.RemoteIovec{{Base: uintptr(at), Len: len(p)}}, 0)
	if err != nil {
		return 0, os.NewSyscallError("process_vm_readv", err)
	}
	if n < len(p) {
		return n, io.ErrUnexpectedEOF
	}
	return n, nil
}

// tryUprobe finds out whether the kernel attaches a program to a function, on our
// own process and an instruction that it will not pass again: its first.
func (p *programs) tryUprobe(prog *ebpf.Program) error {
	const self = "/proc/self/exe"
	f, err := elf.Open(self)
	if err != nil {
		return fmt.Errorf("try a probe on %s: %w", self, err)
	}
	defer f.Close() // read only
	for _, seg := range f.Progs {
		if seg.Type != elf.PT_LOAD || f.Entry < seg.Vaddr || f.Entry-seg.Vaddr >= seg.Filesz {
			continue
		}
		exe, err := link.OpenExecutable(self)
		if err != nil {
			return fmt.Errorf("try a probe on %s: %w", self, err)
		}
		l, err := exe.UprobeMulti(nil, prog, &link.UprobeMultiOptions{
			Addresses: []uint64{f.Entry - seg.Vaddr + seg.Off}, PID: uint32(os.Getpid()),
		})
		if err != nil {
			return uprobeRefused(err)
		}
		p.links = append(p.links, l)
		return nil
	}
	return fmt.Errorf("try a probe on %s: its first instruction is not in the file", self)
}
