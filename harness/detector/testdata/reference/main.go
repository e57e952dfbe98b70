// Reference is the smallest detector that deserves the name: it reads a bundle
// with nothing but the documented formats, knows one cause, and prints findings
// as docs/benchmark.md asks for them. It is an example to begin from, and the
// test of the interface; it shares no code with what it is compared with.
//
//	reference BUNDLE
//
// It names lock-contention where the mutex profile has more than a fifth of the
// time of all requests in flight, at the line that unlocks: right about the
// function, and off by some lines for who wants to know where the lock is taken.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/pprof/profile"
)

type location struct {
	Function string `json:"function"`
	File     string `json:"file"`
	Line     int    `json:"line"`
}

type finding struct {
	Cause string   `json:"cause"`
	Rank  int      `json:"rank"`
	Where location `json:"where"`
}

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: reference BUNDLE")
		os.Exit(2)
	}
	findings, err := detect(os.Args[1])
	if err != nil {
		fmt.Fprintf(os.Stderr, "reference: %v\n", err)
		os.Exit(1)
	}
	if err := json.NewEncoder(os.Stdout).Encode(map[string]any{"findings": findings}); err != nil {
		fmt.Fprintf(os.Stderr, "reference: %v\n", err)
		os.Exit(1)
	}
}

func detect(bundle string) ([]finding, error) {
	var manifest struct {
		Window struct {
			Start int64 `json:"start_ns"`
			End   int64 `json:"end_ns"`
		} `json:"window"`
	}
	if err := read(filepath.Join(bundle, "manifest.json"), &manifest); err != nil {
		return nil, err
	}
	var load struct {
		Reached struct {
			InFlight float64 `json:"in_flight_mean"`
		} `json:"reached"`
	}
	if err := read(filepath.Join(bundle, "load", "summary.json"), &load); err != nil {
		return nil, err
	}
	f, err := os.Open(filepath.Join(bundle, "pprof", "mutex-delta.pb.gz"))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	p, err := profile.Parse(f)
	if err != nil {
		return nil, fmt.Errorf("read the mutex profile: %w", err)
	}
	delay := -1
	for i, t := range p.SampleType {
		if t.Type == "delay" {
			delay = i
		}
	}
	if delay < 0 {
		return nil, fmt.Errorf("the mutex profile has no delays")
	}
	waited := map[location]int64{}
	var top location
	for _, s := range p.Sample {
		at, ok := own(s)
		if !ok {
			continue
		}
		waited[at] += s.Value[delay]
		if waited[at] > waited[top] {
			top = at
		}
	}
	requestTime := load.Reached.InFlight * float64(manifest.Window.End-manifest.Window.Start)
	if float64(waited[top]) < 0.2*requestTime || requestTime <= 0 {
		return []finding{}, nil
	}
	return []finding{{Cause: "lock-contention", Rank: 1, Where: top}}, nil
}

// own is the innermost frame outside the standard library, whose import paths
// have no dot in their first element.
func own(s *profile.Sample) (location, bool) {
	for _, l := range s.Location {
		for _, line := range l.Line {
			name := line.Function.Name
			first, _, _ := strings.Cut(name, "/")
			if strings.HasPrefix(name, "main.") || strings.Contains(name, "/") && strings.Contains(first, ".") {
				return location{name, line.Function.Filename, int(line.Line)}, true
			}
		}
	}
	return location{}, false
}

func read(file string, into any) error {
	data, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(data, into); err != nil {
		return fmt.Errorf("read %s: %w", file, err)
	}
	return nil
}
