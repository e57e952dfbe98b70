package gotrace

import (
	"strconv"
	"strings"

	"golang.org/x/exp/trace"

	"chokepoint/harness/signal/requests"
	"chokepoint/harness/signal/stack"
)

// place is an interned stack with what the scan needs to know of it.
type place struct {
	frames    []stack.Frame
	own       stack.Frame
	asker     stack.Frame // own, past wrappers that only hand a call on
	caller    stack.Frame // of own; told of waits for other goroutines, and of ends of these, alone
	library   stack.Frame // that takes the lock waited for, if one does
	outer     stack.Frame
	wait      stack.Wait
	serving   stack.Serving
	unlocks   bool
	reads     bool
	finalizer bool
	diag      bool
	ours      bool       // code of the program is on it
	mine      bool       // own is the main module's
	ledgers   [2]int     // where its wait stands in each, as ledger.wait has it
	calls     *SiteCount // system calls at own; nil until there is one

	// For requests:
	stage       stack.Stage
	endpoint    stack.Frame
	rank        int  // of endpoint; 0 for none
	background  bool // it is that of net/http's background read
	startsHTTP2 bool
	kind        *kind // of goroutines that end in this stack's outermost frame; see lives
	answers     bool  // it writes of a response
	parts       [slots]requests.PartID
	next        *place // that a span from here last led to, and its part
	span        requests.PartID
	woken       int64 // goroutines from a wait here
	given       int64 // of these, by another goroutine of the program
	runnableNS  int64 // waited for a P here
	// For locks: what the site is called, as one that waits and as one that releases.
	waits, releases string
	// For queues:
	act     stack.Act
	polls   bool // it is in a call of the program's own that waits for descriptors
	queue   *station
	queued  int64 // waited here
	release *outlet
	crew    *crew

	peer       stack.Peer // what a wait here wants of a peer
	blocking   stack.Blocking
	inC        bool
	clientGone bool
	takesSlot  bool   // a wait here is for one of a bounded number
	handsOver  bool   // a wait here is to send something else
	turn       bool   // a wait here is for another to be done with the same file
	relayed    bool   // a wait here may be for an answer that another goroutine reads
	listener   string // stack.Listener
	speaker    string // stack.Speaker
}

// holds reports whether the function is on the stack.
func (pl *place) holds(function string) bool {
	for _, f := range pl.frames {
		if f.Function == function {
			return true
		}
	}
	return false
}

// place resolves a stack, once a generation and handle; nil for no stack.
// Equal stacks of different generations are the same place.
func (s *scan) place(st trace.Stack) *place {
	if st == trace.NoStack {
		return nil
	}
	if st == s.lastStack {
		return s.lastPlace
	}
	pl, ok := s.places[st]
	if !ok {
		pl = s.resolve(st)
		s.places[st] = pl
	}
	s.lastStack, s.lastPlace = st, pl
	return pl
}

// resolve reads the frames of a stack and what they say.
func (s *scan) resolve(st trace.Stack) *place {
	pl := &place{}
	var key strings.Builder
	for f := range st.Frames() {
		pl.frames = append(pl.frames, stack.Frame{Function: s.names.Written(f.Func, f.File), File: f.File, Line: int(f.Line)})
		key.WriteString(strconv.FormatUint(f.PC, 16))
		key.WriteByte(' ')
	}
	if known, ok := s.interned[key.String()]; ok {
		return known
	}
	s.interned[key.String()] = pl
	pl.own = s.program.Own(pl.frames)
	pl.ours = !pl.own.IsZero()
	pl.mine = s.program.Mine(pl.own)
	pl.outer = s.program.Outermost(pl.frames)
	pl.wait = s.program.WaitOf(pl.frames)
	pl.serving = stack.ServingOf(pl.frames)
	pl.unlocks = stack.Unlocks(pl.frames)
	if pl.unlocks || pl.wait == stack.Lock || pl.wait.Queues() {
		pl.caller = s.program.User(pl.frames)
	}
	if pl.wait == stack.Lock {
		pl.library = s.program.LibraryLock(pl.frames)
	}
	pl.reads = stack.Reads(pl.frames)
	pl.finalizer = stack.Finalizing(pl.frames)
	pl.diag = stack.Diagnostic(pl.frames)
	pl.stage = stack.StageOf(pl.frames)
	pl.endpoint, pl.rank = s.program.Endpoint(pl.frames)
	pl.background = stack.BackgroundRead(pl.frames)
	pl.act = s.program.ActOf(pl.frames)
	pl.polls = s.program.CPUOf(pl.frames).Polling
	pl.peer = s.program.PeerOf(pl.frames)
	pl.asker = s.program.Asker(pl.frames)
	pl.blocking = stack.BlockingOf(pl.frames)
	pl.inC = stack.InC(pl.frames)
	pl.takesSlot = s.program.TakesSlot(pl.frames) || s.takesSlot != nil && pl.wait.Queues() && s.takesSlot(pl.frames)
	pl.handsOver = !pl.takesSlot && s.sends != nil && pl.wait.Queues() && s.sends(pl.frames)
	pl.turn = s.program.AwaitsTurn(pl.frames)
	pl.relayed = s.program.MayBeRelayed(pl.frames)
	pl.listener, pl.speaker = stack.Listener(pl.frames), stack.Speaker(pl.frames)
	pl.clientGone = clientGone(pl.frames)
	pl.startsHTTP2 = stack.StartsHTTP2Handler(pl.frames)
	pl.answers = stack.Answers(pl.frames)
	return pl
}

func less(a, b stack.Frame) bool { return a.Compare(b) < 0 }

func lessFrames(a, b []stack.Frame) bool {
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return less(a[i], b[i])
		}
	}
	return len(a) < len(b)
}
