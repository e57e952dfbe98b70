package ebpf

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"chokepoint/bpf"
	"chokepoint/harness/bundle"
	"chokepoint/harness/procfs"
	"chokepoint/harness/sockdiag"
)

// netProbe reads bpf/net.bpf.c, and what sock_diag and /proc tell of the same
// sockets.
type netProbe struct {
	programs
	// tracepoint looks a tracepoint up; nil: in the running kernel's type information.
	tracepoint tracepointLookup
	// attachCall attaches to a tracepoint of group syscalls; nil: through tracefs.
	attachCall func(event string, prog *ebpf.Program) (link.Link, error)
	// maxEntries overrides the room in maps, by name.
	maxEntries map[string]uint32

	pid    int
	absent map[string]string // figures that cannot be had, and why

	diag      *sockdiag.Conn
	inodes    map[uint64]bool // the target's sockets as recording was prepared
	atStart   []sockdiag.Socket
	atStop    []sockdiag.Socket
	netBefore map[string]int64
	netAfter  map[string]int64
	listeners []bundle.NetListener
	sockets   *bundle.NetSockets
	stopped   bool // and nobody has looked around since

	goroutines bool // the target tells which it runs
}

// A tracepointLookup says how many arguments a tracepoint of the kernel has.
type tracepointLookup func(name string) (arguments int, ok bool)

// kernelTracepoints looks into the running kernel's type information, which has
// a function type "btf_trace_" for each tracepoint.
func kernelTracepoints() (tracepointLookup, error) {
	spec, err := btf.LoadKernelSpec()
	if err != nil {
		return nil, fmt.Errorf("read the kernel's type information: %w", err)
	}
	return func(name string) (int, bool) {
		var def *btf.Typedef
		if err := spec.TypeByName("btf_trace_"+name, &def); err != nil {
			return 0, false
		}
		if p, ok := def.Type.(*btf.Pointer); ok {
			if f, ok := p.Target.(*btf.FuncProto); ok {
				return len(f.Params) - 1, true // the first is the probe's own data
			}
		}
		return 0, false
	}, nil
}

// netTrace is a program of this probe, what it must find in the kernel, and
// which figures of the artifact rest on it.
type netTrace struct {
	program    string
	tracepoint string
	arguments  int    // as many as the program reads
	since      string // the Linux that has it
	figures    []string
}

// The figures of bundle.Net, by name.
const (
	figAccepts        = "accepts"
	figAcceptWait     = "accepts.wait"
	figConnections    = "connections"
	figSends          = "sends"
	figRetransmits    = "retransmits"
	figSynAck         = "synack_retransmits"
	figResetsSent     = "resets_sent"
	figResetsReceived = "resets_received"
	figDrops          = "drops"
	figListeners      = "listeners"
	figAtEnd          = "at_end"
	figNamespace      = "namespace"
)

func netTraces() []netTrace {
	return []netTrace{
		{bpf.NetProgChokepointNetState, "inet_sock_set_state", 3, "4.16", []string{figConnections, figAcceptWait}},
		{bpf.NetProgChokepointNetSend, "sock_send_length", 2, "6.3", []string{figSends}},
		{bpf.NetProgChokepointNetRetransmit, "tcp_retransmit_skb", 1, "4.15", []string{figRetransmits}},
		{bpf.NetProgChokepointNetSynack, "tcp_retransmit_synack", 1, "4.15", []string{figSynAck}},
		{bpf.NetProgChokepointNetResetSent, "tcp_send_reset", 2, "4.15", []string{figResetsSent}},
		{bpf.NetProgChokepointNetResetReceived, "tcp_receive_reset", 1, "4.15", []string{figResetsReceived}},
		{bpf.NetProgChokepointNetDrop, "kfree_skb", 4, "6.11", []string{figDrops}},
	}
}

func (p *netProbe) name() string { return Net }

// lack notes that a figure cannot be had.
func (p *netProbe) lack(why string, figures ...string) {
	for _, f := range figures {
		if p.absent[f] == "" {
			p.absent[f] = why
		}
	}
}

func (p *netProbe) load(s subject) error {
	p.pid, p.absent, p.goroutines = int(s.tgid), map[string]string{}, s.offsets != nil
	spec, err := bpf.LoadNet()
	if err != nil {
		return err
	}
	// No stack is kept, and an empty map takes 33 MB all the same.
	spec.Maps[bpf.NetMapStacks].MaxEntries = 1
	spec.Maps[bpf.NetMapRecents].MaxEntries = 1
	for name, n := range p.maxEntries {
		spec.Maps[name].MaxEntries = n
	}
	namespace, err := networkNamespace(p.pid)
	if err != nil {
		return err
	}
	if err := setVariables(spec, map[string]any{
		"target_netns": namespace,
		"nr_accept":    uint32(unix.SYS_ACCEPT),
		"nr_accept4":   uint32(unix.SYS_ACCEPT4),
	}); err != nil {
		return err
	}
	if err := p.leaveOut(spec); err != nil {
		return err
	}
	if err := p.programs.load(spec, s); err != nil {
		return err
	}
	if err := p.attach(); err != nil {
		return err
	}
	// After attaching, so that no socket falls between.
	return p.learnSockets()
}

// networkNamespace is the inode of a process's network namespace. Of a process
// that is not there it is 0, which no namespace has.
func networkNamespace(pid int) (uint32, error) {
	path := fmt.Sprintf("/proc/%d/ns/net", pid)
	var st unix.Stat_t
	err := unix.Stat(path, &st)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return 0, nil
	case errors.Is(err, fs.ErrPermission):
		return 0, &shortfall{
			missing: "which network namespace the target is in may not be read: " + capPtrace + " missing",
			mend:    setcap(), cause: err,
		}
	case err != nil:
		return 0, fmt.Errorf("network namespace of the target: %w", &os.PathError{Op: "stat", Path: path, Err: err})
	}
	return uint32(st.Ino), nil
}

// leaveOut takes the programs out for which this kernel has no tracepoint.
func (p *netProbe) leaveOut(spec *ebpf.CollectionSpec) error {
	lookup := p.tracepoint
	if lookup == nil {
		var err error
		if lookup, err = kernelTracepoints(); err != nil {
			return err
		}
	}
	for _, t := range netTraces() {
		have, ok := lookup(t.tracepoint)
		if ok && have >= t.arguments {
			continue
		}
		why := fmt.Sprintf("this kernel has no tracepoint %s; Linux %s has", t.tracepoint, t.since)
		if ok {
			why = fmt.Sprintf("this kernel's tracepoint %s does not tell the socket; that of Linux %s does", t.tracepoint, t.since)
		}
		p.lack(why, t.figures...)
		delete(spec.Programs, t.program)
	}
	return nil
}

// attach attaches every program; of those that see accept, the ones that run
// for it alone, if they can be had.
func (p *netProbe) attach() error {
	accept := map[string]string{
		bpf.NetProgChokepointNetAccept:  "sys_exit_accept",
		bpf.NetProgChokepointNetAccept4: "sys_exit_accept4",
	}
	attachCall := p.attachCall
	if attachCall == nil {
		attachCall = func(event string, prog *ebpf.Program) (link.Link, error) {
			return link.Tracepoint("syscalls", event, prog, nil)
		}
	}
	alone := true
	for name, event := range accept {
		l, err := attachCall(event, p.coll.Programs[name])
		if err != nil {
			alone = false
			break
		}
		p.links = append(p.links, l)
	}
	if !alone {
		if err := p.programs.detach(); err != nil {
			return err
		}
	}
	for name, prog := range p.coll.Programs {
		if accept[name] != "" || (alone && name == bpf.NetProgChokepointNetAnyCall) {
			continue
		}
		l, err := link.AttachTracing(link.TracingOptions{Program: prog})
		if err != nil {
			return fmt.Errorf("attach %s: %w", name, err)
		}
		p.links = append(p.links, l)
	}
	return nil
}

// learnSockets tells the programs which ports the target listens on and which
// connections it has. Where that cannot be told, those made from now on are known.
func (p *netProbe) learnSockets() error {
	problem := func(err error) error {
		why := fmt.Sprintf("the target's sockets could not be listed: %v", err)
		p.lack(why, figListeners)
		p.notes = append(p.notes, why+"; sockets from before the recording are counted as elsewhere")
		return nil
	}
	target := procfs.Of(p.pid)
	inodes, err := target.SocketInodes()
	if procfs.Gone(err) {
		p.lack("the target was gone when recording was prepared", figListeners)
		return nil
	}
	if err != nil {
		return problem(err)
	}
	p.inodes = inodes
	diag, err := sockdiag.Open(p.pid)
	if err != nil {
		return problem(err)
	}
	p.diag = diag
	listening, err := diag.TCP(sockdiag.Listening)
	if err != nil {
		return problem(err)
	}
	ports := make([]uint64, 1<<16/64)
	for _, s := range listening {
		if inodes[s.Inode] {
			setBit(ports, s.Local.Port())
		}
	}
	if err := p.coll.Variables[bpf.NetVarKnownPorts].Set(ports); err != nil {
		return fmt.Errorf("tell the programs the target's ports: %w", err)
	}
	connected, err := diag.TCP(sockdiag.Others)
	if err != nil {
		return problem(err)
	}
	for _, s := range connected {
		if !inodes[s.Inode] || bit(ports, s.Local.Port()) {
			continue
		}
		if err := p.coll.Maps[bpf.NetMapCookies].Put(s.Cookie, uint8(1)); err != nil {
			return fmt.Errorf("tell the programs the target's connections: %w", err)
		}
	}
	return nil
}

func setBit(bits []uint64, n uint16)   { bits[n/64] |= 1 << (n % 64) }
func bit(bits []uint64, n uint16) bool { return bits[n/64]>>(n%64)&1 != 0 }

func (p *netProbe) start(at int64) error {
	if err := p.programs.start(at); err != nil {
		return err
	}
	p.atStart, p.netBefore = p.snapshot()
	return nil
}

func (p *netProbe) stop(at int64) error {
	if err := p.programs.stop(at); err != nil {
		return err
	}
	p.atStop, p.netAfter = p.snapshot()
	p.stopped = true
	return nil
}

// snapshot reads what is compared between the ends of the window: a fraction of
// a millisecond, whatever the number of connections.
func (p *netProbe) snapshot() ([]sockdiag.Socket, map[string]int64) {
	counters, err := procfs.Of(p.pid).NetCounters()
	if err != nil {
		p.lack(fmt.Sprintf("the counters of the network namespace could not be read: %v", err), figNamespace)
	}
	if p.diag == nil {
		return nil, counters
	}
	listening, err := p.diag.TCP(sockdiag.Listening)
	if err != nil {
		p.lack(fmt.Sprintf("listening sockets could not be listed: %v", err), figListeners)
	}
	return listening, counters
}

// detach also takes what would take too long while other windows are open.
func (p *netProbe) detach() error {
	err := p.programs.detach()
	if p.stopped {
		p.stopped = false
		p.lookAround()
	}
	return err
}

// lookAround finds the target's sockets now that the window has ended.
func (p *netProbe) lookAround() {
	target := procfs.Of(p.pid)
	now, err := target.SocketInodes()
	if err != nil {
		p.lack(fmt.Sprintf("the target's sockets could not be listed when the window had ended: %v", err), figAtEnd)
	} else if all, err := target.Sockets(); err != nil {
		p.lack(fmt.Sprintf("the target's sockets could not be listed when the window had ended: %v", err), figAtEnd)
	} else {
		p.sockets = &bundle.NetSockets{ByState: all.ByState, RecvQBytes: all.RecvQBytes, SendQBytes: all.SendQBytes}
	}
	p.listeners = netListeners(p.atStart, p.atStop, func(s sockdiag.Socket) bool {
		return p.inodes[s.Inode] || now[s.Inode]
	})
}

// netListeners is what became of each listening socket that is own. One that
// was closed inside the window is left out: its drops went with it.
func netListeners(before, after []sockdiag.Socket, own func(sockdiag.Socket) bool) []bundle.NetListener {
	was := map[uint64]sockdiag.Socket{}
	for _, s := range before {
		was[s.Cookie] = s
	}
	others := map[uint16]bool{}
	for _, s := range after {
		if !own(s) {
			others[s.Local.Port()] = true
		}
	}
	var out []bundle.NetListener
	for _, s := range after {
		if !own(s) {
			continue
		}
		l := bundle.NetListener{
			Address: s.Local.String(), Port: int(s.Local.Port()), Shared: others[s.Local.Port()],
			QueueAtStart: int64(was[s.Cookie].RecvQ), QueueAtEnd: int64(s.RecvQ), Limit: int64(s.SendQ),
		}
		if s.Drops >= 0 {
			drops := s.Drops - was[s.Cookie].Drops // of one that is new, all
			l.Drops = &drops
		}
		out = append(out, l)
	}
	slices.SortFunc(out, func(a, b bundle.NetListener) int {
		return cmp.Or(cmp.Compare(a.Port, b.Port), cmp.Compare(a.Address, b.Address))
	})
	return out
}

func (p *netProbe) close() error {
	err := p.programs.close()
	if p.diag != nil {
		err = errors.Join(err, p.diag.Close())
		p.diag = nil
	}
	return err
}

func (p *netProbe) status() string {
	if p.coll == nil {
		return "no connections"
	}
	t, err := p.readTotals()
	if err != nil {
		return "no connections"
	}
	return thousands(t.Incoming+t.Connected) + " connections"
}

func (p *netProbe) write(_ context.Context, w *bundle.Writer, window bundle.Window, _ *image) (result, error) {
	var res result
	res.notes = p.notes
	var err error
	if res.lost, err = p.lost(); err != nil {
		return res, err
	}
	doc, err := p.read(window)
	if err != nil {
		return res, err
	}
	for _, figure := range slices.Sorted(maps.Keys(doc.Absent)) {
		res.notes = append(res.notes, figure+" is missing: "+doc.Absent[figure])
	}
	for _, l := range doc.Listeners {
		if l.Shared {
			res.notes = append(res.notes, fmt.Sprintf("other processes listen on port %d too, and their connections are counted as the target's", l.Port))
		}
	}
	if err := w.WriteJSON(bundle.EBPFNet, doc); err != nil {
		return res, err
	}
	res.artifacts = append(res.artifacts, bundle.EBPFNet)
	return res, p.writePeers(w, &res)
}

// read puts the artifact together, without the figures that are absent.
func (p *netProbe) read(window bundle.Window) (bundle.Net, error) {
	doc := bundle.Net{Listeners: p.listeners, AtEnd: p.sockets, Namespace: namespaceGrowth(p.netBefore, p.netAfter)}
	t, err := p.readTotals()
	if err != nil {
		return doc, err
	}
	by, err := p.readTallies()
	if err != nil {
		return doc, err
	}
	waiting, _, err := p.readSince(bpf.NetMapWaiting, window)
	if err != nil {
		return doc, err
	}
	stuck, stuckNS, err := p.readSince(bpf.NetMapBlocked, window)
	if err != nil {
		return doc, err
	}

	has := func(figure string) bool { return p.absent[figure] == "" }
	doc.Accepts = &bundle.NetAccepts{Accepted: int64(t.Accepts), Errors: by[bpf.NetTallyKindTALLY_ACCEPT_ERROR]}
	if has(figAcceptWait) {
		wait := netTimes(t.AcceptWait)
		doc.Accepts.Wait = &wait
		doc.Accepts.Unmatched, doc.Accepts.Waiting = int64(t.AcceptsUnmatched), waiting
		doc.Accepts.ClosedUnaccepted = int64(t.ClosedUnaccepted)
	}
	if has(figConnections) {
		doc.Connections = &bundle.NetConnections{
			Incoming: int64(t.Incoming), IncomingFailed: int64(t.IncomingFailed),
			IncomingRoundTrip: netTimes(t.IncomingRoundTrip), IncomingUntimed: int64(t.IncomingUntimed),
			Connects: int64(t.Connects), Connected: int64(t.Connected), ConnectsFailed: int64(t.ConnectsFailed),
			ConnectTime: netTimes(t.ConnectTime),
			Closed:      by[bpf.NetTallyKindTALLY_CLOSED_FROM],
			Life:        netTimes(t.Life), LivesUnknown: int64(t.LivesUnknown),
		}
	}
	if has(figSends) {
		times := netTimes(t.SendBlocked)
		for _, ns := range stuckNS {
			addTime(&times, ns)
		}
		doc.Sends = &bundle.NetSends{Count: int64(t.Sends), Bytes: int64(t.SentBytes), Blocked: int64(t.SendsBlocked),
			Errors: by[bpf.NetTallyKindTALLY_SEND_ERROR], BlockedTime: times, BlockedAtEnd: stuck}
	}
	count := func(figure string, n [2]uint64) *bundle.NetCount {
		if !has(figure) {
			return nil
		}
		return &bundle.NetCount{Target: int64(n[bpf.NetSocketOwnerOWNER_TARGET]), Elsewhere: int64(n[bpf.NetSocketOwnerOWNER_ELSEWHERE])}
	}
	doc.Retransmits = count(figRetransmits, t.Retransmits)
	doc.SynAckRetransmits = count(figSynAck, t.SynackRetransmits)
	doc.ResetsReceived = count(figResetsReceived, t.ResetsReceived)
	if c := count(figResetsSent, t.ResetsSent); c != nil {
		doc.ResetsSent = &bundle.NetReasons{NetCount: *c, Reasons: by[bpf.NetTallyKindTALLY_RESET_REASON]}
	}
	if c := count(figDrops, t.Drops); c != nil {
		doc.Drops = &bundle.NetReasons{NetCount: *c, Reasons: by[bpf.NetTallyKindTALLY_DROP_REASON]}
	}
	if len(p.absent) > 0 {
		doc.Absent = p.absent
	}
	return doc, nil
}

func (p *netProbe) readTotals() (bpf.NetTcpTotals, error) {
	var sum bpf.NetTcpTotals
	var each []bpf.NetTcpTotals
	if err := p.coll.Maps[bpf.NetMapTotals].Lookup(uint32(0), &each); err != nil {
		return sum, fmt.Errorf("read network totals: %w", err)
	}
	for _, cpu := range each {
		for to, from := range map[*uint64]uint64{
			&sum.Accepts: cpu.Accepts, &sum.AcceptsUnmatched: cpu.AcceptsUnmatched,
			&sum.Connects: cpu.Connects, &sum.Connected: cpu.Connected, &sum.ConnectsFailed: cpu.ConnectsFailed,
			&sum.Incoming: cpu.Incoming, &sum.IncomingFailed: cpu.IncomingFailed, &sum.IncomingUntimed: cpu.IncomingUntimed,
			&sum.ClosedUnaccepted: cpu.ClosedUnaccepted, &sum.LivesUnknown: cpu.LivesUnknown,
			&sum.Sends: cpu.Sends, &sum.SentBytes: cpu.SentBytes, &sum.SendsBlocked: cpu.SendsBlocked,
		} {
			*to += from
		}
		for _, both := range []struct {
			to   *[2]uint64
			from [2]uint64
		}{
			{&sum.Retransmits, cpu.Retransmits}, {&sum.SynackRetransmits, cpu.SynackRetransmits},
			{&sum.ResetsSent, cpu.ResetsSent}, {&sum.ResetsReceived, cpu.ResetsReceived}, {&sum.Drops, cpu.Drops},
		} {
			both.to[0] += both.from[0]
			both.to[1] += both.from[1]
		}
		for _, both := range []struct{ to, from *bpf.NetTimes }{
			{&sum.AcceptWait, &cpu.AcceptWait}, {&sum.ConnectTime, &cpu.ConnectTime},
			{&sum.IncomingRoundTrip, &cpu.IncomingRoundTrip}, {&sum.Life, &cpu.Life}, {&sum.SendBlocked, &cpu.SendBlocked},
		} {
			both.to.Count += both.from.Count
			both.to.Ns += both.from.Ns
			for slot, n := range both.from.Log2Ns {
				both.to.Log2Ns[slot] += n
			}
		}
	}
	return sum, nil
}

func netTimes(t bpf.NetTimes) bundle.NetTimes {
	out := bundle.NetTimes{Count: int64(t.Count), TotalNS: int64(t.Ns), Log2NS: make([]int64, len(t.Log2Ns))}
	for slot, n := range t.Log2Ns {
		out.Log2NS[slot] = int64(n)
	}
	out.Log2NS = trimZeros(out.Log2NS)
	return out
}

func addTime(t *bundle.NetTimes, ns int64) {
	const slots = len(bpf.NetTimes{}.Log2Ns)
	slot := min(log2(ns), slots-1)
	for len(t.Log2NS) <= slot {
		t.Log2NS = append(t.Log2NS, 0)
	}
	t.Count++
	t.TotalNS += ns
	t.Log2NS[slot]++
}

// readTallies is what was counted by number, by the kernel's names of these.
func (p *netProbe) readTallies() (map[bpf.NetTallyKind]map[string]int64, error) {
	resets, drops := kernelEnum("sk_rst_reason", "SK_RST_REASON_"), kernelEnum("skb_drop_reason", "SKB_DROP_REASON_", "SKB_")
	names := map[bpf.NetTallyKind]func(uint32) string{
		bpf.NetTallyKindTALLY_ACCEPT_ERROR: errnoName,
		bpf.NetTallyKindTALLY_SEND_ERROR:   errnoName,
		bpf.NetTallyKindTALLY_CLOSED_FROM:  func(n uint32) string { return procfs.StateName(uint8(n)) },
		bpf.NetTallyKindTALLY_RESET_REASON: resets,
		bpf.NetTallyKindTALLY_DROP_REASON:  drops,
	}
	out := map[bpf.NetTallyKind]map[string]int64{}
	var key bpf.NetTallyKey
	var each []uint64
	entries := p.coll.Maps[bpf.NetMapTallies].Iterate()
	for entries.Next(&key, &each) {
		kind := bpf.NetTallyKind(key.What)
		name, ok := names[kind]
		if !ok {
			continue
		}
		if out[kind] == nil {
			out[kind] = map[string]int64{}
		}
		for _, n := range each {
			out[kind][name(key.Code)] += int64(n)
		}
	}
	if err := entries.Err(); err != nil {
		return nil, fmt.Errorf("read network counts: %w", err)
	}
	return out, nil
}

// kernelEnum names the values of an enumeration as the running kernel numbers
// them, without the first of prefixes that they have.
func kernelEnum(enum string, prefixes ...string) func(uint32) string {
	names, _ := kernelEnumNames(enum) // without them numbers remain
	return func(n uint32) string {
		name, ok := names[n]
		if !ok {
			return fmt.Sprintf("%s_%d", enum, n)
		}
		for _, prefix := range prefixes {
			if rest, ok := strings.CutPrefix(name, prefix); ok {
				return rest
			}
		}
		return name
	}
}

func kernelEnumNames(enum string) (map[uint32]string, bool) {
	spec, err := btf.LoadKernelSpec()
	if err != nil {
		return nil, false
	}
	var e *btf.Enum
	if err := spec.TypeByName(enum, &e); err != nil {
		return nil, false
	}
	names := make(map[uint32]string, len(e.Values))
	for _, v := range e.Values {
		names[uint32(v.Value)] = v.Name
	}
	return names, true
}

// readSince is how many sockets were in a map when the window ended, and for
// how long inside it.
func (p *netProbe) readSince(name string, window bundle.Window) (n int64, ns []int64, err error) {
	var key, since uint64
	entries := p.coll.Maps[name].Iterate()
	for entries.Next(&key, &since) {
		if int64(since) >= window.EndNS {
			continue
		}
		n++
		ns = append(ns, window.EndNS-max(window.StartNS, int64(since)))
	}
	if err := entries.Err(); err != nil {
		return 0, nil, fmt.Errorf("read what waits at the window's end: %w", err)
	}
	return n, ns, nil
}

// namespaceCounters are those that answer this probe's question.
func namespaceCounters() []string {
	return []string{
		"TcpExt.ListenOverflows", "TcpExt.ListenDrops", "TcpExt.TCPReqQFullDrop", "TcpExt.TCPReqQFullDoCookies",
		"TcpExt.SyncookiesSent", "TcpExt.TCPBacklogDrop", "TcpExt.TCPRcvQDrop", "TcpExt.TCPZeroWindowDrop",
		"TcpExt.TCPToZeroWindowAdv", "TcpExt.TCPFromZeroWindowAdv", "TcpExt.TCPWantZeroWindowAdv",
		"TcpExt.TCPTimeouts", "TcpExt.TCPAbortOnData", "TcpExt.TCPAbortOnClose", "TcpExt.TCPAbortOnMemory",
		"TcpExt.TCPAbortOnTimeout", "TcpExt.TCPAbortOnLinger", "TcpExt.TCPMemoryPressures", "TcpExt.PruneCalled",
		"Tcp.RetransSegs", "Tcp.AttemptFails", "Tcp.EstabResets", "Tcp.OutRsts", "Tcp.InErrs",
	}
}

// namespaceGrowth is by how much counters grew, those the kernel does not have
// left out; nil when there are not two readings.
func namespaceGrowth(before, after map[string]int64) map[string]int64 {
	if before == nil || after == nil {
		return nil
	}
	out := map[string]int64{}
	for _, name := range namespaceCounters() {
		was, ok := before[name]
		is, still := after[name]
		if ok && still {
			out[name] = is - was
		}
	}
	return out
}
