// Package stack reads Go call stacks for diagnosis: whose code a frame is, and
// what a goroutine on that stack waits for or spends CPU on.
//
// It keys on functions of the runtime and the standard library, whose names
// are stable between programs, and on nothing of the program's own.
package stack

import (
	"cmp"
	"strings"

	"chokepoint/harness/gofunc"
)

// Frame is one call of a stack. Stacks are innermost first throughout.
type Frame struct {
	Function string `json:"function"` // as the Go runtime names it
	File     string `json:"file,omitempty"`
	Line     int    `json:"line,omitempty"`
}

// IsZero reports whether the frame is absent.
func (f Frame) IsZero() bool { return f == Frame{} }

// Compare orders frames by function, file and line, as cmp.Compare does.
func (f Frame) Compare(g Frame) int {
	return cmp.Or(cmp.Compare(f.Function, g.Function), cmp.Compare(f.File, g.File), cmp.Compare(f.Line, g.Line))
}

// KernelSuffix ends the name of every kernel function on a stack.
const KernelSuffix = " [kernel]"

// Kernel reports whether the frame is the kernel's.
func (f Frame) Kernel() bool { return strings.HasSuffix(f.Function, KernelSuffix) }

// Program says which code is the program's own.
type Program struct {
	// MainModule is the path of the main module; empty when the build did not
	// say, and then every frame outside the standard library is the program's.
	MainModule string
}

// Foreign reports whether a frame is neither the program's nor a library's:
// the standard library, the runtime, golang.org/x/sys (the system calls that
// the standard library leaves out), this project's package mark (which says what
// the program does and is none of it), what cgo makes for a package, the kernel, C, or unknown.
func (Program) Foreign(f Frame) bool {
	if f.Function == "" || f.Kernel() || gofunc.Standard(f.Function) || gofunc.CGO(f.Function) {
		return true
	}
	pkg := gofunc.Package(f.Function)
	return pkg == "" || strings.HasPrefix(pkg, "golang.org/x/sys/") || marks(pkg)
}

// marks reports whether a package is this project's package mark, under whatever
// host the project lies.
func marks(pkg string) bool {
	return pkg == "chokepoint/mark" || strings.HasSuffix(pkg, "/chokepoint/mark")
}

// Mine reports whether a frame is the main module's own code.
func (p Program) Mine(f Frame) bool {
	pkg := gofunc.Package(f.Function)
	switch {
	case f.Kernel(), marks(pkg), gofunc.CGO(f.Function):
		return false
	case pkg == "main":
		return true
	case p.MainModule == "":
		return !p.Foreign(f)
	}
	return pkg == p.MainModule || strings.HasPrefix(pkg, p.MainModule+"/")
}

// Own is the frame a person would change: the innermost of the main module's
// code, or of any code outside the standard library if the main module is not
// on the stack. It is zero for a stack of the runtime alone.
func (p Program) Own(frames []Frame) Frame {
	i := p.ownIndex(frames)
	if i < 0 {
		return Frame{}
	}
	return frames[i]
}

func (p Program) ownIndex(frames []Frame) int {
	library := -1
	for i, f := range frames {
		if p.Mine(f) {
			return i
		}
		if library < 0 && !p.Foreign(f) {
			library = i
		}
	}
	return library
}

// Caller is the program's frame that called the function of Own, by way of others or
// not; zero where that has no caller of the program's.
func (p Program) Caller(frames []Frame) Frame {
	own := p.ownIndex(frames)
	if own < 0 {
		return Frame{}
	}
	within := gofunc.Base(frames[own].Function)
	for _, f := range frames[own+1:] {
		if p.Mine(f) && gofunc.Base(f.Function) != within {
			return f
		}
	}
	return Frame{}
}

// Library is the innermost frame of code that is neither the main module's nor Go's,
// where a frame of the main module has it below: the other half of Own. It is zero
// where there is none, or where the build did not say what the main module is.
func (p Program) Library(frames []Frame) Frame {
	var library Frame
	for _, f := range frames {
		switch {
		case p.Mine(f):
			return library
		case library.IsZero() && !p.Foreign(f):
			library = f
		}
	}
	return Frame{}
}

// Outermost is the outermost frame of the program's own code, such as the
// finalizer function on the stack of the finalizer goroutine.
func (p Program) Outermost(frames []Frame) Frame {
	for i := len(frames) - 1; i >= 0; i-- {
		if !p.Foreign(frames[i]) {
			return frames[i]
		}
	}
	return Frame{}
}

// Wait is what a waiting goroutine waits for.
type Wait string

// The waits.
const (
	Lock       Wait = "lock"     // sync.Mutex or sync.RWMutex
	Cond       Wait = "cond"     // sync.Cond
	WaitGroup  Wait = "group"    // sync.WaitGroup
	Sleep      Wait = "sleep"    // time.Sleep
	ChanRecv   Wait = "receive"  // channel receive
	ChanSend   Wait = "send"     // channel send
	Select     Wait = "select"   // select
	NetRead    Wait = "read"     // network or pipe, reading
	NetWrite   Wait = "write"    // network or pipe, writing
	NetAccept  Wait = "accept"   // network, accepting
	NetConnect Wait = "connect"  // network, connecting
	HTTPClient Wait = "upstream" // net/http client, for a response
	DBConn     Wait = "db conn"  // database/sql, for a free connection
	Assist     Wait = "assist"   // helping the collector
	Runtime    Wait = "runtime"  // the runtime's own locks and phases
	Other      Wait = "other"
)

// lockCalls are the functions that a goroutine waiting for a lock is in.
func lockCall(function string) bool {
	switch function {
	case "sync.(*Mutex).Lock", "sync.(*RWMutex).Lock", "sync.(*RWMutex).RLock",
		"internal/sync.(*Mutex).Lock", "internal/sync.(*Mutex).lockSlow", "sync.(*Mutex).lockSlow",
		"sync.(*rlocker).Lock":
		return true
	}
	return false
}

// Unlocks reports whether the stack is inside a release of a lock of the sync
// package, called for the program.
func Unlocks(frames []Frame) bool {
	for _, f := range frames {
		switch f.Function {
		case "sync.(*Mutex).Unlock", "sync.(*RWMutex).Unlock", "sync.(*RWMutex).RUnlock",
			"internal/sync.(*Mutex).Unlock", "internal/sync.(*Mutex).unlockSlow", "sync.(*Mutex).unlockSlow",
			"sync.(*RWMutex).rUnlockSlow", "sync.(*rlocker).Unlock":
			return true
		}
	}
	return false
}

// Reads reports whether the lock being taken or released is an RWMutex's for
// reading.
func Reads(frames []Frame) bool {
	for _, f := range frames {
		switch f.Function {
		case "sync.(*RWMutex).RLock", "sync.(*RWMutex).RUnlock", "sync.(*RWMutex).rUnlockSlow":
			return true
		}
	}
	return false
}

// Writes reports whether the lock being taken or released is an RWMutex's for
// writing.
func Writes(frames []Frame) bool {
	for _, f := range frames {
		switch f.Function {
		case "sync.(*RWMutex).Lock", "sync.(*RWMutex).Unlock":
			return true
		}
	}
	return false
}

// WaitOf classifies what a goroutine that waits on this stack waits for. Only
// the frames above the program's own count: a lock two calls down in the
// program has nothing to do with what the innermost call waits for.
func (p Program) WaitOf(frames []Frame) Wait {
	wait := Other
	set := func(w Wait, over ...Wait) {
		if wait == Other {
			wait = w
			return
		}
		for _, o := range over {
			if wait == o {
				wait = w
			}
		}
	}
	for _, f := range frames {
		if !p.Foreign(f) {
			break
		}
		name := f.Function
		switch {
		case lockCall(name):
			set(Lock, Runtime)
		case name == "sync.(*Cond).Wait":
			set(Cond, Runtime)
		case name == "sync.(*WaitGroup).Wait":
			set(WaitGroup, Runtime)
		case name == "time.Sleep":
			set(Sleep, Runtime)
		case strings.HasPrefix(name, "runtime.chanrecv"):
			set(ChanRecv, Runtime)
		case strings.HasPrefix(name, "runtime.chansend"):
			set(ChanSend, Runtime)
		case name == "runtime.selectgo" || name == "runtime.block":
			set(Select, Runtime)
		case name == "net/http.(*persistConn).roundTrip":
			set(HTTPClient, Select, Runtime)
		case name == "database/sql.(*DB).conn":
			set(DBConn, Select, ChanRecv, Runtime)
		case name == "net.(*netFD).connect":
			set(NetConnect, NetWrite, Runtime)
		case strings.HasPrefix(name, "internal/poll."):
			set(pollWait(name), Runtime)
		case strings.HasPrefix(name, "runtime.gcAssist"):
			set(Assist, Runtime)
		case strings.HasPrefix(name, "runtime."):
			// Channels that the runtime waits on for itself, to start a collection
			// say, are none of the program's.
			set(Runtime, ChanRecv, ChanSend, Select)
		}
	}
	return wait
}

func pollWait(name string) Wait {
	switch name {
	case "internal/poll.sendFile", "internal/poll.SendFile", "internal/poll.splicePump":
		return NetWrite
	case "internal/poll.spliceDrain":
		return NetRead
	}
	op, ok := strings.CutPrefix(name, "internal/poll.(*FD).")
	switch {
	case !ok:
		return Other
	case strings.HasPrefix(op, "Read"), strings.HasPrefix(op, "Pread"), op == "RawRead":
		return NetRead
	case strings.HasPrefix(op, "Write"), strings.HasPrefix(op, "Pwrite"), op == "RawWrite":
		return NetWrite
	case op == "Accept":
		return NetAccept
	case op == "WaitWrite":
		return NetConnect
	}
	return Other
}

// Serving says how far a stack is inside a server: net/http's, fasthttp's or gRPC's.
type Serving int

// The stages of serving.
const (
	NotServing Serving = iota
	BetweenRequests
	InHandler
)

// ServingOf tells a goroutine of a server from others, and one inside
// a handler from one that waits for the next request or reads or ends one.
//
// Under http.TimeoutHandler a request has two goroutines, and the one that runs
// the handler is the one in it: the other only waits, and its time would count
// the request twice.
func ServingOf(frames []Frame) Serving {
	serving := NotServing
	runtimeOnly := true
	for i, f := range frames {
		if f.Function == "net/http.(*timeoutHandler).ServeHTTP" && runtimeOnly {
			return BetweenRequests
		}
		runtimeOnly = runtimeOnly && strings.HasPrefix(f.Function, "runtime.")
		switch f.Function {
		case "net/http.serverHandler.ServeHTTP", "net/http.(*http2serverConn).runHandler",
			"net/http.HandlerFunc.ServeHTTP", "net/http.(*timeoutHandler).ServeHTTP.func1",
			"golang.org/x/net/http2.(*serverConn).runHandler", "net/http/internal/http2.(*serverConn).runHandler", grpcHandles:
			return InHandler
		case "net/http.(*conn).serve":
			serving = BetweenRequests
		default:
			if !servesFasthttp(f.Function) {
				continue
			}
			if fasthttpStage(frames[:i]) == Handling {
				return InHandler
			}
			serving = BetweenRequests
		}
	}
	return serving
}

// RuntimeAlone reports whether all of a stack above the kernel is the runtime's: a
// goroutine or a thread that it has for itself.
func RuntimeAlone(frames []Frame) bool {
	alone := false
	for _, f := range frames {
		switch {
		case f.Kernel():
		case strings.HasPrefix(f.Function, "runtime."), strings.HasPrefix(f.Function, "internal/runtime/"):
			alone = true
		default:
			return false
		}
	}
	return alone
}

// Diagnostic reports whether the stack belongs to the debug endpoints that the
// recording itself uses; their work is no evidence of anything. A program that
// labels or annotates its own work (pprof.Do, trace.WithRegion, trace.NewTask)
// does that inside those packages' functions, and stays the program's.
func Diagnostic(frames []Frame) bool {
	inside := false // a function of these packages, which may be called by one to mark work with
	for _, f := range frames {
		switch name := f.Function; {
		case strings.HasPrefix(name, "net/http/pprof."):
			return true
		case annotates(name):
			inside = false
		case strings.HasPrefix(name, "runtime/pprof."), strings.HasPrefix(name, "runtime/trace."):
			inside = true
		case inside:
			return true
		}
	}
	return inside
}

// annotates reports whether a function of those packages is for a program to mark
// its work with.
func annotates(function string) bool {
	switch function {
	case "runtime/pprof.Do", "runtime/pprof.WithLabels", "runtime/pprof.SetGoroutineLabels", "runtime/pprof.Labels",
		"runtime/trace.WithRegion", "runtime/trace.StartRegion", "runtime/trace.(*Region).End", "runtime/trace.Region.End",
		"runtime/trace.NewTask", "runtime/trace.(*Task).End", "runtime/trace.Log", "runtime/trace.Logf", "runtime/trace.IsEnabled":
		return true
	}
	return false
}

// Finalizing says whether a goroutine is one that runs finalizers or cleanups,
// by its outermost frame.
func Finalizing(frames []Frame) bool {
	for i := len(frames) - 1; i >= 0; i-- {
		switch frames[i].Function {
		case "runtime.goexit":
			continue
		case "runtime.runFinalizers", "runtime.runfinq", "runtime.runCleanups", "runtime.(*cleanupQueue).runCleanups":
			return true
		}
		return false
	}
	return false
}

// Attends reports whether who waits on this stack waits in the function that it was started in,
// where a goroutine is when it has nothing to do: a worker at the channel that its work comes
// by, or one that is there to see a signal or the end of another process. What
// is done for somebody is done in what that calls.
func (p Program) Attends(frames []Frame) bool {
	own := p.Own(frames)
	return !own.IsZero() && own == p.Outermost(frames)
}
