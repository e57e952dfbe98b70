package procfs

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// CPUs are the CPUs that process pid may run on, by its affinity mask.
func CPUs(pid int) (*unix.CPUSet, error) {
	var set unix.CPUSet
	if err := unix.SchedGetaffinity(pid, &set); err != nil {
		return nil, fmt.Errorf("read which CPUs process %d may use: %w", pid, err)
	}
	return &set, nil
}

// IdleOn reads /proc/stat: how long the CPUs of a set stood idle since boot, in
// nanoseconds summed over them, to 10 ms.
func IdleOn(set *unix.CPUSet) (idleNS int64, err error) {
	data, err := readFile("/proc/stat")
	if err != nil {
		return 0, err
	}
	if idleNS, err = parseIdleOn(data, set); err != nil {
		return 0, fmt.Errorf("/proc/stat: %w", err)
	}
	return idleNS, nil
}

// parseIdleOn sums up the lines of single CPUs, which are as the first line that
// parseMachine reads, and come for the CPUs that are online alone.
func parseIdleOn(data []byte, set *unix.CPUSet) (idleNS int64, err error) {
	const idle, iowait = 4, 5
	found := false
	for line := range strings.Lines(string(data)) {
		rest, ok := strings.CutPrefix(line, "cpu")
		if !ok || rest == "" || rest[0] == ' ' {
			continue
		}
		fields := strings.Fields(rest)
		if len(fields) <= iowait {
			return 0, fmt.Errorf("line %.80q has no idle time", line)
		}
		n, err := strconv.Atoi(fields[0])
		if err != nil {
			return 0, fmt.Errorf("line %.80q names no CPU", line)
		}
		if !set.IsSet(n) {
			continue
		}
		found = true
		for _, i := range []int{idle, iowait} {
			ticks, err := strconv.ParseInt(fields[i], 10, 64)
			if err != nil {
				return 0, fmt.Errorf("CPU %d, field %d: %w", n, i, err)
			}
			idleNS += ticks * nsPerTick
		}
	}
	if !found {
		return 0, errors.New("no line for any of the CPUs that the process may use")
	}
	return idleNS, nil
}

// CPUQuota is how many CPUs' worth of time the control groups of process pid
// grant it, the tightest of them; 0 for no limit.
func CPUQuota(pid int) (cpus float64, err error) {
	data, err := readFile(Of(pid).file("cgroup"))
	if err != nil {
		return 0, fmt.Errorf("read the control groups of process %d: %w", pid, err)
	}
	return parseQuotas(data, os.ReadFile), nil
}

// parseQuotas follows each hierarchy that may limit CPU time from the process's
// group to the root. A group without the file of a limit has none.
func parseQuotas(cgroups []byte, read func(string) ([]byte, error)) (cpus float64) {
	tighter := func(n float64, ok bool) {
		if ok && n > 0 && (cpus == 0 || n < cpus) {
			cpus = n
		}
	}
	for line := range strings.Lines(string(cgroups)) {
		// hierarchy:controllers:path; version 2 has no controllers.
		parts := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(parts) < 3 {
			continue
		}
		mounts := []string{"/sys/fs/cgroup", "/sys/fs/cgroup/unified"}
		if parts[1] != "" {
			mounts = nil
			for name := range strings.SplitSeq(parts[1], ",") {
				if name == "cpu" {
					mounts = []string{"/sys/fs/cgroup/cpu", "/sys/fs/cgroup/" + parts[1]}
				}
			}
		}
		for _, mount := range mounts {
			for dir := path.Clean("/" + parts[2]); ; dir = path.Dir(dir) {
				if parts[1] == "" {
					max, err := read(path.Join(mount, dir, "cpu.max"))
					if err == nil {
						tighter(quota(bytes.Fields(max)))
					}
				} else {
					quotaUS, err := read(path.Join(mount, dir, "cpu.cfs_quota_us"))
					period, err2 := read(path.Join(mount, dir, "cpu.cfs_period_us"))
					if err == nil && err2 == nil {
						tighter(quota([][]byte{bytes.TrimSpace(quotaUS), bytes.TrimSpace(period)}))
					}
				}
				if dir == "/" {
					break
				}
			}
		}
	}
	return cpus
}

// quota is a limit of so many microseconds in each period of so many; "max" and
// -1 stand for none.
func quota(fields [][]byte) (cpus float64, ok bool) {
	if len(fields) != 2 {
		return 0, false
	}
	us, err := strconv.ParseInt(string(fields[0]), 10, 64)
	period, err2 := strconv.ParseInt(string(fields[1]), 10, 64)
	if err != nil || err2 != nil || us <= 0 || period <= 0 {
		return 0, false
	}
	return float64(us) / float64(period), true
}

// EnvGOMAXPROCS is the number that GOMAXPROCS had in the environment that process
// pid was started with; 0 for none.
func EnvGOMAXPROCS(pid int) (int, error) {
	data, err := readFile(Of(pid).file("environ"))
	if err != nil {
		return 0, fmt.Errorf("read the environment of process %d: %w", pid, err)
	}
	return parseEnvGOMAXPROCS(data), nil
}

// parseEnvGOMAXPROCS takes the first of that name, as the runtime does, which
// heeds whole numbers above 0 alone.
func parseEnvGOMAXPROCS(environ []byte) int {
	for entry := range bytes.SplitSeq(environ, []byte{0}) {
		if value, ok := bytes.CutPrefix(entry, []byte("GOMAXPROCS=")); ok {
			n, err := strconv.Atoi(string(value))
			if err != nil {
				return 0
			}
			return max(n, 0)
		}
	}
	return 0
}
