package cli_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"chokepoint/harness/bundle"
	"chokepoint/harness/cli"
)

// live runs the command against testdata/server, which misbehaves as it is told.
type live struct {
	server string // its executable
}

func newLive(t *testing.T) *live {
	if testing.Short() {
		t.Skip("-short: each case starts a server and loads it for seconds")
	}
	t.Parallel() // they wait more than they work
	dir := t.TempDir()
	reachable(t, dir)
	l := &live{server: filepath.Join(dir, "server")}
	out, err := exec.Command("go", "build", "-o", l.server, "./testdata/server").CombinedOutput()
	require.NoError(t, err, "%s", out)
	return l
}

// reachable lets other users into a test's temporary directory.
func reachable(t *testing.T, dir string) {
	t.Helper()
	for _, d := range []string{dir, filepath.Dir(dir)} {
		require.NoError(t, os.Chmod(d, 0o755))
	}
}

// job is one run of the command in a directory of its own.
type job struct {
	t   *testing.T
	dir string
	cmd *exec.Cmd

	out, err tape
}

// tape keeps what is written, for reading at the same time.
type tape struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (p *tape) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.text.Write(b)
}

func (p *tape) String() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.text.String()
}

// job prepares `chokepoint run` of one scenario, whose target is the server in a mode.
func (l *live) job(t *testing.T, target string, args ...string) *job {
	t.Helper()
	j := &job{t: t, dir: t.TempDir()}
	reachable(t, j.dir)
	j.scenario("one.yaml", target)
	j.command(append([]string{"run", "one.yaml", "--out", "runs"}, args...)...)
	return j
}

func (j *job) scenario(file, target string) {
	name := strings.TrimSuffix(file, ".yaml")
	text := fmt.Sprintf(`scenario: live/%s
target: %s
load: {in_flight: 20, ramp: 500ms, requests: [{path: /work}]}
capture: {window: 1s}
`, name, target)
	require.NoError(j.t, os.WriteFile(filepath.Join(j.dir, file), []byte(text), 0o644))
}

func (j *job) command(args ...string) {
	j.cmd = exec.Command("chokepoint", args...)
	j.cmd.Dir, j.cmd.Stdout, j.cmd.Stderr = j.dir, &j.out, &j.err
}

func (l *live) target(mode, more string) string {
	return fmt.Sprintf(`{command: [%s, -listen, "{listen}", -debug, "{debug}", -mode, "%s"%s], debug: "{debug}/debug/pprof", metrics: "{debug}/debug/metrics"}`, l.server, mode, more)
}

func (j *job) start() {
	j.t.Helper()
	require.NoError(j.t, j.cmd.Start())
	j.t.Cleanup(func() {
		if j.cmd.ProcessState == nil { // the test gave up on it
			_ = j.cmd.Process.Kill()
			_ = j.cmd.Wait()
		}
	})
}

// wait returns the exit code; -1 when a signal ended it.
func (j *job) wait() int {
	j.t.Helper()
	err := j.cmd.Wait()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		require.NoError(j.t, err)
	}
	return j.cmd.ProcessState.ExitCode()
}

func (j *job) run() int {
	j.t.Helper()
	j.start()
	return j.wait()
}

// until waits for words on the standard error.
func (j *job) until(words string) {
	j.t.Helper()
	require.Eventually(j.t, func() bool { return strings.Contains(j.err.String(), words) },
		time.Minute, time.Millisecond, "%q is never said", words)
}

func (j *job) bundles() []string {
	all, err := filepath.Glob(filepath.Join(j.dir, "runs", "*"))
	require.NoError(j.t, err)
	return all
}

// bundle opens the one bundle that was left.
func (j *job) bundle() *bundle.Bundle {
	j.t.Helper()
	all := j.bundles()
	require.Len(j.t, all, 1, "%s", &j.err)
	b, err := bundle.Open(all[0])
	require.NoError(j.t, err)
	j.t.Cleanup(func() { b.Close() })
	return b
}

// incomplete opens the one bundle and demands that it says what it is.
func (j *job) incomplete(why string) {
	j.t.Helper()
	m := j.bundle().Manifest()
	assert.False(j.t, m.Complete)
	assert.Contains(j.t, m.Incomplete, why)
}

// processes are those that work in the run's directory, as targets and their
// compilers do, but the command itself.
func (j *job) processes() (pids []string) {
	j.t.Helper()
	all, err := filepath.Glob("/proc/[0-9]*/cwd")
	require.NoError(j.t, err)
	for _, cwd := range all {
		pid := filepath.Base(filepath.Dir(cwd))
		if dir, err := os.Readlink(cwd); err == nil && dir == j.dir && pid != fmt.Sprint(j.cmd.Process.Pid) {
			pids = append(pids, pid)
		}
	}
	return pids
}

// someProcess waits for the first.
func (j *job) someProcess() {
	j.t.Helper()
	require.Eventually(j.t, func() bool { return len(j.processes()) > 0 }, time.Minute, time.Millisecond, "no process is seen")
}

func (j *job) noProcess() {
	j.t.Helper()
	assert.Eventually(j.t, func() bool { return len(j.processes()) == 0 }, 5*time.Second, 10*time.Millisecond, "a process is left")
}

// programs are the ids of the eBPF programs that a process holds.
func programs(t *testing.T, pid int) (ids []ebpf.ProgramID) {
	t.Helper()
	infos, err := filepath.Glob(fmt.Sprintf("/proc/%d/fdinfo/*", pid))
	require.NoError(t, err)
	line := regexp.MustCompile(`(?m)^prog_id:\s+(\d+)$`)
	for _, info := range infos {
		text, err := os.ReadFile(info)
		if err != nil {
			continue // closed since
		}
		if m := line.FindSubmatch(text); m != nil {
			var id ebpf.ProgramID
			_, err := fmt.Sscan(string(m[1]), &id)
			require.NoError(t, err)
			ids = append(ids, id)
		}
	}
	return ids
}

func unloaded(t *testing.T, ids []ebpf.ProgramID) {
	t.Helper()
	for _, id := range ids {
		assert.Eventually(t, func() bool {
			p, err := ebpf.NewProgramFromID(id)
			if err == nil {
				p.Close()
			}
			return errors.Is(err, os.ErrNotExist)
		}, 5*time.Second, 10*time.Millisecond, "eBPF program %d is still loaded", id)
	}
}

// Packages for module.
const (
	broken = `package main

func main() {
	nothing() // chokepoint:flaw lock-contention
}
`
	slow = `package main

import _ "net/http"

func main() {
	select {} // chokepoint:flaw lock-contention
}
`
)

// module makes the scenario's directory a module with a package broken.
func (j *job) module(source string) {
	for file, text := range map[string]string{"go.mod": "module m\n\ngo 1.26\n", "broken/main.go": source} {
		path := filepath.Join(j.dir, file)
		require.NoError(j.t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(j.t, os.WriteFile(path, []byte(text), 0o644))
	}
	scenario := filepath.Join(j.dir, "one.yaml")
	text, err := os.ReadFile(scenario)
	require.NoError(j.t, err)
	// A package target must expect something.
	require.NoError(j.t, os.WriteFile(scenario, append(text, "expect: {findings: [{cause: lock-contention, at: main}]}\n"...), 0o644))
}

// asNobody has the command run as an unprivileged user.
func (j *job) asNobody() {
	const nobody = 65534
	self, err := os.Executable()
	require.NoError(j.t, err)
	text, err := os.ReadFile(self)
	require.NoError(j.t, err)
	program := filepath.Join(j.dir, "chokepoint")
	require.NoError(j.t, os.WriteFile(program, text, 0o755))
	require.NoError(j.t, os.Chmod(j.dir, 0o777))
	j.cmd.Path = program
	j.cmd.Env = append(os.Environ(), "HOME="+j.dir)
	j.cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
}

func (j *job) again(t *testing.T, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "chokepoint", args...)
	out, err := cmd.Output()
	if !disturbed(cmd.ProcessState.ExitCode(), string(out)) {
		require.NoError(t, err)
	}
	return string(out)
}

// passes demands the exit code of a run that went well.
func (j *job) passes(code int) {
	j.t.Helper()
	if !disturbed(code, j.out.String()) {
		assert.Equal(j.t, cli.ExitPass, code, "%s\n%s", &j.out, &j.err)
	}
}

// disturbed reports whether nothing could be told because the machine had other
// things to do, which is right and says nothing about what is tested.
func disturbed(code int, report string) bool {
	said := strings.Join(strings.Fields(report), " ")
	return code == cli.ExitCouldNotTell && strings.Contains(said, "CPU of other processes: ")
}
