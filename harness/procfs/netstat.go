package procfs

import (
	"fmt"
	"strconv"
	"strings"
)

// NetCounters reads the counters of the process's whole network namespace since
// it was made: those of /proc/PID/net/netstat and snmp, by name ("TcpExt.ListenDrops").
func (p Process) NetCounters() (map[string]int64, error) {
	all := map[string]int64{}
	for _, name := range []string{"net/netstat", "net/snmp"} {
		data, err := readFile(p.file(name))
		if err != nil {
			return nil, err
		}
		if err := parseNetCounters(string(data), all); err != nil {
			return nil, fmt.Errorf("%s: %w", p.file(name), err)
		}
	}
	return all, nil
}

// parseNetCounters reads pairs of lines: names, then values, both after the
// same "Group:".
func parseNetCounters(text string, into map[string]int64) error {
	lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	for n := 0; n+1 < len(lines); n += 2 {
		names, values := strings.Fields(lines[n]), strings.Fields(lines[n+1])
		if len(names) == 0 || len(names) != len(values) || names[0] != values[0] || !strings.HasSuffix(names[0], ":") {
			return fmt.Errorf("lines %d and %d are not names and their values", n+1, n+2)
		}
		group := strings.TrimSuffix(names[0], ":")
		for i := 1; i < len(names); i++ {
			v, err := strconv.ParseInt(values[i], 10, 64)
			if err != nil {
				return fmt.Errorf("line %d: %s.%s: %w", n+2, group, names[i], err)
			}
			into[group+"."+names[i]] = v
		}
	}
	if len(lines)%2 != 0 {
		return fmt.Errorf("%d lines, want pairs of names and values", len(lines))
	}
	return nil
}
