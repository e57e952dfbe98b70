// Package lib has functions with literals that are inlined into those of another package.
package lib

import "iter"

// Guard has literals in a method, one of them in another.
type Guard struct{ N int }

// Wrap is inlined where it is called.
func (g *Guard) Wrap(k int) func() int {
	return func() int { Keep(func() int { return k + 1 }); return g.N + k }
}

// Val is a type whose receiver has no parentheses.
type Val int

// Wrap is inlined where it is called.
func (v Val) Wrap(k int) func() int { return func() int { Keep(nil); return int(v) + k } }

// Wrap is inlined where it is called.
func Wrap(k int) func() int { return func() int { Keep(nil); return k } }

// Outer is inlined, and what it calls is in it.
func Outer(k int) func() int { return Wrap(k + 1) }

// Map is generic.
func Map[T any](k T) func() T { return func() T { Keep(nil); return k } }

// Box is generic.
type Box[T any] struct{ V T }

// Get is inlined where it is called.
func (b *Box[T]) Get() func() T { return func() T { Keep(nil); return b.V } }

// Seq is ranged over.
func Seq(n int) iter.Seq[int] {
	return func(yield func(int) bool) {
		for i := 0; i < n; i++ {
			if !yield(i) {
				return
			}
		}
	}
}

// Do calls.
func Do(f func() int) int { return f() }

var kept []any

// Keep keeps what it is given from being optimised away.
//
//go:noinline
func Keep(f any) { kept = append(kept, f) }
