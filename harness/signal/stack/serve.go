package stack

import (
	"strings"

	"chokepoint/harness/gofunc"
)

// Stage is how far the goroutine of a connection, or that of an HTTP/2 request,
// is inside the server: net/http's, fasthttp's or gRPC's (servers.go). It is finer than
// Serving, which tells what runs in a handler from what does not.
type Stage uint8

// The stages.
const (
	NoStage    Stage = iota // no goroutine of a known server
	Awaiting                // looks for the first bytes of a next request
	Reading                 // reads a request's head
	Starting                // is about to call the handler
	Handling                // in the handler
	Ending                  // finishes the response
	Hijacking               // hands the connection over to the handler
	Passing                 // between two of these: hooks, deadlines, ending the request's context
	Connection              // what it does for the connection: TLS, closing, HTTP/2's frames
)

// StageOf tells the stage by what the server's own function calls. A wait in
// Awaiting is for the next request; in Reading, it is for the rest of one, or
// for the first one of a new connection.
func StageOf(frames []Frame) Stage {
	for i := len(frames) - 1; i >= 0; i-- {
		switch name := frames[i].Function; {
		case requestHandler(name):
			return Handling
		case servesFasthttp(name):
			return fasthttpStage(frames[:i])
		case name == grpcWorker:
			return grpcWorkerStage(frames[:i])
		case name != "net/http.(*conn).serve":
			continue
		case i == 0:
			return Passing
		}
		return stageCalled(frames[:i])
	}
	return NoStage
}

// stageCalled is the stage of a connection's goroutine whose serve called the
// outermost of these frames.
func stageCalled(inner []Frame) Stage {
	switch called := inner[len(inner)-1].Function; called {
	case "bufio.(*Reader).Peek":
		return Awaiting
	case "net/http.(*conn).readRequest":
		return Reading
	case "net/http.(*connReader).startBackgroundRead":
		return Starting
	case "net/http.(*response).finishRequest":
		return Ending
	case "net/http.serverHandler.ServeHTTP":
	case "net/http.(*conn).setState", "net.(*conn).SetReadDeadline", "net.(*conn).SetWriteDeadline",
		"crypto/tls.(*Conn).SetReadDeadline", "crypto/tls.(*Conn).SetWriteDeadline":
		return Passing
	default:
		// The function that ends the request's context wakes what waits for that. It
		// is called between the handler and the response's end, and once more last of
		// all.
		if strings.HasPrefix(called, "context.") || strings.HasPrefix(called, "runtime.") {
			return Passing
		}
		return Connection
	}
	reads, body := false, false
	for _, f := range inner {
		switch f.Function {
		case "net/http.(*conn).hijackLocked":
			return Hijacking
		case "net/http.(*connReader).Read":
			reads = true
		case "golang.org/x/net/http2.(*serverConn).serve":
			return Connection // h2c: the handler has become the connection's loop
		}
		body = body || strings.HasPrefix(f.Function, "net/http.(*body).")
	}
	if reads && !body {
		// A handler comes to the connection itself only once it has taken it over.
		return Hijacking
	}
	return Handling
}

// requestHandler reports whether the function is the outermost of a goroutine that
// is made for one request.
func requestHandler(function string) bool {
	switch function {
	case "net/http.(*http2serverConn).runHandler", "golang.org/x/net/http2.(*serverConn).runHandler",
		"net/http/internal/http2.(*serverConn).runHandler", grpcHandles:
		return true
	}
	return false
}

// StartsHTTP2Handler reports whether a goroutine that is started on this stack,
// innermost first, is that of an HTTP/2 request, gRPC's calls among them.
func StartsHTTP2Handler(creator []Frame) bool {
	if len(creator) == 0 {
		return false
	}
	if strings.HasPrefix(creator[0].Function, grpcStarts) {
		// Inside a handler of net/http's server the request is there already.
		return ServingOf(creator) != InHandler
	}
	for _, server := range []string{"net/http.(*http2serverConn).", "golang.org/x/net/http2.(*serverConn).", "net/http/internal/http2.(*serverConn)."} {
		for _, f := range creator[:min(len(creator), 2)] {
			switch method, ok := strings.CutPrefix(f.Function, server); {
			case !ok:
			case method == "processHeaders", method == "scheduleHandler", method == "handlerDone", method == "upgradeRequest", method == "startPush":
				return true
			}
		}
	}
	return false
}

// BackgroundRead reports whether a goroutine that starts in these frames is the
// one by which net/http's server notices that a client has gone. It is none of
// the handler's.
func BackgroundRead(start []Frame) bool {
	for _, f := range start {
		if f.Function == "net/http.(*connReader).backgroundRead" || strings.HasPrefix(f.Function, "net/http.(*connReader).startBackgroundRead.gowrap") {
			return true
		}
	}
	return false
}

// Endpoint is the function that handles the request on this stack, without its
// line: the program's first frame inside the innermost of those handlers of net/http
// and of frameworks that only pass requests on, so that middleware does not stand for
// everything behind it. Where the program has no frame there it is the library's.
// Rank says how much the stack told: of two answers for one request, the one of
// the higher rank is right.
func (p Program) Endpoint(frames []Frame) (f Frame, rank int) {
	inside, depth := -1, 0
	for i := len(frames) - 1; i >= 0; i-- {
		switch {
		case passesOn(frames[i].Function):
			inside = i - 1
			depth++
		case requestHandler(frames[i].Function), servesFasthttp(frames[i].Function) && fasthttpStage(frames[:i]) == Handling:
			inside = i - 1
		}
	}
	if inside < 0 {
		return Frame{}, 0
	}
	best, quality := -1, 0
	for i := inside; i >= 0; i-- {
		switch {
		case p.Mine(frames[i]):
			best, quality = i, 3
		case quality < 2 && !p.Foreign(frames[i]):
			best, quality = i, 2
		case quality < 1 && handles(frames[i]):
			best, quality = i, 1
		}
		if quality == 3 {
			break
		}
	}
	if best < 0 {
		return Frame{}, 0
	}
	f = frames[best]
	f.Line = 0
	return f, 4*depth + quality
}

// handles reports whether a frame of the standard library may be a handler. What
// net/http does on its way to one, as a method of its own types, is none.
func handles(f Frame) bool {
	name, ok := strings.CutPrefix(f.Function, "net/http.")
	return !Plumbing(f) && (!ok || strings.HasSuffix(name, ".ServeHTTP") || !strings.HasPrefix(name, "(") && !strings.Contains(name, "."))
}

// passesOn reports whether the function is one of the handlers of net/http, or of a
// framework, that only pass a request on to another.
func passesOn(function string) bool {
	switch function {
	case "github.com/gin-gonic/gin.(*Context).Next", "github.com/gofiber/fiber/v2.(*Ctx).Next", "github.com/gofiber/fiber/v3.(*DefaultCtx).Next":
		return true
	case "net/http.serverHandler.ServeHTTP", "net/http.HandlerFunc.ServeHTTP", "net/http.(*ServeMux).ServeHTTP",
		"net/http.initALPNRequest.ServeHTTP", "net/http.(*timeoutHandler).ServeHTTP", "net/http.(*timeoutHandler).ServeHTTP.func1":
		return true
	}
	// The closures that these return.
	for _, wrapper := range []string{"net/http.StripPrefix.func", "net/http.AllowQuerySemicolons.func", "net/http.MaxBytesHandler.func"} {
		if strings.HasPrefix(function, wrapper) {
			return true
		}
	}
	return false
}

// SystemCall names the system call on this stack by the outermost function of
// package syscall, golang.org/x/sys/unix or the runtime's poller that makes it:
// "syscall.write". It is empty where the stack does not tell.
func SystemCall(frames []Frame) string {
	name := ""
	for _, f := range frames {
		switch {
		case strings.HasPrefix(f.Function, "syscall."), strings.HasPrefix(f.Function, "golang.org/x/sys/unix."),
			strings.HasPrefix(f.Function, "internal/syscall/unix."):
			name = f.Function
		case name == "" && (strings.HasPrefix(f.Function, "runtime.") || strings.HasPrefix(f.Function, "internal/runtime/")):
		default:
			return name
		}
	}
	return name
}

// Shared is the program's innermost frame that both of two stacks of one
// goroutine are inside of, as the later one has it: what the goroutine was in
// all the time between them, if nothing was left and entered again. The main
// module's code goes before libraries'. It is zero if there is none.
func (p Program) Shared(earlier, later []Frame) Frame {
	library := Frame{}
	mine := Frame{}
	for i, j := len(earlier)-1, len(later)-1; i >= 0 && j >= 0; i, j = i-1, j-1 {
		if earlier[i].Function != later[j].Function {
			break
		}
		switch {
		case p.Mine(later[j]):
			mine = later[j]
		case !p.Foreign(later[j]):
			library = later[j]
		}
		if earlier[i].Line != later[j].Line {
			break // two calls of that function's: what is inside them differs
		}
	}
	if !mine.IsZero() {
		return mine
	}
	return library
}

// Plumbing reports whether a frame says nothing of what the code outside it is
// about: the runtime, locks, and what packages of the standard library wait and
// call the kernel by.
func Plumbing(f Frame) bool {
	switch pkg := gofunc.Package(f.Function); pkg {
	case "", "runtime", "sync", "sync/atomic", "syscall", "time", "reflect", "io", "bufio", "net", "crypto/tls":
		return true
	default:
		return strings.HasPrefix(pkg, "internal/") || strings.HasPrefix(pkg, "runtime/")
	}
}
