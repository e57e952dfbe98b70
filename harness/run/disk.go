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
	block := uint64(fs.Bsize)
	return fmt.Errorf("the disk of %s is full, %s free of %s: %s: %w",
		dir, size(fs.Bavail*block), size(fs.Blocks*block), mend, err)
}

// size is a number of bytes for a person.
func size(bytes uint64) string {
	const kib, mib = 1 << 10, 1 << 20
	if bytes < 10*mib {
		return fmt.Sprintf("%d KiB", bytes/kib)
	}
	return fmt.Sprintf("%d MiB", bytes/mib)
}
