package signal

import (
	"fmt"
	"time"

	"chokepoint/harness/bundle"
	"chokepoint/harness/signal/gotrace"
	"chokepoint/harness/signal/stack"
)

// waitSignals are those of waits for peers that do not end: for an answer, and for
// room to write.
func waitSignals() []definition {
	return []definition{
		number("trace.upstream_stuck_share", bundle.DimTrace, Share, stuckShare(answers),
			"Share of request time in waits for a dependency's answer that last all of the trace, at lines where hardly any such wait ends, and in waits as long for connections that those keep; of all the program's goroutine time in a program without a known server."),
		number("trace.upstream_stuck_cost", bundle.DimTrace, Share, stuckCost(answers),
			"Share of request time in those waits, and in those at the same lines that began in the trace and have lasted for longer than any there that ended, or that the client's leaving ended."),
		place("trace.upstream_stuck_site", bundle.DimTrace, stuckSite(answers), "The program's line where most requests wait so."),
		number("trace.upstream_stuck_ended_share", bundle.DimTrace, Share, stuckEnded(answers),
			"Share of the waits at that line, of those that had begun before the trace and lasted half of it, that ended in the other half; where more do, as honest answers take that long, of those that lasted all of it, at most, that will end in as long as half of it, by how many requests that had taken longer than the trace the client saw end."),
		number("pprof.upstream_wait_share", bundle.DimPprof, Share, peerShare(answers),
			"Share of the goroutines in handlers that waited for a dependency's answer when the goroutine profile was taken, be it one that another goroutine reads, by the trace; of all the program's goroutines in a program without a known server."),
		place("pprof.upstream_wait_site", bundle.DimPprof, peerSite(answers), "The program's line where most of them waited."),
		number("pprof.upstream_ended_ratio", bundle.DimPprof, Ratio, upstreamEnded,
			"Time that waits at that line which ended in the window had taken, by the block profile, in relation to what the goroutines there waited over the window: near 1 where waits end as they begin, 0 where none ends."),

		number("trace.write_stuck_share", bundle.DimTrace, Share, stuckShare(room),
			"Share of request time, and of other goroutines so held, in writes for which the peer makes no room during all of the trace, at lines where hardly any such write goes on; of all the program's goroutine time in a program without a known server."),
		number("trace.write_stuck_cost", bundle.DimTrace, Share, stuckCost(room),
			"Share of request time, and of other goroutines so held, in those writes, and in those at the same lines that began in the trace and have waited for longer than any there that went on, or that the client's leaving ended."),
		place("trace.write_stuck_site", bundle.DimTrace, stuckSite(room), "The program's line where most are held so."),
		number("pprof.write_wait_share", bundle.DimPprof, Share, peerShare(room),
			"Share of the goroutines in handlers that waited for room to write when the goroutine profile was taken; of all the program's goroutines in a program without a known server."),
		place("pprof.write_wait_site", bundle.DimPprof, peerSite(room), "The program's line where most of them waited."),
		number("ebpf.send_stuck_share", bundle.DimEBPF, Share, sendStuck,
			"Connections of the target whose send buffer was full at the end of the window and had been for a quarter of it or more, as a share of the requests in flight; those that the target has closed already are left out."),
	}
}

// wanted are the peers that a kind of signals is about.
type wanted func(stack.Peer) bool

func answers(p stack.Peer) bool {
	return p == stack.AskedPeer || p == stack.ReadPeer || p == stack.RelayedPeer
}
func room(p stack.Peer) bool { return p == stack.FullPeer }

const (
	// endsSeldom is the share of the waits in the middle of the trace that may end in
	// its second half where they are still said to hang: a wait then goes on for 25
	// times the trace's length on average.
	endsSeldom = 0.02
	// fewestStuck is how many waits must last throughout before they are believed
	// to be alike.
	fewestStuck = 3
	// fewestServers is how many must be outside of net/http's server: there, waits of
	// requests do not tell themselves from those of a few watchers in the background.
	fewestServers = 10
	// longDeadline is how long servers commonly let a write take at the most
	// (http.Server.WriteTimeout). Writes that a trace of some seconds sees hang may be
	// ended by it later. Of many, deadlinesSeen would have been ended in the trace on
	// average, so that chance does not make it none (by Poisson, at 95%).
	longDeadline  = 30 * time.Second
	deadlinesSeen = 3
	// stuckTrace is the shortest trace that tells a wait that hangs from one that takes long.
	stuckTrace = time.Second
	// stuckNoise is the share below which it does not matter which of the two it is.
	stuckNoise = 0.02
)

// held is what waits at one line hold.
type held struct {
	where  stack.Frame
	count  int // goroutines, for all of the trace
	others int // of these, outside of requests
	ended  float64
	late   int64 // the time, in ns, of other waits there that will hang
	beside int64 // the part of it that is in no request's time
}

// stuck are the lines where waits hang, the one that holds most first, and the
// time that all is related to.
func (e *evidence) stuck(want wanted) (list []held, wholeNS int64, s *gotrace.Summary, err error) {
	s, err = e.trace()
	if err != nil {
		return nil, 0, nil, err
	}
	// What handlers wait for others to do counts, as far as there are others that hang.
	helped := s.Hung.Helped
	// Connections that handlers have taken over are read as dependencies are. How many
	// there are at most is known, and they are taken from the reads first.
	taken := max(0, s.Hung.Handlers-s.Hung.Watched)
	account, serves, err := base(s)
	if err != nil {
		return nil, 0, nil, err
	}
	whole := account.TotalNS
	for _, k := range s.Hung.At {
		if k.Peer == stack.OwnPeer && (!serves || !want(stack.AskedPeer) || k.Joined < fewestStuck) {
			continue
		}
		if !want(k.Peer) && k.Peer != stack.OwnPeer || k.End < fewestStuck || !serves && k.End < fewestServers {
			continue
		}
		if k.Peer == stack.FullPeer && float64(k.End)*float64(s.DurationNS()) < deadlinesSeen*float64(longDeadline) {
			continue // too few to tell that no deadline ends them
		}
		middle, ended := k.Middle+s.Hung.Unknown, k.Middle-k.End+s.Hung.Unknown
		h := held{where: k.Where, count: k.End, others: k.End - k.InRequests, ended: float64(ended) / float64(middle), late: k.LateNS}
		if h.ended >= endsSeldom && (k.Peer == stack.FullPeer || !serves) {
			continue
		}
		switch {
		case k.Peer == stack.FullPeer:
			if serves {
				whole += int64(h.others) * s.DurationNS()
				h.beside = k.LateNS - k.LateRequestNS
			}
		case !serves:
		case k.Peer == stack.ReadPeer, k.Peer == stack.RelayedPeer:
			gone := min(taken, h.count)
			taken -= gone
			h.count -= gone
			h.late = part(h.late, h.count, k.End)
		case k.Peer == stack.OwnPeer:
			h.count = min(helped, k.Joined)
			helped -= h.count
			h.late = 0 // who waits for those that began meanwhile is not known
		default:
			n := min(helped, h.others)
			helped -= n
			h.count += n - h.others
			h.late = k.LateRequestNS + part(k.LateNS-k.LateRequestNS, n, h.others)
		}
		if h.ended >= endsSeldom {
			if h.ended, err = e.endsLater(s, h.count); err != nil {
				return nil, 0, nil, err
			}
		}
		if h.count > 0 && h.ended < endsSeldom {
			list = append(list, h)
		}
	}
	if len(list) > 0 && want(stack.AskedPeer) {
		// Those that hang keep their connections, and others wait for these.
		list[0].count += s.Hung.Queued
	}
	for i := range list {
		for j := i; j > 0 && list[j].count > list[j-1].count; j-- {
			list[j], list[j-1] = list[j-1], list[j]
		}
	}
	return list, whole, s, nil
}

func stuckShare(want wanted) func(*evidence) (float64, error) {
	return func(e *evidence) (float64, error) {
		list, whole, s, err := e.stuck(want)
		if err != nil {
			return 0, err
		}
		var ns int64
		for _, h := range list {
			ns += int64(h.count) * s.DurationNS()
		}
		v := min(1, share(ns, whole))
		if length := time.Duration(s.DurationNS()); v > stuckNoise && length < stuckTrace {
			return 0, fmt.Errorf("trace: it is %v long, too short to tell a wait that hangs from a long one", length.Round(time.Millisecond))
		}
		return v, nil
	}
}

// part is n of all parts of ns.
func part(ns int64, n, all int) int64 {
	return int64(float64(ns) * float64(n) / float64(max(1, all)))
}

// stuckCost is stuckShare with all that is lost at the same lines. Who waits for
// connections that those keep counts only where it does so for all of the trace.
func stuckCost(want wanted) func(*evidence) (float64, error) {
	return func(e *evidence) (float64, error) {
		if _, err := stuckShare(want)(e); err != nil {
			return 0, err
		}
		list, whole, s, err := e.stuck(want)
		if err != nil {
			return 0, err
		}
		var ns int64
		for _, h := range list {
			ns += int64(h.count)*s.DurationNS() + h.late
			whole += h.beside
		}
		return min(1, share(ns, whole)), nil
	}
}

func stuckSite(want wanted) func(*evidence) (stack.Frame, error) {
	return func(e *evidence) (stack.Frame, error) {
		list, _, _, err := e.stuck(want)
		if err != nil || len(list) == 0 {
			return stack.Frame{}, err
		}
		return list[0].where, nil
	}
}

func stuckEnded(want wanted) func(*evidence) (float64, error) {
	return func(e *evidence) (float64, error) {
		list, _, _, err := e.stuck(want)
		if err != nil {
			return 0, err
		}
		if len(list) == 0 {
			return 0, errNone
		}
		return list[0].ended, nil
	}
}

// parkedPeers are the goroutines that waited for peers when the goroutine profile
// was taken, by line, and all that they are related to.
func (e *evidence) parkedPeers(want wanted) (sites []site, all int64, err error) {
	p, err := e.profile(bundle.DimPprof, bundle.GoroutineProfile)
	if err != nil {
		return nil, 0, err
	}
	var handlers, handlers1, watched, ours int64
	var helped int64 // handlers that wait for other goroutines
	peerOf := e.peerOf()
	waitsForOthers := func(x sample) bool {
		return peerOf(x) == stack.NoPeer && stack.ForOthers(e.program.WaitOf(x.frames))
	}
	i := p.types["goroutine"]
	for _, x := range p.list {
		n := x.values[i]
		if stack.BackgroundRead(x.frames) {
			watched += n
		}
		if stack.StageOf(x.frames) == stack.Handling {
			handlers += n
			if stackHas(x.frames, "net/http.(*conn).serve") {
				handlers1 += n
			}
			if waitsForOthers(x) {
				helped += n
			}
		}
		if !e.program.Own(x.frames).IsZero() {
			ours += n
		}
	}
	all = handlers
	if handlers == 0 {
		all = ours
	}
	// The recording's own requests are watched like all others.
	taken := max(0, handlers1+p.diagnostic-watched)
	sums := map[stack.Frame]int64{}
	var reads []sample
	var apart int64 // that wait for answers outside of handlers
	for _, x := range p.list {
		peer := peerOf(x)
		if handlers > 0 && want(stack.AskedPeer) && !e.program.Own(x.frames).IsZero() && (peer == stack.AskedPeer && stack.StageOf(x.frames) != stack.Handling || peer == stack.OwnPeer) {
			apart += x.values[i]
		}
		if !want(peer) || handlers > 0 && peer != stack.FullPeer && stack.StageOf(x.frames) != stack.Handling {
			continue
		}
		if peer == stack.ReadPeer || peer == stack.RelayedPeer {
			reads = append(reads, x)
			continue
		}
		if peer == stack.FullPeer && handlers > 0 && stack.StageOf(x.frames) != stack.Handling {
			all += x.values[i]
		}
		sums[e.program.Asker(x.frames)] += x.values[i]
	}
	for _, x := range reads {
		gone := min(taken, x.values[i])
		taken -= gone
		if n := x.values[i] - gone; n > 0 {
			sums[e.program.Asker(x.frames)] += n
		}
	}
	sites = ranked(sums)
	// Who waits apart from handlers may do so for one that waits meanwhile, and a profile
	// does not say whether. A connection that was taken over has a reader and a handler.
	var known int64
	for _, s := range sites {
		known += s.value
	}
	may := min(apart, helped) - taken
	if may > known && float64(may) > stuckNoise*float64(all) {
		return nil, 0, fmt.Errorf("pprof: %d goroutines outside of handlers wait for an answer, and %d handlers for other goroutines: a profile does not relate them", apart, helped)
	}
	return sites, all, nil
}

func peerShare(want wanted) func(*evidence) (float64, error) {
	return func(e *evidence) (float64, error) {
		sites, all, err := e.parkedPeers(want)
		if err != nil {
			return 0, err
		}
		var n int64
		for _, s := range sites {
			n += s.value
		}
		return min(1, share(n, all)), nil
	}
}

func peerSite(want wanted) func(*evidence) (stack.Frame, error) {
	return func(e *evidence) (stack.Frame, error) {
		sites, _, err := e.parkedPeers(want)
		return top(sites).where, err
	}
}

// upstreamEnded relates the waits that ended to those that are there. The block
// profile holds none that is still going on, and none for the network itself.
func upstreamEnded(e *evidence) (float64, error) {
	sites, _, err := e.parkedPeers(answers)
	if err != nil {
		return 0, err
	}
	at := top(sites)
	if at.value == 0 {
		return 0, errNone
	}
	g, err := e.profile(bundle.DimPprof, bundle.GoroutineProfile)
	if err != nil {
		return 0, err
	}
	for _, x := range g.list {
		if e.program.Asker(x.frames) == at.where && e.program.WaitOf(x.frames) == stack.NetRead {
			return 0, fmt.Errorf("pprof: the wait is one for the network itself, which the block profile does not hold")
		}
	}
	b, err := e.blocked()
	if err != nil {
		return 0, err
	}
	peerOf := e.peerOf()
	ended := b.of("delay", func(x sample) bool {
		return e.program.Asker(x.frames) == at.where && answers(peerOf(x))
	})
	span := e.span(bundle.BlockProfile)
	return float64(ended) / (float64(at.value) * float64(max(1, span.Duration()))), nil
}

// sendStuck takes the lesser of two counts, since no document has both of one
// connection: those that were full at the end, and those that were full for long.
func sendStuck(e *evidence) (float64, error) {
	n, err := document[bundle.Net](e, bundle.DimEBPF, bundle.EBPFNet)
	if err != nil {
		return 0, err
	}
	if n.Sends == nil {
		return 0, fmt.Errorf("ebpf: sends were not seen: %s", n.Absent["sends"])
	}
	l, err := e.load()
	if err != nil {
		return 0, err
	}
	if l.Reached.InFlightMean <= 0 {
		return 0, fmt.Errorf("load: no request was in flight")
	}
	var long int64
	for i, c := range n.Sends.BlockedTime.Log2NS {
		if float64(int64(1)<<i) >= float64(e.span(bundle.EBPFNet).Duration())/4 {
			long += c
		}
	}
	return min(1, float64(min(long, n.Sends.BlockedAtEnd))/l.Reached.InFlightMean), nil
}
