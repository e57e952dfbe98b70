package run

import (
	"errors"
	"fmt"
	"path/filepath"
	"syscall"
)

// diskFull adds to the error of a full disk where that disk is, how full, and
// what would help. Other errors are left as they are.
func (r *run) diskFull(err error) error {
	if !errors.Is(err, syscall.ENOSPC) && !errors.Is(err, syscall.EDQUOT) {
		return err
	}
	const mend = "free some space, or name a directory on another disk with --out"
	dir, failed := filepath.Abs(r.Out)
	if failed != nil {
		dir = r.Out
	}
	var fs syscall.Statfs_t
	if failed := syscall.Statfs(dir, &fs); failed != nil {
		return fmt.Errorf("the disk of %s is full: %s: %w", dir, mend, err)
	}
	const mib = 1 << 20
	unit := uint64(fs.Bsize)
	return fmt.Errorf("the disk of %s is full, %d MiB free of %d MiB: %s: %w",
		dir, fs.Bavail*unit/mib, fs.Blocks*unit/mib, mend, err)
}
