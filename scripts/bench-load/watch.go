package main

import (
	"os"
	"strconv"
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

// watch looks at the processes of a tool, and asks the server, until stop is closed.
func watch(leader int, ask func() (tally, error), stop <-chan struct{}) []look {
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
		family, err := familyOf(leader)
		if err != nil || len(family) == 0 {
			continue
		}
		for pid, stat := range family {
			l.cpu += time.Duration(stat.UserNS + stat.SystemNS)
			if status, err := procfs.Of(pid).Status(); err == nil {
				l.rssBytes += status.RSSBytes
			}
		}
		looks = append(looks, l)
	}
}

// familyOf are the processes of a tool that leader began: its process group, and
// whatever these have started in groups of their own, as a worker of chokepoint's is.
func familyOf(leader int) (map[int]procfs.Stat, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	others := map[int]procfs.Stat{}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		// One that cannot be read has ended.
		if s, err := procfs.Of(pid).Stat(); err == nil && !s.Ended {
			others[pid] = s
		}
	}
	family := map[int]procfs.Stat{}
	for grown := true; grown; {
		grown = false
		for pid, s := range others {
			if _, ours := family[s.Parent]; ours || s.Group == leader {
				family[pid], grown = s, true
				delete(others, pid)
			}
		}
	}
	return family, nil
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
