package scenario

import (
	"fmt"
	"io"
	"os"
	"path/filepath"

	"gopkg.in/yaml.v3"

	"chokepoint/harness/strictyaml"
)

// origin remembers where a scenario was read, for errors and for paths.
type origin struct {
	file string
	doc  *strictyaml.Document
}

// Load reads and checks the scenario file at path. Its error joins one
// *strictyaml.Error for each problem.
func Load(path string) (*Scenario, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read scenario: %w", err)
	}
	defer f.Close() // read only: nothing is lost
	// One byte more than is read: strictyaml says that the file is too long.
	data, err := io.ReadAll(io.LimitReader(f, strictyaml.MaxBytes+1))
	if err != nil {
		return nil, fmt.Errorf("read scenario %s: %w", path, err)
	}
	return Parse(path, data)
}

// Parse is Load for data that was read already; file is its path, which
// errors name and package targets are relative to.
func Parse(file string, data []byte) (*Scenario, error) {
	doc, err := strictyaml.Parse(file, data)
	if err != nil {
		return nil, err
	}
	s := &Scenario{origin: &origin{file: file, doc: doc}}
	// What must differ from Go's zero when the file leaves it out.
	if !doc.Has("load.stages") {
		s.Load.Ramp = DefaultRamp
	}
	s.Expect.NothingElse = doc.Has("expect")
	if err := doc.Decode(s); err != nil {
		return nil, err
	}
	if err := s.validate(doc); err != nil {
		return nil, err
	}
	return s, nil
}

// File is the path the scenario was read from; empty when it was not.
func (s *Scenario) File() string {
	if s.origin == nil {
		return ""
	}
	return s.origin.file
}

// ModuleDir is the directory that the package path of the scenario at path is
// relative to: that of the nearest go.mod at or above it, else its own.
func ModuleDir(path string) (string, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return "", fmt.Errorf("find the module of %s: %w", path, err)
	}
	own := filepath.Dir(abs)
	for dir := own; ; dir = filepath.Dir(dir) {
		if info, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil && info.Mode().IsRegular() {
			return dir, nil
		}
		if dir == filepath.Dir(dir) {
			return own, nil
		}
	}
}

// UnmarshalYAML reads the fields; a certificate is verified where they do not
// say otherwise.
func (t *TLS) UnmarshalYAML(n *yaml.Node) error {
	type plain TLS // without this method
	t.Verify = true
	return strictyaml.Node(n, (*plain)(t))
}

// UnmarshalYAML reads the bounds, or the word none.
func (t *Trace) UnmarshalYAML(n *yaml.Node) error {
	if n.Kind == yaml.MappingNode {
		type plain Trace // without this method
		return strictyaml.Node(n, (*plain)(t))
	}
	if n.Kind == yaml.ScalarNode && n.Value == none {
		t.off = true
		return nil
	}
	return fmt.Errorf("must be a mapping such as {for: 5s, at_most: 64MiB}, or the word none to switch the trace off")
}
