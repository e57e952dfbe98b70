package ebpf

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/cilium/ebpf/link"
	"github.com/google/pprof/profile"

	"chokepoint/bpf"
	target "chokepoint/harness/binary"
	"chokepoint/harness/bundle"
	"chokepoint/harness/strictyaml"
)

// MaxCustomProbes is how many custom probes can be declared.
const MaxCustomProbes = 16

// CustomProbe is a probe that a user declares: a function of the target or a
// tracepoint of the kernel, exactly one of which is named.
type CustomProbe struct {
	// Name is in artifacts; its file name is made of it.
	Name string
	// Function is as the Go runtime prints it: "main.(*store).get".
	Function string
	// Tracepoint is group/name: "tcp/tcp_retransmit_skb".
	Tracepoint string
	// Time measures from the start of the function to its return.
	Time bool
	// SlowerThan keeps goroutines and stacks of slower calls alone. 0: of all.
	SlowerThan time.Duration
	// Argument is the name of a number: "n", "len(p)"; of a tracepoint, a field. Empty: none.
	Argument string
	// Keep lets calls count whose number passes.
	Keep Comparison
	// Stacks keeps user stacks.
	Stacks bool
	// Everywhere counts a tracepoint in any process, not in the target's threads alone.
	Everywhere bool
}

// Comparison compares a number with a constant.
type Comparison struct {
	Op    string // "==", "!=", "<", "<=", ">", ">="; empty: everything passes
	Value int64
}

// String is "> 100"; empty when everything passes.
func (c Comparison) String() string {
	if c.Op == "" {
		return ""
	}
	return fmt.Sprintf("%s %d", c.Op, c.Value)
}

func (c Comparison) code() (bpf.CustomComparison, bool) {
	code, ok := map[string]bpf.CustomComparison{
		"":   bpf.CustomComparisonCOMPARE_NONE,
		"==": bpf.CustomComparisonCOMPARE_EQUAL, "!=": bpf.CustomComparisonCOMPARE_NOT_EQUAL,
		"<": bpf.CustomComparisonCOMPARE_LESS, "<=": bpf.CustomComparisonCOMPARE_LESS_EQUAL,
		">": bpf.CustomComparisonCOMPARE_GREATER, ">=": bpf.CustomComparisonCOMPARE_GREATER_EQUAL,
	}[c.Op]
	return code, ok
}

// customProbe reads bpf/custom.bpf.c.
type customProbe struct {
	programs
	declared []CustomProbe
	resolved []resolvedProbe
}

// resolvedProbe is a declared probe and where it goes.
type resolvedProbe struct {
	CustomProbe
	missing error // why it is not captured
	notes   []string
	config  bpf.CustomCustomConfig
	number  string // type of the argument
	enter   []place
	leave   []place
}

func (p *customProbe) name() string { return Custom }

func (p *customProbe) load(s subject) error {
	spec, err := bpf.LoadCustom()
	if err != nil {
		return err
	}
	if s.img == nil {
		if err := p.programs.load(spec, s); err != nil {
			return err
		}
		return p.tryUprobe(p.coll.Programs[bpf.CustomProgChokepointCustomEnter])
	}
	if len(p.declared) == 0 {
		return errors.New("the scenario declares no custom probe (capture.custom)")
	}
	if len(p.declared) > MaxCustomProbes {
		return fmt.Errorf("%d custom probes are more than there is room for (%d)", len(p.declared), MaxCustomProbes)
	}
	var configs [MaxCustomProbes]bpf.CustomCustomConfig
	for n, declared := range p.declared {
		r := resolvedProbe{CustomProbe: declared}
		if declared.Function != "" {
			r.missing = r.resolveFunction(uint64(n), s)
		} else {
			r.missing = r.resolveTracepoint()
		}
		configs[n] = r.config
		p.resolved = append(p.resolved, r)
	}
	if err := setVariables(spec, map[string]any{"configs": configs}); err != nil {
		return err
	}
	if err := p.programs.load(spec, s); err != nil {
		return err
	}
	var missing []error
	for n := range p.resolved {
		r := &p.resolved[n]
		if r.missing == nil {
			r.missing = p.attach(uint64(n), r, s)
		}
		if r.missing != nil {
			missing = append(missing, fmt.Errorf("%s: %w", r.Name, r.missing))
		}
	}
	if len(missing) == len(p.resolved) {
		return fmt.Errorf("capability missing: no custom probe could be put in place: %w", errors.Join(missing...))
	}
	return nil
}

func (p *customProbe) attach(id uint64, r *resolvedProbe, s subject) error {
	if r.Tracepoint != "" {
		group, name, _ := strings.Cut(r.Tracepoint, "/")
		l, err := link.Tracepoint(group, name, p.coll.Programs[bpf.CustomProgChokepointCustomTracepoint], &link.TracepointOptions{Cookie: id})
		if err != nil {
			return fmt.Errorf("attach to tracepoint %s: %w", r.Tracepoint, err)
		}
		p.links = append(p.links, l)
		return nil
	}
	// Returns first: a call that is seen to begin is then seen to end.
	if len(r.leave) > 0 {
		if err := p.attachUprobes(p.coll.Programs[bpf.CustomProgChokepointCustomLeave], s.img, r.leave); err != nil {
			return err
		}
	}
	return p.attachUprobes(p.coll.Programs[bpf.CustomProgChokepointCustomEnter], s.img, r.enter)
}

// resolveFunction finds the places of a function and what its number is.
func (r *resolvedProbe) resolveFunction(id uint64, s subject) error {
	if s.img.file == nil {
		return fmt.Errorf("%w: %s", errNoProcess, s.img.problem)
	}
	file := s.img.file
	probes, err := file.Probes(r.Function)
	if errors.Is(err, target.ErrAbsent) {
		return fmt.Errorf("%w%s", err, nearest(r.Function, file.FunctionNames()))
	}
	if err != nil {
		return err
	}
	r.options()
	var number *target.Argument
	allGo := true
	for _, probe := range probes {
		r.enter = append(r.enter, place{probe.Start, id})
		allGo = allGo && probe.GoCode
		if err := r.timing(probe, id); err != nil {
			return err
		}
		if probe.Inlined > 0 && len(r.notes) == 0 {
			r.notes = append(r.notes, fmt.Sprintf("%s is inlined in %d places, and calls there are not seen", r.Function, probe.Inlined))
		}
		if r.Argument == "" {
			continue
		}
		arg, err := argument(file, probe, r.Argument)
		if err != nil {
			return err
		}
		if number != nil && *number != arg {
			return fmt.Errorf("%s stands for %d instances, which do not take %s in the same way; name one of them in full", r.Function, len(probes), r.Argument)
		}
		number = &arg
	}
	if len(probes) > 1 {
		r.notes = append(r.notes, fmt.Sprintf("%s stands for %d functions, which are counted together", r.Function, len(probes)))
	}
	switch {
	case allGo:
		r.config.Flags |= uint32(bpf.CustomCustomFlagFLAG_G_IN_R14)
	case r.Time && s.offsets == nil:
		return fmt.Errorf("%s cannot be timed: its goroutine is not known: %w", r.Function, s.img.noGoID)
	}
	if number != nil {
		r.config.Place, r.config.Bytes = uint16(number.Register), uint8(number.Bytes)
		r.signed(number.Signed)
		r.number = number.Type
	}
	return nil
}

// timing adds the ways out of a function.
func (r *resolvedProbe) timing(probe target.Probe, id uint64) error {
	if !r.Time {
		return nil
	}
	if n := len(probe.TailJumps); n > 0 {
		return fmt.Errorf("%s cannot be timed exactly: in %d places it jumps into another function, which returns for it", probe.Function, n)
	}
	if len(probe.Returns) == 0 {
		return fmt.Errorf("%s cannot be timed: it never returns", probe.Function)
	}
	for _, at := range probe.Returns {
		r.leave = append(r.leave, place{at, id})
	}
	return nil
}

// options turns what was declared into what the program is told.
func (r *resolvedProbe) options() {
	set := func(on bool, flag bpf.CustomCustomFlag) {
		if on {
			r.config.Flags |= uint32(flag)
		}
	}
	set(r.Time, bpf.CustomCustomFlagFLAG_TIMED)
	set(r.Stacks, bpf.CustomCustomFlagFLAG_STACKS)
	set(r.Everywhere, bpf.CustomCustomFlagFLAG_EVERYWHERE)
	set(r.Argument != "", bpf.CustomCustomFlagFLAG_NUMBER)
	set(r.Argument != "", bpf.CustomCustomFlagFLAG_HISTOGRAM)
	r.config.SlowerNs = uint64(r.SlowerThan)
	code, _ := r.Keep.code() // checked where it was read
	r.config.Comparison, r.config.Limit = uint8(code), r.Keep.Value
}

func (r *resolvedProbe) signed(is bool) {
	if is {
		r.config.IsSigned = 1
	}
}

// argument finds a number that a function is called with.
func argument(file *target.File, probe target.Probe, name string) (target.Argument, error) {
	args, err := file.Arguments(probe)
	if err != nil {
		return target.Argument{}, err
	}
	var names []string
	for _, a := range args {
		if a.Name == name && a.Refused != "" {
			return a, fmt.Errorf("argument %s of %s cannot be read: %s", name, probe.Function, a.Refused)
		}
		if a.Name == name {
			return a, nil
		}
		if a.Refused == "" {
			names = append(names, a.Name)
		}
	}
	if len(names) == 0 {
		return target.Argument{}, fmt.Errorf("%s has no argument %s, and none that is a number in a register", probe.Function, name)
	}
	return target.Argument{}, fmt.Errorf("%s has no argument %s; those that can be read: %s", probe.Function, name, strings.Join(names, ", "))
}

// nearest is which name was most likely meant, as the end of a sentence; empty when
// none is near. A function in the wrong package, or with a receiver that was
// forgotten, is nearer than one that is spelt alike.
func nearest(name string, known []string) string {
	last := name[strings.LastIndexAny(name, "./")+1:]
	var same []string
	for _, k := range known {
		if strings.HasSuffix(k, "."+last) && last != "" {
			same = append(same, k)
		}
	}
	if near := strictyaml.Nearest(name, same); near != "" {
		return fmt.Sprintf("; did you mean %q?", near)
	}
	if near := strictyaml.Nearest(name, known); near != "" {
		return fmt.Sprintf("; did you mean %q?", near)
	}
	if len(same) == 1 {
		return fmt.Sprintf("; did you mean %q?", same[0])
	}
	if len(same) > 1 {
		return fmt.Sprintf("; called so there are %s", strings.Join(same[:min(len(same), 3)], ", "))
	}
	return ""
}

func (p *customProbe) status() string { return thousands(p.events()) + " custom events" }

func (p *customProbe) write(ctx context.Context, w *bundle.Writer, window bundle.Window, img *image) (result, error) {
	var res result
	var err error
	if res.lost, err = p.lost(); err != nil {
		return res, err
	}
	doc := bundle.Custom{Probes: make([]bundle.CustomProbe, len(p.resolved))}
	for n := range p.resolved {
		r := &p.resolved[n]
		out := &doc.Probes[n]
		*out = bundle.CustomProbe{Name: r.Name, Function: r.Function, Tracepoint: r.Tracepoint, Notes: r.notes}
		if r.missing != nil {
			out.Missing = strings.ReplaceAll(r.missing.Error(), "\n", "; ")
			res.notes = append(res.notes, fmt.Sprintf("capability missing: %s: %s", r.Name, out.Missing))
			continue
		}
		for _, note := range r.notes {
			res.notes = append(res.notes, r.Name+": "+note)
		}
		folded, err := p.readTotals(uint32(n), r, out)
		if err != nil {
			return res, err
		}
		if folded > 0 {
			if res.lost == nil {
				res.lost = map[string]int64{}
			}
			res.lost["goroutines_folded"] += folded
		}
	}
	if img.noGoID != nil {
		res.notes = append(res.notes, fmt.Sprintf("samples have no goroutine id: %v", img.noGoID))
	}
	profiles, err := p.readCalls(doc.Probes, img)
	if err != nil {
		return res, err
	}
	if err := p.readInflight(doc.Probes); err != nil {
		return res, err
	}
	if err := w.WriteJSON(bundle.EBPFCustom, doc); err != nil {
		return res, err
	}
	res.artifacts = append(res.artifacts, bundle.EBPFCustom)
	for n, r := range p.resolved {
		prof := profiles[n]
		if prof == nil {
			continue
		}
		path := fmt.Sprintf(bundle.EBPFCustomProfile, r.Name)
		if err := writeProfile(ctx, w, path, prof, window, img, &kernelSymbols{}); err != nil {
			return res, err
		}
		res.artifacts = append(res.artifacts, path)
	}
	return res, nil
}

func (p *customProbe) readTotals(id uint32, r *resolvedProbe, out *bundle.CustomProbe) (folded int64, err error) {
	var each []bpf.CustomCustomTotals
	if err := p.coll.Maps["totals"].Lookup(id, &each); err != nil {
		return 0, fmt.Errorf("read custom totals: %w", err)
	}
	var sum bpf.CustomCustomTotals
	for _, cpu := range each {
		sum.Calls += cpu.Calls
		sum.LeftOut += cpu.LeftOut
		sum.Unread += cpu.Unread
		sum.Ended += cpu.Ended
		sum.Quick += cpu.Quick
		sum.Unwound += cpu.Unwound
		sum.Untimed += cpu.Untimed
		sum.Folded += cpu.Folded
		sum.Ns += cpu.Ns
		sum.Negative += cpu.Negative
		sum.Sum += cpu.Sum
		for slot, n := range cpu.Log2Ns {
			sum.Log2Ns[slot] += n
		}
		for slot, n := range cpu.Log2Number {
			sum.Log2Number[slot] += n
		}
	}
	out.Counts = &bundle.CustomCounts{Calls: int64(sum.Calls), LeftOut: int64(sum.LeftOut), Unread: int64(sum.Unread)}
	if r.Argument != "" {
		out.Number = &bundle.CustomNumber{Name: r.Argument, Type: r.number, Keep: r.Keep.String(),
			Sum: sum.Sum, Negative: int64(sum.Negative), Log2: slots(sum.Log2Number[:])}
	}
	if r.Time {
		out.Timed = &bundle.CustomTimed{Ended: int64(sum.Ended), TotalNS: int64(sum.Ns), Log2NS: slots(sum.Log2Ns[:]),
			Unwound: int64(sum.Unwound), Untimed: int64(sum.Untimed), SlowerThanNS: int64(r.SlowerThan), Quick: int64(sum.Quick)}
	}
	return int64(sum.Folded), nil
}

func slots(raw []uint64) []int64 {
	out := make([]int64, len(raw))
	for n, v := range raw {
		out[n] = int64(v)
	}
	return trimZeros(out)
}

// readCalls is what each goroutine did, and the profile of each probe that has one.
func (p *customProbe) readCalls(into []bundle.CustomProbe, img *image) ([]*profileBuilder, error) {
	const top = 20
	profiles := make([]*profileBuilder, len(into))
	for n := range into {
		if p.resolved[n].Stacks && p.resolved[n].missing == nil {
			types := []*profile.ValueType{{Type: "calls", Unit: "count"}}
			if p.resolved[n].Time {
				types = append(types, &profile.ValueType{Type: "time", Unit: "nanoseconds"})
			}
			profiles[n] = newProfile(types...)
			into[n].Profile = fmt.Sprintf(bundle.EBPFCustomProfile, p.resolved[n].Name)
		}
	}
	goroutines := make([]map[int64]*bundle.CustomGoroutine, len(into))
	stacks, err := p.stackReader()
	if err != nil {
		return nil, err
	}
	var key bpf.CustomCustomKey
	var each []bpf.CustomCustomValue
	entries := p.coll.Maps["calls"].Iterate()
	for entries.Next(&key, &each) {
		if int(key.Probe) >= len(into) {
			continue // cannot be: cookies are their indices
		}
		var sum bpf.CustomCustomValue
		for _, cpu := range each {
			sum.Calls += cpu.Calls
			sum.Ns += cpu.Ns
		}
		of := &goroutines[key.Probe]
		if *of == nil {
			*of = map[int64]*bundle.CustomGoroutine{}
		}
		g := (*of)[int64(key.Goid)]
		if g == nil {
			g = &bundle.CustomGoroutine{ID: int64(key.Goid)}
			(*of)[g.ID] = g
		}
		g.Calls += int64(sum.Calls)
		g.TotalNS += int64(sum.Ns)
		if prof := profiles[key.Probe]; prof != nil {
			prof.add(p.resolved[key.Probe].row(stacks, key, sum, img))
		}
	}
	if err := entries.Err(); err != nil {
		return nil, fmt.Errorf("read custom calls: %w", err)
	}
	for n, of := range goroutines {
		if img.noGoID != nil {
			break // they are not told apart
		}
		all := slices.SortedFunc(maps.Values(of), func(a, b *bundle.CustomGoroutine) int {
			return cmp.Or(cmp.Compare(b.TotalNS, a.TotalNS), cmp.Compare(b.Calls, a.Calls), cmp.Compare(a.ID, b.ID))
		})
		for _, g := range all[:min(len(all), top)] {
			into[n].Goroutines = append(into[n].Goroutines, *g)
		}
	}
	return profiles, nil
}

// row is a stack of a probe. Where the frame had not been pushed or was gone, the
// walk has passed over the caller.
func (r *resolvedProbe) row(stacks *stackReader, key bpf.CustomCustomKey, sum bpf.CustomCustomValue, img *image) row {
	var out row
	if r.Tracepoint != "" {
		out = stacks.userRow(key.Stack, key.Caller, img)
	} else {
		addrs, lost := stacks.stack(key.Stack)
		if len(addrs) > 0 && key.Caller != 0 && (len(addrs) == 1 || addrs[1] != key.Caller) {
			addrs = slices.Insert(slices.Clone(addrs), 1, key.Caller)
		}
		out = row{user: addrs, lost: lost, exact: true}
	}
	out.values = []int64{int64(sum.Calls)}
	if r.Time {
		out.values = append(out.values, int64(sum.Ns))
	}
	if img.noGoID == nil {
		out.labels = []label{{key: "goid", number: int64(key.Goid), unit: "id"}}
	}
	return out
}

// readInflight counts the calls that had not returned.
func (p *customProbe) readInflight(into []bundle.CustomProbe) error {
	var call bpf.CustomCallId
	var since uint64
	entries := p.coll.Maps["inflight"].Iterate()
	for entries.Next(&call, &since) {
		if n := int(call.Probe); n < len(into) && into[n].Timed != nil {
			into[n].Timed.Unended++
		}
	}
	if err := entries.Err(); err != nil {
		return fmt.Errorf("read unended calls: %w", err)
	}
	return nil
}
