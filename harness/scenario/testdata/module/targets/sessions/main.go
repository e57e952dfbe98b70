// Command sessions is source for tests that look for marker comments.
package main

import "sync"

type store[T any] struct {
	mu   sync.Mutex
	byID map[string]T
}

func (s *store[T]) get(id string) T {
	s.mu.Lock() // chokepoint:flaw lock-contention
	defer s.mu.Unlock()
	return s.byID[id]
}

func (s store[T]) size() int { return len(s.byID) }

func serve(stop chan struct{}) {
	wait := func() { <-stop }
	for range 3 {
		go func() { // chokepoint:flaw goroutine-leak
			wait()
		}()
	}
}

func twice() {
	println("a") // chokepoint:flaw stalled
	println("b") // chokepoint:flaw stalled
}

func many() {
	println("a") // chokepoint:flaw stalled
	println("b") // chokepoint:flaw heap-growth
}

func main() {
	s := &store[int]{}
	serve(nil)
	twice()
	many()
	println(s.get("a"), s.size())
}
