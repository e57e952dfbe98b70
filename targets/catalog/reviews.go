package main

import (
	"fmt"
	"regexp"
)

// house holds the house rules for reviews: no text may match any of them.
type house struct {
	rules    []string
	compiled []*regexp.Regexp
}

func newHouse(n int) (*house, error) {
	h := &house{}
	for i := range n {
		rule := fmt.Sprintf(`(?i)\b(banned|forbidden|unlawful)[ _-]?(word|phrase|term)%d\b`, i)
		re, err := regexp.Compile(rule)
		if err != nil {
			return nil, fmt.Errorf("house rule %d: %w", i, err)
		}
		h.rules, h.compiled = append(h.rules, rule), append(h.compiled, re)
	}
	return h, nil
}

// accepts holds a text against the rules; if it breaks one, it says which.
func (h *house) accepts(text string) (broken int, ok bool) {
	for i, re := range h.compiled {
		if re.MatchString(text) {
			return i, false
		}
	}
	return 0, true
}

// check is accepts, from the rules as they are written.
func (h *house) check(text string) (broken int, ok bool) {
	for i, rule := range h.rules {
		re := regexp.MustCompile(rule) // chokepoint:flaw cpu-hot-path
		if re.MatchString(text) {
			return i, false
		}
	}
	return 0, true
}
