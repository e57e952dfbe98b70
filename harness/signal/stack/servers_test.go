package stack

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
)

func stackOf(functions ...string) []Frame {
	var frames []Frame
	for i, f := range functions {
		frames = append(frames, Frame{Function: f, File: "x.go", Line: i + 1})
	}
	return frames
}

func TestServersWithLoopsOfTheirOwn(t *testing.T) {
	p := Program{MainModule: "shop"}
	const conn, worker = fasthttpServes, fasthttp + "(*workerPool).workerFunc"
	for _, tt := range []struct {
		about    string
		frames   []Frame
		stage    Stage
		serving  Serving
		answers  bool
		endpoint string
	}{
		{"fasthttp waits for the next request", stackOf("internal/poll.(*FD).Read", "net.(*conn).Read", "bufio.(*Reader).fill", "bufio.(*Reader).Peek", conn, worker), Awaiting, BetweenRequests, false, ""},
		{"reads its head", stackOf("internal/poll.(*FD).Read", "net.(*conn).Read", "bufio.(*Reader).fill", fasthttp+"(*RequestHeader).tryRead", fasthttp+"(*RequestHeader).Read", conn, worker), Reading, BetweenRequests, false, ""},
		{"handles it", stackOf("time.Sleep", "main.(*api).quote", conn, worker), Handling, InHandler, false, "main.(*api).quote"},
		{"behind fiber's middleware", stackOf("time.Sleep", "main.(*api).quote", "github.com/gofiber/fiber/v2.(*App).next", "github.com/gofiber/fiber/v2.(*Ctx).Next", "main.limit", "github.com/gofiber/fiber/v2.(*App).next", "github.com/gofiber/fiber/v2.(*App).handler", conn, worker), Handling, InHandler, false, "main.(*api).quote"},
		{"a handler of its own", stackOf("os.ReadFile", fasthttp+"(*fsHandler).handleRequest", conn, worker), Handling, InHandler, false, fasthttp + "(*fsHandler).handleRequest"},
		{"writes the response", stackOf("net.(*conn).Write", "bufio.(*Writer).Flush", conn, worker), Ending, BetweenRequests, true, ""},
		{"sets a deadline", stackOf("net.(*conn).SetReadDeadline", conn, worker), Passing, BetweenRequests, false, ""},
		{"no connection", stackOf("runtime.chanrecv1", worker), NoStage, NotServing, false, ""},
		{"gRPC handles a call", stackOf("time.Sleep", "shop/rpc.(*server).Quote", "shop/pb._Shop_Quote_Handler", "google.golang.org/grpc.(*Server).processUnaryRPC", grpcHandles, grpcStarts+"2.1"), Handling, InHandler, false, "shop/pb._Shop_Quote_Handler"},
		{"on a worker", stackOf("time.Sleep", "shop/rpc.(*server).Quote", grpcHandles, grpcStarts+"2", grpcWorker), Handling, InHandler, false, "shop/rpc.(*server).Quote"},
		{"a worker that waits", stackOf("runtime.chanrecv2", grpcWorker), Connection, NotServing, false, ""},
		{"gin's middleware", stackOf("time.Sleep", "main.quote", "github.com/gin-gonic/gin.(*Context).Next", "main.limit", "github.com/gin-gonic/gin.(*Context).Next", "github.com/gin-gonic/gin.(*Engine).handleHTTPRequest", "github.com/gin-gonic/gin.(*Engine).ServeHTTP", "net/http.serverHandler.ServeHTTP", "net/http.(*conn).serve"), Handling, InHandler, false, "main.quote"},
	} {
		t.Run(tt.about, func(t *testing.T) {
			assert.Equal(t, tt.stage, StageOf(tt.frames), "stage")
			assert.Equal(t, tt.serving, ServingOf(tt.frames), "serving")
			assert.Equal(t, tt.answers, Answers(tt.frames), "answers")
			f, _ := p.Endpoint(tt.frames)
			assert.Equal(t, tt.endpoint, f.Function, "endpoint")
			// As fasthttp has it since 1.78.
			counted := slices.Clone(tt.frames)
			if i := slices.IndexFunc(counted, func(f Frame) bool { return f.Function == conn }); i >= 0 {
				counted = slices.Insert(counted, i, Frame{Function: conn + "Counted", File: "server.go", Line: 2488})
			}
			assert.Equal(t, tt.stage, StageOf(counted), "stage")
			assert.Equal(t, tt.serving, ServingOf(counted), "serving")
			assert.Equal(t, tt.answers, Answers(counted), "answers")
			f, _ = p.Endpoint(counted)
			assert.Equal(t, tt.endpoint, f.Function, "endpoint")
		})
	}
	assert.True(t, StartsHTTP2Handler(stackOf(grpcStarts+"2", "google.golang.org/grpc/internal/transport.(*http2Server).HandleStreams", "google.golang.org/grpc.(*Server).serveStreams")))
	assert.False(t, StartsHTTP2Handler(stackOf(grpcStarts+"2", "google.golang.org/grpc/internal/transport.(*serverHandlerTransport).HandleStreams", "google.golang.org/grpc.(*Server).serveStreams", "google.golang.org/grpc.(*Server).ServeHTTP", "net/http.serverHandler.ServeHTTP", "net/http.(*conn).serve")))
	assert.True(t, ServesRequests(fasthttp+"(*workerPool).getCh.func1"))
	assert.True(t, ServesRequests("net/http.(*conn).serve"))
	assert.False(t, ServesRequests("main.main.func1"))
}
