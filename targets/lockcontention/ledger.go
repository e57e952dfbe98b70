package main

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"

	"chokepoint/targets/kit"
)

// maxBatch is how many entries go into one line of the journal at most.
const maxBatch = 1000

// batch is entries that become safe together.
type batch struct {
	entries []string
	done    chan struct{} // closed when err is set
	err     error
}

func newBatch() *batch { return &batch{done: make(chan struct{})} }

// ledger numbers entries and has each in the journal before it says so.
type ledger struct {
	journal *peer // answers a line once what it says is safe

	mu      sync.Mutex
	last    int           // number of the last entry
	pending []*batch      // what commit has not yet begun with
	wake    chan struct{} // has a value when there is something pending
}

func newLedger(j *peer) *ledger {
	return &ledger{journal: j, wake: make(chan struct{}, 1)}
}

// record writes one entry. The ledger stays locked until the journal has it,
// so that entries stand there in the order of their numbers.
func (l *ledger) record(text string) (number int, err error) {
	l.mu.Lock() // chokepoint:flaw lock-contention
	defer l.mu.Unlock()
	if err := l.journal.ask(entry(l.last+1, text)); err != nil {
		return 0, err
	}
	l.last++
	return l.last, nil
}

// enqueue is record with the ledger locked only to number the entry and to put
// it in line for commit, which keeps the order.
func (l *ledger) enqueue(text string) (number int, err error) {
	number, b := l.add(text)
	select {
	case l.wake <- struct{}{}:
	default: // commit knows already
	}
	<-b.done
	return number, b.err
}

func (l *ledger) add(text string) (int, *batch) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.last++
	if n := len(l.pending); n == 0 || len(l.pending[n-1].entries) == maxBatch {
		l.pending = append(l.pending, newBatch())
	}
	b := l.pending[len(l.pending)-1]
	b.entries = append(b.entries, entry(l.last, text))
	return l.last, b
}

// commit writes what is in line, a batch at a time, until ctx ends.
func (l *ledger) commit(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-l.wake:
		}
		for _, b := range l.take() {
			b.err = l.journal.ask(strings.Join(b.entries, ";"))
			close(b.done)
		}
	}
}

func (l *ledger) take() []*batch {
	l.mu.Lock()
	defer l.mu.Unlock()
	batches := l.pending
	l.pending = nil
	return batches
}

func entry(number int, text string) string { return fmt.Sprintf("%d %s", number, text) }

// ledgerAPI answers POST /entries?account=N.
type ledgerAPI struct {
	ledger *ledger
	bank   *kit.Dependency
	flawed bool
}

func newLedgerAPI(ctx context.Context, o kit.Options) (http.Handler, error) {
	addr, err := kit.ListenPeer(ctx, o.Duration("hold"))
	if err != nil {
		return nil, fmt.Errorf("the journal: %w", err)
	}
	j, err := dialPeer(ctx, "journal", addr)
	if err != nil {
		return nil, err
	}
	api := &ledgerAPI{
		ledger: newLedger(j),
		bank:   kit.NewDependency(ctx, o.Duration("delay")),
		flawed: o.Flawed(),
	}
	if !api.flawed {
		go api.ledger.commit(ctx)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /entries", api.serveEntries)
	return mux, nil
}

func (a *ledgerAPI) serveEntries(w http.ResponseWriter, r *http.Request) {
	n, ok := account(w, r)
	if !ok {
		return
	}
	if err := a.bank.Call(r.Context()); err != nil {
		unavailable(w, err)
		return
	}
	text := fmt.Sprintf("charge account %d", n)
	var number int
	var err error
	if a.flawed {
		number, err = a.ledger.record(text)
	} else {
		number, err = a.ledger.enqueue(text)
	}
	if err != nil {
		unavailable(w, err)
		return
	}
	fmt.Fprintf(w, "entry %d\n", number)
}
