package gotrace

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestFanOf(t *testing.T) {
	outer, inner := &fan{handlers: 1}, &fan{handlers: 2}
	fans := map[string]*fan{"main.(*api).get": outer, "main.(*api).get.func1": inner, "main.routes.func1": inner}
	for literal, want := range map[string]*fan{
		"main.(*api).get.func1":            outer,
		"main.(*api).get.func1.2":          inner,
		"main.(*api).get.func2":            outer,
		"main.(*api).get.fetch.func1":      outer, // of a function that was inlined
		"main.(*api).get":                  nil,   // itself, as a goroutine of its own
		"main.(*api).getAll.func1":         nil,
		"main.routes.func2":                nil, // a neighbour
		"main.routes.func1.gowrap1":        inner,
		"main.(*hub).listen":               nil,
		"example.com/api.(*api).get.func1": nil,
		"":                                 nil,
	} {
		assert.Same(t, want, fanOf(fans, literal), literal)
	}
}
