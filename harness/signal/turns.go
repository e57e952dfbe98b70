package signal

import (
	"cmp"
	"slices"

	"chokepoint/harness/bundle"
	"chokepoint/harness/signal/gotrace"
	"chokepoint/harness/signal/stack"
)

// Turn is something that requests wait for each other for: a lock, a bounded
// resource, or goroutines that serve them one after another.
type Turn struct {
	// Kind is "lock", "read-write lock", "resource" or "service".
	Kind string `json:"kind"`
	// WaitedNS is the request time spent waiting for it, and Share its share of all;
	// of goroutine time with code of the program where there are no requests.
	WaitedNS int64   `json:"waited_ns"`
	Share    float64 `json:"share"`
	// Waiters are the lines waited at, by the time of all goroutines.
	Waiters []TurnWaiter `json:"waiters"`
	// Holders are, of a lock, the functions that hold it while others wait, by time;
	// of a resource and a service the one entry says all that is known.
	Holders []TurnHolder `json:"holders"`
	// Slots is, of a resource, how many had it at a time on average, 0 where
	// that is not known, and Servers, of a
	// service, the goroutines that serve, BusyShare how much of their time they are at
	// work, and QueuedShare how much of a wait they serve others.
	Slots       float64 `json:"slots,omitempty"`
	Servers     int     `json:"servers,omitempty"`
	BusyShare   float64 `json:"busy_share,omitempty"`
	QueuedShare float64 `json:"queued_share,omitempty"`
}

// TurnWaiter is time waited at one line.
type TurnWaiter struct {
	What  string       `json:"what"` // "lock", "read lock", or the stack.Wait
	Where bundle.Frame `json:"where"`
	NS    int64        `json:"ns"`
}

// TurnHolder is who has it, or serves.
type TurnHolder struct {
	// Where is the line that takes it, or takes what is served; Release is where it is
	// let go, if that is not the same thing.
	Where   bundle.Frame `json:"where,omitzero"`
	Release bundle.Frame `json:"release,omitzero"`
	Reads   bool         `json:"reads,omitempty"` // as a reader of an RWMutex
	NS      int64        `json:"ns"`              // it had it, or was at work
	// KnownNS is the part of it of which Doing tells what was done.
	KnownNS int64       `json:"known_ns"`
	Doing   []TurnDoing `json:"doing"`
}

// TurnDoing is what a holder did for how long.
type TurnDoing struct {
	What  string       `json:"what"` // as requests' kinds, "running", "runnable" and "syscall" beside the waits
	Where bundle.Frame `json:"where,omitzero"`
	NS    int64        `json:"ns"`
}

// turns lists what requests wait for each other for, longest first. Waits of those
// that are told something by others are left out.
func (e *evidence) turns(s *gotrace.Summary) []Turn {
	account, requests, err := base(s)
	if err != nil {
		return nil
	}
	var out []Turn
	add := func(t Turn, all, ofRequests int64) {
		t.WaitedNS = all
		if requests {
			t.WaitedNS = ofRequests
		}
		if t.WaitedNS > 0 {
			t.Share = min(1, share(t.WaitedNS, account.TotalNS))
			out = append(out, t)
		}
	}
	for _, l := range s.Locks {
		t := Turn{Kind: "lock"}
		for _, w := range l.Waiters {
			what := string(stack.Lock)
			if w.Reads {
				what, t.Kind = "read lock", "read-write lock"
			}
			t.Waiters = append(t.Waiters, TurnWaiter{what, bundle.Frame(w.Where), w.NS})
		}
		for _, h := range l.Holders {
			if h.Reads {
				t.Kind = "read-write lock"
			}
			t.Holders = append(t.Holders, TurnHolder{bundle.Frame(lockTaken(e, h)), bundle.Frame(h.Unlock), h.Reads, h.NS, h.ObservedNS, doings(h.Doing)})
		}
		add(t, l.WaitedNS, l.RequestWaitedNS)
	}
	for _, q := range s.Queues {
		var t Turn
		for _, w := range q.Waiters {
			t.Waiters = append(t.Waiters, TurnWaiter{string(w.Wait), bundle.Frame(w.Where), w.NS})
		}
		h := TurnHolder{Doing: doings(q.Doing)}
		for _, d := range q.Doing {
			h.KnownNS += d.NS
		}
		switch q.Kind {
		case gotrace.Bounded:
			t.Kind, t.Slots = "resource", q.Slots
			h.Where, h.Release, h.NS = bundle.Frame(q.Acquire), bundle.Frame(q.Release), q.HeldNS
		case gotrace.Served:
			t.Kind, t.Servers = "service", q.Servers
			t.BusyShare, t.QueuedShare = q.BusyShare, share(q.QueuedNS, q.OrderedNS)
			h.Where, h.NS = bundle.Frame(q.Serve), q.WorkNS
		default:
			continue
		}
		t.Holders = []TurnHolder{h}
		add(t, q.WaitedNS, q.RequestWaitedNS)
	}
	slices.SortStableFunc(out, func(a, b Turn) int { return cmp.Compare(b.WaitedNS, a.WaitedNS) })
	return out
}

func doings(ds []gotrace.Doing) []TurnDoing {
	out := make([]TurnDoing, 0, len(ds))
	for _, d := range ds {
		out = append(out, TurnDoing{d.What, bundle.Frame(d.Where), d.NS})
	}
	return out
}
