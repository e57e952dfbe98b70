package gotrace

import (
	"strconv"
	"strings"

	"golang.org/x/exp/trace"

	"chokepoint/harness/gofunc"
	"chokepoint/harness/signal/stack"
)

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
		pl.frames = append(pl.frames, stack.Frame{Function: gofunc.Written(f.Func, f.File), File: f.File, Line: int(f.Line)})
		key.WriteString(strconv.FormatUint(f.PC, 16))
		key.WriteByte(' ')
	}
	if known, ok := s.interned[key.String()]; ok {
		return known
	}
	s.interned[key.String()] = pl
	pl.own = s.program.Own(pl.frames)
	pl.ours = !pl.own.IsZero()
	pl.outer = s.program.Outermost(pl.frames)
	pl.wait = s.program.WaitOf(pl.frames)
	if pl.wait == stack.Lock || pl.wait.Queues() {
		pl.caller = Caller(s.program, pl.frames)
	}
	pl.serving = stack.ServingOf(pl.frames)
	pl.unlocks = stack.Unlocks(pl.frames)
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
	pl.turn = s.program.AwaitsTurn(pl.frames)
	pl.clientGone = clientGone(pl.frames)
	pl.startsHTTP2 = stack.StartsHTTP2Handler(pl.frames)
	pl.answers = stack.Answers(pl.frames)
	return pl
}

func less(a, b stack.Frame) bool {
	if a.Function != b.Function {
		return a.Function < b.Function
	}
	if a.File != b.File {
		return a.File < b.File
	}
	return a.Line < b.Line
}

func lessFrames(a, b []stack.Frame) bool {
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return less(a[i], b[i])
		}
	}
	return len(a) < len(b)
}
