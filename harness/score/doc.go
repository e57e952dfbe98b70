// Package score says how well a detector does on recordings whose truth is
// known: whether it names the right causes, in what order, at which function
// and line, and whether it leaves healthy servers alone. docs/benchmark.md
// defines the measures, with an example worked by hand.
//
// It is pure. The findings may be those of the rules or of any other program:
// both are judged by package verdict, against the same ground truth.
package score
