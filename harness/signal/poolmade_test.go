package signal_test

import (
	"testing"

	"chokepoint/harness/bundle"
)

// TestPoolMade holds whose line has the pool made that is set up for each request.
func TestPoolMade(t *testing.T) {
	const (
		pin = "sync.(*Pool).pinSlow:1 < sync.(*Pool).pin:1 < sync.(*Pool).Get:1"
		get = " < sync.(*Pool).Get:1"
		mib = 1 << 20
	)
	for name, tt := range map[string]struct {
		profile *profileMaker
		want    expected
	}{
		"by a function that another calls": {
			profile: newProfile("alloc_objects", "alloc_space").
				add(pin+" < main.(*packer).pack:32 < main.serve:60"+handler, 900, 900*mib).
				add("main.newPacker.func1:22"+get+" < main.(*packer).pack:32 < main.serve:60"+handler, 900, 9000*mib).
				add("main.newPacker:21 < main.(*exports).packer:47 < main.serve:60"+handler, 900, 900*mib).
				add("main.newPacker:21 < main.check:9"+handler, 3, 3*mib),
			want: expected{"pprof.pool_made_site": "main.(*exports).packer:47", "pprof.pool_maker_site": "main.newPacker:21"},
		},
		"by the function that uses it": {
			profile: newProfile("alloc_objects", "alloc_space").
				add(pin+" < main.serve:62"+handler, 900, 900*mib).
				add("main.serve.func1:61"+get+" < main.serve:62"+handler, 900, 9000*mib).
				add("main.serve:60"+handler, 900, 900*mib),
			want: expected{"pprof.pool_made_site": "main.serve:60", "pprof.pool_maker_site": missing("nothing of the kind")},
		},
		"by a library": {
			profile: newProfile("alloc_objects", "alloc_space").
				add(pin+" < example.com/zip.(*Packer).Pack:9 < main.serve:60"+handler, 900, 900*mib).
				add("example.com/zip.New.func1:5"+get+" < example.com/zip.(*Packer).Pack:9 < main.serve:60"+handler, 900, 9000*mib).
				add("example.com/zip.New:4 < main.serve:59"+handler, 900, 900*mib),
			want: expected{"pprof.pool_made_site": "main.serve:59", "pprof.pool_maker_site": "example.com/zip.New:4"},
		},
		"with a New function that stands by itself": {
			profile: newProfile("alloc_objects", "alloc_space").
				add(pin+" < main.(*packer).pack:32"+handler, 900, 900*mib).
				add("main.fresh:22"+get+" < main.(*packer).pack:32"+handler, 900, 9000*mib).
				add("main.fresh:22 < main.spare:3"+handler, 900, 900*mib),
			want: expected{"pprof.pool_made_site": missing("nothing of the kind")},
		},
	} {
		t.Run(name, func(t *testing.T) {
			check(t, measure(t, tenSeconds(map[string]any{bundle.AllocsProfile: tt.profile.p}).write(t)), tt.want)
		})
	}
}
