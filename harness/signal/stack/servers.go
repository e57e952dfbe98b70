package stack

import "strings"

// Servers beside net/http's that are in wide use and have a loop of their own. As
// with net/http's, the names that tell a stage are those of their exported types and of
// functions that have been there for years.
const (
	// fasthttpServes serves a connection, one request after another; since 1.78 one
	// whose name goes on behind it does.
	fasthttpServes = "github.com/valyala/fasthttp.(*Server).serveConn"
	fasthttp       = "github.com/valyala/fasthttp."

	// grpcHandles handles one call, on a goroutine that is started by a function literal
	// of grpcStarts for it, or on one of the workers that a program may ask for.
	grpcHandles = "google.golang.org/grpc.(*Server).handleStream"
	grpcStarts  = "google.golang.org/grpc.(*Server).serveStreams.func"
	grpcWorker  = "google.golang.org/grpc.(*Server).serverWorker"
)

func servesFasthttp(function string) bool { return strings.HasPrefix(function, fasthttpServes) }

// fasthttpStage is the stage of a connection's goroutine whose serveConn called the
// outermost of these frames. A wait in Reading is for the rest of a request, or for the
// first one of a new connection.
func fasthttpStage(inner []Frame) Stage {
	if len(inner) == 0 {
		return Passing
	}
	called := inner[len(inner)-1].Function
	if servesFasthttp(called) {
		return fasthttpStage(inner[:len(inner)-1])
	}
	switch called {
	case "bufio.(*Reader).Peek", fasthttp + "acquireByteReader":
		return Awaiting
	case fasthttp + "writeResponse", "bufio.(*Writer).Flush":
		return Ending
	}
	method, ours := strings.CutPrefix(called, fasthttp)
	switch {
	case !ours:
		if strings.HasPrefix(called, "runtime.") || strings.HasPrefix(called, "net.(*conn).Set") || strings.HasPrefix(called, "crypto/tls.(*Conn).Set") ||
			strings.HasPrefix(called, "time.") || strings.HasPrefix(called, "sync.") || strings.HasPrefix(called, "bufio.") {
			return Passing
		}
		return Handling
	case strings.HasPrefix(method, "(*RequestHeader)."), strings.HasPrefix(method, "(*Request)."):
		return Reading
	case strings.HasPrefix(method, "(*Response"):
		return Ending
	case strings.HasPrefix(method, "(*Server)."), strings.HasPrefix(method, "(*RequestCtx)."),
		strings.HasPrefix(method, "acquire"), strings.HasPrefix(method, "release"):
		return Passing
	}
	return Handling // one of its own handlers: files, compression, an adapted net/http
}

// grpcWorkerStage is the stage of a worker that calls the outermost of these frames.
func grpcWorkerStage(inner []Frame) Stage {
	for _, f := range inner {
		if f.Function == grpcHandles {
			return Handling
		}
	}
	return Connection
}

// answersFasthttp reports whether fasthttp's server writes of a response in the frame
// that is called by the outer one.
func answersFasthttp(inner, outer Frame) bool {
	return servesFasthttp(outer.Function) && (inner.Function == "bufio.(*Writer).Flush" || inner.Function == fasthttp+"writeResponse")
}

// ServesRequests reports whether goroutines that start in the function are those of a
// server: as many as clients, or their requests, make them.
func ServesRequests(entry string) bool {
	switch entry {
	case "net/http.(*conn).serve", "net/http.(*Server).Serve", fasthttp + "(*workerPool).workerFunc", grpcHandles, grpcWorker:
		return true
	}
	for _, prefix := range []string{
		"net/http.(*connReader).", fasthttp + "(*workerPool).getCh.func", grpcStarts, "google.golang.org/grpc.(*Server).serveStreams",
		"google.golang.org/grpc.(*Server).handleRawConn", "google.golang.org/grpc.(*Server).Serve.func", "google.golang.org/grpc/internal/transport.NewServerTransport.func",
	} {
		if strings.HasPrefix(entry, prefix) {
			return true
		}
	}
	return requestHandler(entry)
}
