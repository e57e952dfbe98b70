package gofunc_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"

	"chokepoint/harness/gofunc"
)

func TestWritten(t *testing.T) {
	const cache = "/root/go/pkg/mod/"
	for _, tt := range []struct{ about, name, file, want string }{
		{"of the program", "main.serve.func1", "/src/shop/main.go", "main.serve.func1"},
		{"no function literal", "main.serve", cache + "github.com/x/y@v1.2.3/y.go", "main.serve"},
		{"a literal of a library's function that was inlined", "main.main.New.func5", cache + "github.com/gofiber/fiber/v2@v2.52.6/middleware/requestid/requestid.go", "github.com/gofiber/fiber/v2/middleware/requestid.New.func5"},
		{"in a method", "main.(*api).stream.(*Store).Lines.func1", cache + "example.com/store@v0.1.0/store.go", "example.com/store.(*Store).Lines.func1"},
		{"through two functions", "shop/text.parse.SplitSeq.splitSeq.func1", "/usr/local/go/src/strings/iter.go", "strings.splitSeq.func1"},
		{"built with -trimpath", "main.main.New.func5", "github.com/!burnt!sushi/toml@v1.5.0/decode.go", "github.com/BurntSushi/toml.New.func5"},
		{"the standard library with -trimpath", "main.parse.SplitSeq.splitSeq.func1", "strings/iter.go", "strings.splitSeq.func1"},
		{"a dot in the last element", "main.main.New.func2.1", cache + "gopkg.in/yaml.v3@v3.0.1/yaml.go", "gopkg.in/yaml%2ev3.New.func2.1"},
		{"a literal of the library itself", "github.com/x/y.New.func1", cache + "github.com/x/y@v1.2.3/y.go", "github.com/x/y.New.func1"},
		{"nothing was inlined", "main.New.func1", cache + "github.com/x/y@v1.2.3/y.go", "main.New.func1"},
		{"type arguments", "main.Map[go.shape.int]", "/src/shop/main.go", "main.Map[...]"},
		{"a program's directory with the name of a package", "main.run.each.func1", "/home/me/src/log/each.go", "main.run.each.func1"},
		{"type arguments with an array", "main.Map[struct { x [3]int }]", "/src/shop/main.go", "main.Map[...]"},
		{"of the kernel", "finish_task_switch.isra.0 [kernel]", "", "finish_task_switch.isra.0 [kernel]"},
		{"of a library in C", "[libc.so.6]", "/lib/libc.so.6", "[libc.so.6]"},
		{"no file", "main.run.each.func1", "", "main.run.each.func1"},
	} {
		t.Run(tt.about, func(t *testing.T) { assert.Equal(t, tt.want, gofunc.Written(tt.name, tt.file)) })
	}
	gofunc.Written("a/main.f.func1"+strings.Repeat(".func1", 1<<18), "/go/pkg/mod/x@v1/"+strings.Repeat("a/", 1<<18)+"b.go") // in linear time
}
