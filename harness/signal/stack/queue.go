package stack

import "strings"

// Act is how a goroutine ends another one's wait, by the stack it does so on.
type Act uint8

// The acts.
const (
	NoAct    Act = iota
	Takes        // receives from a channel on which the other waits to send
	Gives        // sends to a channel on which the other waits to receive
	Chooses      // takes or gives in a select
	Closes       // closes a channel on which the other waits
	Signals      // signals a sync.Cond
	Lends        // hands over a pooled connection: database/sql, net/http's client
	GivesUp      // cancels a context: the wait is given up, not granted
	Finishes     // is the last of a sync.WaitGroup
)

// ActOf tells the act. Only the frames above the program's own count, as for
// WaitOf, but for the pools of the standard library, which are recognised by the
// function that puts a connection back.
func (p Program) ActOf(frames []Frame) Act {
	act := NoAct
	if len(frames) > 0 && !p.Foreign(frames[0]) {
		// The runtime leaves itself out of the stack on which a channel is closed.
		act = Closes
	}
	for _, f := range frames {
		if !p.Foreign(f) {
			break
		}
		switch name := f.Function; {
		case name == "database/sql.(*DB).putConnDBLocked", name == "net/http.(*Transport).tryPutIdleConn":
			return Lends
		case name == "context.(*cancelCtx).cancel":
			return GivesUp
		case name == "sync.(*WaitGroup).Add":
			return Finishes
		case act != NoAct:
		case strings.HasPrefix(name, "runtime.chanrecv"):
			act = Takes
		case strings.HasPrefix(name, "runtime.chansend"):
			act = Gives
		case strings.HasPrefix(name, "runtime.selectgo"), strings.HasPrefix(name, "runtime.selectnb"):
			act = Chooses
		case name == "sync.(*Cond).Signal", name == "sync.(*Cond).Broadcast":
			act = Signals
		}
	}
	return act
}

// Queues reports whether a wait may be one for a turn: at a channel, a condition
// or for a connection of a pool. Locks are apart, and waits for the network, for
// a time or for goroutines of one's own are none.
func (w Wait) Queues() bool {
	switch w {
	case ChanRecv, ChanSend, Select, Cond, DBConn:
		return true
	}
	return false
}
