package ebpf

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"chokepoint/harness/bundle"
	"chokepoint/harness/capture"
)

// The test binary runs itself as an ordinary user with some capabilities and
// this variable set to a process of root, to see what such a user gets.
const withRights = "CHOKEPOINT_TEST_WITH_RIGHTS"

// got is what the user with some capabilities got.
type got struct {
	Checked []Capability
	Own     map[string]probeGot // of a process of its own, by probe
	Foreign map[string]probeGot // of one of root's
}

type probeGot struct {
	Captured bool
	Reason   string
	Absent   map[string]string // of the net probe
}

func reportRights(foreign string) error {
	pid, err := strconv.Atoi(foreign)
	if err != nil {
		return err
	}
	ctx := context.Background()
	out := got{Checked: Check(ctx)}
	if out.Own, err = recordAll(ctx, os.Getpid()); err != nil {
		return err
	}
	if out.Foreign, err = recordAll(ctx, pid); err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(out)
}

// recordAll records a process for a moment with every probe.
func recordAll(ctx context.Context, pid int) (map[string]probeGot, error) {
	var names []string
	for _, k := range Kinds() {
		names = append(names, k.Name)
	}
	// Every Go program has it, this one too.
	own := []CustomProbe{{Name: "park", Function: "runtime.gopark"}}
	r := New(Config{Probes: names, Custom: own})
	if err := errors.Join(r.Prepare(ctx, capture.Subject{PID: pid}), r.Start(ctx), r.Stop(ctx)); err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "chokepoint-rights-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	w, err := bundle.Create(filepath.Join(dir, "bundle"), bundle.Manifest{})
	if err != nil {
		return nil, err
	}
	d, err := r.Write(ctx, w)
	if err != nil {
		return nil, err
	}
	out := map[string]probeGot{}
	for _, p := range d.Probes {
		g := probeGot{Captured: p.Captured, Reason: p.Reason}
		if p.Name == Net && p.Captured {
			data, err := os.ReadFile(filepath.Join(dir, "bundle", bundle.EBPFNet))
			if err != nil {
				return nil, err
			}
			var doc bundle.Net
			if err := json.Unmarshal(data, &doc); err != nil {
				return nil, err
			}
			g.Absent = doc.Absent
		}
		out[p.Name] = g
	}
	return out, r.Close()
}

// TestRights holds that Needs says what is needed: no more and no less.
func TestRights(t *testing.T) {
	needBPF(t)
	if os.Getuid() != 0 {
		t.Skip("only root can become another user with some capabilities")
	}
	dir, err := os.MkdirTemp("", "chokepoint-rights-")
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, os.RemoveAll(dir)) })
	require.NoError(t, os.Chmod(dir, 0o755))
	bin := filepath.Join(dir, "ebpf.test")
	copyExecutable(t, bin)
	// A process of root's that the user may see, with symbols to be read.
	target := startKnown(t)

	run := func(t *testing.T, capabilities ...string) got {
		t.Helper()
		cmd := exec.Command(bin)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), withRights+"="+strconv.Itoa(target.cmd.Process.Pid))
		const nobody = 65534
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
		for _, c := range capabilities {
			number, ok := capNumbers[c]
			if c == "CAP_SYS_ADMIN" {
				number, ok = unix.CAP_SYS_ADMIN, true
			}
			require.True(t, ok, c)
			cmd.SysProcAttr.AmbientCaps = append(cmd.SysProcAttr.AmbientCaps, uintptr(number))
		}
		cmd.Stderr = os.Stderr
		data, err := cmd.Output()
		if errors.Is(err, syscall.EPERM) {
			t.Skipf("this root does not have %s to give", strings.Join(capabilities, ", "))
		}
		require.NoError(t, err)
		var g got
		require.NoError(t, json.Unmarshal(data, &g), "%s", data)
		require.Len(t, g.Checked, len(Kinds()))
		return g
	}

	t.Run("one of the two is not enough", func(t *testing.T) {
		for have, missing := range map[string]string{capBPF: capPerfmon, capPerfmon: capBPF} {
			g := run(t, have, capPtrace, capRead, capSyslog)
			for _, c := range g.Checked {
				assert.False(t, c.OK, "%s with %s", c.Probe, have)
				assert.Equal(t, "the kernel does not permit eBPF: "+missing+" missing", c.Missing)
				assert.False(t, g.Own[c.Probe].Captured)
				assert.Contains(t, g.Own[c.Probe].Reason, missing+" missing")
				for _, n := range c.Needs {
					assert.Equal(t, n.Capability != missing, n.Held, "%+v", n)
				}
			}
		}
	})
	t.Run("the two for processes of one's own", func(t *testing.T) {
		g := run(t, capBPF, capPerfmon)
		for _, c := range g.Checked {
			assert.True(t, c.OK, "%s: %s", c.Probe, c.Missing)
			assert.NotEmpty(t, c.Lacks)
			assert.True(t, g.Own[c.Probe].Captured, "%+v", g.Own[c.Probe])
			assert.NotContains(t, g.Own[c.Probe].Reason, "functions have no names: stat")
			lost := slices.Contains([]string{Net, GoRuntime, Custom}, c.Probe)
			assert.Equal(t, !lost, g.Foreign[c.Probe].Captured, "%s: %s", c.Probe, g.Foreign[c.Probe].Reason)
			if c.Probe != Net {
				assert.Contains(t, g.Foreign[c.Probe].Reason, "functions have no names")
			}
		}
		assert.Empty(t, g.Own[Net].Absent)
		assert.Contains(t, g.Foreign[Net].Reason, "CAP_SYS_PTRACE missing")
		assert.Contains(t, g.Foreign[Net].Reason, "setcap cap_bpf,cap_perfmon,cap_sys_ptrace+ep")
		assert.Contains(t, g.Foreign[OnCPU].Reason, "no goroutine id")
		if !strings.Contains(g.Own[OnCPU].Reason, "kernel functions have no names") {
			t.Log("this machine shows kernel addresses to all")
		} else {
			assert.Contains(t, g.Own[OnCPU].Reason, "CAP_SYSLOG")
		}
	})
	t.Run("CAP_SYS_PTRACE for those of others", func(t *testing.T) {
		g := run(t, capBPF, capPerfmon, capPtrace)
		for _, c := range g.Checked {
			assert.True(t, g.Foreign[c.Probe].Captured, "%s: %s", c.Probe, g.Foreign[c.Probe].Reason)
			assert.NotContains(t, g.Foreign[c.Probe].Reason, "; functions have no names")
			assert.NotContains(t, g.Foreign[c.Probe].Reason, "no goroutine id")
		}
		assert.Contains(t, g.Foreign[Net].Absent, "listeners")
		assert.Contains(t, g.Foreign[Net].Absent, "at_end")
	})
	t.Run("CAP_DAC_READ_SEARCH for their sockets, CAP_SYSLOG for kernel names", func(t *testing.T) {
		g := run(t, capBPF, capPerfmon, capPtrace, capRead, capSyslog)
		for _, c := range g.Checked {
			assert.True(t, g.Foreign[c.Probe].Captured)
			assert.Empty(t, g.Foreign[c.Probe].Reason, c.Probe)
			if c.Probe != Net || tracefsReady(tracefsPaths) == nil {
				assert.Empty(t, c.Lacks, c.Probe)
			}
		}
		assert.Empty(t, g.Foreign[Net].Absent)
	})
	t.Run("CAP_SYS_ADMIN stands for the two", func(t *testing.T) {
		g := run(t, "CAP_SYS_ADMIN")
		for _, c := range g.Checked {
			assert.True(t, c.OK, "%s: %s", c.Probe, c.Missing)
			assert.True(t, g.Own[c.Probe].Captured)
		}
	})
}

func TestNeedsNameEveryProbe(t *testing.T) {
	for _, k := range Kinds() {
		needs := Needs(k.Name)
		require.GreaterOrEqual(t, len(needs), 2, k.Name)
		assert.True(t, needs[0].Required() && needs[1].Required())
		for _, n := range needs {
			assert.Contains(t, capNumbers, n.Capability)
			assert.NotEmpty(t, n.For)
		}
	}
}

func TestTracefsReady(t *testing.T) {
	with := func(files ...string) string {
		dir := t.TempDir()
		for _, f := range files {
			path := filepath.Join(dir, f)
			require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
			require.NoError(t, os.WriteFile(path, []byte("1\n"), 0o644))
		}
		return dir
	}
	whole := with("events/syscalls/sys_exit_accept4/id")
	assert.NoError(t, tracefsReady([]string{whole}))
	assert.NoError(t, tracefsReady([]string{with(), whole}), "where it used to be")
	empty := with()
	assert.EqualError(t, tracefsReady([]string{empty}),
		"tracefs is not mounted at "+empty+"; mend: sudo mount -t tracefs tracefs "+empty)
	assert.ErrorContains(t, tracefsReady([]string{with("events/sched/enable")}), "CONFIG_FTRACE_SYSCALLS")
}

func TestMachineWithoutTypeInformation(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "vmlinux")
	err := machineReadyAt(missing, "/proc/self/ns/pid")
	assert.ErrorContains(t, err, "no type information ("+missing+")")
	assert.ErrorContains(t, err, "CONFIG_DEBUG_INFO_BTF=y")
}

func TestMachineInAnotherPIDNamespace(t *testing.T) {
	dir := t.TempDir()
	types, ns := filepath.Join(dir, "vmlinux"), filepath.Join(dir, "pid")
	require.NoError(t, os.WriteFile(types, nil, 0o644))
	require.NoError(t, os.Symlink("pid:[4026532000]", ns))
	assert.ErrorContains(t, machineReadyAt(types, ns), "docker run --pid=host")
	require.NoError(t, os.Remove(ns))
	require.NoError(t, os.Symlink(initialPIDNamespace, ns))
	assert.NoError(t, machineReadyAt(types, ns))
}

// What the kernel does not have is asked of it, and then explained.
func TestExplainWhatTheKernelLacks(t *testing.T) {
	needBPF(t)
	returnZero := func(attach string) *ebpf.ProgramSpec {
		return &ebpf.ProgramSpec{Type: ebpf.Tracing, AttachType: ebpf.AttachTraceRawTp, AttachTo: attach, License: "GPL",
			Instructions: exitZero()}
	}
	t.Run("a tracepoint", func(t *testing.T) {
		_, err := ebpf.NewProgram(returnZero("chokepoint_no_such_tracepoint"))
		require.Error(t, err)
		err = explain(Sched, err)
		var s *shortfall
		require.ErrorAs(t, err, &s)
		assert.Contains(t, s.missing, "this kernel lacks something that the sched probe needs")
		assert.Contains(t, s.missing, "chokepoint_no_such_tracepoint")
		assert.Contains(t, s.mend, "Linux 5.18")
	})
	t.Run("a tracepoint that is there", func(t *testing.T) {
		p, err := ebpf.NewProgram(returnZero("sched_switch"))
		require.NoError(t, err, "else the case above says nothing")
		assert.NoError(t, p.Close())
	})
	for name, cause := range map[string]error{
		"ring buffers":     fmt.Errorf("map events: map create: ring buffer: %w", ebpf.ErrNotSupported),
		"type information": fmt.Errorf("program x: apply CO-RE: %w", btf.ErrNotFound),
	} {
		t.Run(name, func(t *testing.T) {
			err := explain(Syscalls, cause)
			assert.ErrorIs(t, err, cause)
			assert.ErrorContains(t, err, "this kernel lacks something that the syscalls probe needs")
		})
	}
	t.Run("what is explained already", func(t *testing.T) {
		s := &shortfall{missing: "an arm", mend: "a tailor", cause: os.ErrPermission}
		assert.Equal(t, error(s), explain(Net, s))
	})
}

func TestOrdinaryUser(t *testing.T) {
	path := filepath.Join(t.TempDir(), "perf_event_paranoid")
	gone := ordinaryUser(path)
	assert.Nil(t, gone.PerfEventParanoid)
	assert.Contains(t, gone.Perf, "does not say")
	assert.NotEmpty(t, gone.Remains)
	for level, may := range map[int]string{-1: "everything", 0: "whole CPUs", 1: "in the kernel too", 2: "in user space alone", 3: "may do nothing", 4: "may do nothing"} {
		require.NoError(t, os.WriteFile(path, fmt.Appendln(nil, level), 0o644))
		o := ordinaryUser(path)
		require.NotNil(t, o.PerfEventParanoid)
		assert.Equal(t, level, *o.PerfEventParanoid)
		assert.Contains(t, o.Perf, may)
	}
	require.NoError(t, os.WriteFile(path, []byte("high\n"), 0o644))
	assert.Nil(t, ordinaryUser(path).PerfEventParanoid)
}

// exitZero is a program that does nothing.
func exitZero() asm.Instructions {
	return asm.Instructions{asm.Mov.Imm(asm.R0, 0), asm.Return()}
}
