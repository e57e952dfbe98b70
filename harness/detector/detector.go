// Package detector lets a program of somebody else look at a bundle, and tells it
// nothing else: it gets a copy without the ground truth, under a neutral name, in
// an empty directory and an empty environment, and has a limited time to answer.
//
// That keeps an honest program from being told what it should find out, and a
// faulty one from holding up those who try it. It is no protection against a
// program that means harm: that runs with the rights of whoever starts it.
package detector

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"chokepoint/harness/bundle"
)

// Bounds on what a detector may print.
const (
	MaxOutput = 16 << 20 // bytes of its answer
	maxSaid   = 4 << 10  // bytes of its standard error that are kept, the last ones
)

// DefaultTimeout is the time a detector has for one bundle.
const DefaultTimeout = time.Minute

// Detector is a program that reads a bundle and prints findings.
type Detector struct {
	// Command is what /bin/sh runs, with the path of the bundle's directory added
	// as its last argument.
	Command string
	// Timeout for one bundle; 0 means DefaultTimeout.
	Timeout time.Duration
}

// Answer is what a detector made of one bundle.
type Answer struct {
	Output []byte // what it printed
	// Failed says what went wrong with the detector, with the last that it wrote
	// to standard error; empty when it ended well.
	Failed string
}

// Ask gives the detector a copy of the bundle without its ground truth. The
// error is not the detector's: the bundle cannot be read, the machine cannot
// start a program, or ctx has ended, whose cause it then is.
func (d Detector) Ask(ctx context.Context, b *bundle.Bundle) (answer Answer, err error) {
	dir, err := os.MkdirTemp("", "chokepoint-detector-")
	if err != nil {
		return Answer{}, fmt.Errorf("make a directory for the detector: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	work := filepath.Join(dir, "work")
	if err := os.Mkdir(work, 0o755); err != nil {
		return Answer{}, fmt.Errorf("make a directory for the detector: %w", err)
	}
	blind := filepath.Join(dir, "bundle")
	if err := Blind(b, blind); err != nil {
		return Answer{}, err
	}
	return d.run(ctx, work, blind)
}

// Blind copies the evidence of a bundle into a new directory: all its artifacts
// but the ground truth, and a manifest that lists them. What a run leaves beside
// the artifacts (its findings, its report) stays behind.
func Blind(b *bundle.Bundle, dir string) error {
	m := b.Manifest()
	artifacts := m.Artifacts
	m.Artifacts = nil // the writer lists what it writes
	w, err := bundle.Create(dir, m)
	if err != nil {
		return fmt.Errorf("copy the evidence of %s: %w", b.Path(), err)
	}
	evidence := b.Evidence()
	for _, a := range artifacts {
		if a.Path == bundle.ScenarioFile {
			continue
		}
		data, err := evidence.ReadFile(a.Path)
		if err != nil {
			return fmt.Errorf("copy the evidence of %s: %w", b.Path(), err)
		}
		if err := w.WriteFile(a.Path, data); err != nil {
			return fmt.Errorf("copy the evidence of %s: %w", b.Path(), err)
		}
	}
	if !m.Complete {
		err = w.Abandon(m.Incomplete)
	} else {
		err = w.Finish()
	}
	if err != nil {
		return fmt.Errorf("copy the evidence of %s: %w", b.Path(), err)
	}
	return nil
}

func (d Detector) run(ctx context.Context, dir, blind string) (Answer, error) {
	timeout := d.Timeout
	if timeout <= 0 {
		timeout = DefaultTimeout
	}
	// Its own process group, so that what it starts ends with it.
	cmd := exec.Command("/bin/sh", "-c", d.Command+` "$@"`, "detector", blind)
	cmd.Dir = dir
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "TMPDIR=" + dir, "LANG=C.UTF-8"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	out := &bounded{limit: MaxOutput, full: make(chan struct{})}
	said := &tail{}
	cmd.Stdout, cmd.Stderr = out, said
	cmd.WaitDelay = time.Second // a child that left the group may hold the pipes open
	if err := cmd.Start(); err != nil {
		return Answer{}, fmt.Errorf("start the detector: %w", err)
	}
	group := cmd.Process.Pid
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		// The leader is left unreaped, so that its id cannot become another's
		// before the group is killed.
		for errors.Is(unix.Waitid(unix.P_PID, group, nil, unix.WEXITED|unix.WNOWAIT, nil), unix.EINTR) {
		}
	}()
	limit := time.NewTimer(timeout)
	defer limit.Stop()
	stopped := ""
	select {
	case <-ended:
	case <-out.full:
		stopped = fmt.Sprintf("it printed more than %d MiB and was stopped", MaxOutput>>20)
	case <-limit.C:
		stopped = fmt.Sprintf("it did not answer within %s and was stopped", timeout)
	case <-ctx.Done():
	}
	_ = unix.Kill(-group, unix.SIGKILL) // what is left of it; none may be
	killStrays(dir)
	err := cmd.Wait()
	<-ended
	switch {
	case ctx.Err() != nil:
		return Answer{}, context.Cause(ctx)
	case stopped != "":
	case out.more:
		stopped = fmt.Sprintf("it printed more than %d MiB", MaxOutput>>20)
	case err != nil && !errors.Is(err, exec.ErrWaitDelay):
		stopped = fmt.Sprintf("it failed: %v", err)
	default:
		return Answer{Output: out.b.Bytes()}, nil
	}
	return Answer{Failed: said.beside(stopped)}, nil
}

// killStrays ends what left the detector's process group: whatever still has its
// directory in the environment that it was started with.
func killStrays(dir string) {
	all, err := filepath.Glob("/proc/[0-9]*/environ")
	if err != nil {
		return
	}
	for _, file := range all {
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(file)))
		if err != nil {
			continue
		}
		// The descriptor is opened first: what is read then is of the process it
		// names, and of no later one with the same id.
		fd, err := unix.PidfdOpen(pid, 0)
		if err != nil {
			continue // it has ended
		}
		if env, err := os.ReadFile(file); err == nil && bytes.Contains(env, []byte("HOME="+dir+"\x00")) {
			_ = unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0)
		}
		_ = unix.Close(fd)
	}
}

// bounded keeps what is written up to a limit, and says once when there is more.
// It takes the rest, so that the writer is not held up until it is stopped. One
// goroutine writes; the others read it after that has ended.
type bounded struct {
	b     bytes.Buffer
	limit int
	full  chan struct{}
	more  bool
}

func (w *bounded) Write(p []byte) (int, error) {
	if fits := min(len(p), w.limit-w.b.Len()); fits < len(p) {
		w.b.Write(p[:fits])
		if !w.more {
			w.more = true
			close(w.full)
		}
		return len(p), nil
	}
	return w.b.Write(p)
}

// tail keeps the end of what is written.
type tail struct{ kept []byte }

func (t *tail) Write(p []byte) (int, error) {
	t.kept = append(t.kept, p[max(0, len(p)-maxSaid):]...)
	t.kept = t.kept[max(0, len(t.kept)-maxSaid):]
	return len(p), nil
}

// beside adds what the detector wrote last to what went wrong with it.
func (t *tail) beside(wrong string) string {
	if said := strings.TrimSpace(strings.ToValidUTF8(string(t.kept), "\uFFFD")); said != "" {
		return wrong + "; it said: " + said
	}
	return wrong
}
