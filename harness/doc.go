// Package harness is the root of what Chokepoint is made of, and holds no code
// of its own. Its tests are those of the whole: that the border between what is
// live and what diagnoses stands (borders_test.go), and that one flaw of each
// family is found live (live_test.go).
package harness
