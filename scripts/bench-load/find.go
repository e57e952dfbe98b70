package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// found is a contender that can run.
type found struct {
	contender
	path string
}

// find looks each command up in the folders, in order, and then in PATH. The
// contenders without a command are this program, self.
func find(all []contender, folders []string, self string) (here []found, missing []absent) {
	for _, c := range all {
		if c.command == "" {
			here = append(here, found{c, self})
			continue
		}
		path, err := lookUp(c.command, folders)
		if err != nil {
			missing = append(missing, absent{c.name, c.how()})
			continue
		}
		here = append(here, found{c, path})
	}
	return here, missing
}

func lookUp(command string, folders []string) (string, error) {
	for _, folder := range folders {
		if path, err := exec.LookPath(filepath.Join(folder, command)); err == nil {
			return filepath.Abs(path)
		}
	}
	return exec.LookPath(command)
}

// goBinFolders are where `go install` puts commands.
func goBinFolders(ctx context.Context) []string {
	out, err := exec.CommandContext(ctx, "go", "env", "GOBIN", "GOPATH").Output()
	if err != nil {
		return nil // without Go there are no such folders
	}
	lines := strings.SplitN(string(out), "\n", 3)
	if len(lines) < 2 {
		return nil
	}
	var folders []string
	if gobin := strings.TrimSpace(lines[0]); gobin != "" {
		folders = append(folders, gobin)
	}
	for _, path := range filepath.SplitList(strings.TrimSpace(lines[1])) {
		folders = append(folders, filepath.Join(path, "bin"))
	}
	return folders
}

// install puts the contenders that are Go modules, in their pinned versions,
// into folder. One that cannot be had is told of and left out.
func install(ctx context.Context, all []contender, folder string, progress io.Writer) error {
	for _, c := range all {
		if c.module == "" {
			continue
		}
		fmt.Fprintf(progress, "bench-load: %s\n", c.how())
		cmd := exec.CommandContext(ctx, "go", "install", c.module+"@"+c.version)
		cmd.Env = append(os.Environ(), "GOBIN="+folder, "GOFLAGS=")
		stderr := lastBytes{most: 300}
		cmd.Stderr = &stderr
		if err := cmd.Run(); err != nil {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			fmt.Fprintf(progress, "bench-load: %s is left out: %v: %s\n", c.name, err, stderr.kept)
		}
	}
	return nil
}
