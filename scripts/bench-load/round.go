package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"chokepoint/harness/procfs"
)

// patienceOfRun is how much longer than its load a tool may take: k6 needs most
// of a minute to make 10,000 virtual users.
const patienceOfRun = 90 * time.Second

// figures of one run of one contender.
type figures struct {
	Round int    `json:"round"`
	Fault string `json:"fault,omitempty"` // why there are no others

	CPUSecondsPerMillion float64 `json:"cpu_s_per_million_requests"`
	// SteadyPerMillion is the same over the time with all connections open,
	// connecting and reporting left out; 0 if that was too short.
	SteadyPerMillion  float64 `json:"cpu_s_per_million_requests_once_connected"`
	CPUSeconds        float64 `json:"cpu_s"`
	PeakMiB           float64 `json:"peak_memory_mib"`
	RequestsPerSecond float64 `json:"requests_per_s"`
	Requests          int64   `json:"requests"`          // done; see tally.requests
	Answered          int64   `json:"requests_answered"` // by the server
	ToolRequests      int64   `json:"requests_own_count"`
	Connections       int     `json:"connections_most_open"`
	Made              int     `json:"connections_made"`
	P99MS             float64 `json:"p99_ms"`
	Errors            int64   `json:"errors"`
	// OthersShare is the CPU time that neither the tool nor the server used, of
	// all there was in the meantime, 0 to 1.
	OthersShare float64 `json:"cpu_share_of_others"`
	Disturbed   bool    `json:"disturbed"` // by others, who used too much
}

// line is the run in one line.
func (f figures) line() string {
	if f.Fault != "" {
		return "failed: " + f.Fault
	}
	return fmt.Sprintf("%.1f CPU-s per million requests (%.1f once connected), %.0f MiB, %s requests/s, %d connections, p99 %.0f ms, %d errors; %.0f %% of the CPUs used by others",
		f.CPUSecondsPerMillion, f.SteadyPerMillion, f.PeakMiB, grouped(f.RequestsPerSecond, 0), f.Connections, f.P99MS, f.Errors, 100*f.OthersShare)
}

// runner runs jobs, each against a server of its own.
type runner struct {
	self        string // this program
	connections int
	length      time.Duration
	quiet       float64 // most that others may use of the CPUs, 0 to 1
	runs        int     // so far
}

// host is another loopback address for every run, so that no run finds ports
// taken that an earlier one used.
func (r *runner) host() string {
	r.runs++
	return fmt.Sprintf("127.0.%d.%d", 10+r.runs/250%200, 1+r.runs%250)
}

// waitForQuiet waits until others leave enough of the CPUs, a minute at most.
func (r *runner) waitForQuiet(ctx context.Context) error {
	for range 60 {
		idleBefore, allBefore, err := procfs.Machine()
		if err != nil {
			return nil // then nobody can know
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(time.Second):
		}
		idle, all, err := procfs.Machine()
		if err != nil || all <= allBefore || float64(idle-idleBefore) >= (1-r.quiet)*float64(all-allBefore) {
			return nil
		}
	}
	return nil
}

// run puts a contender, whose command is at path, on a fresh server. An error is
// of the bench itself; a contender that fails leaves a fault in the figures.
func (r *runner) run(ctx context.Context, c contender, path string) (f figures, err error) {
	scratch, err := os.MkdirTemp("", "bench-load-")
	if err != nil {
		return f, fmt.Errorf("make a scratch folder: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(scratch)) }()

	idleBefore, allBefore, beforeErr := procfs.Machine()
	srv, err := startServer(ctx, r.self, r.host())
	if err != nil {
		return f, err
	}
	j := job{url: "http://" + srv.addr + "/", connections: r.connections, length: r.length, scratch: scratch}
	used, parsed, fault := runTool(ctx, c, path, j, srv.ask)
	seen, tallyErr := srv.final()
	served, stopErr := srv.stop()
	if err := ctx.Err(); err != nil {
		return f, context.Cause(ctx)
	}
	if err := errors.Join(tallyErr, stopErr); err != nil {
		return f, err
	}
	if fault != nil {
		f.Fault = fault.Error()
		return f, nil
	}
	f = figures{
		CPUSeconds: used.cpu.Seconds(), PeakMiB: used.peakMiB,
		Requests: seen.requests(parsed.requests), Answered: seen.Answered, ToolRequests: parsed.requests,
		Connections: seen.MostOpen, Made: seen.Accepted,
		P99MS: float64(parsed.p99) / float64(time.Millisecond), Errors: parsed.errors,
	}
	if f.Requests == 0 || seen.LoadNS == 0 {
		f.Fault = fmt.Sprintf("the server answered no request; the tool counts %d errors", parsed.errors)
		return f, nil
	}
	f.CPUSecondsPerMillion = f.CPUSeconds / float64(f.Requests) * 1e6
	if cpu, length, answered := steady(used.looks, r.connections); length >= steadyLeast && answered > 0 {
		f.SteadyPerMillion = cpu.Seconds() / float64(answered) * 1e6
	}
	f.RequestsPerSecond = float64(f.Requests) / time.Duration(seen.LoadNS).Seconds()
	if idle, all, err := procfs.Machine(); err == nil && beforeErr == nil && all > allBefore {
		busy := time.Duration((all - allBefore) - (idle - idleBefore))
		f.OthersShare = max(0, float64(busy-used.cpu-served)/float64(all-allBefore))
		f.Disturbed = f.OthersShare > r.quiet
	}
	return f, nil
}

// usage of a tool's process and of the children it has waited for.
type usage struct {
	cpu     time.Duration // user and system
	peakMiB float64       // resident; of several processes together
	looks   []look
}

func runTool(ctx context.Context, c contender, path string, j job, ask func() (tally, error)) (usage, claim, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, j.length+patienceOfRun,
		fmt.Errorf("it had not ended %s after it should have", patienceOfRun))
	defer cancel()
	how := c.invoke(j)
	for name, text := range how.files {
		if err := os.WriteFile(j.file(name), []byte(text), 0o600); err != nil {
			return usage{}, claim{}, fmt.Errorf("prepare %s: %w", c.name, err)
		}
	}
	cmd := exec.CommandContext(ctx, path, how.args...)
	cmd.Dir = j.scratch
	cmd.Env = append(os.Environ(), how.env...)
	// A group of its own, so that what the tool has started ends with it.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 5 * time.Second
	var stdout bytes.Buffer
	stderr := lastBytes{most: 500}
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	looks, err := runWatched(cmd, ask)
	if cause := context.Cause(ctx); cause != nil {
		err = cause
	}
	if err != nil {
		return usage{}, claim{}, fmt.Errorf("%s: %w: %s", filepath.Base(path), err, bytes.TrimSpace(stderr.kept))
	}
	parsed, err := c.parse(stdout.Bytes(), j)
	if err != nil {
		return usage{}, claim{}, err
	}
	used := usage{cpu: cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime(), looks: looks}
	if raw, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage); ok {
		used.peakMiB = float64(raw.Maxrss) / 1024 // KiB on Linux; of the largest process alone
	}
	for _, l := range looks {
		used.peakMiB = max(used.peakMiB, float64(l.rssBytes)/(1<<20))
	}
	return used, parsed, nil
}

// runWatched runs a command that has a process group of its own.
func runWatched(cmd *exec.Cmd, ask func() (tally, error)) ([]look, error) {
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	stop, looks := make(chan struct{}), make(chan []look, 1)
	go func() { looks <- watch(cmd.Process.Pid, ask, stop) }()
	err := cmd.Wait()
	close(stop)
	return <-looks, err
}

// lastBytes keeps the end of what is written to it.
type lastBytes struct {
	most int
	kept []byte
}

var _ io.Writer = (*lastBytes)(nil)

func (l *lastBytes) Write(p []byte) (int, error) {
	l.kept = append(l.kept, p...)
	if extra := len(l.kept) - l.most; extra > 0 {
		l.kept = append(l.kept[:0], l.kept[extra:]...)
	}
	return len(p), nil
}
