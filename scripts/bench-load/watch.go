package main

import (
	"time"

	"chokepoint/harness/procfs"
)

const (
	// watchEvery is how often a tool is looked at while it runs.
	watchEvery = 250 * time.Millisecond
	// connectedShare of the connections asked for counts as all of them.
	connectedShare = 0.95
	// steadyLeast is the shortest time with all connections that says something.
	steadyLeast = time.Second
)

// look is a tool and its server at one moment.
type look struct {
	at       time.Time
	open     int
	answered int64
	cpu      time.Duration // of the tool's processes
	rssBytes int64         // of the tool's processes together
}

// watch looks at a process group, and asks the server, until stop is closed.
func watch(group int, ask func() (tally, error), stop <-chan struct{}) []look {
	var looks []look
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for {
		select {
		case <-stop:
			return looks
		case <-tick.C:
		}
		seen, err := ask()
		if err != nil {
			return looks // whoever asks for the final counts tells it
		}
		l := look{at: time.Now(), open: seen.Open, answered: seen.Answered}
		pids, err := procfs.InGroup(group)
		if err != nil || len(pids) == 0 {
			continue
		}
		for _, pid := range pids {
			stat, err := procfs.Of(pid).Stat()
			if err != nil {
				continue // it has ended
			}
			l.cpu += time.Duration(stat.UserNS + stat.SystemNS)
			if status, err := procfs.Of(pid).Status(); err == nil {
				l.rssBytes += status.RSSBytes
			}
		}
		looks = append(looks, l)
	}
}

// steady is the longest stretch of looks at which all connections were open,
// and what the tool did in it.
func steady(looks []look, connections int) (cpu, length time.Duration, answered int64) {
	goal := connectedShare * float64(connections)
	first := -1
	for i, l := range looks {
		switch {
		case float64(l.open) < goal:
			first = -1
			continue
		case first < 0:
			first = i
		}
		if d := l.at.Sub(looks[first].at); d > length {
			cpu, length, answered = l.cpu-looks[first].cpu, d, l.answered-looks[first].answered
		}
	}
	return cpu, length, answered
}
