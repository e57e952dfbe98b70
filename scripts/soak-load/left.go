package main

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// left is what there is of a soak's runs when none runs.
type left struct {
	processes []string // pid and name
	files     []string // temporary ones
	sockets   int      // TCP, but those in TIME_WAIT
	timeWait  int
	fds       int // of this process
}

// nothing is what beyond says of a run that leaves no trace.
const nothing = "nothing"

// fewTimeWait sockets in TIME_WAIT are of the harness's own HTTP requests, which
// ask whether the target is ready and fetch profiles: about ten a run, each for a
// minute. Were they the load's, there would be as many as were in flight.
const fewTimeWait = 400

// look counts what there is.
func (s *soak) look() (left, error) {
	var l left
	var err error
	if l.processes, err = marked(markEnv + "=" + s.mark); err != nil {
		return l, err
	}
	if l.files, err = filepath.Glob(filepath.Join(s.dir, "tmp", "*")); err != nil {
		return l, err
	}
	for _, table := range []string{"/proc/self/net/tcp", "/proc/self/net/tcp6"} {
		text, err := os.ReadFile(table)
		if os.IsNotExist(err) {
			continue // a machine without IPv6
		}
		if err != nil {
			return l, err
		}
		sockets, timeWait := tcpSockets(text)
		l.sockets += sockets
		l.timeWait += timeWait
	}
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return l, err
	}
	l.fds = len(fds)
	return l, nil
}

func (l left) String() string {
	return fmt.Sprintf("%d processes, %d TCP sockets, %d in TIME_WAIT, %d temporary files, %d descriptors of the soak itself",
		len(l.processes), l.sockets, l.timeWait, len(l.files), l.fds)
}

// beyond says what is more than there was before.
func (l left) beyond(before left) string {
	var more []string
	add := func(n int, what string) {
		if n > 0 {
			more = append(more, fmt.Sprintf("%d %s", n, what))
		}
	}
	if n := len(l.processes) - len(before.processes); n > 0 {
		more = append(more, fmt.Sprintf("%d processes (%s)", n, strings.Join(l.processes, ", ")))
	}
	add(l.sockets-before.sockets, "sockets")
	if n := l.timeWait - before.timeWait; n > fewTimeWait {
		add(n, "sockets in TIME_WAIT")
	}
	add(len(l.files)-len(before.files), "temporary files")
	add(l.fds-before.fds, "descriptors of the soak itself")
	if len(more) == 0 {
		return nothing
	}
	return strings.Join(more, ", ")
}

// marked are the processes with the assignment in their environment.
func marked(assignment string) ([]string, error) {
	all, err := filepath.Glob("/proc/[0-9]*/environ")
	if err != nil {
		return nil, err
	}
	var out []string
	for _, path := range all {
		env, err := os.ReadFile(path)
		if err != nil {
			continue // it has ended, or is another user's
		}
		for _, entry := range bytes.Split(env, []byte{0}) {
			if string(entry) == assignment {
				dir := filepath.Dir(path)
				name, _ := os.ReadFile(filepath.Join(dir, "comm")) // it may end just now
				out = append(out, filepath.Base(dir)+" "+strings.TrimSpace(string(name)))
				break
			}
		}
	}
	return out, nil
}

// tcpSockets counts the lines of a table of TCP sockets as /proc/net/tcp has them:
// proc(5). The fourth field is the state; 06 is TIME_WAIT.
func tcpSockets(table []byte) (sockets, timeWait int) {
	lines := bufio.NewScanner(bytes.NewReader(table))
	lines.Scan() // titles
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		switch {
		case len(fields) < 4:
		case fields[3] == "06":
			timeWait++
		default:
			sockets++
		}
	}
	return sockets, timeWait
}
