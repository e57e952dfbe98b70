package stack

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestAsker(t *testing.T) {
	p := Program{MainModule: "shop"}
	for _, tt := range []struct {
		about, want string
		frames      []Frame
	}{
		{"a transport that sets a header", "shop/carrier.(*Client).get", stackOf("net/http.(*persistConn).roundTrip", "net/http.(*Transport).roundTrip", "net/http.(*Transport).RoundTrip", "shop/carrier.userAgent.RoundTrip", "net/http.send", "net/http.(*Client).do", "net/http.(*Client).Do", "shop/carrier.(*Client).get", "main.quote")},
		{"a response writer that counts, and one that compresses", "main.(*feed).send", stackOf("net.(*conn).Write", "net/http.(*response).Write", "main.(*recorder).Write", "shop/zip.(*writer).Write", "fmt.Fprintf", "main.(*feed).send")},
		{"nothing of the program behind it", "main.(*counted).Write", stackOf("net.(*conn).Write", "main.(*counted).Write", "bufio.(*Writer).Flush", "net/http.(*conn).serve")},
		{"a method that does more than hand on", "main.(*feed).Write", stackOf("net.(*conn).Write", "fmt.Fprintf", "main.(*feed).Write", "main.serve")},
		{"no method", "main.send", stackOf("net.(*conn).Write", "main.send", "main.serve")},
		{"a library's", "example.com/x.(*T).Write", stackOf("net.(*conn).Write", "example.com/x.(*T).Write", "net/http.(*conn).serve")},
		{"an interceptor of a gRPC client", "shop/risk.(*Assessor).consult", stackOf("google.golang.org/grpc.invoke", "shop/risk.timed.func2", "google.golang.org/grpc.(*ClientConn).Invoke", "shop/risk.(*Assessor).consult", "main.assess")},
		{"a call without one", "shop/risk.(*Assessor).consult", stackOf("google.golang.org/grpc.invoke", "google.golang.org/grpc.(*ClientConn).Invoke", "shop/risk.(*Assessor).consult", "google.golang.org/grpc.(*Server).processUnaryRPC")},
		{"an interceptor of a server", "main.limit", stackOf("google.golang.org/grpc.getChainUnaryHandler.func1", "main.limit", "google.golang.org/grpc.chainUnaryInterceptors.func1", "main.handler")},
		{"nothing", "", stackOf("net.(*conn).Write", "net/http.(*conn).serve")},
	} {
		t.Run(tt.about, func(t *testing.T) { assert.Equal(t, tt.want, p.Asker(tt.frames).Function) })
	}
}
