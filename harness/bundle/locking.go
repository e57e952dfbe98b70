package bundle

import (
	"maps"

	"chokepoint/harness/gofunc"
)

// Locking is the functions after whose call the caller holds a lock, and those after
// whose call it no longer does: those of the sync package, and functions of the program
// that call one of the first kind and none of the second, or the other way round, as
// func (w *wrap) Lock() { w.mu.Lock() } does.
type Locking struct {
	Locks, Unlocks map[string]bool // by name, without type arguments
}

// wrapping bounds how many functions deep a lock is looked for.
const wrapping = 4

// Locking reads them off the call sites. A closure counts with the function that it is in, since
// that is where a lock is released that a deferred closure releases.
func (c CallSites) Locking() Locking {
	l := Locking{
		Locks:   map[string]bool{"sync.(*Mutex).Lock": true, "sync.(*RWMutex).Lock": true, "sync.(*RWMutex).RLock": true},
		Unlocks: map[string]bool{"sync.(*Mutex).Unlock": true, "sync.(*RWMutex).Unlock": true, "sync.(*RWMutex).RUnlock": true},
	}
	direct := l
	for range wrapping {
		// Anew each time: what locks and calls a helper that unlocks looks like a wrapper until
		// the helper is known.
		locks, unlocks := map[string]bool{}, map[string]bool{}
		for _, s := range c.Sites {
			name := gofunc.Base(s.Function)
			if l.Locks[s.Callee] {
				locks[name] = true
			}
			if l.Unlocks[s.Callee] {
				unlocks[name] = true
			}
		}
		next := Locking{Locks: maps.Clone(direct.Locks), Unlocks: maps.Clone(direct.Unlocks)}
		for name := range locks {
			if !unlocks[name] {
				next.Locks[name] = true
			}
		}
		for name := range unlocks {
			if !locks[name] {
				next.Unlocks[name] = true
			}
		}
		if maps.Equal(next.Locks, l.Locks) && maps.Equal(next.Unlocks, l.Unlocks) {
			break
		}
		l = next
	}
	return l
}
