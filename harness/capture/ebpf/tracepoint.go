package ebpf

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"chokepoint/harness/strictyaml"
)

// traceFolders is where the kernel describes its tracepoints, best first.
func traceFolders() []string { return []string{"/sys/kernel/tracing", "/sys/kernel/debug/tracing"} }

// eventsFolder is where the tracepoints are.
func eventsFolder() (string, error) {
	for _, folder := range traceFolders() {
		events := filepath.Join(folder, "events")
		if _, err := os.Stat(events); err == nil {
			return events, nil
		}
	}
	return "", &shortfall{
		missing: "the kernel's list of tracepoints is not there (" + traceFolders()[0] + ")",
		mend:    "mount -t tracefs tracefs " + traceFolders()[0],
	}
}

// field is a field of a tracepoint's event.
type field struct {
	name, typ    string
	offset, size int
	signed       bool
	refused      string // why it is no number; empty when it is
}

// parseFormat reads the format file of a tracepoint. Lines that it does not know are
// passed over.
func parseFormat(r io.Reader) ([]field, error) {
	var out []field
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		// field:unsigned short sport;	offset:28;	size:2;	signed:0;
		f := field{offset: -1}
		var declaration string
		for part := range strings.SplitSeq(lines.Text(), ";") {
			key, value, ok := strings.Cut(strings.TrimSpace(part), ":")
			if !ok {
				continue
			}
			n, err := strconv.Atoi(value)
			switch key {
			case "field":
				declaration = value
			case "offset":
				if err == nil {
					f.offset = n
				}
			case "size":
				f.size = n
			case "signed":
				f.signed = n == 1
			}
		}
		space := strings.LastIndexByte(declaration, ' ')
		if space < 0 || f.offset < 0 || f.offset > 1<<15 {
			continue
		}
		f.typ, f.name = declaration[:space], declaration[space+1:]
		name, _, isArray := strings.Cut(f.name, "[")
		f.name = name
		switch {
		case strings.Contains(f.typ, "__data_loc") || strings.Contains(f.typ, "__rel_loc"):
			f.refused = "it is a text or a list of its own length"
		case isArray:
			f.refused = "it is a list"
		case f.size != 1 && f.size != 2 && f.size != 4 && f.size != 8:
			f.refused = fmt.Sprintf("it has %d bytes", f.size)
		}
		out = append(out, f)
	}
	return out, lines.Err()
}

// resolveTracepoint finds a tracepoint and the field that its number is in.
func (r *resolvedProbe) resolveTracepoint() error {
	events, err := eventsFolder()
	if err != nil {
		return err
	}
	f, err := os.Open(filepath.Join(events, r.Tracepoint, "format"))
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("this kernel has no tracepoint %s%s", r.Tracepoint, nearestTracepoint(events, r.Tracepoint))
	}
	if err != nil {
		return fmt.Errorf("tracepoint %s: %w", r.Tracepoint, err)
	}
	defer f.Close() // read only
	fields, err := parseFormat(f)
	if err != nil {
		return fmt.Errorf("tracepoint %s: %w", r.Tracepoint, err)
	}
	r.options()
	if r.Argument == "" {
		return nil
	}
	var names []string
	for _, field := range fields {
		if field.name == r.Argument && field.refused != "" {
			return fmt.Errorf("field %s of %s cannot be read: %s", r.Argument, r.Tracepoint, field.refused)
		}
		if field.name == r.Argument {
			r.config.Place, r.config.Bytes = uint16(field.offset), uint8(field.size)
			r.signed(field.signed)
			r.number = field.typ
			return nil
		}
		// What every event begins with is about the tracing, not the event.
		if field.refused == "" && !strings.HasPrefix(field.name, "common_") {
			names = append(names, field.name)
		}
	}
	return fmt.Errorf("%s has no field %s; those that can be read: %s", r.Tracepoint, r.Argument, strings.Join(names, ", "))
}

func nearestTracepoint(events, name string) string {
	group, _, _ := strings.Cut(name, "/")
	list := func(folder, prefix string) (names []string) {
		entries, err := os.ReadDir(folder)
		if err != nil {
			return nil // what is near is a courtesy
		}
		for _, e := range entries {
			if e.IsDir() {
				names = append(names, prefix+e.Name())
			}
		}
		return names
	}
	near := strictyaml.Nearest(name, list(filepath.Join(events, group), group+"/"))
	if near == "" {
		if near = strictyaml.Nearest(group, list(events, "")); near == "" || near == group {
			return ""
		}
		return fmt.Sprintf("; did you mean one of %s/?", near)
	}
	return fmt.Sprintf("; did you mean %q?", near)
}
