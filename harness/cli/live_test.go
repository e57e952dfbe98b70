package cli_test

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"chokepoint/harness/bundle"
	"chokepoint/harness/cli"
	"chokepoint/harness/load"
	"chokepoint/reports"
)

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

// TestLiveLoadWorkerDies: a generator that is killed is a failure with a name, and
// takes nothing else with it.
func TestLiveLoadWorkerDies(t *testing.T) {
	l := newLive(t)
	j := l.job(t, l.target("", ""))
	j.start()
	j.until("  capturing")
	var workers []int
	for _, pid := range j.processes() {
		line, err := os.ReadFile(filepath.Join("/proc", pid, "cmdline"))
		if err == nil && strings.Contains(string(line), load.WorkerCommand) {
			n, err := strconv.Atoi(pid)
			require.NoError(t, err)
			workers = append(workers, n)
		}
	}
	require.Len(t, workers, 1)
	require.NoError(t, syscall.Kill(workers[0], syscall.SIGKILL))
	assert.Equal(t, cli.ExitCouldNotTell, j.wait(), "%s", &j.err)
	said := j.err.String()
	assert.Contains(t, said, fmt.Sprintf("the recording was cut short: the load generator died: load worker 0 (pid %d): signal: killed", workers[0]))
	assert.Equal(t, 1, strings.Count(said, "the load generator died"), "%s", said)
	assert.Empty(t, j.out.String())
	j.noProcess()
	j.incomplete("the load generator died")
}

// TestLiveLoadThatDoesNotStart: a limit of this machine is named, and is no
// mistake in the scenario.
func TestLiveLoadThatDoesNotStart(t *testing.T) {
	l := newLive(t)
	j := l.job(t, l.target("", ""))
	text, err := os.ReadFile(filepath.Join(j.dir, "one.yaml"))
	require.NoError(t, err)
	many := strings.Replace(string(text), "in_flight: 20", "in_flight: 20, connections: 400000", 1)
	require.NoError(t, os.WriteFile(filepath.Join(j.dir, "one.yaml"), []byte(many), 0o644))
	var limit syscall.Rlimit
	require.NoError(t, syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit))
	if limit.Max > 400_000 {
		t.Skipf("%d files may be open here, which is enough", limit.Max)
	}
	assert.Equal(t, cli.ExitCouldNotTell, j.run(), "%s", &j.err)
	for _, words := range []string{"the load could not be started", "400000 connections need 400128 open files", "load.workers", "ulimit -n"} {
		assert.Contains(t, j.err.String(), words)
		assert.Equal(t, 1, strings.Count(j.err.String(), words), "said once: %s", words)
	}
	j.noProcess()
	j.incomplete("400000 connections")
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
	j.passes(j.run())
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
	j.passes(j.run())
	m := j.bundle().Manifest()
	for _, name := range []string{bundle.DimPprof, bundle.DimTrace, bundle.DimProc, bundle.DimLoad} {
		d, _ := m.Dimension(name)
		assert.True(t, d.Captured, "%s: %s", name, d.Reason)
	}
	d, _ := m.Dimension(bundle.DimEBPF)
	assert.False(t, d.Captured)
	assert.Contains(t, d.Reason, "root")
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
			j.passes(j.run())
			assert.Equal(t, string(want), j.out.String(), "%s as another user", path)
		}
	}
}
