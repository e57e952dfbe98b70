package cli_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
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
	"chokepoint/reports"
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

func TestLiveTargetsThatFail(t *testing.T) {
	l := newLive(t)
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer taken.Close()

	for name, c := range map[string]struct {
		target string
		code   int
		says   []string
		left   string // what the bundle says; empty: none is left
	}{
		"does not build": {
			target: `{package: ./broken}`, code: cli.ExitUsage,
			says: []string{"the target does not build", "broken/main.go:4", "go build ./broken"},
		},
		"dies on start": {
			target: l.target("dies", ""), code: cli.ExitUsage,
			says: []string{"exited with code 3", "cannot read config.toml"},
		},
		"hangs on start": {
			target: strings.Replace(l.target("hangs", ""), "{command", "{start_timeout: 1s, command", 1), code: cli.ExitUsage,
			says: []string{"the target hangs on start", "not ready after 1s", "mend its start, or allow it more time"},
		},
		"port in use": {
			target: fmt.Sprintf(`{command: [%s, -listen, "%s"], address: "%[2]s"}`, l.server, taken.Addr()), code: cli.ExitUsage,
			says: []string{"the target's port is in use", taken.Addr().String(), "end it, or have"},
		},
		"dies while capturing": {
			target: l.target("mortal", `, -life, 2300ms`), code: cli.ExitCouldNotTell,
			says: []string{"the recording was cut short: the target died", "exited with code 7", "out of luck"},
			left: "exited with code 7",
		},
	} {
		t.Run(name, func(t *testing.T) {
			j := l.job(t, c.target)
			if strings.Contains(c.target, "package") {
				j.module(broken)
			}
			assert.Equal(t, c.code, j.run(), "%s", &j.err)
			for _, words := range c.says {
				assert.Contains(t, j.err.String(), words)
				assert.Equal(t, 1, strings.Count(j.err.String(), words), "said once: %s\n%s", words, &j.err)
			}
			assert.Empty(t, j.out.String())
			j.noProcess()
			if c.left == "" {
				assert.Empty(t, j.bundles())
				return
			}
			j.incomplete(c.left)
			j.command("analyze", j.bundles()[0])
			assert.Equal(t, cli.ExitCouldNotTell, j.run())
			assert.Contains(t, j.out.String(), "the recording is incomplete")
		})
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

func TestLiveTargetThatHangsOnStop(t *testing.T) {
	l := newLive(t)
	j := l.job(t, l.target("deaf", ""))
	assert.Equal(t, cli.ExitUsage, j.run(), "%s", &j.err)
	assert.Contains(t, j.err.String(), "let it end on SIGTERM")
	assert.Contains(t, j.out.String(), "20 in flight", "the recording is whole, and its report is shown")
	assert.True(t, j.bundle().Manifest().Complete)
	j.noProcess()
}

func TestLiveInterruption(t *testing.T) {
	l := newLive(t)
	for _, phase := range []string{"building", "starting", "preparing", "ramping", "capturing", "writing"} {
		t.Run(phase, func(t *testing.T) {
			target := l.target("", "")
			if phase == "starting" {
				target = l.target("hangs", "")
			}
			j := l.job(t, target)
			if phase == "building" {
				j.scenario("one.yaml", "{package: ./broken}")
				j.module(slow)
				j.cmd.Env = append(os.Environ(), "GOCACHE="+t.TempDir()) // so that it takes its time
			}
			j.start()
			j.until("  " + phase)
			j.someProcess()
			var held []ebpf.ProgramID
			if phase == "capturing" {
				held = programs(t, j.cmd.Process.Pid)
				if os.Geteuid() == 0 {
					assert.NotEmpty(t, held, "the test sees no programs")
				}
			}
			require.NoError(t, j.cmd.Process.Signal(os.Interrupt))
			assert.Equal(t, cli.ExitInterrupted, j.wait(), "%s", &j.err)
			assert.Equal(t, 1, strings.Count(j.err.String(), "chokepoint: "), "one clear line: %s", &j.err)
			assert.Contains(t, j.err.String(), "interrupted while "+phase+"; the target is stopped and the probes are off")
			assert.Empty(t, j.out.String())
			j.noProcess()
			unloaded(t, held)
			if phase == "building" || phase == "starting" {
				assert.Empty(t, j.bundles())
				return
			}
			j.incomplete("interrupted while " + phase)
		})
	}
}

func TestLiveSecondInterruption(t *testing.T) {
	l := newLive(t)
	j := l.job(t, l.target("deaf", "")) // which takes its time to stop
	j.start()
	j.until("  capturing")
	require.NoError(t, j.cmd.Process.Signal(os.Interrupt))
	j.until("  stopping")
	require.NoError(t, j.cmd.Process.Signal(os.Interrupt))
	assert.Equal(t, -1, j.wait(), "it ends at once: %s", &j.err)
	j.noProcess()
	j.incomplete("interrupted while capturing")
}

func TestLiveKilled(t *testing.T) {
	l := newLive(t)
	j := l.job(t, l.target("", ""))
	j.start()
	j.until("  capturing")
	held := programs(t, j.cmd.Process.Pid)
	j.someProcess()
	require.NoError(t, j.cmd.Process.Kill())
	assert.Equal(t, -1, j.wait())
	j.noProcess()
	unloaded(t, held)
	j.incomplete("died before it could say why")
}

func TestLiveLoadThatCannotBeReached(t *testing.T) {
	l := newLive(t)
	j := l.job(t, fmt.Sprintf(`{command: [%s, -listen, "{listen}", -mode, refuses]}`, l.server))
	assert.Equal(t, cli.ExitCouldNotTell, j.run(), "%s", &j.err)
	said := strings.Join(strings.Fields(j.out.String()), " ")
	assert.Contains(t, said, "COULD NOT TELL")
	assert.Contains(t, said, "Nothing can be concluded: load: asked for 20 requests in flight, reached 0")
	m := j.bundle().Manifest()
	assert.True(t, m.Complete, "it holds all there was to record")
	proc, _ := m.Dimension(bundle.DimProc)
	assert.Equal(t, "nothing was recorded: the load did not stand", proc.Reason)
	j.noProcess()
}

func TestLiveWithoutPprof(t *testing.T) {
	l := newLive(t)
	j := l.job(t, fmt.Sprintf(`{command: [%s, -listen, "{listen}"]}`, l.server))
	assert.Equal(t, cli.ExitPass, j.run(), "%s", &j.err)
	m := j.bundle().Manifest()
	for _, name := range []string{bundle.DimPprof, bundle.DimTrace} {
		d, _ := m.Dimension(name)
		assert.False(t, d.Captured)
		assert.NotEmpty(t, d.Reason)
		assert.Contains(t, strings.Join(strings.Fields(j.out.String()), " "), d.Reason)
	}
	d, _ := m.Dimension(bundle.DimProc)
	assert.True(t, d.Captured, d.Reason)
	if os.Geteuid() == 0 {
		d, _ := m.Dimension(bundle.DimEBPF)
		assert.True(t, d.Captured, d.Reason)
	}
}

func TestLiveUnprivileged(t *testing.T) {
	l := newLive(t)
	if os.Geteuid() != 0 {
		t.Skip("only root can become another user")
	}
	j := l.job(t, l.target("", ""))
	j.asNobody()
	assert.Equal(t, cli.ExitPass, j.run(), "%s", &j.err)
	m := j.bundle().Manifest()
	for _, name := range []string{bundle.DimPprof, bundle.DimTrace, bundle.DimProc, bundle.DimLoad} {
		d, _ := m.Dimension(name)
		assert.True(t, d.Captured, "%s: %s", name, d.Reason)
	}
	d, _ := m.Dimension(bundle.DimEBPF)
	assert.False(t, d.Captured)
	assert.Contains(t, d.Reason, "root")
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

func TestLiveFullDisk(t *testing.T) {
	l := newLive(t)
	if os.Geteuid() != 0 {
		t.Skip("only root can mount a small disk")
	}
	for name, size := range map[string]string{"no room at all": "4k", "room for a beginning": "60k"} {
		t.Run(name, func(t *testing.T) {
			j := l.job(t, l.target("", ""))
			disk := filepath.Join(j.dir, "runs")
			require.NoError(t, os.Mkdir(disk, 0o755))
			if err := syscall.Mount("tmpfs", disk, "tmpfs", 0, "size="+size); err != nil {
				t.Skipf("a small disk cannot be mounted: %v", err)
			}
			t.Cleanup(func() { assert.NoError(t, syscall.Unmount(disk, syscall.MNT_DETACH)) })
			assert.Equal(t, cli.ExitCouldNotTell, j.run(), "%s", &j.err)
			assert.Contains(t, j.err.String(), "the disk of "+disk+" is full")
			assert.Contains(t, j.err.String(), "--out")
			j.noProcess()
			for _, path := range j.bundles() {
				b, err := bundle.Open(path)
				if err != nil {
					assert.ErrorIs(t, err, bundle.ErrNotBundle)
					continue
				}
				assert.False(t, b.Manifest().Complete)
				assert.NoError(t, b.Close())
			}
		})
	}
}

// TestLiveReports holds that a run and any later analysis say the same, and
// that one failing scenario does not keep the others from running.
func TestLiveReports(t *testing.T) {
	l := newLive(t)
	j := l.job(t, l.target("", ""))
	j.scenario("dead.yaml", l.target("dies", ""))
	j.command("run", "dead.yaml", "one.yaml", "--out", "runs", "--json")
	assert.Equal(t, cli.ExitUsage, j.run(), "%s", &j.err)
	var doc struct {
		SchemaVersion int `json:"schema_version"`
		Runs          []reports.Document
		Failed        []struct {
			Scenario string
			Message  string
			ExitCode int `json:"exit_code"`
		}
	}
	require.NoError(t, json.Unmarshal([]byte(j.out.String()), &doc), "one document and nothing else: %s", &j.out)
	assert.Equal(t, 1, doc.SchemaVersion)
	require.Len(t, doc.Runs, 1)
	assert.Equal(t, "live/one", doc.Runs[0].Scenario.Name)
	require.Len(t, doc.Failed, 1)
	assert.Equal(t, "live/dead", doc.Failed[0].Scenario)
	assert.Contains(t, doc.Failed[0].Message, "cannot read config.toml")
	assert.Equal(t, cli.ExitUsage, doc.Failed[0].ExitCode)

	b := j.bundle()
	m := b.Manifest()
	assert.True(t, m.Complete)
	assert.Positive(t, m.Target.GOMAXPROCS)
	assert.Positive(t, m.Target.CPUsAllowed)
	for _, d := range m.Dimensions {
		for _, p := range d.Probes {
			if d.Name == bundle.DimLoad {
				assert.Equal(t, m.Window, p.Window, "the load is measured over just the recording's window")
			}
			if p.Captured {
				assert.Less(t, p.Window.StartNS, m.Window.EndNS, "%s %s", d.Name, p.Name)
				assert.Greater(t, p.Window.EndNS, m.Window.StartNS, "%s %s", d.Name, p.Name)
			}
		}
	}

	want, err := os.ReadFile(filepath.Join(b.Path(), "findings.json"))
	require.NoError(t, err)
	assert.FileExists(t, filepath.Join(b.Path(), "report.html"))
	packed := filepath.Join(j.dir, "sent.tar.gz")
	j.again(t, "pack", b.Path(), "-o", packed)
	for _, path := range []string{b.Path(), packed} {
		assert.Equal(t, string(want), j.again(t, "analyze", path, "--json"), path)
		if os.Geteuid() == 0 {
			j.command("analyze", path, "--json")
			j.asNobody()
			j.out = tape{}
			assert.Equal(t, cli.ExitPass, j.run(), "%s", &j.err)
			assert.Equal(t, string(want), j.out.String(), "%s as another user", path)
		}
	}
}

func (j *job) again(t *testing.T, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, "chokepoint", args...).Output()
	require.NoError(t, err)
	return string(out)
}
