package signal

import (
	"chokepoint/harness/bundle"
	"chokepoint/harness/signal/stack"
)

// muchSmaller is how many times smaller than the objects that hold a pool's bytes one must
// be not to be counted with them. What a new value consists of besides, such as
// the header of a slice that is made an interface of, is drawn by the profiler as often as
// its bytes say, next to never, and one draw of 24 bytes stands for 21,845 of them
// (512 KiB / 24). Those of a sixteenth of the size come with draws enough for their bytes.
const muchSmaller = 16

// madeAnew is how many objects a line's Get makes new: those that hold the bytes, without what
// is much smaller. The size to compare with is that of the object that a byte is in, on average,
// which small objects hardly change however many they seem to be.
func madeAnew(e *evidence, where stack.Frame) (int64, error) {
	p, err := e.profile(bundle.DimPprof, bundle.AllocsProfile)
	if err != nil || where.IsZero() {
		return 0, err
	}
	objects, ok := p.types["alloc_objects"]
	space, ok2 := p.types["alloc_space"]
	if !ok || !ok2 {
		return 0, errNone
	}
	type kind struct{ objects, bytes int64 }
	var kinds []kind
	var bytes, weighted float64
	for _, x := range p.list {
		k := kind{x.values[objects], x.values[space]}
		if k.objects <= 0 || k.bytes <= 0 {
			continue
		}
		if user, ok := e.program.PoolNew(x.frames); !ok || user != where {
			continue
		}
		kinds = append(kinds, k)
		bytes += float64(k.bytes)
		weighted += float64(k.bytes) * float64(k.bytes) / float64(k.objects)
	}
	var made int64
	for _, k := range kinds {
		if float64(k.bytes)/float64(k.objects)*muchSmaller >= weighted/bytes {
			made += k.objects
		}
	}
	return made, nil
}
