package stack

import "strings"

// Answers reports whether net/http's or fasthttp's server writes of a response on this
// stack, innermost first. A handler that writes to another connection of its own, that
// of a database say, does not.
func Answers(frames []Frame) bool {
	for i, f := range frames {
		if i > 0 && answersFasthttp(frames[i-1], f) {
			return true
		}
		switch f.Function {
		case "net/http.checkConnErrorWriter.Write", // where all writes of HTTP/1 end
			"net/http.(*response).ReadFrom": // sendfile and the like
			return true
		}
		for _, server := range []string{"net/http.(*http2serverConn).", "golang.org/x/net/http2.(*serverConn).", "net/http/internal/http2.(*serverConn)."} {
			// A handler of HTTP/2 gives its frames to the connection's goroutine.
			if strings.HasPrefix(f.Function, server) && f.Function[len(server):] == "writeFrameFromHandler" {
				return true
			}
		}
	}
	return false
}
