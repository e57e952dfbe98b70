package signal

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"

	"chokepoint/harness/signal/stack"
)

func TestMendCut(t *testing.T) {
	frame := func(function string, line int) stack.Frame { return stack.Frame{Function: function, Line: line} }
	nested := func(n int, outer ...stack.Frame) []stack.Frame {
		return append(slices.Repeat([]stack.Frame{frame("lib.(*parser).list", 7), frame("lib.(*parser).value", 3)}, n), outer...)
	}
	called := func(line int) []stack.Frame {
		return []stack.Frame{frame("lib.Parse", 9), frame("main.(*shop).load", line), frame("net/http.(*conn).serve", 50)}
	}
	shallow := sample{frames: nested(2, called(30)...)}
	other := sample{frames: nested(3, called(40)...)}
	deep := sample{frames: nested(60, called(40)...)}
	cut := sample{frames: nested(32)}
	between := sample{frames: nested(32, frame("lib.Parse", 9))}
	stranger := sample{frames: slices.Repeat([]stack.Frame{frame("main.walk", 4)}, 64)}

	list := []sample{shallow, cut, other, deep, other, between, stranger}
	mendCut(list)
	assert.Equal(t, nested(32, called(40)...), list[1].frames, "as most that call it so")
	assert.Equal(t, nested(32, called(40)...), list[5].frames)
	assert.Equal(t, stranger, list[6], "nobody is known to call it")
	assert.Equal(t, []sample{shallow, other, deep, other}, []sample{list[0], list[2], list[3], list[4]}, "these are whole")
	assert.Equal(t, nested(32), cut.frames, "what others have of it stays as it was")

	alone := []sample{cut, cut}
	mendCut(alone)
	assert.Equal(t, []sample{cut, cut}, alone)
	mendCut(nil)
}
