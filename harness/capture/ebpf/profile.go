package ebpf

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"time"

	"github.com/google/pprof/profile"

	target "chokepoint/harness/binary"
	"chokepoint/harness/bundle"
	"chokepoint/harness/clock"
)

// label is a name and value of a sample; a number when unit is set.
type label struct {
	key, value string
	number     int64
	unit       string
}

// row is one stack with its values. Addresses are as the kernel gave them,
// innermost first; lost stands for a stack that is not known.
type row struct {
	kernel []uint64
	user   []uint64
	// exact is true when the first user address is an instruction that was
	// being run; it is else one past the call, as return addresses are.
	exact  bool
	lost   string
	labels []label
	values []int64
}

// sites is where the code of the user stack stood: of a return address, in the
// call before it. returnsTo tells which addresses are that.
func (r *row) sites(returnsTo func(uint64) bool) []uint64 {
	out := slices.Clone(r.user)
	for n, addr := range r.user {
		if n == 0 && !r.exact || n > 0 && returnsTo(addr) {
			out[n]--
		}
	}
	return out
}

// profileBuilder collects rows and makes a profile of them. The same rows in
// any order give the same profile.
type profileBuilder struct {
	types  []*profile.ValueType
	period *profile.ValueType
	every  int64
	rows   map[string]*row
}

func newProfile(types ...*profile.ValueType) *profileBuilder {
	return &profileBuilder{types: types, rows: map[string]*row{}}
}

// add adds a row; one with the same stack and labels takes up its values.
func (b *profileBuilder) add(r row) {
	key := r.key()
	if have, ok := b.rows[key]; ok {
		for n, v := range r.values {
			have.values[n] += v
		}
		return
	}
	r.values = slices.Clone(r.values)
	b.rows[key] = &r
}

func (r *row) key() string {
	var k bytes.Buffer
	for _, part := range [][]uint64{r.kernel, r.user} {
		_ = binary.Write(&k, binary.LittleEndian, uint32(len(part)))
		_ = binary.Write(&k, binary.LittleEndian, part)
	}
	fmt.Fprintf(&k, "%t %q", r.exact, r.lost)
	for _, l := range r.labels {
		fmt.Fprintf(&k, " %q %q %d %q", l.key, l.value, l.number, l.unit)
	}
	return k.String()
}

// build makes the profile. Samples are ordered by their last value, largest first.
func (b *profileBuilder) build(ctx context.Context, window bundle.Window, img *image, kernel *kernelSymbols) (*profile.Profile, error) {
	type keyed struct {
		key string
		*row
	}
	rows := make([]keyed, 0, len(b.rows))
	for k, r := range b.rows {
		rows = append(rows, keyed{k, r})
	}
	slices.SortFunc(rows, func(x, y keyed) int {
		last := len(x.values) - 1
		return cmp.Or(cmp.Compare(y.values[last], x.values[last]), cmp.Compare(x.key, y.key))
	})
	mono, wall := clock.Both()
	s := &assembly{
		p: &profile.Profile{
			SampleType:    b.types,
			PeriodType:    b.period,
			Period:        b.every,
			TimeNanos:     wall.Add(time.Duration(window.StartNS - mono)).UnixNano(),
			DurationNanos: int64(window.Duration()),
		},
		img: img, kernel: kernel,
		functions: map[target.Frame]*profile.Function{},
		locations: map[locationKey]*profile.Location{},
		returns:   map[uint64]bool{},
	}
	s.addMappings()
	for _, r := range rows {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		s.addSample(r.row)
	}
	return s.p, s.p.CheckValid()
}

// assembly is a profile in the making.
type assembly struct {
	p         *profile.Profile
	img       *image
	kernel    *kernelSymbols
	own       *profile.Mapping
	core      *profile.Mapping
	functions map[target.Frame]*profile.Function
	locations map[locationKey]*profile.Location
	returns   map[uint64]bool // what image.returnsTo said
}

type locationKey struct {
	addr   uint64
	pseudo string
	kernel bool
}

func (s *assembly) addMappings() {
	s.own = &profile.Mapping{ID: 1, File: s.img.path, Start: s.img.textFrom, Limit: s.img.textTo,
		HasFunctions: true, HasFilenames: true, HasLineNumbers: true, HasInlineFrames: true}
	if s.own.File == "" {
		s.own.File = "[target]"
	}
	s.core = &profile.Mapping{ID: 2, File: "[kernel.kallsyms]", HasFunctions: true}
	s.p.Mapping = []*profile.Mapping{s.own, s.core}
}

func (s *assembly) addSample(r *row) {
	sample := &profile.Sample{Value: r.values}
	for n, addr := range r.kernel {
		if n > 0 {
			addr-- // a return address: the call is before it
		}
		sample.Location = append(sample.Location, s.location(locationKey{addr: addr, kernel: true}))
	}
	for _, addr := range r.sites(s.returnsTo) {
		sample.Location = append(sample.Location, s.location(locationKey{addr: addr}))
	}
	if r.lost != "" {
		sample.Location = append(sample.Location, s.location(locationKey{pseudo: r.lost}))
	}
	for _, l := range r.labels {
		if l.unit == "" {
			if sample.Label == nil {
				sample.Label = map[string][]string{}
			}
			sample.Label[l.key] = []string{l.value}
			continue
		}
		if sample.NumLabel == nil {
			sample.NumLabel, sample.NumUnit = map[string][]int64{}, map[string][]string{}
		}
		sample.NumLabel[l.key], sample.NumUnit[l.key] = []int64{l.number}, []string{l.unit}
	}
	s.p.Sample = append(s.p.Sample, sample)
}

func (s *assembly) returnsTo(addr uint64) bool {
	yes, ok := s.returns[addr]
	if !ok {
		yes = s.img.returnsTo(addr)
		s.returns[addr] = yes
	}
	return yes
}

func (s *assembly) location(key locationKey) *profile.Location {
	if l, ok := s.locations[key]; ok {
		return l
	}
	l := &profile.Location{ID: uint64(len(s.p.Location) + 1), Mapping: s.own, Address: key.addr}
	var frames []target.Frame
	switch {
	case key.pseudo != "":
		frames = []target.Frame{{Function: key.pseudo}}
	case key.kernel:
		frames = []target.Frame{{Function: s.kernel.name(key.addr)}}
		l.Mapping = s.core
	default:
		frames = s.img.frames(key.addr)
	}
	for _, f := range frames {
		l.Line = append(l.Line, profile.Line{Function: s.function(f), Line: int64(f.Line)})
	}
	s.locations[key] = l
	s.p.Location = append(s.p.Location, l)
	return l
}

func (s *assembly) function(f target.Frame) *profile.Function {
	key := target.Frame{Function: f.Function, File: f.File}
	if fn, ok := s.functions[key]; ok {
		return fn
	}
	fn := &profile.Function{ID: uint64(len(s.p.Function) + 1), Name: f.Function, SystemName: f.Function, Filename: f.File}
	s.functions[key] = fn
	s.p.Function = append(s.p.Function, fn)
	return fn
}

// writeProfile makes a profile of b and puts it into the bundle.
func writeProfile(ctx context.Context, w *bundle.Writer, path string, b *profileBuilder, window bundle.Window, img *image, kernel *kernelSymbols) error {
	p, err := b.build(ctx, window, img, kernel)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	f, err := w.Create(path)
	if err != nil {
		return err
	}
	if err := p.Write(f); err != nil {
		_ = f.Close() // the first error is the one that tells
		return fmt.Errorf("%s: %w", path, err)
	}
	return f.Close()
}
