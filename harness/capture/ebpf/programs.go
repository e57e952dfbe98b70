package ebpf

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"

	"chokepoint/bpf"
)

// programs are the loaded programs and maps of one probe, with what every
// probe has: the filter, the window, stacks and counters.
type programs struct {
	coll  *ebpf.Collection
	links []link.Link // a link that is collected is closed by its finalizer
	notes []string
	base  []uint64 // counters when the window opened
	hooks map[string]HookKind
}

// Stacks that have no id. The numbers are the programs'.
const (
	stackNone = -1
	stackLost = -2
)

// The frames that stand for stacks that are not known.
const (
	frameNoStack = "[no stack]"
	frameLost    = "[stack lost]"
	// What stands for the callers that could not be read.
	frameCut = "[stack cut]"
)

// stackCut is what the programs put in the place of a frame that could not be read.
const stackCut = 1

// load puts a collection into the kernel. Programs named in optional are left
// out, with a note, if the kernel refuses the collection with them.
func (p *programs) load(spec *ebpf.CollectionSpec, s subject, optional ...string) error {
	if err := setVariables(spec, map[string]any{
		"target_tgid": s.tgid, "text_start": s.textFrom, "text_end": s.textTo,
		"first_start": s.firstFrom, "first_end": s.firstTo,
	}); err != nil {
		return err
	}
	if o := s.offsets; o != nil {
		if err := setVariables(spec, map[string]any{
			"tls_g": o.TLS, "g_goid": o.GoID, "g_m": o.GM, "m_curg": o.MCurG,
		}); err != nil {
			return err
		}
	}
	for name, entries := range s.room {
		if m, ok := spec.Maps[name]; ok {
			m.MaxEntries = entries
		}
	}
	coll, err := ebpf.NewCollection(spec)
	if err != nil && !errors.Is(err, os.ErrPermission) && len(optional) > 0 {
		for _, name := range optional {
			delete(spec.Programs, name)
		}
		why := err
		if coll, err = ebpf.NewCollection(spec); err == nil {
			p.notes = append(p.notes, fmt.Sprintf("%s is missing: %v", strings.Join(optional, ", "), why))
		} else {
			err = why
		}
	}
	if err != nil {
		return err
	}
	p.coll = coll
	p.hooks = map[string]HookKind{}
	for name, program := range spec.Programs {
		p.hooks[name] = hookOf(program)
	}
	return nil
}

func setVariables(spec *ebpf.CollectionSpec, values map[string]any) error {
	for name, value := range values {
		v, ok := spec.Variables[name]
		if !ok {
			return fmt.Errorf("the program has no variable %s", name)
		}
		if err := v.Set(value); err != nil {
			return fmt.Errorf("set variable %s: %w", name, err)
		}
	}
	return nil
}

// attachTracing attaches every program of a probe to the tracepoint it names.
func (p *programs) attachTracing() error {
	for name, prog := range p.coll.Programs {
		l, err := link.AttachTracing(link.TracingOptions{Program: prog})
		if err != nil {
			return fmt.Errorf("attach %s: %w", name, err)
		}
		p.links = append(p.links, l)
	}
	return nil
}

func (p *programs) start(at int64) error {
	base, err := p.counters()
	if err != nil {
		return err
	}
	p.base = base
	return p.coll.Variables["window_start"].Set(uint64(at))
}

func (p *programs) stop(at int64) error {
	return p.coll.Variables["window_end"].Set(uint64(at))
}

func (p *programs) detach() error {
	var errs []error
	for _, l := range p.links {
		errs = append(errs, l.Close())
	}
	p.links = nil
	return errors.Join(errs...)
}

func (p *programs) close() error {
	err := p.detach()
	if p.coll != nil {
		p.coll.Close()
		p.coll = nil
	}
	return err
}

// counters is the probe's own counters, summed over CPUs.
func (p *programs) counters() ([]uint64, error) {
	sums := make([]uint64, bpf.SyscallsCounterCOUNTERS)
	for key := range sums {
		var each []uint64
		if err := p.coll.Maps["counters"].Lookup(uint32(key), &each); err != nil {
			return nil, fmt.Errorf("read counters: %w", err)
		}
		for _, n := range each {
			sums[key] += n
		}
	}
	return sums, nil
}

// events is how much was recorded until now.
func (p *programs) events() uint64 {
	if p.coll == nil {
		return 0
	}
	c, err := p.counters()
	if err != nil {
		return 0
	}
	return c[bpf.SyscallsCounterCOUNTER_EVENTS]
}

// lost is what the window missed, by kind; nil when nothing.
func (p *programs) lost() (map[string]int64, error) {
	c, err := p.counters()
	if err != nil {
		return nil, err
	}
	lost := map[string]int64{}
	for kind, index := range map[string]bpf.SyscallsCounter{
		"stacks_not_walked": bpf.SyscallsCounterCOUNTER_STACK_BUSY,
		"stacks_full":       bpf.SyscallsCounterCOUNTER_STACK_FULL,
		"stacks_unreadable": bpf.SyscallsCounterCOUNTER_STACK_UNREADABLE,
		"stacks_cut":        bpf.SyscallsCounterCOUNTER_STACK_CUT,
		"callers_unread":    bpf.SyscallsCounterCOUNTER_CALLER_UNREAD,
		"map_full":          bpf.SyscallsCounterCOUNTER_MAP_FULL,
		"events_unknown":    bpf.SyscallsCounterCOUNTER_UNKNOWN,
		"arguments_unread":  bpf.SyscallsCounterCOUNTER_UNREAD_ARGUMENT,
		"events_unmatched":  bpf.SyscallsCounterCOUNTER_MISSED,
		"events_dropped":    bpf.SyscallsCounterCOUNTER_RING_FULL,
	} {
		if n := c[index] - p.base[index]; n > 0 {
			lost[kind] = int64(n)
		}
	}
	for _, prog := range p.coll.Programs {
		// The kernel does not run a program inside itself; it counts that it did not.
		if stats, err := prog.Stats(); err == nil && stats.RecursionMisses > 0 {
			lost["events_missed"] += int64(stats.RecursionMisses)
		}
	}
	if len(lost) == 0 {
		return nil, nil
	}
	return lost, nil
}

// stackReader gives stacks by their id.
type stackReader struct{ stacks map[int32][]uint64 }

// stackReader reads all stacks of the probe.
func (p *programs) stackReader() (*stackReader, error) {
	r := &stackReader{stacks: map[int32][]uint64{}}
	var hash uint64
	var s bpf.SyscallsStack // the same in every probe
	entries := p.coll.Maps["stacks"].Iterate()
	for entries.Next(&hash, &s) {
		r.stacks[s.Id] = slices.Clone(s.Pc[:min(int(s.Depth), len(s.Pc))])
	}
	if err := entries.Err(); err != nil {
		return nil, fmt.Errorf("read stacks: %w", err)
	}
	return r, nil
}

// stack is the addresses of a stack, innermost first; or which frame stands
// for it when it is not known.
func (r *stackReader) stack(id int32) (addrs []uint64, lost string) {
	switch id {
	case stackNone:
		return nil, frameNoStack
	case stackLost:
		return nil, frameLost
	}
	if addrs = r.stacks[id]; len(addrs) == 0 {
		return nil, frameNoStack
	}
	return addrs, ""
}

// userRow is a row of a user stack and the word at its top.
func (r *stackReader) userRow(id int32, word uint64, img *image) row {
	addrs, lost := r.stack(id)
	user := img.toItsEnd(img.withCaller(addrs, word))
	if n := len(user); n > 0 && user[n-1] == stackCut {
		user, lost = user[:n-1], frameCut
	}
	return row{user: user, exact: len(addrs) > 0 && !img.inSyscall(addrs[0]), lost: lost}
}

// thousands writes n for a person: "1,234,567".
func thousands(n uint64) string {
	s := strconv.FormatUint(n, 10)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// trimZeros cuts the empty end off a histogram.
func trimZeros(slots []int64) []int64 {
	for len(slots) > 0 && slots[len(slots)-1] == 0 {
		slots = slots[:len(slots)-1]
	}
	return slots
}
