package scenario

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"chokepoint/harness/strictyaml"
)

// Path is where a file that the scenario names is: the targets and values of
// the load, the ca of the target. It is relative to the scenario file. A scenario
// that was read from a bundle has no file, and says only how the path was written.
func (s *Scenario) Path(name string) string {
	if filepath.IsAbs(name) || s.File() == "" {
		return name
	}
	return filepath.Join(filepath.Dir(s.File()), name)
}

// errorf is a problem with the value of field.
func (s *Scenario) errorf(field, format string, args ...any) *strictyaml.Error {
	if s.origin == nil {
		return &strictyaml.Error{Field: field, Message: fmt.Sprintf(format, args...)}
	}
	return s.origin.doc.Errorf(field, format, args...)
}

// readable says why a file cannot be read. It does not wait for one that is no
// regular file, such as a pipe.
func readable(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return reason(err)
	}
	if !info.Mode().IsRegular() {
		return errors.New("it is not a regular file")
	}
	f, err := os.Open(path)
	if err != nil {
		return reason(err)
	}
	return f.Close()
}

// reason is the reason of a failed call without the path, which the caller names.
func reason(err error) error {
	if e, ok := errors.AsType[*os.PathError](err); ok {
		return e.Err
	}
	return err
}
