package ebpf

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/pprof/profile"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	target "chokepoint/harness/binary"
	"chokepoint/harness/bundle"
)

func TestParseMaps(t *testing.T) {
	const text = `00400000-00401000 r--p 00000000 fe:00 1234                               /srv/my app (deleted)
00401000-00600000 r-xp 00001000 fe:00 1234                               /srv/my app (deleted)
c000000000-c000400000 rw-p 00000000 00:00 0
7f0000000000-7f0000002000 r-xp 00002000 fe:00 99                         /lib/libc.so.6
7fff00000000-7fff00002000 r-xp 00000000 00:00 0                          [vdso]
8000-7000 r-xp 00000000 00:00 0                                          /backwards
nonsense
`
	assert.Equal(t, []mapping{
		{start: 0x401000, end: 0x600000, offset: 0x1000, path: "/srv/my app (deleted)"},
		{start: 0x7f0000000000, end: 0x7f0000002000, offset: 0x2000, path: "/lib/libc.so.6"},
		{start: 0x7fff00000000, end: 0x7fff00002000, path: "[vdso]"},
	}, parseMaps([]byte(text)))
}

func FuzzParseMaps(f *testing.F) {
	f.Add([]byte("00401000-00600000 r-xp 00001000 fe:00 1234 /srv/app\n"))
	f.Add([]byte("-  x"))
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, m := range parseMaps(data) {
			if m.start >= m.end {
				t.Fatalf("empty mapping %+v", m)
			}
		}
	})
}

func FuzzParseKallsyms(f *testing.F) {
	f.Add("ffffffff81000100 T do_work\nffffffffc0000000 t in_module\t[nfs]\n", uint64(0xffffffff81000101))
	f.Add("0000000000000000 T _stext\n", uint64(0))
	f.Add("ffffffff81000000\n T\n", uint64(1))
	f.Fuzz(func(t *testing.T, text string, addr uint64) {
		k, err := parseKallsyms(strings.NewReader(text))
		if err != nil {
			return
		}
		if !slices.IsSorted(k.addrs) {
			t.Fatal("not by address")
		}
		if name := k.name(addr); !strings.HasSuffix(name, "[kernel]") {
			t.Fatalf("%#x is %q", addr, name)
		}
	})
}

func FuzzParseCPUList(f *testing.F) {
	f.Add("0-3,8")
	f.Add("0-")
	f.Fuzz(func(t *testing.T, text string) {
		cpus, err := parseCPUList(text)
		if err == nil && len(cpus) == 0 {
			t.Fatal("no CPU, and no error")
		}
	})
}

// FuzzReturnsTo: whatever stands in the code, the look at it stays inside.
func FuzzReturnsTo(f *testing.F) {
	f.Add([]byte{0xe8, 1, 2, 3, 4}, uint64(5))
	f.Add([]byte{0xff, 0x94}, uint64(2))
	f.Fuzz(func(t *testing.T, code []byte, at uint64) {
		img := testImage(memory(code))
		img.returnsTo(0x11000 + at)
		img.inSyscall(0x11000 + at)
		img.withCaller([]uint64{0x11000 + at, 0x11200}, 0x11000+at)
	})
}

func TestKernelSymbols(t *testing.T) {
	k, err := parseKallsyms(strings.NewReader(`ffffffff81000100 T do_work
ffffffff81000000 T _stext
ffffffff81000000 T _text
ffffffff81000200 D data
ffffffffc0000000 t in_module	[nfs]
`))
	require.NoError(t, err)
	for addr, want := range map[uint64]string{
		0xffffffff80000000: "[kernel]",
		0xffffffff81000000: "_stext [kernel]",
		0xffffffff810000ff: "_stext [kernel]",
		0xffffffff81000250: "do_work [kernel]",
		0xffffffffc0000001: "in_module [kernel]",
	} {
		assert.Equal(t, want, k.name(addr), "%#x", addr)
	}
	hidden, err := parseKallsyms(strings.NewReader("0000000000000000 T _stext\n"))
	require.NoError(t, err)
	assert.Zero(t, hidden.Len())
	assert.Equal(t, "[kernel]", hidden.name(0xffffffff81000000))
}

func TestParseCPUList(t *testing.T) {
	for _, test := range []struct {
		text string
		want []int
	}{
		{"0", []int{0}},
		{"0-3", []int{0, 1, 2, 3}},
		{"0-1,4,6-7", []int{0, 1, 4, 6, 7}},
	} {
		got, err := parseCPUList(test.text)
		require.NoError(t, err)
		assert.Equal(t, test.want, got)
	}
	for _, bad := range []string{"", "a", "3-1", "0-", "-1", "0-99999999"} {
		_, err := parseCPUList(bad)
		assert.Error(t, err, bad)
	}
}

func TestNames(t *testing.T) {
	assert.Equal(t, "futex", syscallName(202))
	assert.Equal(t, "epoll_pwait2", syscallName(441))
	assert.Equal(t, "syscall_500", syscallName(500))
	assert.Equal(t, "EMFILE", errnoName(24))
	assert.Equal(t, "ERESTARTSYS", errnoName(512))
	assert.Equal(t, "errno_4000", errnoName(4000))
	assert.Equal(t, "1,234,567", thousands(1234567))
	assert.Equal(t, "123", thousands(123))
	assert.Equal(t, "0", thousands(0))
}

// table is a symbolizer and the machine code of functions that are 0x100 bytes apart.
type table map[uint64]string

func (s table) Frames(pc uint64) []target.Frame {
	if name, ok := s[pc&^0xff]; ok {
		return []target.Frame{{Function: name, File: "f.go", Line: int(pc & 0xff)}}
	}
	return nil
}

// memory is machine code from address 0x1000 on.
type memory []byte

func (m memory) ReadAt(p []byte, addr int64) (int, error) {
	if addr < 0x1000 || int(addr)-0x1000+len(p) > len(m) {
		return 0, io.EOF
	}
	return copy(p, m[addr-0x1000:]), nil
}

func testImage(code memory) *image {
	return &image{
		path:     "/srv/app",
		symbols:  table{0x1000: "leaf", 0x1100: "caller", 0x1200: "main", 0x1300: "framed"},
		code:     code,
		bias:     0x10000,
		mappings: []mapping{{start: 0x11000, end: 0x12000, path: "/srv/app", own: true}, {start: 0x20000, end: 0x21000, path: "/lib/libc.so.6"}, {start: 0x30000, end: 0x31000, path: "[vdso]"}},
	}
}

func TestFramesOutsideTheExecutable(t *testing.T) {
	img := testImage(nil)
	for pc, want := range map[uint64]string{
		0x11001: "leaf", 0x11f00: "[app]", 0x20000: "[libc.so.6]", 0x30010: "[vdso]", 0x99: "[unknown]", 0x12000: "[unknown]",
	} {
		assert.Equal(t, want, img.frames(pc)[0].Function, "%#x", pc)
	}
}

func TestCallerOfALeafWithoutAFrame(t *testing.T) {
	code := make(memory, 0x400)
	call := func(at, callee uint64) (returnsTo uint64) {
		code[at-0x1000] = 0xe8
		binary.LittleEndian.PutUint32(code[at-0x1000+1:], uint32(callee-(at+5)))
		return at + 5 + 0x10000
	}
	copy(code[0x300:], []byte{0x55, 0x48, 0x89, 0xe5})
	toLeaf := call(0x1110, 0x1000)
	toFramed := call(0x1130, 0x1300)
	const inMain, inLeaf, inFramed = 0x11220, 0x11010, 0x11310
	for _, test := range []struct {
		name  string
		stack []uint64
		word  uint64
		want  []uint64
	}{
		{"lacks its caller", []uint64{inLeaf, inMain}, toLeaf, []uint64{inLeaf, toLeaf, inMain}},
		{"has nothing but the leaf", []uint64{inLeaf}, toLeaf, []uint64{inLeaf, toLeaf}},
		{"has its caller", []uint64{inLeaf, toLeaf, inMain}, toLeaf, []uint64{inLeaf, toLeaf, inMain}},
		{"leaf has a frame", []uint64{inFramed, inMain}, toFramed, []uint64{inFramed, inMain}},
		{"word follows a call of another", []uint64{inLeaf, inMain}, toFramed, []uint64{inLeaf, inMain}},
		{"word follows no call", []uint64{inLeaf, inMain}, 0x11155, []uint64{inLeaf, inMain}},
		{"word is elsewhere", []uint64{inLeaf, inMain}, 0x20100, []uint64{inLeaf, inMain}},
		{"no word", []uint64{inLeaf, inMain}, 0, []uint64{inLeaf, inMain}},
		{"no stack", nil, toLeaf, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			assert.Equal(t, test.want, testImage(code).withCaller(test.stack, test.word))
		})
	}
}

func TestWhatStandsBeforeAnAddress(t *testing.T) {
	for _, test := range []struct {
		name             string
		before           []byte
		syscall, returns bool
	}{
		{"call of a function", []byte{0xe8, 1, 2, 3, 4}, false, true},
		{"call of a register", []byte{0xff, 0xd1}, false, true},
		{"call of a high register", []byte{0x41, 0xff, 0xd4}, false, true},
		{"call through a register", []byte{0xff, 0x12}, false, true},
		{"call through a register and 8 bits", []byte{0xff, 0x50, 0x18}, false, true},
		{"call through a register and 32 bits", []byte{0xff, 0x90, 0, 1, 0, 0}, false, true},
		{"call through an index", []byte{0xff, 0x14, 0xc8}, false, true},
		{"call through an index and 8 bits", []byte{0xff, 0x54, 0xc8, 8}, false, true},
		{"call through an index and 32 bits", []byte{0xff, 0x94, 0xc8, 0, 1, 0, 0}, false, true},
		{"call through an address", []byte{0xff, 0x15, 1, 2, 3, 4}, false, true},
		{"system call", []byte{0x0f, 0x05}, true, false},
		{"padding", []byte{0xcc, 0xcc}, false, false},
		{"jump through a register", []byte{0xff, 0xe0}, false, false},
		{"addition", []byte{0x48, 0x01, 0xd8}, false, false},
		{"what only looks like a call", []byte{0xff, 0x90, 0, 1}, false, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			code := make(memory, 0x400)
			copy(code[0x200-len(test.before):], test.before)
			img := testImage(code)
			assert.Equal(t, test.syscall, img.inSyscall(0x11200))
			assert.Equal(t, test.returns, img.returnsTo(0x11200))
		})
	}
	for _, unreadable := range []uint64{0x20100, 0x99, 0x11001} {
		img := testImage(make(memory, 0x400))
		assert.True(t, img.inSyscall(unreadable))
		assert.True(t, img.returnsTo(unreadable))
	}
}

// A thread may be interrupted at the first instruction of a function: the byte
// before it is another function's.
func TestInterruptedAtTheEntryOfAFunction(t *testing.T) {
	code := make(memory, 0x400) // nowhere a call
	img := testImage(code)
	stacks := &stackReader{stacks: map[int32][]uint64{1: {0x11100, 0x11200}}}
	r := stacks.userRow(1, 0, img)
	r.values = []int64{1}
	b := newProfile(delay())
	b.add(r)
	p, err := b.build(t.Context(), bundle.Window{}, img, &kernelSymbols{})
	require.NoError(t, err)
	assert.Equal(t, []string{"caller", "main"}, frames(p.Sample[0]))
}

func TestProfileIsTheSameInAnyOrder(t *testing.T) {
	rows := []row{
		{user: []uint64{0x11010, 0x11120}, labels: []label{{key: "op", value: "wake"}}, values: []int64{1, 10}},
		{user: []uint64{0x11010, 0x11120}, labels: []label{{key: "op", value: "wait"}}, values: []int64{2, 10}},
		{user: []uint64{0x11010, 0x11120}, labels: []label{{key: "op", value: "wake"}}, values: []int64{4, 10}},
		{lost: frameLost, values: []int64{1, 3}},
		{kernel: []uint64{0xffffffff81000010, 0xffffffff81000020}, user: []uint64{0x11220}, exact: true,
			labels: []label{{key: "goid", number: 7, unit: "id"}}, values: []int64{1, 50}},
	}
	kernel := &kernelSymbols{addrs: []uint64{0xffffffff81000000}, names: []string{"do_work"}}
	build := func(rows []row) *profile.Profile {
		b := newProfile(&profile.ValueType{Type: "calls", Unit: "count"}, &profile.ValueType{Type: "time", Unit: "nanoseconds"})
		for _, r := range rows {
			b.add(r)
		}
		p, err := b.build(context.Background(), bundle.Window{StartNS: 1, EndNS: 5}, testImage(nil), kernel)
		require.NoError(t, err)
		assert.EqualValues(t, 4, p.DurationNanos)
		assert.NotZero(t, p.TimeNanos)
		p.TimeNanos = 0
		return p
	}
	first := build(rows)
	require.Len(t, first.Sample, 4, "the same stack with the same labels is one sample")
	assert.Equal(t, []int64{1, 50}, first.Sample[0].Value)
	assert.Equal(t, []string{"do_work [kernel]", "do_work [kernel]", "main"}, frames(first.Sample[0]))
	assert.Equal(t, []int64{7}, first.Sample[0].NumLabel["goid"])
	assert.Equal(t, []int64{5, 20}, first.Sample[1].Value)
	assert.EqualValues(t, 0x0f, first.Sample[1].Location[0].Line[0].Line, "the call is before its return address")
	assert.Equal(t, []string{frameLost}, frames(first.Sample[3]))
	assert.EqualValues(t, 0x20, first.Sample[0].Location[2].Line[0].Line, "an interrupted instruction is its own line")
	assert.Equal(t, []int64{1, 10}, rows[0].values, "rows are not changed")
	for range 10 {
		shuffled := slices.Clone(rows)
		rand.Shuffle(len(shuffled), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
		assert.Equal(t, first.String(), build(shuffled).String())
	}
}

func TestProfileStopsWhenCancelled(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
	cancel()
	b := newProfile(delay())
	b.add(row{lost: frameNoStack, values: []int64{1}})
	_, err := b.build(ctx, bundle.Window{}, testImage(nil), &kernelSymbols{})
	assert.ErrorIs(t, err, context.Canceled)
}

func TestLog2(t *testing.T) {
	for n, want := range map[int64]int{0: 0, 1: 0, 2: 1, 3: 1, 4: 2, 1023: 9, 1024: 10} {
		assert.Equal(t, want, log2(n), fmt.Sprint(n))
	}
	assert.Equal(t, []int64{0, 1}, trimZeros([]int64{0, 1, 0, 0}))
	assert.Empty(t, trimZeros([]int64{0, 0}))
}
