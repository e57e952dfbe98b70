package stack

import (
	"slices"
	"strings"

	"chokepoint/harness/gofunc"
)

// A client that has many questions on one connection under way has one goroutine read all
// answers, which gives each to the one who waits for it, at a channel or a condition. On the
// stacks of those who wait there is no connection. Who ends the waits tells.

// Listener is the package whose code has this goroutine, innermost frame first, read of a
// connection apart from requests: not in a handler, nor for a server's or net/http's client's
// connection. It is empty for all other stacks.
func Listener(frames []Frame) string {
	if ServingOf(frames) == InHandler || !ownReader(frames) {
		return ""
	}
	return userOf(frames, "net.(*conn).Read")
}

// Speaker is the package whose code writes to a connection here that is neither a server's,
// nor net/http's client's; it is empty for all other stacks.
func Speaker(frames []Frame) string {
	if Answers(frames) || slices.ContainsFunc(frames, func(f Frame) bool {
		return f.Function == "net/http.(*persistConn).writeLoop" || f.Function == "net/http.(*persistConn).Write" ||
			ServesRequests(f.Function) && ServingOf(frames) != InHandler
	}) {
		return ""
	}
	for _, write := range []string{"net.(*conn).Write", "net.(*conn).writeBuffers"} {
		if pkg := userOf(frames, write); pkg != "" {
			return pkg
		}
	}
	return ""
}

// userOf is the package of the innermost function outside of the standard library that has
// the call of a connection made; empty if the call is not on the stack.
func userOf(frames []Frame, call string) string {
	at := slices.IndexFunc(frames, func(f Frame) bool { return f.Function == call })
	if at < 0 {
		return ""
	}
	for _, f := range frames[at:] {
		if !gofunc.Standard(f.Function) {
			return gofunc.Package(f.Function)
		}
	}
	return ""
}

// MayBeRelayed reports whether a handler on this stack may wait for an answer that another
// goroutine reads and hands on. Where the stack itself says what of a peer is wanted, that
// holds; and the next message of a stream is no answer that is owed.
func (p Program) MayBeRelayed(frames []Frame) bool {
	switch p.WaitOf(frames) {
	case Select, ChanRecv, Cond:
	default:
		return false
	}
	if StageOf(frames) != Handling || p.Own(frames).IsZero() || p.PeerOf(frames) != NoPeer || passesStream(frames, false) {
		return false
	}
	return !slices.ContainsFunc(frames, func(f Frame) bool {
		return strings.HasSuffix(f.Function, "lientStream).RecvMsg") || f.Function == "net/http.(*Transport).getConn" ||
			strings.HasSuffix(f.Function, "lientConn).awaitOpenSlotForStreamLocked")
	})
}
