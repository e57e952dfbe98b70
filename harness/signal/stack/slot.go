package stack

import "strings"

// TakesSlot reports whether a goroutine that waits on this stack does so in a call
// that waits for one thing alone: that one of a bounded number, shared by all who
// call, comes free. Only the frames above the main module's count.
//
// At a channel that the program made itself this cannot be told: it may as well be
// news that is waited for. Two kinds of limits are left out. One on how often
// something is done (golang.org/x/time/rate) makes callers wait for a time, as it is
// meant to, and gives nothing out that could be kept. One on how many goroutines a
// golang.org/x/sync/errgroup.Group runs belongs to one request as a rule.
func (p Program) TakesSlot(frames []Frame) bool {
	if !p.WaitOf(frames).Queues() {
		return false
	}
	for _, f := range frames {
		switch name := f.Function; {
		case p.Mine(f):
			return false
		case name == "database/sql.(*DB).conn",
			// Also what github.com/jackc/puddle, and with it pgxpool, waits in.
			name == "golang.org/x/sync/semaphore.(*Weighted).Acquire",
			name == "github.com/gomodule/redigo/redis.(*Pool).waitVacantConn",
			strings.HasSuffix(name, "/internal/pool.(*ConnPool).waitTurn") && strings.Contains(name, "/go-redis/"):
			return true
		}
	}
	return false
}
