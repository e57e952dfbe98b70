// Package builtin holds the rules that chokepoint comes with, one YAML file a
// rule, each with its own cases.
package builtin

import (
	"embed"
	"io/fs"
)

//go:embed *.yaml
var files embed.FS

// FS is the rule files, at its root.
func FS() fs.FS { return files }
