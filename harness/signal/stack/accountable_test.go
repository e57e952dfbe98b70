package stack

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestAccountable(t *testing.T) {
	p := Program{MainModule: "example.org/shop"}
	at := func(name string, line int) Frame { return Frame{Function: name, Line: line} }
	leaf, calls := at("golang.org/x/crypto/blowfish.encryptBlock", 120), at("golang.org/x/crypto/bcrypt.CompareHashAndPassword", 98)
	server := []Frame{at("net/http.serverHandler.ServeHTTP", 1), at("net/http.(*conn).serve", 1)}
	on := func(frames ...Frame) []Frame { return append(frames, server...) }
	for _, tt := range []struct {
		name   string
		frames []Frame
		want   Frame
	}{
		{"the program's own line goes before all", on(leaf, calls, at("example.org/shop/users.check", 7), at("github.com/x/web.(*auth).ServeHTTP", 30)), at("example.org/shop/users.check", 7)},
		{"a library's handler that calls another's", on(leaf, calls, at("github.com/x/web/users.verify", 55), at("github.com/x/web.(*auth).ServeHTTP", 30)), at("github.com/x/web/users.verify", 55)},
		{"a router passes on to it by its interface", on(leaf, calls, at("github.com/x/web.(*auth).ServeHTTP", 30), at("github.com/gorilla/mux.(*Router).ServeHTTP", 210)), at("github.com/x/web.(*auth).ServeHTTP", 30)},
		{"a router passes on to a function", on(leaf, calls, at("github.com/x/web.Guard.func1", 30), at("net/http.HandlerFunc.ServeHTTP", 1), at("github.com/gorilla/mux.(*Router).ServeHTTP", 210)), at("github.com/x/web.Guard.func1", 30)},
		{"a goroutine that a library started", []Frame{leaf, calls, at("example.com/jobs/queue.(*Worker).run", 12), at("example.com/jobs.Start.func1", 5)}, at("example.com/jobs/queue.(*Worker).run", 12)},
		{"a library alone", []Frame{leaf, at("golang.org/x/crypto/bcrypt.bcrypt", 3), calls}, leaf},
		{"Go alone", server, Frame{}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			i := p.accountable(tt.frames)
			if tt.want.IsZero() {
				assert.Equal(t, -1, i)
				return
			}
			assert.Equal(t, tt.want, tt.frames[i])
			assert.Equal(t, tt.want, p.WorkOf(tt.frames).Own)
		})
	}
	w := p.WorkOf(on(leaf, calls, at("github.com/x/web.(*auth).ServeHTTP", 30)))
	assert.Equal(t, leaf, w.Unit, "the library's innermost line is what computes")
	assert.Equal(t, at("github.com/x/web.(*auth).ServeHTTP", 30), w.Within[0].Own)
}
