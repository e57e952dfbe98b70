package binary_test

import (
	"path"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"

	"chokepoint/harness/gofunc"
	"chokepoint/harness/internal/testbuild"
)

// Whatever the compiler inlined, a literal has the name of the function that it is
// written in. Which literals there are is the compiler's choice; what they may be called
// is not.
func TestLiterals(t *testing.T) {
	const lib = testbuild.Module + "/lib"
	// By the receivers and words that the compiler's name ends with, and the file.
	functions := map[string][]string{
		"lib.go":  {lib + ".(*Guard).Wrap", lib + ".Val.Wrap", lib + ".Wrap", lib + ".Map", lib + ".(*Box).Get"},
		"main.go": {"main.(*store).get", "main.store.val", "main.helper", "main.(*store).run"},
	}
	for _, toolchain := range testbuild.Toolchains() {
		for _, shape := range []testbuild.Shape{testbuild.Static, testbuild.PIE, testbuild.Stripped} {
			p := testbuild.Program{Dir: "testdata/inlined", Toolchain: toolchain, Shape: shape}
			t.Run(p.Name(), func(t *testing.T) {
				literals := open(t, testbuild.Build(t, p).Path).Literals()
				found := map[string]string{}
				for _, l := range literals {
					assert.NotEqual(t, l.Function, l.Written)
					assert.Contains(t, functions[path.Base(l.File)], gofunc.Base(l.Written), "%s in %s", l.Function, l.File)
					if strings.HasPrefix(l.Function, "main.main.") {
						found[gofunc.Base(l.Written)] = l.Written
					}
				}
				for _, want := range []string{lib + ".(*Guard).Wrap", lib + ".Wrap", lib + ".(*Box).Get", "main.(*store).get"} {
					assert.Contains(t, found, want)
				}
				for _, l := range literals {
					assert.NotContains(t, l.Function, "main.store.plain", "it is no literal of another function")
				}
				if shape == testbuild.Stripped {
					return // what was inlined everywhere is nowhere named
				}
				written := map[string]string{}
				for _, l := range literals {
					written[l.Function] = l.Written
				}
				assert.Equal(t, lib+".Map[...].func1", written["main.gen[...].func1"], "the runtime prints less of generic functions")
				assert.Equal(t, "main.helper.func1", written["main.call.helper.func1"], "no method of a type call")
			})
		}
	}
}
