// Package procfs reads what /proc tells of one process: the few facts that the
// harness needs, cheaply enough to be read while the process is under load.
package procfs

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// userHZ is the unit of CPU times in /proc, ticks a second: 100 on every
// architecture Go supports, whatever the kernel's own tick is.
const userHZ = 100

const nsPerTick = 1_000_000_000 / userHZ

// maxFile bounds one file of /proc that is read whole, in bytes.
const maxFile = 1 << 20

// CPUsAllowed is how many CPUs the kernel lets process pid run on, by its
// affinity mask. A CPU quota of its control group is not counted.
func CPUsAllowed(pid int) (int, error) {
	var set unix.CPUSet
	if err := unix.SchedGetaffinity(pid, &set); err != nil {
		return 0, fmt.Errorf("read which CPUs process %d may use: %w", pid, err)
	}
	return set.Count(), nil
}

// Process is /proc/PID of one process. Errors of its methods satisfy Gone when
// the process has ended.
type Process struct{ dir string }

// Of names the process; it need not exist.
func Of(pid int) Process { return Process{"/proc/" + strconv.Itoa(pid)} }

func (p Process) file(name string) string { return filepath.Join(p.dir, name) }

// readFile reads a file of /proc, which has no size to go by.
func readFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxFile))
}

// Stat is what is taken from /proc/PID/stat.
type Stat struct {
	UserNS, SystemNS int64 // CPU time since the start, in nanoseconds, to 10 ms
	StartTicks       int64 // since boot; with the pid it names a process for good
	Parent           int   // process that started it, or 1 if that has ended
	Group            int   // process group
	Ended            bool  // ended, and not yet waited for
}

// parseStat reads /proc/PID/stat. The second field, the name, may hold spaces
// and parentheses, so that fields count from the last parenthesis.
func parseStat(data []byte) (Stat, error) {
	end := bytes.LastIndexByte(data, ')')
	if end < 0 {
		return Stat{}, errors.New("no name in parentheses")
	}
	fields := strings.Fields(string(data[end+1:]))
	const state, ppid, pgrp, utime, stime, starttime = 0, 1, 2, 11, 12, 19 // fields 3, 4, 5, 14, 15, 22 of proc(5)
	if len(fields) <= starttime {
		return Stat{}, fmt.Errorf("%d fields after the name, want at least %d", len(fields), starttime+1)
	}
	var s Stat
	s.Ended = fields[state] == "Z" || fields[state] == "X"
	var err error
	number := func(i int) int64 {
		n, e := strconv.ParseInt(fields[i], 10, 64)
		err = errors.Join(err, e)
		return n
	}
	s.Parent, s.Group = int(number(ppid)), int(number(pgrp))
	s.UserNS, s.SystemNS, s.StartTicks = number(utime)*nsPerTick, number(stime)*nsPerTick, number(starttime)
	return s, err
}

// Stat reads /proc/PID/stat.
func (p Process) Stat() (Stat, error) {
	data, err := readFile(p.file("stat"))
	if err != nil {
		return Stat{}, err
	}
	s, err := parseStat(data)
	if err != nil {
		return Stat{}, fmt.Errorf("%s: %w", p.file("stat"), err)
	}
	return s, nil
}

// CPU is the CPU time that process pid has used since its start, by the kernel's
// clock of that process: to the nanosecond, ended threads included. An error
// satisfies Gone when there is no such process.
func CPU(pid int) (time.Duration, error) {
	// The id of another process's clock, as clock_getcpuclockid(3) makes it: the
	// complement of the pid, and CPUCLOCK_SCHED.
	const sched = 2
	var ts unix.Timespec
	if err := unix.ClockGettime(int32(^uint32(pid)<<3|sched), &ts); err != nil {
		if errors.Is(err, unix.EINVAL) {
			err = unix.ESRCH // what the kernel means where no process has the pid
		}
		return 0, fmt.Errorf("read the CPU clock of process %d: %w", pid, err)
	}
	return time.Duration(ts.Nano()), nil
}

// Status is what is taken from /proc/PID/status.
type Status struct {
	RSSBytes     int64
	PeakRSSBytes int64 // since the program was started; getrusage's also knows what forked it
	Threads      int

	voluntary, involuntary int64 // context switches of one thread
}

func parseStatus(data []byte) (Status, error) {
	var s Status
	var err error
	for line := range strings.Lines(string(data)) {
		name, value, ok := strings.Cut(line, ":")
		if !ok {
			continue
		}
		number := func(unit string) int64 {
			n, e := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(value), unit)), 10, 64)
			if e != nil {
				err = errors.Join(err, fmt.Errorf("%s: %w", name, e))
			}
			return n
		}
		switch name {
		case "VmRSS":
			s.RSSBytes = number("kB") << 10
		case "VmHWM":
			s.PeakRSSBytes = number("kB") << 10
		case "Threads":
			s.Threads = int(number(""))
		case "voluntary_ctxt_switches":
			s.voluntary = number("")
		case "nonvoluntary_ctxt_switches":
			s.involuntary = number("")
		}
	}
	return s, err
}

// Status reads /proc/PID/status.
func (p Process) Status() (Status, error) {
	data, err := readFile(p.file("status"))
	if err != nil {
		return Status{}, err
	}
	s, err := parseStatus(data)
	if err != nil {
		return Status{}, fmt.Errorf("%s: %w", p.file("status"), err)
	}
	return s, nil
}

// ContextSwitches sums over the threads that live now: the figures of the
// process's own status file are those of its first thread alone.
func (p Process) ContextSwitches() (voluntary, involuntary int64, err error) {
	tasks, err := os.ReadDir(p.file("task"))
	if err != nil {
		return 0, 0, err
	}
	for _, t := range tasks {
		s, err := Process{p.file(filepath.Join("task", t.Name()))}.Status()
		if Gone(err) {
			continue // this thread has ended since
		}
		if err != nil {
			return 0, 0, err
		}
		voluntary += s.voluntary
		involuntary += s.involuntary
	}
	return voluntary, involuntary, nil
}

// OpenFiles counts the descriptors of the process. Since Linux 6.2 the size of
// the directory is their number; before, it is 0 and they have to be listed,
// which costs milliseconds of kernel time at 10,000.
func (p Process) OpenFiles() (int, error) {
	info, err := os.Stat(p.file("fd"))
	if err != nil {
		return 0, err
	}
	if n := info.Size(); n > 0 {
		return int(n), nil
	}
	names, err := p.descriptors()
	return len(names), err
}

func (p Process) descriptors() ([]string, error) {
	dir, err := os.Open(p.file("fd"))
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	return dir.Readdirnames(-1)
}

// Unlimited stands for a limit that is not set.
const Unlimited = -1

// parseOpenFilesLimit finds the soft limit of open files in /proc/PID/limits.
func parseOpenFilesLimit(data []byte) (int64, error) {
	for line := range strings.Lines(string(data)) {
		rest, ok := strings.CutPrefix(line, "Max open files")
		if !ok {
			continue
		}
		fields := strings.Fields(rest)
		if len(fields) == 0 {
			break
		}
		if fields[0] == "unlimited" {
			return Unlimited, nil
		}
		return strconv.ParseInt(fields[0], 10, 64)
	}
	return 0, errors.New("no line \"Max open files\"")
}

// OpenFilesLimit is the soft limit of open files of the process, or Unlimited.
func (p Process) OpenFilesLimit() (int64, error) {
	data, err := readFile(p.file("limits"))
	if err != nil {
		return 0, err
	}
	n, err := parseOpenFilesLimit(data)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", p.file("limits"), err)
	}
	return n, nil
}

// parseMachine reads the first line of /proc/stat: CPU time of the machine
// since boot, summed over CPUs, idle (waiting for disks included) and total.
func parseMachine(data []byte) (idleNS, totalNS int64, err error) {
	line, _, _ := strings.Cut(string(data), "\n")
	fields := strings.Fields(line)
	// cpu user nice system idle iowait irq softirq steal guest guest_nice;
	// guest time is part of user time.
	const idle, iowait, last = 4, 5, 8
	if len(fields) <= iowait || fields[0] != "cpu" {
		return 0, 0, fmt.Errorf("first line %.80q does not begin with the sums over CPUs", line)
	}
	for i := 1; i < len(fields) && i <= last; i++ {
		n, err := strconv.ParseInt(fields[i], 10, 64)
		if err != nil {
			return 0, 0, fmt.Errorf("field %d: %w", i, err)
		}
		totalNS += n * nsPerTick
		if i == idle || i == iowait {
			idleNS += n * nsPerTick
		}
	}
	return idleNS, totalNS, nil
}

// Machine reads /proc/stat: CPU time since boot, summed over CPUs, in
// nanoseconds, to 10 ms.
func Machine() (idleNS, totalNS int64, err error) {
	data, err := readFile("/proc/stat")
	if err != nil {
		return 0, 0, err
	}
	idleNS, totalNS, err = parseMachine(data)
	if err != nil {
		return 0, 0, fmt.Errorf("/proc/stat: %w", err)
	}
	return idleNS, totalNS, nil
}

// SocketInodes lists the sockets the process holds. At 10,000 of them the walk
// from the root of the file system would cost more than the reading, so that
// links are read relative to their folder, into one buffer.
func (p Process) SocketInodes() (map[uint64]bool, error) {
	dir, err := os.Open(p.file("fd"))
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return nil, err
	}
	inodes := make(map[uint64]bool, len(names))
	link := make([]byte, 64) // longer than any socket's
	for _, name := range names {
		n, err := unix.Readlinkat(int(dir.Fd()), name, link)
		if err != nil {
			continue // closed since
		}
		if inode, ok := socketInode(link[:n]); ok {
			inodes[inode] = true
		}
	}
	return inodes, nil
}

// socketInode reads "socket:[4711]".
func socketInode(link []byte) (uint64, bool) {
	text, ok := bytes.CutPrefix(link, []byte("socket:["))
	if !ok {
		return 0, false
	}
	text, ok = bytes.CutSuffix(text, []byte("]"))
	if !ok {
		return 0, false
	}
	n, err := strconv.ParseUint(string(text), 10, 64)
	return n, err == nil
}

// tcpSocket is one line of /proc/PID/net/tcp or tcp6.
type tcpSocket struct {
	localPort    int
	state        uint8
	sendQ, recvQ int64
	inode        uint64
}

// StateName names a TCP state by its number; see include/net/tcp_states.h of Linux.
func StateName(n uint8) string {
	names := [...]string{1: "ESTABLISHED", "SYN_SENT", "SYN_RECV", "FIN_WAIT1", "FIN_WAIT2",
		"TIME_WAIT", "CLOSE", "CLOSE_WAIT", "LAST_ACK", "LISTEN", "CLOSING", "NEW_SYN_RECV"}
	if n == 0 || int(n) >= len(names) {
		return fmt.Sprintf("STATE_%d", n)
	}
	return names[n]
}

// listen is the state of a listening socket.
const listen = 10

// parseTCPLine reads one line after the heading. It makes no garbage: there
// are 20,000 lines when 10,000 connections have both ends on this machine.
func parseTCPLine(line []byte) (tcpSocket, error) {
	// sl local_address rem_address st tx_queue:rx_queue tr:tm->when retrnsmt uid timeout inode
	const local, state, queues, inode, enough = 1, 3, 4, 9, 10
	var fields [enough][]byte
	n := 0
	for field := range bytes.FieldsSeq(line) {
		fields[n] = field
		if n++; n == enough {
			break
		}
	}
	if n < enough {
		return tcpSocket{}, fmt.Errorf("%d fields, want at least %d", n, enough)
	}
	_, port, ok := bytes.Cut(fields[local], []byte(":"))
	if !ok {
		return tcpSocket{}, fmt.Errorf("local address %.80q has no port", fields[local])
	}
	tx, rx, ok := bytes.Cut(fields[queues], []byte(":"))
	if !ok {
		return tcpSocket{}, fmt.Errorf("queues %.80q are not two", fields[queues])
	}
	var err error
	number := func(text []byte, base, bits int) uint64 {
		// The conversion stays on the stack, as ParseUint keeps it only in errors.
		n, e := strconv.ParseUint(string(text), base, bits)
		if e != nil {
			err = errors.Join(err, e)
		}
		return n
	}
	s := tcpSocket{
		localPort: int(number(port, 16, 16)),
		state:     uint8(number(fields[state], 16, 8)),
		sendQ:     int64(number(tx, 16, 32)),
		recvQ:     int64(number(rx, 16, 32)),
		inode:     number(fields[inode], 10, 64),
	}
	return s, err
}

// eachTCP calls f for every TCP socket of the process's network namespace.
func (p Process) eachTCP(f func(tcpSocket)) error {
	for _, name := range []string{"net/tcp", "net/tcp6"} {
		if err := eachTCPIn(p.file(name), f); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err // a kernel without IPv6 has no tcp6
		}
	}
	return nil
}

func eachTCPIn(path string, f func(tcpSocket)) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	lines := bufio.NewScanner(bufio.NewReaderSize(file, 256<<10))
	lines.Scan() // the heading
	for lines.Scan() {
		s, err := parseTCPLine(lines.Bytes())
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		f(s)
	}
	return lines.Err()
}

// Sockets is what the TCP sockets of one process are doing.
type Sockets struct {
	ByState map[string]int // "ESTABLISHED"
	// Bytes not yet read by the process, and not yet acknowledged by its peers.
	// Queues of listening sockets count connections and are left out.
	RecvQBytes, SendQBytes int64
}

// Sockets finds the TCP sockets of the process. At 10,000 connections this
// takes tens of milliseconds: the kernel tells of all sockets of the machine,
// and which belong to the process only by its descriptors, one by one.
func (p Process) Sockets() (Sockets, error) {
	own, err := p.SocketInodes()
	if err != nil {
		return Sockets{}, err
	}
	all := Sockets{ByState: map[string]int{}}
	err = p.eachTCP(func(s tcpSocket) {
		if !own[s.inode] {
			return
		}
		all.ByState[StateName(s.state)]++
		if s.state != listen {
			all.RecvQBytes += s.recvQ
			all.SendQBytes += s.sendQ
		}
	})
	return all, err
}

// ListenPorts lists the TCP ports the process listens on, in order.
func (p Process) ListenPorts() ([]int, error) {
	own, err := p.SocketInodes()
	if err != nil {
		return nil, err
	}
	var ports []int
	err = p.eachTCP(func(s tcpSocket) {
		if s.state == listen && own[s.inode] {
			ports = append(ports, s.localPort)
		}
	})
	slices.Sort(ports)
	return slices.Compact(ports), err
}

// InGroup lists the processes of a process group, those that have ended and
// were not waited for left out.
func InGroup(group int) ([]int, error) {
	return find(func(p Process) bool {
		s, err := p.Stat()
		return err == nil && s.Group == group && !s.Ended
	})
}

// WithEnv lists the processes that were started with an entry ("NAME=value") in their
// environment, those whose environment may not be read left out.
func WithEnv(entry string) ([]int, error) {
	return find(func(p Process) bool {
		environ, err := readFile(p.file("environ"))
		if err != nil {
			return false // it has ended, or is another user's
		}
		for x := range bytes.SplitSeq(environ, []byte{0}) {
			if string(x) == entry {
				return true
			}
		}
		return false
	})
}

// find lists the processes that match.
func find(match func(Process) bool) ([]int, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	var pids []int
	for _, e := range entries {
		if pid, err := strconv.Atoi(e.Name()); err == nil && match(Of(pid)) {
			pids = append(pids, pid)
		}
	}
	return pids, nil
}

// Gone reports whether an error means that the process or thread has ended.
func Gone(err error) bool {
	return errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ESRCH)
}
