package scenario

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"chokepoint/harness/strictyaml"
)

const guide = "../../docs/scenarios.md"

var fenced = regexp.MustCompile("(?s)```(yaml|text)\n(.*?)```")

// The examples of the guide are scenarios that hold.
func TestGuideExamples(t *testing.T) {
	text, err := os.ReadFile(guide)
	require.NoError(t, err)
	examples := 0
	for _, block := range fenced.FindAllStringSubmatch(string(text), -1) {
		if block[1] != "yaml" {
			continue
		}
		examples++
		s, err := Parse(guide, []byte(block[2]))
		require.NoError(t, err, block[2])
		if s.Target.Package == "" {
			s = inFolder(t, s, "users.txt", "items.csv", "shop.pem")
			_, err = s.Resolve(Overrides{})
			require.NoError(t, err, block[2])
		}
	}
	assert.Equal(t, 9, examples)
}

// inFolder is s as if its file stood in a folder with the files.
func inFolder(t *testing.T, s *Scenario, files ...string) *Scenario {
	t.Helper()
	dir := t.TempDir()
	for _, name := range files {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), nil, 0o600))
	}
	moved := *s
	moved.origin = &origin{file: filepath.Join(dir, filepath.Base(s.File())), doc: s.origin.doc}
	return &moved
}

// The mistakes the guide shows are reported as it shows them.
func TestGuideMistakes(t *testing.T) {
	text, err := os.ReadFile(guide)
	require.NoError(t, err)
	decode := "scenario: shop/checkout\ntarget:\n  url: http://127.0.0.1:8080\n\nload: # of a Monday\n  " +
		"inflight: 10\n\n  ramp: 5\n"
	_, err = Parse("shop.yaml", []byte(decode))
	problems := strictyaml.All(err)
	check := "scenario: shop/checkout\ntarget:\n  url: http://127.0.0.1:8080\n\nload: # of a Monday\n  " +
		"in_flight: 10\n\n\ncapture:\n  window: 5s\n  ebpf: [syscall]\nexpect:\n  findings:\n    - cause: lock-contension\n"
	_, err = Parse("shop.yaml", []byte(check))
	problems = append(problems, strictyaml.All(err)...)
	require.Len(t, problems, 4)
	for _, p := range problems {
		assert.Contains(t, string(text), "\n"+p.Error()+"\n")
	}
}

// Every field stands in the guide.
func TestGuideNamesEveryField(t *testing.T) {
	text, err := os.ReadFile(guide)
	require.NoError(t, err)
	data, err := Schema()
	require.NoError(t, err)
	type object struct {
		Properties map[string]any `json:"properties"`
		OneOf      []object       `json:"oneOf"`
	}
	var schema struct {
		object
		Defs map[string]object `json:"$defs"`
	}
	require.NoError(t, json.Unmarshal(data, &schema))
	objects := []object{schema.object}
	for _, o := range schema.Defs {
		objects = append(objects, o)
		objects = append(objects, o.OneOf...)
	}
	var fields []string
	for _, o := range objects {
		for name := range o.Properties {
			fields = append(fields, name)
		}
	}
	require.Contains(t, fields, "at_most")
	slices.Sort(fields)
	for _, name := range slices.Compact(fields) {
		named := strings.Contains(string(text), "`"+name+"`") || strings.Contains(string(text), "`"+name+":")
		assert.True(t, named || name == "token", "the guide does not name the field %s", name)
	}
}
