package stack

import (
	"slices"
	"strings"

	"chokepoint/harness/gofunc"
)

// Asker is the program's line that asks for what a stack waits for at the other end
// of a connection: Own, with wrappers passed over that only hand a call on. A
// RoundTripper that sets a header and a ResponseWriter that counts bytes are on the
// stack of every request; whoever called the client, or writes, is what could do it
// otherwise. A wrapper is Own where nothing of the program is behind it.
func (p Program) Asker(frames []Frame) Frame {
	at := p.ownIndex(frames)
	if at < 0 {
		return Frame{}
	}
	for at > 0 {
		next := slices.IndexFunc(frames[at+1:], p.Mine)
		if next < 0 || !forwards(frames[at], frames[at-1]) && !interceptsCall(frames[at-1], frames[at+1:at+1+next]) {
			break
		}
		at += 1 + next
	}
	return frames[at]
}

// interceptsCall reports whether who calls this and was called on these frames is one that gRPC
// has each call of a client pass: it is called by the connection, and calls on.
func interceptsCall(callee Frame, callers []Frame) bool {
	return gofunc.Package(callee.Function) == "google.golang.org/grpc" &&
		slices.ContainsFunc(callers, func(f Frame) bool { return strings.HasPrefix(f.Function, "google.golang.org/grpc.(*ClientConn).") })
}

// forwards reports whether a method of an interface that others call (an io.Writer's,
// an http.RoundTripper's) calls the same method of another type.
func forwards(f, callee Frame) bool {
	switch name := methodOf(f.Function); name {
	case "RoundTrip", "Write", "WriteString", "Read", "ReadFrom", "WriteTo", "Flush":
		return methodOf(callee.Function) == name && gofunc.Base(f.Function) != gofunc.Base(callee.Function)
	}
	return false
}

// methodOf is the name of a method; empty for what is none.
func methodOf(function string) string {
	base := gofunc.Base(function)
	at := strings.LastIndexByte(base, '.')
	if at <= 0 || !strings.Contains(base[strings.LastIndexByte(base, '/')+1:at], ".") {
		return ""
	}
	return base[at+1:]
}
