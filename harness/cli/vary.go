package cli

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"chokepoint/harness/scenario"
)

// variation is a change to a scenario that ought not to change the diagnosis.
type variation struct {
	name string // as the user wrote it; empty: no change
	// apply changes the scenario. It says why the variation means nothing for it.
	apply func(*scenario.Scenario, *scenario.Overrides) (leftOut string)
}

// asItIs is no variation.
func asItIs() variation {
	return variation{apply: func(*scenario.Scenario, *scenario.Overrides) string { return "" }}
}

const variationForms = "none, in-flight/N, gomaxprocs=N, beside=TIME, go=1.X.Y, strip"

// newVariation reads one word of --vary.
func newVariation(word string) (variation, error) {
	v := variation{name: word}
	number := func(text string) (int, error) {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 {
			return 0, fmt.Errorf("--vary %s: %q is not a whole number above 0", word, text)
		}
		return n, nil
	}
	switch {
	case word == "none":
		v = asItIs()
	case word == "strip":
		v.apply = building(func(b *scenario.Build) { b.Strip = true })
	case strings.HasPrefix(word, "go="):
		release := strings.TrimPrefix(word, "go=")
		v.apply = building(func(b *scenario.Build) { b.Go = release })
	case strings.HasPrefix(word, "beside="):
		v.apply = func(s *scenario.Scenario, _ *scenario.Overrides) string {
			if s.Target.Package == "" {
				return "only lab targets can be told to do other work"
			}
			s.Target.Args = append(slices.Clone(s.Target.Args), "-beside", strings.TrimPrefix(word, "beside="))
			return ""
		}
	case strings.HasPrefix(word, "in-flight/"):
		n, err := number(strings.TrimPrefix(word, "in-flight/"))
		if err != nil {
			return v, err
		}
		v.apply = func(s *scenario.Scenario, o *scenario.Overrides) string {
			held := o.InFlight
			if held == 0 {
				held = s.Load.InFlight
			}
			if at := s.Load.Captured(); held == 0 && at >= 0 {
				held = s.Load.Stages[at].InFlight
			}
			if held < n {
				return "it holds no number of requests in flight that could be divided"
			}
			o.InFlight = held / n
			return ""
		}
	case strings.HasPrefix(word, "gomaxprocs="):
		n, err := number(strings.TrimPrefix(word, "gomaxprocs="))
		if err != nil {
			return v, err
		}
		v.apply = func(s *scenario.Scenario, _ *scenario.Overrides) string {
			if s.Target.GOMAXPROCS != 0 || s.Target.CPUs != "" {
				return "how many CPUs it uses is what it is about"
			}
			if s.Target.Package == "" && len(s.Target.Command) == 0 {
				return "its target runs already"
			}
			s.Target.GOMAXPROCS = n
			return ""
		}
	default:
		return v, fmt.Errorf("--vary %s: it is one of %s", word, variationForms)
	}
	return v, nil
}

// building varies how the target is built.
func building(change func(*scenario.Build)) func(*scenario.Scenario, *scenario.Overrides) string {
	return func(s *scenario.Scenario, _ *scenario.Overrides) string {
		if s.Target.Package == "" {
			return "its target is not built here"
		}
		b := scenario.Build{}
		if s.Target.Build != nil {
			b = *s.Target.Build
		}
		change(&b)
		s.Target.Build = &b
		return ""
	}
}
