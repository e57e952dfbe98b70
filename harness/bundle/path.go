package bundle

import (
	"fmt"
	"io/fs"
	"strings"
)

// checkPath refuses a path that could leave the bundle.
func checkPath(path string) error {
	if !fs.ValidPath(path) || path == "." || strings.ContainsAny(path, "\\\x00:") {
		return fmt.Errorf("artifact path %q: must be relative, slash-separated and inside the bundle", path)
	}
	return nil
}
