package stack

import (
	"strings"

	"chokepoint/harness/gofunc"
)

// Peer is what a waiting goroutine wants of the other end of a connection.
type Peer uint8

// What is wanted of a peer.
const (
	// NoPeer: the wait is for something else, or for a peer that owes nothing, such
	// as a client between two requests.
	NoPeer Peer = iota
	// AskedPeer has been asked by a client library and is to answer: the stack says so.
	AskedPeer
	// ReadPeer is read from inside a handler of net/http. It is a dependency, or a
	// client whose connection the handler has taken over: the stack does not say which.
	ReadPeer
	// FullPeer is to read, so that there is room to write.
	FullPeer
	// OwnPeer is read by the program in a goroutine of its own, outside of handlers. It may be
	// a dependency, if a handler waits for the goroutine; a subscription; a client of a server
	// of the program's own; a client whose connection was taken over: anything.
	OwnPeer
	// RelayedPeer has been asked, and what it answers another goroutine reads and hands on.
	// No stack says so; see package gotrace.
	RelayedPeer
)

// String is for reports and tests.
func (p Peer) String() string {
	switch p {
	case AskedPeer:
		return "asked"
	case ReadPeer:
		return "read"
	case FullPeer:
		return "full"
	case OwnPeer:
		return "own"
	case RelayedPeer:
		return "relayed"
	}
	return "none"
}

// PeerOf says what a goroutine that waits on this stack, innermost first, wants
// of a peer.
//
// A stream that is passed on as it comes (io.Copy, a reverse proxy's copying, a
// scanner over a response) is no answer that is owed: it may be quiet on
// purpose for as long as it likes. Nor is what net/http's server reads of its
// client owed by a dependency.
func (p Program) PeerOf(frames []Frame) Peer {
	wait := p.WaitOf(frames)
	switch wait {
	case NetWrite:
		return FullPeer
	case HTTPClient, NetConnect:
		return AskedPeer
	case NetRead, Select, ChanRecv, Cond, Other:
	default:
		return NoPeer
	}
	inner := frames
	if own := p.ownIndex(frames); own >= 0 {
		inner = frames[:own]
	}
	body := false
	for _, f := range inner {
		switch name := f.Function; {
		case strings.HasSuffix(name, "erverConn).writeDataFromHandler"):
			return FullPeer // HTTP/2: the client's window is used up
		case name == "net/http.(*connReader).Read":
			return NoPeer // the client's own request body
		case name == "net/http.(*Transport).getConn", strings.HasSuffix(name, "lientConn).awaitOpenSlotForStreamLocked"):
			return NoPeer // waits for its turn
		case strings.HasSuffix(name, "lientConn).roundTrip"), strings.HasSuffix(name, "lientConn).RoundTrip"),
			name == "net/rpc.(*Client).Call",
			// The latter is what interceptors of the program call in the end.
			name == "google.golang.org/grpc.(*ClientConn).Invoke", name == "google.golang.org/grpc.invoke":
			return AskedPeer
		case name == "net/http.(*bodyEOFSignal).Read", strings.HasSuffix(name, "ransportResponseBody).Read"):
			body = true
		}
	}
	switch {
	case passesStream(frames, body):
		return NoPeer
	case body:
		return AskedPeer
	case wait == NetRead && ServingOf(frames) == InHandler:
		return ReadPeer
	case wait == NetRead && ownReader(frames) && len(inner) < len(frames) && p.Mine(frames[len(inner)]):
		return OwnPeer
	}
	return NoPeer
}

// ownReader reports whether a goroutine reads of a connection and is none that a
// server, or net/http's client, has for its connections.
func ownReader(frames []Frame) bool {
	reads := false
	for _, f := range frames {
		switch {
		case f.Function == "net.(*conn).Read":
			reads = true
		case ServesRequests(f.Function), strings.HasPrefix(f.Function, "net/http.(*connReader)."), strings.HasPrefix(f.Function, "net/http.(*persistConn)."):
			return false
		}
	}
	return reads
}

// ForOthers reports whether a handler in this wait may wait for other goroutines of the
// program: for a group, or to receive.
func ForOthers(w Wait) bool {
	return w == WaitGroup || w == ChanRecv || w == Select || w == Cond
}

// passesStream reports whether what is read is passed on as it comes. A response
// that is read by lines is a stream of events; lines of a connection of one's own
// are a protocol.
func passesStream(frames []Frame, body bool) bool {
	for _, f := range frames {
		switch f.Function {
		case "io.copyBuffer", "io.Copy", "net/http/httputil.(*ReverseProxy).copyBuffer":
			return true
		case "bufio.(*Scanner).Scan", "bufio.(*Reader).ReadSlice":
			if body {
				return true
			}
		}
	}
	return false
}

// BodyOpen reports whether a goroutine that waits on this stack is that of a connection
// of net/http's client which waits for the body of a response to be read or closed:
// it chooses there itself. Where it waits for an answer, or for nothing, it reads.
func BodyOpen(frames []Frame) bool {
	for i, f := range frames {
		if f.Function == "net/http.(*persistConn).readLoop" {
			return i > 0 && frames[i-1].Function == "runtime.selectgo"
		}
	}
	return false
}

// Blocking says what a system call that keeps a thread is good for.
type Blocking uint8

// The kinds of system calls.
const (
	// Transfer reads or writes a descriptor; of what kind the stack does not say.
	Transfer Blocking = iota
	// Storage has the kernel work on files: fsync, rename.
	Storage
	// Idle waits for an event, a lock or another process, and does nothing else.
	Idle
	// Polled is on a socket of package net: these never block, and where a call takes
	// long it copies much.
	Polled
)

// InC reports whether a goroutine on this stack, innermost first, is in a call into C.
// Goroutine profiles show the runtime's part of that call, execution traces only what
// cgo made for it.
func InC(frames []Frame) bool {
	for _, f := range frames {
		switch {
		case f.Function == "runtime.cgocall", gofunc.CGO(f.Function):
			return true
		case !strings.HasPrefix(f.Function, "runtime."):
			return false
		}
	}
	return false
}

// BlockingOf tells by the stack of a goroutine in a system call, innermost first.
// A call into C is Idle: where it takes long without CPU, it waits.
func BlockingOf(frames []Frame) Blocking {
	if InC(frames) {
		return Idle
	}
	for _, f := range frames {
		switch {
		case strings.HasPrefix(f.Function, "net.(*"), f.Function == "internal/poll.SendFile", f.Function == "internal/poll.sendFile", f.Function == "internal/poll.Splice":
			return Polled
		}
	}
	name := SystemCall(frames)
	if i := strings.LastIndexByte(name, '.'); i >= 0 {
		name = name[i+1:]
	}
	switch strings.ToLower(name) {
	case "fsync", "fdatasync", "sync", "syncfs", "syncfilerange", "msync", "rename", "renameat", "renameat2", "unlink", "unlinkat",
		"open", "openat", "openat2", "mkdir", "mkdirat", "rmdir", "link", "linkat", "symlink", "symlinkat", "truncate", "ftruncate",
		"fallocate", "fstat", "stat", "lstat", "fstatat", "statx", "getdents", "readdirent", "pread", "pwrite", "preadv", "pwritev",
		"chmod", "fchmod", "fchmodat", "chown", "fchown", "utimensat", "mount", "unmount", "copyfilerange":
		return Storage
	case "flock", "fcntlflock", "fcntl", "nanosleep", "clocknanosleep", "wait4", "waitid", "select", "pselect", "poll", "ppoll",
		"epollwait", "accept", "accept4", "connect", "recvfrom", "recvmsg", "sendto", "sendmsg", "sendmsgn", "recvmsgbuffers", "futex", "pause",
		"sigtimedwait", "semop", "semtimedop", "msgrcv", "ioctl", "ioctlretint":
		return Idle
	}
	return Transfer
}

// AwaitsTurn reports whether a goroutine waits on this stack for another to be
// done with the same file or connection: one reads or writes it at a time.
func (p Program) AwaitsTurn(frames []Frame) bool {
	for _, f := range frames {
		if f.Function == "internal/poll.(*fdMutex).rwlock" {
			return true
		}
		if !p.Foreign(f) {
			break
		}
	}
	return false
}
