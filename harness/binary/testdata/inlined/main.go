// Inlined is a program whose function literals the compiler names after functions that
// they are not written in.
package main

import (
	"os"

	"program/lib"
)

type store struct{ n int }

func (s *store) get(k int) func() int { return func() int { lib.Keep(nil); return s.n + k } }
func (s store) val(k int) func() int  { return func() int { lib.Keep(nil); return s.n + k } }

func (s *store) run(n int) {
	lib.Keep(lib.Wrap(n))
	for i := range lib.Seq(n) {
		lib.Keep(lib.Wrap(i))
	}
	func() {
		lib.Keep(lib.Wrap(n))
		defer lib.Keep(nil)
	}()
}

// plain has a value for a receiver and what it returns is inlined nowhere.
func (s store) plain(k int) func() int {
	defer lib.Keep(nil)
	return func() int { lib.Keep(nil); return s.n + k }
}

func gen[T any](x T) { lib.Keep(lib.Map(x)) }

func helper(k int) func() int { return func() int { lib.Keep(nil); return k } }
func call(k int)              { lib.Keep(helper(k)); lib.Keep(k) }

var made = lib.Wrap(5)

func init() { lib.Keep(lib.Val(3).Wrap(5)) }

func main() {
	n := len(os.Args)
	g := &lib.Guard{}
	lib.Keep(g.Wrap(n))
	lib.Keep(lib.Val(n).Wrap(n))
	lib.Keep(lib.Outer(n))
	s := &store{n}
	lib.Keep(s.get(n))
	lib.Keep(s.val(n))
	lib.Keep(s.plain(n))
	s.run(n)
	gen(n)
	lib.Keep((&lib.Box[int]{}).Get())
	call(n)
	go call(n)
	lib.Do(func() int { lib.Keep(lib.Wrap(n)); return 1 })
	defer lib.Do(made)
	if n > 3 {
		defer func() { lib.Keep(g.Wrap(n)); recover() }()
	}
}
