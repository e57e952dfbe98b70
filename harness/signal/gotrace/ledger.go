package gotrace

import (
	"chokepoint/harness/signal/stack"
)

type waitKey struct {
	wait stack.Wait
	own  stack.Frame
}

type ledger struct {
	index      int // in goroutine.counted
	goroutines int
	total      int64
	running    int64
	runnable   int64
	syscall    int64
	waits      []WaitTime
	waitAt     map[waitKey]int // one more than the index in waits
}

func newLedger(index int) *ledger {
	return &ledger{index: index, waitAt: map[waitKey]int{}}
}

func (l *ledger) wait(k waitKey) int {
	i := l.waitAt[k]
	if i == 0 {
		l.waits = append(l.waits, WaitTime{Wait: k.wait, Where: k.own})
		i = len(l.waits)
		l.waitAt[k] = i
	}
	return i
}

func (l *ledger) add(g *goroutine, ns int64) {
	if !g.counted[l.index] {
		g.counted[l.index] = true
		l.goroutines++
	}
	l.total += ns
	switch g.state {
	case running:
		l.running += ns
	case runnable:
		l.runnable += ns
	case inSyscall:
		l.syscall += ns
	case waiting:
		switch {
		case g.at == nil:
			l.waits[l.wait(waitKey{wait: g.blamed})-1].NS += ns
		case g.blamed != g.at.wait:
			l.waits[l.wait(waitKey{g.blamed, g.at.own})-1].NS += ns
		default:
			i := &g.at.ledgers[l.index]
			if *i == 0 {
				*i = l.wait(waitKey{g.blamed, g.at.own})
			}
			l.waits[*i-1].NS += ns
		}
	}
}

func (l *ledger) account() Account {
	a := Account{Goroutines: l.goroutines, TotalNS: l.total, RunningNS: l.running, RunnableNS: l.runnable, SyscallNS: l.syscall}
	a.Waits = append(a.Waits, l.waits...)
	sortWaits(a.Waits)
	return a
}
