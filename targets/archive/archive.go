package main

import (
	"context"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"os"
	"slices"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"chokepoint/targets/kit"
)

type archive struct {
	page  int // bytes
	store *kit.Dependency
	views *views       // nil where they are not counted
	state atomic.Value // string: what the last pass found
}

// render makes a page and returns its length.
func (a *archive) render(n int) int {
	page := make([]byte, 0, a.page)
	for len(page) < cap(page) {
		page = fmt.Appendf(page, "%d ", n)
		page = page[:min(cap(page), 2*len(page))]
	}
	return len(page)
}

// every calls f, with a pause after each call, until ctx ends.
func every(ctx context.Context, pause time.Duration, f func()) {
	ticks := time.NewTimer(0)
	defer ticks.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticks.C:
			f()
			ticks.Reset(pause)
		}
	}
}

// snapshot is the pages as they were at one time, mapped into memory beside the
// heap, segment behind segment.
type snapshot struct{ data []byte }

// segment is how much of a snapshot stands in one file. To spare the machine, the
// files of this archive are one and the same.
const segment = 64 << 20

// newSnapshot maps one of so many bytes, at least; it stays for as long as the process.
func newSnapshot(bytes int) (*snapshot, error) {
	segments := max(1, (bytes+segment-1)/segment)
	fail := func(err error) (*snapshot, error) {
		return nil, fmt.Errorf("map a snapshot of %d segments: %w", segments, err)
	}
	fd, err := unix.MemfdCreate("segment", unix.MFD_CLOEXEC)
	if err != nil {
		return fail(err)
	}
	file := os.NewFile(uintptr(fd), "segment")
	defer file.Close()
	part := make([]byte, 1<<20)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(part) // never fails
	for range segment / len(part) {
		if _, err := file.Write(part); err != nil {
			return fail(err)
		}
	}
	base, err := unix.MmapPtr(-1, 0, nil, uintptr(segments*segment), unix.PROT_NONE, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		return fail(err)
	}
	for i := range segments {
		if _, err := unix.MmapPtr(fd, 0, unsafe.Add(base, i*segment), segment, unix.PROT_READ, unix.MAP_SHARED|unix.MAP_FIXED); err != nil {
			return fail(err)
		}
	}
	return &snapshot{unsafe.Slice((*byte)(base), segments*segment)}, nil
}

// checksum is the snapshot's, whole.
func (s *snapshot) checksum() uint32 {
	return crc32.ChecksumIEEE(s.data) // chokepoint:flaw preemption-stall
}

// piece is how much is read at a time, in bytes.
const piece = 64 << 10

// checksumByPieces is checksum, a piece at a time.
func (s *snapshot) checksumByPieces() (sum uint32) {
	for part := range slices.Chunk(s.data, piece) {
		sum = crc32.Update(sum, crc32.IEEETable, part)
	}
	return sum
}
