package binary

import (
	"cmp"
	"debug/elf"
	"encoding/binary"
	"fmt"
	"slices"

	"golang.org/x/arch/x86/x86asm"

	"chokepoint/harness/bundle"
	"chokepoint/harness/gofunc"
)

// DiagnosticCallees is the functions whose callers matter to a diagnosis:
// which lines take a lock, use a pool, set a finalizer, sleep, make a timer, wait for a
// channel, put into a map or a slice, steer the collector, or say how many CPUs Go code may
// use.
func DiagnosticCallees() []string {
	return []string{
		"sync.(*Pool).Get",
		"sync.(*Pool).Put",
		"sync.(*Mutex).Lock",
		"sync.(*Mutex).Unlock",
		"sync.(*RWMutex).Lock",
		"sync.(*RWMutex).RLock",
		"sync.(*RWMutex).Unlock",
		"sync.(*RWMutex).RUnlock",
		chanrecv1,
		"runtime.chanrecv2",
		selectnbrecv,
		selectgo,
		gomaxprocs,
		"runtime.SetFinalizer",
		"runtime.AddCleanup",
		"time.Sleep",
		"time.After",
		"time.NewTimer",

		// What grows by these keeps what it is given. An append that makes a copy is left out.
		"runtime.mapassign",
		"runtime.mapassign_fast32",
		"runtime.mapassign_fast32ptr",
		"runtime.mapassign_fast64",
		"runtime.mapassign_fast64ptr",
		"runtime.mapassign_faststr",
		growslice,

		// What sets how often the collector runs.
		"runtime/debug.SetGCPercent",
		"runtime/debug.SetMemoryLimit",
	}
}

// selectgo is the function in which a select of more than one case waits, or tries where it has
// a default.
const selectgo = "runtime.selectgo"

// The functions that receive from a channel where nobody asks whether it is closed: one that
// waits, and one that tries, which is what a select with one case and a default is made of.
const (
	chanrecv1    = "runtime.chanrecv1"
	selectnbrecv = "runtime.selectnbrecv"
)

// growslice is what append calls where the array has no room.
const growslice = "runtime.growslice"

// copies reports whether the append at pc is to a slice of no capacity, as in
// append([]T(nil), list...): it puts into none that was there before. runtime.growslice
// is told the capacity in its third argument.
func (c *constants) copies(pc uint64) bool {
	capacity, known := c.passed(pc, x86asm.RCX)
	return known && capacity == 0
}

// discards reports whether the receive at pc throws away what it gets: it names no place for it.
// A channel that a call has just returned is left out: it is one to wait for, as that of
// Context.Done.
func (c *constants) discards(callee string, pc uint64) bool {
	from, into := x86asm.RAX, x86asm.RBX
	if callee == selectnbrecv {
		from, into = into, from
	}
	n, known := c.passed(pc, into)
	return known && n == 0 && !c.returned(pc, from)
}

// selects is how many cases of the select at pc send and how many receive, if that can be read:
// runtime.selectgo is told in its fourth and fifth argument.
func (c *constants) selects(pc uint64) (sends, receives int) {
	s, known := c.passed(pc, x86asm.RDI)
	r, too := c.passed(pc, x86asm.RSI)
	if !known || !too || s < 0 || r < 0 {
		return 0, 0
	}
	return int(s), int(r)
}

// slowPath is the function that the inlined body of a callee calls. It stands
// in for the callee where inlined functions are not known.
func slowPath(function string) (callee string, ok bool) {
	switch function {
	case "internal/sync.(*Mutex).lockSlow", "sync.(*Mutex).lockSlow": // since 1.24; before
		return "sync.(*Mutex).Lock", true
	case "internal/sync.(*Mutex).unlockSlow", "sync.(*Mutex).unlockSlow":
		return "sync.(*Mutex).Unlock", true
	case "sync.runtime_SemacquireRWMutexR":
		return "sync.(*RWMutex).RLock", true
	}
	return "", false
}

// maxTextBytes bounds the machine code that is read: a damaged file may have
// the same bytes in any number of sections.
const maxTextBytes = 1 << 30

// CallSites is the lines that call one of callees, which are named without
// type arguments. A callee that the compiler inlined counts where its body
// makes a call of its own, as the slow path of a lock does. Each site is the
// innermost frame outside the standard library; calls the standard library
// makes for itself are left out. Sites are sorted by file, line, function and
// callee, without repetition.
//
// Calls through function values and interfaces are not in the machine code as
// such, and not found. Without DWARF the line of an inlined callee is not
// known, and 0; see Symbols.
func (f *File) CallSites(callees []string) (bundle.CallSites, error) {
	return f.callSites(callees, false)
}

// callSites is CallSites. With inlined, functions of the program among the callees count where
// they were inlined as well.
func (f *File) callSites(callees []string, inlined bool) (bundle.CallSites, error) {
	if f.elf.Machine != elf.EM_X86_64 {
		return bundle.CallSites{}, fmt.Errorf("call sites of %s: only amd64 code can be read, and it is %v", f.path, f.elf.Machine)
	}
	if len(f.funcs) == 0 {
		return bundle.CallSites{}, fmt.Errorf("call sites of %s: %w the names of its functions: %s", f.path, ErrUnknown, f.symbols.Reason)
	}
	wanted := make(map[string]bool, len(callees))
	for _, c := range callees {
		wanted[c] = true
	}
	entries := make(map[uint64]string, len(f.funcs))
	for _, fn := range f.funcs {
		entries[fn.entry] = fn.name
	}
	found := map[bundle.CallSite]bool{}
	passed := &constants{file: f}
	left := uint64(maxTextBytes)
	for _, s := range f.text() {
		code, err := sectionData(s, left)
		if err != nil {
			return bundle.CallSites{}, fmt.Errorf("call sites of %s: %w", f.path, err)
		}
		left -= uint64(len(code))
		scanCalls(code, s.Addr, func(pc, target uint64) {
			name, ok := entries[target]
			if !ok {
				return
			}
			if caller, ok := f.functionAt(pc); !ok || gofunc.Standard(caller.name) {
				return
			}
			site, ok := f.site(pc, name, wanted, inlined)
			if !ok {
				return
			}
			switch site.Callee {
			case gomaxprocs:
				if site.Argument, ok = passed.setsProcs(pc); !ok {
					return // it only asks
				}
			case growslice:
				if passed.copies(pc) {
					return
				}
			case selectgo:
				site.Sends, site.Receives = passed.selects(pc)
			case chanrecv1, selectnbrecv:
				site.Discards = passed.discards(site.Callee, pc)
			}
			found[site] = true
		})
	}
	sites := make([]bundle.CallSite, 0, len(found))
	for s := range found {
		sites = append(sites, s)
	}
	slices.SortFunc(sites, func(a, b bundle.CallSite) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Function, b.Function), cmp.Compare(a.Callee, b.Callee),
			cmp.Compare(a.Argument, b.Argument), cmp.Compare(a.Through, b.Through), cmp.Compare(a.Sends, b.Sends), cmp.Compare(a.Receives, b.Receives),
			whether(a.Discards)-whether(b.Discards))
	})
	return bundle.CallSites{Sites: sites}, nil
}

// whether is b as a number, for sorting.
func whether(b bool) int {
	if b {
		return 1
	}
	return 0
}

// site is the call at pc of the function called target, if it is one of those wanted.
func (f *File) site(pc uint64, target string, wanted map[string]bool, inlined bool) (bundle.CallSite, bool) {
	callee := ""
	if name := gofunc.Plain(target); wanted[name] {
		callee = name
	} else if !gofunc.Standard(target) {
		return bundle.CallSite{}, false
	}
	frames := f.Frames(pc)
	if callee == "" && f.dwarf == nil {
		if name, ok := slowPath(gofunc.Plain(target)); ok && wanted[name] {
			callee = name
		}
	}
	// Of inlined callees the outermost is the one that the program named:
	// RWMutex.Lock holds a Mutex.Lock.
	through := ""
	for i, fr := range frames {
		if name := gofunc.Plain(fr.Function); inlined && i < len(frames)-1 && !gofunc.Standard(fr.Function) && wanted[name] {
			callee = name
			continue
		}
		if !gofunc.Standard(fr.Function) {
			if callee == "" {
				return bundle.CallSite{}, false
			}
			if !bundle.Puts(callee) {
				through = ""
			}
			return bundle.CallSite{Callee: callee, Function: fr.Function, File: fr.File, Line: fr.Line, Through: through}, true
		}
		through = gofunc.Plain(fr.Function)
		if name := gofunc.Plain(fr.Function); wanted[name] {
			callee = name
		}
	}
	return bundle.CallSite{}, false
}

// scanCalls finds direct calls and jumps in machine code that starts at base.
// It tries every byte rather than decode: bytes that only look like a call are
// told from one by the caller, as their target is hardly ever the very first
// byte of a function.
func scanCalls(code []byte, base uint64, call func(pc, target uint64)) {
	const (
		callRel32 = 0xe8
		jumpRel32 = 0xe9
		length    = 5
	)
	for i := 0; i+length <= len(code); i++ {
		if code[i] != callRel32 && code[i] != jumpRel32 {
			continue
		}
		pc := base + uint64(i)
		target := pc + length + uint64(int64(int32(binary.LittleEndian.Uint32(code[i+1:]))))
		call(pc, target)
	}
}
