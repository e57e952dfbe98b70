package run

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"

	"chokepoint/harness/bundle"
	"chokepoint/harness/clock"
)

// createBundle begins a bundle under a name of its own.
func (r *run) createBundle() (*bundle.Writer, error) {
	name := strings.ReplaceAll(r.plan.Name, "/", "-")
	if r.Scenario.Variant != "" {
		name += "-" + string(r.Scenario.Variant)
	}
	m := firstManifest(r.Version)
	stamp := m.Clock.Wall.Format("20060102-150405")
	for n := 1; ; n++ {
		dir := filepath.Join(r.Out, fmt.Sprintf("%s-%s", name, stamp))
		if n > 1 {
			dir += fmt.Sprintf("-%d", n)
		}
		if _, err := os.Stat(dir); err == nil && n < 1000 {
			continue
		}
		return bundle.Create(dir, m)
	}
}

// firstManifest is what is known before anything is recorded.
func firstManifest(version string) bundle.Manifest {
	mono, wall := clock.Both()
	return bundle.Manifest{
		Tool:  bundle.Tool{Version: version, Go: runtime.Version()},
		Host:  host(),
		Clock: bundle.Clock{MonoNS: mono, Wall: wall.UTC()},
	}
}

func host() bundle.Host {
	h := bundle.Host{OS: runtime.GOOS, Arch: runtime.GOARCH, CPUs: runtime.NumCPU()}
	var u syscall.Utsname
	if err := syscall.Uname(&u); err == nil {
		var b strings.Builder
		for _, c := range u.Release {
			if c == 0 {
				break
			}
			b.WriteByte(byte(c))
		}
		h.Kernel = b.String()
	}
	var s syscall.Sysinfo_t
	if err := syscall.Sysinfo(&s); err == nil {
		h.MemoryBytes = int64(s.Totalram) * int64(s.Unit)
	}
	return h
}
