package request

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func write(t testing.TB, name, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
	return path
}

func TestReadValues(t *testing.T) {
	for _, tc := range []struct {
		name, file, content string
		want                []Column
		lines               []int
	}{
		{"lines", "a.txt", "one\n two \n\nth,\"ree\n", []Column{{Rows: []string{"one", " two ", `th,"ree`}}}, []int{1, 2, 4}},
		{"no last newline", "a.txt", "one\ntwo", []Column{{Rows: []string{"one", "two"}}}, []int{1, 2}},
		{"Windows", "a.TXT", "\ufeffone\r\ntwo\r\n", []Column{{Rows: []string{"one", "two"}}}, []int{1, 2}},
		{"columns", "a.csv", "id,full.name\n1,Ann\n\n2,\"Bob\n\"\"B\"\"\"\n3,\n", []Column{
			{Name: "id", Rows: []string{"1", "2", "3"}}, {Name: "full.name", Rows: []string{"Ann", "Bob\n\"B\"", ""}},
		}, []int{2, 4, 6}},
		{"Windows columns", "a.csv", "\ufeffid\r\n1\r\n", []Column{{Name: "id", Rows: []string{"1"}}}, []int{2}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			path := write(t, tc.file, tc.content)
			v, err := ReadValues("users", path)
			require.NoError(t, err)
			assert.Equal(t, Values{Name: "users", File: path, Columns: tc.want, lines: tc.lines}, v)
			require.Empty(t, validateValues([]Values{v}))
		})
	}
}

func TestReadValuesErrors(t *testing.T) {
	for _, tc := range []struct{ name, values, file, content, want string }{
		{"name", "a b", "a.txt", "x", `values a b: the name is "a b"`},
		{"own name", "token", "a.txt", "x", "the name token has a meaning of its own"},
		{"extension", "u", "a.tsv", "x", `the file ends in ".tsv"; want .txt (one value a line) or .csv`},
		{"empty", "u", "a.txt", "", "a.txt: has no values; want at least one"},
		{"only empty lines", "u", "a.txt", "\n\r\n", "has no values"},
		{"empty table", "u", "a.csv", "", "has no values"},
		{"only a header", "u", "a.csv", "id,name\n", "has no values"},
		{"encoding", "u", "a.txt", "ok\n\xff\n", "a.txt:2: is not UTF-8"},
		{"encoding of a table", "u", "a.csv", "id\nok\n\xff\n", "a.csv:3: is not UTF-8"},
		{"ragged", "u", "a.csv", "id,name\n1,a\n2\n", "a.csv:3: wrong number of fields"},
		{"quote", "u", "a.csv", "id\n1\n\"2\n", "a.csv:3: extraneous or missing \" in quoted-field"},
		{"quote in the header", "u", "a.csv", "\"id\n", "a.csv:1: extraneous"},
		{"semicolons", "u", "a.csv", "id;name\n1;a\n", `a.csv:1: column 1 is named "id;name"; want letters, digits, _, - and . (columns are separated by commas)`},
		{"unnamed column", "u", "a.csv", ",name\n1,a\n", `a.csv:1: column 1 is named ""`},
		{"column twice", "u", "a.csv", "id,id\n1,a\n", "a.csv:1: two columns are named id"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := ReadValues(tc.values, write(t, tc.file, tc.content))
			require.ErrorContains(t, err, "values "+tc.values+": ")
			require.ErrorContains(t, err, tc.want)
		})
	}
	dir := t.TempDir()
	_, err := ReadValues("u", filepath.Join(dir, "none.txt"))
	require.ErrorIs(t, err, os.ErrNotExist)
	require.NoError(t, os.Mkdir(filepath.Join(dir, "a.txt"), 0o700))
	_, err = ReadValues("u", filepath.Join(dir, "a.txt"))
	require.ErrorContains(t, err, "is no regular file")
	large := filepath.Join(dir, "large.csv")
	require.NoError(t, os.WriteFile(large, nil, 0o600))
	require.NoError(t, os.Truncate(large, maxFileBytes+1))
	_, err = ReadValues("u", large)
	require.ErrorContains(t, err, "large.csv: is larger than 64 MiB")
}

func TestTooManyRows(t *testing.T) {
	v := Values{File: "a.txt", Columns: []Column{{}}, lines: make([]int, maxRows-1)}
	require.NoError(t, v.add(7, "x"))
	require.ErrorContains(t, v.add(8, "x"), "a.txt:8: has more than 1000000 rows")
}

// FuzzReadValues: whatever is read makes values that can be used.
func FuzzReadValues(f *testing.F) {
	f.Add([]byte("id,name\n1,\"a\nb\"\n"), true)
	f.Add([]byte("\ufeffa\r\n\r\nb"), false)
	f.Fuzz(func(t *testing.T, content []byte, table bool) {
		v := Values{Name: "v", File: "f"}
		parse := v.parseText
		if table {
			parse = v.parseCSV
		}
		if parse(content) != nil || len(v.lines) == 0 {
			return
		}
		require.Empty(t, validateValues([]Values{v}))
		last, lines := 0, bytes.Count(content, []byte("\n"))+1
		for i, line := range v.lines {
			require.Greater(t, line, last)
			require.LessOrEqual(t, line, lines)
			last = line
			for _, c := range v.Columns {
				require.True(t, utf8.ValidString(c.Rows[i]))
			}
		}
	})
}
