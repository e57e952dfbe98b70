package bundle_test

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"chokepoint/harness/bundle"
)

func TestLocking(t *testing.T) {
	const lock, unlock = "sync.(*Mutex).Lock", "sync.(*Mutex).Unlock"
	var sites bundle.CallSites
	for _, c := range [][2]string{
		{"a.(*wrap).Lock", lock}, {"a.(*wrap).Unlock", unlock},
		{"a.(*store).lock", "a.(*wrap).Lock"}, {"a.(*store).unlock", "a.(*wrap).Unlock"}, // two deep
		{"a.get", lock}, {"a.get.func1", unlock}, // deferred, in a closure
		{"a.set", lock}, {"a.set", "a.finish"}, {"a.finish", unlock}, // by a helper
		{"a.use", "a.(*store).lock"}, {"a.use.deferwrap1", "a.(*store).unlock"},
		{"a.self", lock}, {"a.self", "a.self"},
	} {
		sites.Sites = append(sites.Sites, bundle.CallSite{Function: c[0], Callee: c[1]})
	}
	l := sites.Locking()
	for _, name := range []string{lock, "sync.(*RWMutex).RLock", "a.(*wrap).Lock", "a.(*store).lock", "a.self"} {
		assert.True(t, l.Locks[name], name)
		assert.False(t, l.Unlocks[name], name)
	}
	for _, name := range []string{unlock, "a.(*wrap).Unlock", "a.(*store).unlock", "a.finish"} {
		assert.True(t, l.Unlocks[name], name)
		assert.False(t, l.Locks[name], name)
	}
	for _, name := range []string{"a.get", "a.set", "a.use"} {
		assert.False(t, l.Locks[name] || l.Unlocks[name], name)
	}
}
