package main

import (
	"fmt"
	"sync"
)

// lines is how many tram lines there are.
const lines = 12

// board knows how late each line is, in minutes.
type board struct {
	mu   sync.RWMutex
	late map[int]int
}

// apply takes in one line of the feed, "3 7": line 3 is 7 minutes late.
func (b *board) apply(text string) error {
	var line, minutes int
	if _, err := fmt.Sscanf(text, "%d %d\n", &line, &minutes); err != nil {
		return fmt.Errorf("a delay %q: %w", text, err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.late[line] = minutes
	return nil
}

func (b *board) delay(line int) int {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return b.late[line]
}
