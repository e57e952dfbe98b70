package overhead

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// toolReady bounds how long an outside tool may take to attach.
	toolReady = 20 * time.Second
	// toolBlind is how long a tool is given that does not say when it has attached.
	toolBlind = 1500 * time.Millisecond
	// toolEnd is how long a tool may take to detach and print before it is killed.
	toolEnd = 5 * time.Second
)

// tool is a program of others that does to the target what one of our probes does.
type tool struct {
	name    string // of the mode
	program string
	about   string
	args    func(pid int) []string
	ready   string // what it says when it has attached; empty: nothing
}

// bpftraceJob counts and times the system calls of process %d, by call, with a
// histogram each, as the syscalls probe does. It keeps no stacks.
const bpftraceJob = `BEGIN { printf("ready\n"); }
tracepoint:raw_syscalls:sys_enter /pid == %[1]d/ { @start[tid] = nsecs; }
tracepoint:raw_syscalls:sys_exit /pid == %[1]d && @start[tid]/ {
  @calls[args->id] = count();
  @ns[args->id] = hist(nsecs - @start[tid]);
  delete(@start[tid]);
}`

// tools lists the outside tools that are known.
func tools() []*tool {
	return []*tool{
		{name: "bpftrace", program: "bpftrace", about: "bpftrace counting and timing system calls", ready: "ready",
			args: func(pid int) []string { return []string{"-B", "line", "-e", fmt.Sprintf(bpftraceJob, pid)} }},
		{name: "strace", program: "strace", about: "strace -c -f", ready: "attached",
			args: func(pid int) []string { return []string{"-c", "-f", "-p", strconv.Itoa(pid)} }},
		{name: "perf-trace", program: "perf", about: "perf trace -s",
			args: func(pid int) []string { return []string{"trace", "-s", "-p", strconv.Itoa(pid)} }},
	}
}

// missing says that the tool is not installed; empty when it is.
func (t *tool) missing() string {
	if _, err := exec.LookPath(t.program); err != nil {
		return t.program + " is not installed"
	}
	return ""
}

// running is a tool at work.
type running struct {
	tool  *tool
	cmd   *exec.Cmd
	said  *words
	ended chan struct{}
	err   error // how it ended; read after ended is closed
}

// start starts the tool on process pid and returns once it has attached. The tool
// does not outlive this process.
func (t *tool) start(ctx context.Context, pid int) (*running, error) {
	r := &running{tool: t, said: &words{awaited: t.ready, heard: make(chan struct{})}, ended: make(chan struct{})}
	r.cmd = exec.Command(t.program, t.args(pid)...)
	r.cmd.Stdout, r.cmd.Stderr = r.said, r.said
	r.cmd.WaitDelay = toolEnd
	r.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := r.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", t.program, err)
	}
	go func() {
		r.err = r.cmd.Wait()
		close(r.ended)
	}()
	limit := toolReady
	if t.ready == "" {
		limit = toolBlind
	}
	timer := time.NewTimer(limit)
	defer timer.Stop()
	var err error
	select {
	case <-r.said.heard:
		return r, nil
	case <-timer.C:
		if t.ready == "" {
			return r, nil
		}
		err = fmt.Errorf("it had not attached after %s", limit)
	case <-r.ended:
		err = fmt.Errorf("it ended: %v", r.err)
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	return nil, errors.Join(fmt.Errorf("%s: %w; it said: %s", t.program, err, r.said.end()), r.stop())
}

// alive is an error when the tool has ended by itself.
func (r *running) alive() error {
	select {
	case <-r.ended:
		return fmt.Errorf("%s ended before its window did: %v; it said: %s", r.tool.program, r.err, r.said.end())
	default:
		return nil
	}
}

// stop has the tool detach, and kills it if that takes too long.
func (r *running) stop() error {
	for _, sig := range []syscall.Signal{unix.SIGINT, unix.SIGKILL} {
		select {
		case <-r.ended:
			return nil
		default:
		}
		_ = unix.Kill(-r.cmd.Process.Pid, sig) // it can only have ended just now
		select {
		case <-r.ended:
			return nil
		case <-time.After(toolEnd):
		}
	}
	return fmt.Errorf("%s (pid %d) is still there %s after SIGKILL", r.tool.program, r.cmd.Process.Pid, toolEnd)
}

// words keeps the end of what a tool says, and listens for a word.
type words struct {
	awaited string
	heard   chan struct{}

	mu   sync.Mutex
	kept []byte
	told bool
}

const wordsKept = 4 << 10

func (w *words) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.kept = append(w.kept, p...)
	if !w.told && w.awaited != "" && bytes.Contains(w.kept, []byte(w.awaited)) {
		w.told = true
		close(w.heard)
	}
	if over := len(w.kept) - wordsKept; over > 0 {
		w.kept = append(w.kept[:0], w.kept[over:]...)
	}
	return len(p), nil
}

// end is the last line said.
func (w *words) end() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	lines := strings.Split(strings.TrimSpace(string(w.kept)), "\n")
	return lines[len(lines)-1]
}
