package procfs

import (
	"os"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func TestIdleOnSumsTheCPUsOfTheSet(t *testing.T) {
	const stat = "cpu  9 9 9 900 90 0 0 0 0 0\ncpu0 1 2 3 100 10 0 0 0 0 0\ncpu1 1 2 3 200 20 0 0 0 0 0\ncpu3 1 2 3 600 60 0 0 0 0 0\nintr 5\n"
	for _, tt := range []struct {
		name string
		cpus []int
		want int64
	}{
		{"one", []int{1}, 220},
		{"two", []int{0, 3}, 770},
		{"one of them is offline", []int{1, 2}, 220},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var set unix.CPUSet
			for _, n := range tt.cpus {
				set.Set(n)
			}
			got, err := parseIdleOn([]byte(stat), &set)
			require.NoError(t, err)
			assert.Equal(t, tt.want*nsPerTick, got)
		})
	}
	var set unix.CPUSet
	set.Set(2)
	_, err := parseIdleOn([]byte(stat), &set)
	assert.ErrorContains(t, err, "no line for any of the CPUs")
	set.Set(0)
	_, err = parseIdleOn([]byte("cpu0 1 2\n"), &set)
	assert.ErrorContains(t, err, "no idle time")
	_, err = parseIdleOn([]byte("cpu0 1 2 3 x 5\n"), &set)
	assert.ErrorContains(t, err, "CPU 0, field 4")
}

func TestIdleOnOfThisProcess(t *testing.T) {
	set, err := CPUs(os.Getpid())
	require.NoError(t, err)
	on, err := IdleOn(set)
	require.NoError(t, err)
	all, _, err := Machine()
	require.NoError(t, err)
	// The two are read one after the other, and per CPU in steps of 10 ms.
	assert.LessOrEqual(t, on, all+int64(set.Count()+1)*nsPerTick)
	assert.Positive(t, on)
}

func TestQuotas(t *testing.T) {
	for _, tt := range []struct {
		name, cgroups string
		files         map[string]string
		want          float64
	}{
		{"version 2", "0::/a/b\n", map[string]string{"/sys/fs/cgroup/a/b/cpu.max": "150000 100000\n"}, 1.5},
		{"version 2, a parent is tighter", "0::/a/b\n", map[string]string{
			"/sys/fs/cgroup/a/b/cpu.max": "150000 100000\n", "/sys/fs/cgroup/a/cpu.max": "50000 100000\n",
		}, 0.5},
		{"version 2, no limit", "0::/a\n", map[string]string{"/sys/fs/cgroup/a/cpu.max": "max 100000\n"}, 0},
		{"version 1", "3:cpuset:/\n1:cpu,cpuacct:/x\n0::/\n", map[string]string{
			"/sys/fs/cgroup/cpu/x/cpu.cfs_quota_us": "200000\n", "/sys/fs/cgroup/cpu/x/cpu.cfs_period_us": "100000\n",
		}, 2},
		{"version 1, mounted as both", "1:cpu,cpuacct:/x\n", map[string]string{
			"/sys/fs/cgroup/cpu,cpuacct/x/cpu.cfs_quota_us": "25000\n", "/sys/fs/cgroup/cpu,cpuacct/x/cpu.cfs_period_us": "100000\n",
		}, 0.25},
		{"version 1, no limit", "1:cpu:/\n", map[string]string{
			"/sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n", "/sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
		}, 0},
		{"nonsense", "what\n0::/a\n", map[string]string{"/sys/fs/cgroup/a/cpu.max": "many of\n"}, 0},
		{"a path that climbs", "0::/../../etc\n", map[string]string{"/sys/fs/cgroup/etc/cpu.max": "100000 100000\n"}, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := parseQuotas([]byte(tt.cgroups), func(file string) ([]byte, error) {
				if text, ok := tt.files[file]; ok {
					return []byte(text), nil
				}
				return nil, os.ErrNotExist
			})
			assert.InDelta(t, tt.want, got, 1e-9)
		})
	}
}

func TestEnvGOMAXPROCS(t *testing.T) {
	for environ, want := range map[string]int{
		"HOME=/\x00GOMAXPROCS=3\x00A=b\x00": 3, "GOMAXPROCS=1\x00GOMAXPROCS=2\x00": 1, "MY_GOMAXPROCS=4\x00": 0, "GOMAXPROCS=two\x00": 0, "GOMAXPROCS=-1\x00": 0, "": 0,
	} {
		assert.Equal(t, want, parseEnvGOMAXPROCS([]byte(environ)), environ)
	}
}
