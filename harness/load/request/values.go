package request

import (
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"unicode/utf8"
)

// Bounds of what is read from files.
const (
	maxFileBytes = 64 << 20 // 64 MiB
	maxRows      = 1_000_000
)

var (
	valuesName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_-]*$`)
	columnName = regexp.MustCompile(`^[A-Za-z0-9_.-]+$`)
)

// Values are rows of a file, for placeholders.
type Values struct {
	// Name is what placeholders call the file.
	Name string `json:"name"`
	// File is its path, for messages.
	File string `json:"file,omitempty"`
	// Columns have one value a row, all the same number of them. The only
	// column of a .txt file has no name, and its placeholder is {name}.
	Columns []Column `json:"columns"`

	// lines has the line each row begins on. It does not travel: what is wrong
	// with a value is found before.
	lines []int
}

// Column is one column of Values.
type Column struct {
	Name string   `json:"name,omitempty"`
	Rows []string `json:"rows"`
}

// ReadValues reads the file at path, for placeholders that begin with name. A
// .txt file has one value a line; empty lines are skipped, and everything else,
// spaces included, is the value. A .csv file (RFC 4180, commas) has a header row
// with the names of its columns; a row's values stay together. Files are UTF-8,
// with at most 64 MiB and 1,000,000 rows.
func ReadValues(name, path string) (Values, error) {
	if err := validValuesName(name); err != nil {
		return Values{}, fmt.Errorf("values %s: %w", name, err)
	}
	var parse func(*Values, []byte) error
	switch ext := strings.ToLower(filepath.Ext(path)); ext {
	case ".txt":
		parse = (*Values).parseText
	case ".csv":
		parse = (*Values).parseCSV
	default:
		return Values{}, fmt.Errorf("values %s: %s: the file ends in %q; want .txt (one value a line) or .csv (with a header row)", name, path, ext)
	}
	content, err := readFile(path)
	if err != nil {
		return Values{}, fmt.Errorf("values %s: %w", name, err)
	}
	v := Values{Name: name, File: path}
	if err := parse(&v, bytes.TrimPrefix(content, []byte(byteOrderMark))); err != nil {
		return Values{}, fmt.Errorf("values %s: %w", name, err)
	}
	if len(v.lines) == 0 {
		return Values{}, fmt.Errorf("values %s: %s: has no values; want at least one", name, path)
	}
	return v, nil
}

// byteOrderMark is what some editors put before UTF-8.
const byteOrderMark = "\ufeff"

// readFile reads a regular file: anything else might never end.
func readFile(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s: is no regular file", path)
	}
	tooLarge := fmt.Errorf("%s: is larger than %d MiB; use less of it", path, maxFileBytes>>20)
	if info.Size() > maxFileBytes {
		return nil, tooLarge
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	content, err := io.ReadAll(io.LimitReader(f, maxFileBytes+1))
	if err != nil {
		return nil, err
	}
	if len(content) > maxFileBytes { // it has grown, or does not tell its size
		return nil, tooLarge
	}
	return content, nil
}

func (v *Values) parseText(content []byte) error {
	v.Columns = []Column{{}}
	for line, rest := 1, string(content); rest != ""; line++ {
		var value string
		value, rest, _ = strings.Cut(rest, "\n")
		if value = strings.TrimSuffix(value, "\r"); value == "" {
			continue
		}
		if err := v.add(line, value); err != nil {
			return err
		}
	}
	return nil
}

func (v *Values) parseCSV(content []byte) error {
	r := csv.NewReader(bytes.NewReader(content))
	header, err := r.Read()
	switch {
	case errors.Is(err, io.EOF):
		return nil
	case err != nil:
		return v.csvError(err)
	}
	line, _ := r.FieldPos(0)
	seen := map[string]bool{}
	for i, name := range header {
		switch {
		case !columnName.MatchString(name):
			return fmt.Errorf("%s:%d: column %d is named %q; want letters, digits, _, - and . (columns are separated by commas)", v.File, line, i+1, name)
		case seen[name]:
			return fmt.Errorf("%s:%d: two columns are named %s; rename one", v.File, line, name)
		}
		seen[name] = true
		v.Columns = append(v.Columns, Column{Name: name})
	}
	for {
		row, err := r.Read()
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return v.csvError(err)
		}
		line, _ := r.FieldPos(0)
		if err := v.add(line, row...); err != nil {
			return err
		}
	}
}

func (v *Values) csvError(err error) error {
	if at := (*csv.ParseError)(nil); errors.As(err, &at) {
		return fmt.Errorf("%s:%d: %w", v.File, at.Line, at.Err)
	}
	return fmt.Errorf("%s: %w", v.File, err)
}

// add adds the row that begins on line.
func (v *Values) add(line int, row ...string) error {
	if len(v.lines) == maxRows {
		return fmt.Errorf("%s:%d: has more than %d rows; want fewer", v.File, line, maxRows)
	}
	for i, value := range row {
		if !utf8.ValidString(value) {
			return fmt.Errorf("%s:%d: is not UTF-8; save the file as UTF-8", v.File, line)
		}
		v.Columns[i].Rows = append(v.Columns[i].Rows, value)
	}
	v.lines = append(v.lines, line)
	return nil
}

// placeholder is the name of the placeholder of a column.
func (v *Values) placeholder(c Column) string {
	if c.Name == "" {
		return v.Name
	}
	return v.Name + "." + c.Name
}

// position is where row i stands.
func (v *Values) position(i int) string {
	if i < len(v.lines) {
		return fmt.Sprintf("%s:%d", v.File, v.lines[i])
	}
	return fmt.Sprintf("values %s, row %d", v.Name, i+1)
}

func validValuesName(name string) error {
	switch {
	case name == seqName || name == tokenName:
		return fmt.Errorf("the name %s has a meaning of its own; use another", name)
	case !valuesName.MatchString(name):
		return fmt.Errorf("the name is %q; want letters, digits, _ and -, a letter or _ first", name)
	}
	return nil
}

func validateValues(values []Values) []error {
	var errs []error
	names := map[string]bool{}
	for i, v := range values {
		bad := func(where, format string, args ...any) {
			errs = append(errs, fmt.Errorf("values[%d]%s: %w", i, where, fmt.Errorf(format, args...)))
		}
		if err := validValuesName(v.Name); err != nil {
			bad(".name", "%w", err)
		}
		if names[v.Name] {
			bad(".name", "there are two files named %s; rename one", v.Name)
		}
		names[v.Name] = true
		if len(v.Columns) == 0 {
			bad(".columns", "there is none; want at least one")
		}
		columns := map[string]bool{}
		for j, c := range v.Columns {
			where := fmt.Sprintf(".columns[%d]", j)
			unnamed := c.Name == "" && len(v.Columns) == 1
			if !unnamed && !columnName.MatchString(c.Name) {
				bad(where, "is named %q; want letters, digits, _, - and .", c.Name)
			}
			if columns[c.Name] {
				bad(where, "two columns are named %s; rename one", c.Name)
			}
			columns[c.Name] = true
			if n := len(c.Rows); n == 0 || n > maxRows {
				bad(where, "has %d rows; want 1 to %d", n, maxRows)
			}
			if len(c.Rows) != len(v.Columns[0].Rows) {
				bad(where, "has %d rows, and the first column has %d; want the same number", len(c.Rows), len(v.Columns[0].Rows))
			}
		}
	}
	return errs
}
