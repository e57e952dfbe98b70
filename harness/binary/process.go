package binary

import (
	"bufio"
	"debug/elf"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// LoadBias is by how much the addresses of the running process pid lie above
// those that the linker gave and Frames takes: 0 unless the executable is
// position independent. It is an error when pid does not run this executable.
func (f *File) LoadBias(pid int) (uint64, error) {
	return f.loadBias(filepath.Join("/proc", strconv.Itoa(pid)), pid)
}

func (f *File) loadBias(proc string, pid int) (uint64, error) {
	fail := func(err error) (uint64, error) {
		return 0, fmt.Errorf("load address of %s in process %d: %w", f.path, pid, err)
	}
	exe := filepath.Join(proc, "exe")
	stat, err := os.Stat(exe)
	if err != nil {
		return fail(err)
	}
	if f.stat != nil && !os.SameFile(stat, f.stat) {
		running, _ := os.Readlink(exe)
		return fail(fmt.Errorf("the process runs another file (%s); open %s instead", running, exe))
	}
	if f.elf.Type == elf.ET_EXEC {
		return 0, nil
	}
	name, err := os.Readlink(exe)
	if err != nil {
		return fail(err)
	}
	maps, err := os.Open(filepath.Join(proc, "maps"))
	if err != nil {
		return fail(err)
	}
	defer maps.Close()
	lines := bufio.NewScanner(maps)
	for lines.Scan() {
		m, ok := parseMapping(lines.Text())
		if !ok || m.path != name || !strings.Contains(m.perms, "x") {
			continue
		}
		for _, p := range f.elf.Progs {
			if p.Type != elf.PT_LOAD || p.Flags&elf.PF_X == 0 {
				continue
			}
			// The kernel maps whole pages: a mapping may begin before its segment.
			const page = 4096
			if first := p.Off &^ (page - 1); m.offset >= first && m.offset < p.Off+max(p.Filesz, 1) {
				return m.start - (p.Vaddr - p.Off + m.offset), nil
			}
		}
	}
	if err := lines.Err(); err != nil {
		return fail(err)
	}
	return fail(fmt.Errorf("%w: %s/maps has no executable mapping of %s", ErrUnknown, proc, name))
}

// mapping is a line of /proc/pid/maps.
type mapping struct {
	start, offset uint64
	perms, path   string
}

func parseMapping(line string) (mapping, bool) {
	// 55d0c0a00000-55d0c0c00000 r-xp 00001000 fe:00 1234    /path with spaces
	fields := strings.SplitN(line, " ", 6)
	if len(fields) < 6 {
		return mapping{}, false
	}
	low, _, ok := strings.Cut(fields[0], "-")
	start, err1 := strconv.ParseUint(low, 16, 64)
	offset, err2 := strconv.ParseUint(fields[2], 16, 64)
	if !ok || err1 != nil || err2 != nil {
		return mapping{}, false
	}
	return mapping{start: start, offset: offset, perms: fields[1], path: strings.TrimLeft(fields[5], " ")}, true
}
