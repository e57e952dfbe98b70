package target

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"chokepoint/harness/affinity"
	"chokepoint/harness/procfs"
)

const (
	// killWait is how long a killed process is given to disappear; one that
	// sleeps in the kernel on a dead disk may never.
	killWait = 5 * time.Second
	// pipeWait is how long after the target's end its output is waited for, when
	// something still holds the pipe.
	pipeWait = time.Second
	// watchEvery is how often an attached process that cannot be waited for is looked at.
	watchEvery = 250 * time.Millisecond
)

// Process is a running target. Its fields do not change.
type Process struct {
	// PID is the process that serves Address: of a command that starts its
	// server as a child, the child. 0 for a URL.
	PID        int
	Executable string // of PID; empty for a URL
	Address    string // "127.0.0.1:1234"
	BaseURL    string // "http://127.0.0.1:1234"
	DebugURL   string // of net/http/pprof; empty: none
	MetricsURL string // of runtime/metrics; empty: none

	name        string
	stopTimeout time.Duration
	output      *tail
	began       time.Time

	leader int           // of the process group; 0 when attached
	mark   string        // in the environment of the target and of all that it starts
	done   chan struct{} // closed when the process has ended

	mu       sync.Mutex
	reaped   bool // the leader was waited for: its pid may be another's by now
	stopping bool // Stop was called: an end is no news
	err      error

	unwatch chan struct{} // ends the watch of an attached process
	once    sync.Once     // closes unwatch
}

// Done is closed when the target has ended, asked to or not. That of a URL never is.
func (p *Process) Done() <-chan struct{} { return p.done }

// Err says, once Done is closed, how the target ended when nobody had asked it
// to: an ErrDied with its signal or exit code and its last lines. It is nil
// before Done, and after Stop.
func (p *Process) Err() error {
	select {
	case <-p.done:
	default:
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.err
}

// launch starts an executable as the leader of a process group.
func launch(c Config, executable string, args []string, env []string) (*Process, error) {
	p := &Process{
		Executable:  executable,
		name:        c.name(),
		stopTimeout: c.StopTimeout,
		output:      &tail{},
		done:        make(chan struct{}),
		began:       time.Now(),
		mark:        "CHOKEPOINT_TARGET=" + rand.Text(),
	}
	cmd := exec.Command(executable, args...)
	cmd.Dir = c.Dir
	cmd.Env = append(append(os.Environ(), env...), p.mark)
	out := io.MultiWriter(p.output, unfailing{c.Output})
	cmd.Stdout, cmd.Stderr = out, out
	cmd.WaitDelay = pipeWait
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}

	started := make(chan error, 1)
	go func() {
		// The kernel sends Pdeathsig when the thread that forked ends, and not
		// the process: this one must live as long as the target, and serve
		// nothing else meanwhile. It ends with this goroutine.
		runtime.LockOSThread()
		if err := affinity.Start(c.CPUs, cmd.Start); err != nil {
			started <- err
			return
		}
		p.PID, p.leader = cmd.Process.Pid, cmd.Process.Pid
		started <- nil
		p.wait(cmd)
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("%w: start %s: %w", ErrConfig, p.name, err)
	}
	return p, nil
}

// wait waits for the leader, ends what is left of its group, and says how it ended.
func (p *Process) wait(cmd *exec.Cmd) {
	defer close(p.done)
	// Until it is waited for, the leader's pid names this group and no other,
	// so that signals cannot reach a stranger. A failure here means that the
	// process is gone already, which Wait below reports.
	for errors.Is(unix.Waitid(unix.P_PID, cmd.Process.Pid, nil, unix.WEXITED|unix.WNOWAIT, nil), unix.EINTR) {
	}
	p.mu.Lock()
	_ = unix.Kill(-p.leader, unix.SIGKILL) // no such process: it had no children left
	p.killMarked()
	p.reaped = true
	p.mu.Unlock()

	err := cmd.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.stopping {
		p.err = fmt.Errorf("%w: %s (pid %d) %s, %s after its start; %s",
			ErrDied, p.name, p.leader, howEnded(cmd.ProcessState, err), since(p.began), quote(p.output.all()))
	}
}

// killMarked kills what left the group, as a server that watches over its own child
// has it do. It goes by the environment, which outlives whoever started it. A process that is
// found twice is held by a descriptor meanwhile, so that its pid cannot have become another's.
func (p *Process) killMarked() {
	pids, err := procfs.WithEnv(p.mark)
	if err != nil {
		return
	}
	held := map[int]int{}
	for _, pid := range pids {
		if fd, err := unix.PidfdOpen(pid, 0); err == nil {
			held[pid] = fd
			defer unix.Close(fd)
		}
	}
	again, err := procfs.WithEnv(p.mark)
	if err != nil {
		return
	}
	for _, pid := range again {
		if fd, ok := held[pid]; ok {
			_ = unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0) // it can only have ended just now
		}
	}
}

// howEnded is "exited with code 3" or "was killed by SIGSEGV".
func howEnded(state *os.ProcessState, err error) string {
	if state == nil {
		return fmt.Sprintf("could not be waited for (%v)", err)
	}
	ws, ok := state.Sys().(syscall.WaitStatus)
	if !ok || !ws.Signaled() {
		return fmt.Sprintf("exited with code %d", state.ExitCode())
	}
	text := "was killed by " + unix.SignalName(ws.Signal())
	if ws.Signal() == syscall.SIGKILL {
		text += " (by hand, or by the kernel for want of memory: see dmesg)"
	}
	return text
}

func since(t time.Time) time.Duration { return time.Since(t).Round(10 * time.Millisecond) }

// signal reaches the whole group, and nobody once the leader was waited for.
func (p *Process) signal(sig syscall.Signal) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.reaped {
		_ = unix.Kill(-p.leader, sig) // it can only have ended just now
	}
}

// Stop asks the target to end with SIGTERM and kills it, and all that is left
// of its process group, when it has not ended after the stop timeout; that is
// an ErrHangsOnStop. When ctx ends first it is killed at once and the error is
// ctx's cause. A target that has ended already is no error, and one attached to
// is left alone. Stop is safe to call twice.
func (p *Process) Stop(ctx context.Context) error {
	if p.unwatch != nil {
		p.once.Do(func() { close(p.unwatch) })
		return nil
	}
	p.mu.Lock()
	p.stopping = true
	p.mu.Unlock()
	p.signal(syscall.SIGTERM)
	timer := time.NewTimer(p.stopTimeout)
	defer timer.Stop()
	var hung error
	select {
	case <-p.done:
	case <-timer.C:
		hung = fmt.Errorf("%w: %s (pid %d) had not ended %s after SIGTERM and was killed: let it end on SIGTERM; %s",
			ErrHangsOnStop, p.name, p.leader, p.stopTimeout, quote(p.output.all()))
	case <-ctx.Done():
		hung = fmt.Errorf("stop %s (pid %d): it was killed without waiting: %w", p.name, p.leader, context.Cause(ctx))
	}
	if hung == nil {
		return p.awaitEmpty()
	}
	return errors.Join(hung, p.kill())
}

// kill kills the group and waits until it is gone.
func (p *Process) kill() error {
	p.mu.Lock()
	p.stopping = true
	p.mu.Unlock()
	p.signal(syscall.SIGKILL)
	select {
	case <-p.done:
	case <-time.After(killWait):
		return fmt.Errorf("%s (pid %d) is still there %s after SIGKILL: it hangs in the kernel", p.name, p.leader, killWait)
	}
	return p.awaitEmpty()
}

// awaitEmpty waits until no process of a killed target is left.
func (p *Process) awaitEmpty() error {
	for deadline := time.Now().Add(killWait); ; time.Sleep(5 * time.Millisecond) {
		left, err := p.members()
		if err != nil || len(left) == 0 {
			return err
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("processes %v of the target are still there %s after SIGKILL", left, killWait)
		}
	}
}

// members are the processes of the target: those of its group, and those that left it. What has
// ended but was not waited for by its new parent is none.
func (p *Process) members() ([]int, error) {
	group, err := procfs.InGroup(p.leader)
	if err != nil {
		return nil, err
	}
	others, err := procfs.WithEnv(p.mark)
	if err != nil {
		return nil, err
	}
	all := append(group, others...)
	slices.Sort(all)
	return slices.Compact(all), nil
}

// watch closes done when an attached process ends.
func (p *Process) watch() error {
	born, err := procfs.Of(p.PID).Stat()
	if err != nil {
		return fmt.Errorf("watch pid %d: %w", p.PID, err)
	}
	go func() {
		ticker := time.NewTicker(watchEvery)
		defer ticker.Stop()
		for {
			select {
			case <-p.unwatch:
				return
			case <-ticker.C:
			}
			now, err := procfs.Of(p.PID).Stat()
			if err == nil && !now.Ended && now.StartTicks == born.StartTicks {
				continue
			}
			p.mu.Lock()
			p.err = fmt.Errorf("%w: pid %d ended, %s after it was attached to; only its parent knows how", ErrDied, p.PID, since(p.began))
			p.mu.Unlock()
			close(p.done)
			return
		}
	}()
	return nil
}

// unfailing goes on taking what its writer refuses: a target must not die of
// a closed pipe because whoever watches it has gone.
type unfailing struct{ w io.Writer }

func (u unfailing) Write(p []byte) (int, error) {
	_, _ = u.w.Write(p)
	return len(p), nil
}
