package ebpf

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"chokepoint/harness/bundle"
	"chokepoint/harness/capture"
)

// The test binary runs itself as an ordinary user with this variable set, to
// see what such a user is told.
const asNobody = "CHOKEPOINT_TEST_AS_NOBODY"

// refusal is what the ordinary user saw.
type refusal struct {
	Checked   []Capability
	Dimension bundle.Dimension
	Status    string
}

func TestMain(m *testing.M) {
	if pid := os.Getenv(asHarness); pid != "" {
		if err := holdTarget(pid); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	if dir := os.Getenv(asNobody); dir != "" {
		if err := reportRefusal(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	if pid := os.Getenv(withRights); pid != "" {
		if err := reportRights(pid); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

func reportRefusal(dir string) error {
	ctx := context.Background()
	r := New(Config{})
	if err := r.Prepare(ctx, capture.Subject{PID: os.Getpid()}); err != nil {
		return err
	}
	if err := errors.Join(r.Start(ctx), r.Stop(ctx)); err != nil {
		return err
	}
	out := refusal{Checked: Check(ctx), Status: r.Status()}
	w, err := bundle.Create(dir, bundle.Manifest{})
	if err != nil {
		return err
	}
	if out.Dimension, err = r.Write(ctx, w); err != nil {
		return err
	}
	return errors.Join(r.Close(), r.Close(), json.NewEncoder(os.Stdout).Encode(out))
}

func TestOrdinaryUserIsToldWhatIsMissing(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root can become another user to see what that one is told")
	}
	dir, err := os.MkdirTemp("", "chokepoint-nobody-")
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, os.RemoveAll(dir)) })
	require.NoError(t, os.Chmod(dir, 0o777))
	bin := filepath.Join(dir, "ebpf.test")
	copyExecutable(t, bin)

	const nobody = 65534
	cmd := exec.Command(bin)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), asNobody+"="+filepath.Join(dir, "bundle"))
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	cmd.Stderr = os.Stderr
	data, err := cmd.Output()
	require.NoError(t, err)
	var got refusal
	require.NoError(t, json.Unmarshal(data, &got), "%s", data)

	require.Len(t, got.Checked, len(Kinds()))
	for _, c := range got.Checked {
		assert.False(t, c.OK, c.Probe)
		assert.Contains(t, c.Missing, "CAP_BPF and CAP_PERFMON")
		assert.NotContains(t, c.Missing, "MEMLOCK")
		assert.Contains(t, c.Mend, "setcap cap_bpf,cap_perfmon,cap_sys_ptrace+ep "+bin)
	}
	assert.False(t, got.Dimension.Captured)
	assert.Equal(t, got.Dimension.Probes[0].Reason, got.Dimension.Reason, "what all lack is said once")
	require.Len(t, got.Dimension.Probes, len(Defaults()))
	for _, p := range got.Dimension.Probes {
		assert.False(t, p.Captured)
		assert.Contains(t, p.Reason, "CAP_BPF and CAP_PERFMON")
		assert.Empty(t, p.Artifacts)
	}
	assert.Equal(t, "nothing", got.Status)
}

func copyExecutable(t *testing.T, to string) {
	t.Helper()
	from, err := os.Open("/proc/self/exe")
	require.NoError(t, err)
	defer from.Close()
	f, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY, 0o755)
	require.NoError(t, err)
	_, err = io.Copy(f, from)
	require.NoError(t, err)
	require.NoError(t, f.Close())
	require.NoError(t, os.Chmod(to, 0o755))
}

func TestMissingCapabilities(t *testing.T) {
	const bpf, perfmon, admin = 1 << 39, 1 << 38, 1 << 21
	for _, test := range []struct {
		name string
		held uint64
		want []string
	}{
		{"none", 0, []string{"CAP_BPF", "CAP_PERFMON"}},
		{"bpf alone", bpf, []string{"CAP_PERFMON"}},
		{"perfmon alone", perfmon, []string{"CAP_BPF"}},
		{"both", bpf | perfmon, nil},
		{"admin stands for both", admin, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			assert.Equal(t, test.want, missingCapabilities(test.held))
		})
	}
}

func TestExplainPermission(t *testing.T) {
	needBPF(t) // so that the capabilities are held
	err := explain(OnCPU, fmt.Errorf("load: MEMLOCK may be too low: %w", syscall.EPERM))
	assert.ErrorIs(t, err, os.ErrPermission)
	assert.ErrorContains(t, err, "although CAP_BPF and CAP_PERFMON are held")
	assert.NotContains(t, err.Error(), "MEMLOCK")
}

func TestPrepareRefuses(t *testing.T) {
	ctx := t.Context()
	bad := New(Config{Probes: []string{"sycalls"}})
	assert.ErrorContains(t, bad.Prepare(ctx, capture.Subject{PID: 1}), `"sycalls"; the probes are syscalls, sched, oncpu, net`)
	url := New(Config{})
	assert.ErrorContains(t, url.Prepare(ctx, capture.Subject{}), "bare URL")
	gone := exec.Command("true")
	require.NoError(t, gone.Run())
	dead := New(Config{})
	if machineReady() == nil {
		assert.ErrorContains(t, dead.Prepare(ctx, capture.Subject{PID: gone.Process.Pid}), "is the target still running?")
	}
	for _, r := range []*Recorder{bad, url, dead} {
		assert.NoError(t, r.Close())
		assert.NoError(t, r.Close())
	}
}

func TestWriteWithoutStart(t *testing.T) {
	needBPF(t)
	r := New(Config{Probes: []string{Sched}})
	require.NoError(t, r.Prepare(t.Context(), capture.Subject{PID: os.Getpid()}))
	w, err := bundle.Create(filepath.Join(t.TempDir(), "bundle"), bundle.Manifest{})
	require.NoError(t, err)
	d, err := r.Write(t.Context(), w)
	require.NoError(t, err)
	assert.False(t, d.Captured)
	assert.Contains(t, d.Reason, "not started and stopped")
	assert.NoError(t, r.Close())
}
