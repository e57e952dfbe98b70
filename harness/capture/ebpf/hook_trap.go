package ebpf

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// trap does nothing; it is where a uprobe of this program's own is put.
func trap()

// trapPC is the address of trap.
func trapPC() uintptr

// rename gives the calling thread a name.
func rename(name *byte) {
	// That it cannot be renamed shows: the tracepoint is not run into.
	_ = unix.Prctl(unix.PR_SET_NAME, uintptr(unsafe.Pointer(name)), 0, 0, 0)
}

// trapping runs into a uprobe in this process alone.
func trapping() (trigger, error) {
	offset, err := fileOffset(uint64(trapPC()))
	if err != nil {
		return trigger{}, err
	}
	self, err := link.OpenExecutable("/proc/self/exe")
	if err != nil {
		return trigger{}, fmt.Errorf("open this program: %w", err)
	}
	return trigger{
		programs: []*ebpf.ProgramSpec{empty(ebpf.Kprobe, 0, "")},
		attach: func(programs []*ebpf.Program) (io.Closer, error) {
			return self.Uprobe("trap", programs[0], &link.UprobeOptions{Address: offset, PID: os.Getpid()})
		},
		batch: func(n int) (time.Duration, error) { return timed(n, trap) },
	}, nil
}

// fileOffset is where in the file of this program an address of its code is.
func fileOffset(pc uint64) (uint64, error) {
	f, err := os.Open("/proc/self/maps")
	if err != nil {
		return 0, fmt.Errorf("find this program in memory: %w", err)
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		// 00400000-0068c000 r-xp 00000000 08:01 131 /usr/bin/x
		var from, to, offset uint64
		var rights string
		if _, err := fmt.Fscanf(strings.NewReader(lines.Text()), "%x-%x %s %x", &from, &to, &rights, &offset); err != nil {
			continue
		}
		if pc >= from && pc < to {
			return offset + pc - from, nil
		}
	}
	return 0, errors.Join(fmt.Errorf("find this program in memory: nothing is mapped at %#x", pc), lines.Err())
}
