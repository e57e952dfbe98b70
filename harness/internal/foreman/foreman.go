// Package foreman is somebody's library, for tests of what is told of one: it keeps a
// goroutine of its own, which starts another for each job that it is given.
package foreman

import "time"

// Foreman starts what it is asked to.
type Foreman struct {
	numbers chan int
	jobs    chan int
	stop    chan struct{}
}

// New sets a foreman going, who lets so many jobs lie before who brings one has to wait.
func New(room int) *Foreman {
	f := &Foreman{numbers: make(chan int), jobs: make(chan int, room), stop: make(chan struct{})}
	go f.loop()
	return f
}

// Bring asks for a number and gives in a job under it.
func (f *Foreman) Bring() { f.jobs <- <-f.numbers }

// Stop ends the foreman and all jobs.
func (f *Foreman) Stop() { close(f.stop) }

func (f *Foreman) loop() {
	for next := 0; ; {
		select {
		case f.numbers <- next:
			next++
		case <-f.jobs:
			go f.work()
		case <-f.stop:
			return
		}
	}
}

func (f *Foreman) work() { <-f.stop }

// Every starts a goroutine each time that d has passed, unasked.
func Every(d time.Duration) *Foreman {
	f := &Foreman{stop: make(chan struct{})}
	go func() {
		ticks := time.NewTicker(d)
		defer ticks.Stop()
		for {
			select {
			case <-ticks.C:
				go f.work()
			case <-f.stop:
				return
			}
		}
	}()
	return f
}
