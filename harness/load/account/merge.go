package account

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"

	"chokepoint/harness/bundle"
)

// Merge makes one account of those of several processes that served the same
// plan and began at the same time. Every count, sum, integral and histogram is
// exactly what one process would have had; see the package's documentation for
// least and most. A process whose series of seconds is shorter adds what it has.
func Merge(accounts []Account) (Account, error) {
	if len(accounts) == 0 {
		return Account{}, errors.New("account: merge: no accounts")
	}
	for i, a := range accounts {
		if err := fits(accounts[0], a); err != nil {
			return Account{}, fmt.Errorf("account: merge: process %d: %w", i+1, err)
		}
	}
	first := accounts[0]
	out := Account{
		Schema: Schema, StartNS: first.StartNS, WallNS: first.WallNS,
		Stages: make([]Stage, len(first.Stages)),
	}
	if len(first.Clients) > 0 {
		out.Clients = make([]Client, len(first.Clients))
	}
	var windows []Window
	for _, a := range accounts {
		if a.StartNS < out.StartNS {
			out.StartNS, out.WallNS = a.StartNS, a.WallNS
		}
		for i, s := range a.Stages {
			out.Stages[i] = out.Stages[i].plus(s)
		}
		for i, c := range a.Clients {
			out.Clients[i] = out.Clients[i].plus(c)
		}
		if a.Window.StartNS != 0 {
			windows = append(windows, a.Window)
		}
	}
	out.Window = mergeWindows(windows)
	out.Seconds = mergeSeconds(accounts)
	return out, nil
}

// fits says why b cannot be added to a.
func fits(a, b Account) error {
	switch {
	case b.Schema != Schema:
		return fmt.Errorf("its account has schema %d; want %d: are all processes of one build?", b.Schema, Schema)
	case len(a.Stages) != len(b.Stages):
		return fmt.Errorf("it has %d stages, the first %d", len(b.Stages), len(a.Stages))
	case !slices.EqualFunc(a.Clients, b.Clients, func(c, d Client) bool { return c.Behaviour == d.Behaviour }):
		return errors.New("its badly behaved clients are not those of the first")
	}
	for _, s := range b.Seconds {
		if off := (s.StartNS - a.StartNS) % secondNS; off != 0 {
			return fmt.Errorf("its seconds begin %d ns off those of the first: they did not begin at the same time", off)
		}
	}
	return nil
}

func (s Stage) plus(o Stage) Stage {
	return Stage{
		Sent: s.Sent + o.Sent, Ended: s.Ended + o.Ended, Errors: s.Errors + o.Errors,
		Service: s.Service.plus(o.Service), Corrected: s.Corrected.plus(o.Corrected),
	}
}

func (c Client) plus(o Client) Client {
	return Client{
		Behaviour: o.Behaviour, Ended: c.Ended + o.Ended,
		ByError: sumOf(c.ByError, o.ByError), InFlight: c.InFlight.plus(o.InFlight),
	}
}

func mergeWindows(windows []Window) Window {
	if len(windows) == 0 {
		return Window{}
	}
	out := windows[0]
	for _, w := range windows {
		out.ObservedNS = max(out.ObservedNS, w.ObservedNS)
	}
	out.InFlightNS = windows[0].inFlightOver(out.ObservedNS)
	for _, w := range windows[1:] {
		out = out.plus(w)
	}
	return out
}

// inFlightOver is the integral of in flight over ns, which is the window's own
// unless the process began or ended it late; then its mean stands for the rest.
func (w Window) inFlightOver(ns int64) int64 {
	if w.ObservedNS == ns || w.ObservedNS == 0 {
		return w.InFlightNS
	}
	return int64(math.Round(float64(w.InFlightNS) / float64(w.ObservedNS) * float64(ns)))
}

// plus is w and o together, over w's ObservedNS.
func (w Window) plus(o Window) Window {
	out := Window{
		StartNS: min(w.StartNS, o.StartNS), EndNS: max(w.EndNS, o.EndNS),
		InFlightNS: w.InFlightNS + o.inFlightOver(w.ObservedNS), ObservedNS: w.ObservedNS,
		CPUNS:           w.CPUNS + o.CPUNS,
		InFlightAtStart: w.InFlightAtStart + o.InFlightAtStart,
		InFlightMin:     w.InFlightMin + o.InFlightMin, InFlightMax: w.InFlightMax + o.InFlightMax,
		SocketsAtStart: w.SocketsAtStart + o.SocketsAtStart,
		SocketsMin:     w.SocketsMin + o.SocketsMin, SocketsMax: w.SocketsMax + o.SocketsMax,
		Sent: w.Sent + o.Sent, Ended: w.Ended + o.Ended, OK: w.OK + o.OK,
		ByCode: sumOf(w.ByCode, o.ByCode), ByError: sumOf(w.ByError, o.ByError),
		Checks: bundle.LoadChecks{
			Checked: w.Checks.Checked + o.Checks.Checked,
			Missing: w.Checks.Missing + o.Checks.Missing,
			Foreign: w.Checks.Foreign + o.Checks.Foreign,
			Example: cmp.Or(w.Checks.Example, o.Checks.Example),
		},
		Dropped: w.Dropped + o.Dropped,
		Bytes:   w.Bytes.plus(o.Bytes), Service: w.Service.plus(o.Service), Corrected: w.Corrected.plus(o.Corrected),
		SendLag: w.SendLag.plus(o.SendLag), OwnLag: w.OwnLag.plus(o.OwnLag),
	}
	return out
}

func mergeSeconds(accounts []Account) Seconds {
	at := map[int64]Second{}
	for _, a := range accounts {
		for _, s := range a.Seconds {
			sum, seen := at[s.StartNS]
			if !seen {
				at[s.StartNS] = s
				continue
			}
			at[s.StartNS] = sum.Plus(s)
		}
	}
	var out Seconds
	for _, s := range at {
		out = append(out, s)
	}
	slices.SortFunc(out, func(a, b Second) int { return cmp.Compare(a.StartNS, b.StartNS) })
	return out
}

// Plus is the second with that of another process, of the same time, added.
func (s Second) Plus(o Second) Second {
	return Second{
		StartNS: max(s.StartNS, o.StartNS), Stage: max(s.Stage, o.Stage),
		InFlightNS: s.InFlightNS + o.InFlightNS, Sockets: s.Sockets + o.Sockets,
		Sent: s.Sent + o.Sent, Ended: s.Ended + o.Ended, Errors: s.Errors + o.Errors,
		Service: s.Service.plus(o.Service), Corrected: s.Corrected.plus(o.Corrected),
	}
}

// sumOf adds counts up by key, into a map of its own; nil when there are none.
func sumOf[K comparable](counts ...map[K]int64) map[K]int64 {
	var out map[K]int64
	for _, c := range counts {
		for key, n := range c {
			if out == nil {
				out = make(map[K]int64, len(c))
			}
			out[key] += n
		}
	}
	return out
}
