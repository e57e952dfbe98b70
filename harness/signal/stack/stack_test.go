package stack_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"

	"chokepoint/harness/signal/stack"
)

// of writes a stack as "innermost < ... < outermost". Those below are real: from
// execution traces, goroutine, CPU and allocation profiles of Go 1.24.0, 1.25.0
// and 1.26.8, the program's own names changed.
func of(s string) []stack.Frame {
	if s == "" {
		return nil
	}
	var frames []stack.Frame
	for i, f := range strings.Split(s, " < ") {
		frames = append(frames, stack.Frame{Function: f, File: "f.go", Line: i + 1})
	}
	return frames
}

var app = stack.Program{MainModule: "example.com/app"}

func TestOwnAndOutermost(t *testing.T) {
	unknown := stack.Program{}
	for name, c := range map[string]struct {
		program    stack.Program
		stack      string
		own, outer string
	}{
		"nothing":                 {app, "", "", ""},
		"the runtime alone":       {app, "runtime.gcDrain < runtime.gcBgMarkWorker", "", ""},
		"main":                    {app, "time.Sleep < main.(*store).get < main.main < runtime.main", "main.(*store).get", "main.main"},
		"main of a module":        {app, "sync.(*Mutex).Lock < example.com/app/store.(*Store).Get < main.main", "example.com/app/store.(*Store).Get", "main.main"},
		"the module's root":       {app, "sync.(*Mutex).Lock < example.com/app.Get < main.main", "example.com/app.Get", "main.main"},
		"a longer name":           {app, "example.com/apple.F < example.com/app.Get", "example.com/app.Get", "example.com/app.Get"},
		"library inside":          {app, "syscall.Read < github.com/lib/pq.(*conn).recv < example.com/app/db.Query", "example.com/app/db.Query", "example.com/app/db.Query"},
		"library alone":           {app, "runtime.chanrecv1 < github.com/lib/pq.watch < github.com/lib/pq.run < runtime.goexit", "github.com/lib/pq.watch", "github.com/lib/pq.run"},
		"library outside":         {app, "main.hook < github.com/robfig/cron.(*Cron).run", "main.hook", "github.com/robfig/cron.(*Cron).run"},
		"no module, library":      {unknown, "sync.(*Mutex).Lock < github.com/x/y.(*Z).Do < runtime.goexit", "github.com/x/y.(*Z).Do", "github.com/x/y.(*Z).Do"},
		"no module, inside":       {unknown, "github.com/x/y.(*Z).Do < main.main", "github.com/x/y.(*Z).Do", "main.main"},
		"generic":                 {app, "runtime.newobject < example.com/app/cache.(*Cache[...]).Get < main.main", "example.com/app/cache.(*Cache[...]).Get", "main.main"},
		"generic of the library":  {app, "slices.SortFunc[...] < main.order", "main.order", "main.order"},
		"argument of the program": {app, "sync/atomic.(*Pointer[main.state]).Load < github.com/x/y.F", "github.com/x/y.F", "github.com/x/y.F"},
		"closure":                 {app, "time.Sleep < main.main.func1.2.1 < runtime/pprof.Do < net/http.HandlerFunc.ServeHTTP", "main.main.func1.2.1", "main.main.func1.2.1"},
		"kernel":                  {app, "do_epoll_wait [kernel] < internal/runtime/syscall/linux.Syscall6 < syscall.EpollWait < main.loop", "main.loop", "main.loop"},
		"a kernel name like main": {app, "main.start [kernel] < do_syscall_64 [kernel]", "", ""},
		"x/sys":                   {app, "golang.org/x/sys/unix.EpollWait < example.com/app/poll.wait", "example.com/app/poll.wait", "example.com/app/poll.wait"},
		"vendored by the library": {app, "vendor/golang.org/x/net/http2/hpack.(*Decoder).Write < net/http.(*http2serverConn).serve", "", ""},
		"C and unknown":           {app, "pthread_cond_wait < _cgo_f < ", "", ""},
		"a call into C":           {app, "runtime.cgocall < example.com/app/card._Cfunc_sign < example.com/app/card.(*Card).Sign < main.seal", "example.com/app/card.(*Card).Sign", "main.seal"},
		"C with an errno":         {app, "main._C2func_open < main.load < main.main", "main.load", "main.main"},
		"a library's C":           {app, "runtime.cgocall < github.com/x/sqlite._Cfunc__sqlite3_step < github.com/x/sqlite.(*Rows).Next < main.list", "main.list", "main.list"},
		"a library's C alone":     {unknown, "runtime.cgocall < github.com/x/sqlite._Cfunc__sqlite3_step < github.com/x/sqlite.(*Rows).Next < runtime.goexit", "github.com/x/sqlite.(*Rows).Next", "github.com/x/sqlite.(*Rows).Next"},
		"called by C":             {app, "main.compare < main._cgoexp_0123456789ab_compare < runtime.cgocallbackg1", "main.compare", "main.compare"},
		"a check of a pointer":    {app, "runtime.cgoCheckPointer < main._cgoCheckPointer < main.sign.func1 < main.sign", "main.sign.func1", "main.sign"},
		"not made by cgo":         {app, "main._Compute < main.main", "main._Compute", "main.main"},
		"made up by the linker":   {app, "type:.eq.main.key < runtime.mapaccess1 < main.lookup", "main.lookup", "main.lookup"},
		"dots in the path":        {stack.Program{MainModule: "gopkg.in/app.v1"}, "gopkg.in/app%2ev1.Run < main.main", "gopkg.in/app%2ev1.Run", "main.main"},
	} {
		t.Run(name, func(t *testing.T) {
			assert.Equal(t, c.own, c.program.Own(of(c.stack)).Function)
			assert.Equal(t, c.outer, c.program.Outermost(of(c.stack)).Function)
		})
	}
}

func TestWaitOf(t *testing.T) {
	const dial = "net.(*netFD).connect < net.(*netFD).dial < net.socket < net.(*Dialer).DialContext < net.Dial < main.f"
	for name, c := range map[string]struct {
		stack string
		want  stack.Wait
	}{
		"no stack":        {"", stack.Other},
		"program running": {"main.spin < main.main", stack.Other},

		// Traces leave out the runtime's part.
		"trace lock":            {"sync.(*Mutex).Lock < main.(*store).lock", stack.Lock},
		"trace rlock":           {"sync.(*RWMutex).RLock < main.(*store).rlock", stack.Lock},
		"trace wlock":           {"sync.(*RWMutex).Lock < main.(*store).wlock", stack.Lock},
		"trace wlock's mutex":   {"sync.(*Mutex).Lock < sync.(*RWMutex).Lock < main.(*store).wlock", stack.Lock},
		"trace locker":          {"sync.(*RWMutex).RLock < sync.(*rlocker).Lock < main.f", stack.Lock},
		"trace lock in library": {"sync.(*Mutex).Lock < log.(*Logger).output < log.(*Logger).Print < main.f", stack.Lock},
		"trace cond":            {"sync.(*Cond).Wait < main.cond", stack.Cond},
		"cond takes its lock":   {"sync.(*Mutex).Lock < sync.(*Cond).Wait < main.cond", stack.Lock},
		"trace group":           {"sync.(*WaitGroup).Wait < main.group", stack.WaitGroup},
		"trace sleep":           {"time.Sleep < main.(*store).lock", stack.Sleep},
		"trace receive":         {"runtime.chanrecv1 < main.recv", stack.ChanRecv},
		"trace send":            {"runtime.chansend1 < main.send", stack.ChanSend},
		"trace select":          {"runtime.selectgo < main.sel", stack.Select},
		"trace forever":         {"runtime.block < main.block", stack.Select},
		"trace read":            {"internal/poll.(*FD).Read < net.(*netFD).Read < net.(*conn).Read < main.nread", stack.NetRead},
		"trace write":           {"internal/poll.(*FD).Write < net.(*netFD).Write < net.(*conn).Write < main.nwrite", stack.NetWrite},
		"trace sendfile":        {"internal/poll.sendFile < internal/poll.SendFile < os.(*File).writeTo.func1 < internal/poll.(*FD).RawRead < os.(*rawConn).Read < os.(*File).writeTo < io.Copy < main.send", stack.NetWrite},
		"trace raw read":        {"internal/poll.(*FD).RawRead < net.(*rawConn).Read < google.golang.org/grpc/internal/transport.(*http2Client).reader", stack.NetRead},
		"trace raw write":       {"internal/poll.(*FD).RawWrite < net.(*rawConn).Write < main.push", stack.NetWrite},
		"trace splice in":       {"internal/poll.spliceDrain < internal/poll.Splice < net.splice < net.(*TCPConn).readFrom < io.Copy < main.proxy", stack.NetRead},
		"trace splice out":      {"internal/poll.splicePump < internal/poll.Splice < net.splice < net.(*TCPConn).readFrom < io.Copy < main.proxy", stack.NetWrite},
		"trace accept":          {"internal/poll.(*FD).Accept < net.(*netFD).accept < net.(*TCPListener).accept < net.(*TCPListener).Accept < main.accept", stack.NetAccept},
		"trace connect":         {"internal/poll.(*FD).WaitWrite < " + dial, stack.NetConnect},
		"trace upstream":        {"runtime.selectgo < net/http.(*persistConn).roundTrip < net/http.(*Transport).roundTrip < net/http.(*Client).Get < main.client", stack.HTTPClient},
		"trace upstream, conn":  {"runtime.selectgo < net/http.(*Transport).getConn < net/http.(*Transport).roundTrip < main.client", stack.Select},
		"trace database":        {"runtime.selectgo < database/sql.(*DB).conn < database/sql.(*DB).query < main.query", stack.DBConn},
		"trace assist":          {"runtime.gcParkAssist < runtime.gcAssistAlloc < runtime.deductAssistCredit < runtime.mallocgc < runtime.newobject < main.f", stack.Assist},
		"trace collection":      {"runtime.goparkunlock < runtime.gcWaitOnMark < runtime.GC < main.f", stack.Runtime},
		"trace workers start":   {"runtime.chanrecv1 < runtime.gcBgMarkStartWorkers < runtime.gcStart < runtime.mallocgcLarge < runtime.mallocgc < runtime.makeslice < main.f", stack.Runtime},
		"trace finalizers idle": {"runtime.runFinalizers", stack.Runtime},

		// Profiles have it.
		"pprof lock":      {"runtime.gopark < runtime.goparkunlock < runtime.semacquire1 < internal/sync.runtime_SemacquireMutex < internal/sync.(*Mutex).lockSlow < internal/sync.(*Mutex).Lock < sync.(*Mutex).Lock < main.(*store).lock", stack.Lock},
		"pprof lock 1.23": {"runtime.gopark < runtime.goparkunlock < runtime.semacquire1 < sync.runtime_SemacquireMutex < sync.(*Mutex).lockSlow < sync.(*Mutex).Lock < main.f", stack.Lock},
		"pprof rlock":     {"runtime.gopark < runtime.goparkunlock < runtime.semacquire1 < sync.runtime_SemacquireRWMutexR < sync.(*RWMutex).RLock < main.f", stack.Lock},
		"pprof cond":      {"runtime.gopark < runtime.goparkunlock < sync.runtime_notifyListWait < sync.(*Cond).Wait < main.cond", stack.Cond},
		"pprof group":     {"runtime.gopark < runtime.goparkunlock < runtime.semacquire1 < sync.runtime_SemacquireWaitGroup < sync.(*WaitGroup).Wait < main.group", stack.WaitGroup},
		"pprof sleep":     {"runtime.gopark < time.Sleep < main.f", stack.Sleep},
		"pprof receive":   {"runtime.gopark < runtime.chanrecv < runtime.chanrecv1 < main.recv", stack.ChanRecv},
		"pprof receive 2": {"runtime.gopark < runtime.chanrecv < runtime.chanrecv2 < main.recv", stack.ChanRecv},
		"pprof send":      {"runtime.gopark < runtime.chansend < runtime.chansend1 < main.send", stack.ChanSend},
		"pprof select":    {"runtime.gopark < runtime.selectgo < main.sel", stack.Select},
		"pprof read":      {"runtime.gopark < runtime.netpollblock < internal/poll.runtime_pollWait < internal/poll.(*pollDesc).wait < internal/poll.(*pollDesc).waitRead < internal/poll.(*FD).Read < net.(*netFD).Read < net.(*conn).Read < main.nread", stack.NetRead},
		"pprof sendfile":  {"runtime.gopark < runtime.netpollblock < internal/poll.runtime_pollWait < internal/poll.(*pollDesc).wait < internal/poll.(*pollDesc).waitWrite < internal/poll.sendFile < internal/poll.SendFile < net.sendFile < main.f", stack.NetWrite},
		"pprof accept":    {"runtime.gopark < runtime.netpollblock < internal/poll.runtime_pollWait < internal/poll.(*pollDesc).wait < internal/poll.(*pollDesc).waitRead < internal/poll.(*FD).Accept < net.(*netFD).accept < main.f", stack.NetAccept},
		"pprof connect":   {"runtime.gopark < runtime.netpollblock < internal/poll.runtime_pollWait < internal/poll.(*pollDesc).wait < internal/poll.(*pollDesc).waitWrite < internal/poll.(*FD).WaitWrite < " + dial, stack.NetConnect},
		"pprof upstream":  {"runtime.gopark < runtime.selectgo < net/http.(*persistConn).roundTrip < net/http.(*Transport).roundTrip < main.client", stack.HTTPClient},

		// What lies below the program's innermost frame is another matter.
		"sleep in a callback of a lock": {"time.Sleep < main.slowWriter.Write < log.(*Logger).output < main.f", stack.Sleep},
		"sleep under a lock's caller":   {"time.Sleep < main.work < sync.(*Mutex).Lock < main.f", stack.Sleep},
		"program between":               {"main.f < sync.(*Mutex).Lock < main.g", stack.Other},
	} {
		t.Run(name, func(t *testing.T) {
			assert.Equal(t, c.want, app.WaitOf(of(c.stack)))
		})
	}
}

func TestServingOf(t *testing.T) {
	const served = "net/http.HandlerFunc.ServeHTTP < net/http.serverHandler.ServeHTTP < net/http.(*conn).serve"
	for name, c := range map[string]struct {
		stack string
		want  stack.Serving
	}{
		"nothing":            {"", stack.NotServing},
		"other":              {"time.Sleep < main.worker", stack.NotServing},
		"listener":           {"internal/poll.(*FD).Accept < net.(*TCPListener).Accept < net/http.(*Server).Serve < main.main", stack.NotServing},
		"background read":    {"internal/poll.(*FD).Read < net.(*conn).Read < net/http.(*connReader).backgroundRead", stack.NotServing},
		"idle":               {"internal/poll.(*FD).Read < net.(*conn).Read < net/http.(*connReader).Read < bufio.(*Reader).fill < bufio.(*Reader).Peek < net/http.(*conn).serve", stack.BetweenRequests},
		"reads the request":  {"internal/poll.(*FD).Read < net/http.(*connReader).Read < net/http.readRequest < net/http.(*conn).readRequest < net/http.(*conn).serve", stack.BetweenRequests},
		"ends the response":  {"sync.(*Cond).Wait < net/http.(*connReader).abortPendingRead < net/http.(*response).finishRequest < net/http.(*conn).serve", stack.BetweenRequests},
		"handler":            {"sync.(*Mutex).Lock < main.f < " + served, stack.InHandler},
		"handler by itself":  {"time.Sleep < main.handler.ServeHTTP < net/http.serverHandler.ServeHTTP < net/http.(*conn).serve", stack.InHandler},
		"handler reads body": {"internal/poll.(*FD).Read < net/http.(*body).Read < main.f < " + served, stack.InHandler},
		"http2":              {"time.Sleep < main.f < net/http.serverHandler.ServeHTTP < net/http.(*http2serverConn).runHandler", stack.InHandler},
		"http2 of x/net":     {"time.Sleep < main.f < golang.org/x/net/http2.(*serverConn).runHandler", stack.InHandler},
		"http2 connection":   {"runtime.selectgo < net/http.(*http2serverConn).serve < net/http.(*conn).serve", stack.BetweenRequests},
		"timeout, waits":     {"runtime.selectgo < net/http.(*timeoutHandler).ServeHTTP < " + served, stack.BetweenRequests},
		"timeout, works":     {"time.Sleep < main.f < net/http.(*ServeMux).ServeHTTP < net/http.(*timeoutHandler).ServeHTTP.func1", stack.InHandler},
	} {
		t.Run(name, func(t *testing.T) {
			assert.Equal(t, c.want, stack.ServingOf(of(c.stack)))
		})
	}
}

func TestUnlocksAndReads(t *testing.T) {
	for s, want := range map[string][2]bool{
		"sync.(*Mutex).Unlock < main.f":                                  {true, false},
		"sync.(*Mutex).Unlock < sync.(*RWMutex).Unlock < main.f":         {true, false},
		"sync.(*RWMutex).Unlock < main.f":                                {true, false},
		"sync.(*RWMutex).RUnlock < main.f":                               {true, true},
		"sync.(*RWMutex).rUnlockSlow < sync.(*RWMutex).RUnlock < main.f": {true, true},
		"sync.(*RWMutex).RUnlock < sync.(*rlocker).Unlock < main.f":      {true, true},
		"runtime.semrelease1 < internal/sync.runtime_Semrelease < internal/sync.(*Mutex).unlockSlow < internal/sync.(*Mutex).Unlock < sync.(*Mutex).Unlock < main.f": {true, false},
		"sync.(*Mutex).Unlock < sync.(*Cond).Wait < main.f": {true, false},
		"sync.(*RWMutex).RLock < main.f":                    {false, true},
		"sync.(*Mutex).Lock < main.f":                       {false, false},
		"sync.(*Cond).Broadcast < main.f":                   {false, false},
		"main.(*Mutex).Unlock < main.f":                     {false, false},
		"":                                                  {false, false},
	} {
		t.Run(s, func(t *testing.T) {
			assert.Equal(t, want, [2]bool{stack.Unlocks(of(s)), stack.Reads(of(s))})
		})
	}
}

func TestFinalizing(t *testing.T) {
	for s, want := range map[string]bool{
		"":                      false,
		"runtime.runfinq":       true, // 1.24
		"runtime.runFinalizers": true,
		"runtime.runCleanups":   true,
		"time.Sleep < main.slow < main.main.func1 < runtime.runFinalizers < runtime.goexit":              true,
		"time.Sleep < main.slow < main.main.func1 < runtime.callCleanup[...] < runtime.runCleanups":      true,
		"time.Sleep < main.slow < main.main.func1 < runtime.AddCleanup[...].func1 < runtime.runCleanups": true,
		"net.(*netFD).Close < runtime.runFinalizers":                                                     true,
		"runtime.runFinalizers < main.pretends":                                                          false,
		"time.Sleep < main.slow < main.main":                                                             false,
		"runtime.goexit":                                                                                 false,
	} {
		assert.Equal(t, want, stack.Finalizing(of(s)), s)
	}
}

func TestDiagnostic(t *testing.T) {
	for s, want := range map[string]bool{
		"": false,
		"runtime/pprof.writeHeap < net/http/pprof.handler.ServeHTTP < net/http.(*conn).serve": true,
		"runtime/pprof.profileWriter": true,
		"runtime/trace.Start.func1":   true,
		"time.Sleep < main.f.func1 < runtime/pprof.Do < main.f < net/http.HandlerFunc.ServeHTTP":               false,
		"time.Sleep < main.f.func1 < runtime/trace.WithRegion < main.f":                                        false,
		"runtime.selectgo < net/http/pprof.sleep < runtime/pprof.Do < main.instrument":                         true,
		"runtime.gopark < runtime/trace.userTaskCreate < runtime/trace.NewTask < main.h":                       false,
		"runtime.gopark < runtime/pprof.mergeLabelSets < runtime/pprof.WithLabels < runtime/pprof.Do < main.h": false,
		"runtime.gopark < runtime/trace.(*Task).End < main.h":                                                  false,
		"runtime/trace.userLog < runtime/trace.Log < main.f < net/http.HandlerFunc.ServeHTTP":                  false,
		"runtime/trace.userRegion < runtime/trace.(*Region).End < main.f":                                      false,
	} {
		assert.Equal(t, want, stack.Diagnostic(of(s)), s)
	}
}

func TestCPUOf(t *testing.T) {
	type want struct {
		own                                                 string
		collecting, allocating, netCall, polling, inSyscall bool
		idling                                              bool
		poolUser                                            string
	}
	for name, c := range map[string]struct {
		stack string
		want  want
	}{
		"nothing":                 {"", want{}},
		"program":                 {"main.hash < main.f", want{own: "main.hash"}},
		"library for it":          {"crypto/sha256.block < crypto/sha256.(*digest).Write < main.f", want{own: "main.f"}},
		"allocation":              {"runtime.memclrNoHeapPointers < runtime.mallocgcLarge < runtime.mallocgc < runtime.makeslice < main.f", want{own: "main.f", allocating: true}},
		"growth":                  {"runtime.memmove < runtime.growslice < main.f", want{own: "main.f", allocating: true}},
		"assist":                  {"runtime.scanobject < runtime.gcDrainN < runtime.gcAssistAlloc1 < runtime.gcAssistAlloc.func2 < runtime.systemstack < runtime.gcAssistAlloc < runtime.mallocgc < runtime.newobject < main.f", want{own: "main.f", allocating: true, collecting: true}},
		"mark worker":             {"runtime.scanobject < runtime.gcDrain < runtime.gcDrainMarkWorkerDedicated < runtime.gcBgMarkWorker.func2 < runtime.systemstack < runtime.gcBgMarkWorker", want{collecting: true}},
		"mark worker, idle":       {"runtime.scanObject < runtime.gcDrain < runtime.gcDrainMarkWorkerIdle < runtime.gcBgMarkWorker.func2 < runtime.systemstack < runtime.gcBgMarkWorker", want{idling: true}},
		"sweep for a span":        {"runtime.(*sweepLocked).sweep < runtime.(*mcentral).cacheSpan < runtime.(*mcache).refill < runtime.mallocgc < main.f", want{own: "main.f", allocating: true, collecting: true}},
		"a fresh span":            {"runtime.(*mheap).alloc < runtime.(*mcentral).grow < runtime.(*mcentral).cacheSpan < runtime.(*mcache).refill < runtime.mallocgc < main.f", want{own: "main.f", allocating: true}},
		"write":                   {"internal/runtime/syscall/linux.Syscall6 < syscall.RawSyscall6 < syscall.write < syscall.Write < internal/poll.ignoringEINTRIO < internal/poll.(*FD).Write < net.(*netFD).Write < net.(*conn).Write < main.f", want{own: "main.f", netCall: true, inSyscall: true}},
		"in the kernel":           {"tcp_sendmsg [kernel] < do_syscall_64 [kernel] < internal/runtime/syscall/linux.Syscall6 < syscall.write < internal/poll.(*FD).Write < net.(*conn).Write < main.f", want{own: "main.f", netCall: true, inSyscall: true}},
		"kernel work, no syscall": {"clear_page [kernel] < runtime.memclrNoHeapPointers < runtime.mallocgc < main.f", want{own: "main.f", allocating: true, inSyscall: true}},
		"deadline passed":         {"internal/poll.(*FD).Accept < net.(*netFD).accept < net.(*TCPListener).accept < net.(*TCPListener).AcceptTCP < main.loop", want{own: "main.loop", netCall: true}},
		"sets a deadline":         {"runtime.poll_runtime_pollSetDeadline < internal/poll.setDeadlineImpl < internal/poll.(*FD).SetDeadline < net.(*TCPListener).SetDeadline < main.loop", want{own: "main.loop", netCall: true}},
		"tls":                     {"crypto/aes.encrypt < crypto/tls.(*Conn).Write < main.f", want{own: "main.f"}},
		"handshake":               {"crypto/rsa.sign < crypto/tls.(*Conn).clientHandshake < main.f", want{own: "main.f"}},
		"own epoll":               {"internal/runtime/syscall/linux.Syscall6 < syscall.RawSyscall6 < syscall.Syscall6 < syscall.EpollWait < main.loop", want{own: "main.loop", polling: true, inSyscall: true}},
		"own epoll, x/sys":        {"syscall.Syscall6 < golang.org/x/sys/unix.EpollWait < main.loop", want{own: "main.loop", polling: true, inSyscall: true}},
		"the runtime's poll":      {"internal/runtime/syscall/linux.EpollWait < runtime.netpoll < runtime.findRunnable < runtime.schedule", want{}},
		"below the program":       {"main.parse < net/http.(*conn).Read < net.(*conn).Read < main.f", want{own: "main.parse"}},

		"new":                 {"runtime.mallocgc < runtime.makeslice < main.newBuffer < sync.(*Pool).Get < main.render", want{own: "main.newBuffer", allocating: true, poolUser: "main.render"}},
		"new by a closure":    {"runtime.newobject < main.init.func1 < sync.(*Pool).Get < main.render", want{own: "main.init.func1", allocating: true, poolUser: "main.render"}},
		"new in the library":  {"runtime.newobject < fmt.init.func1 < sync.(*Pool).Get < fmt.newPrinter < fmt.Sprintf < main.f", want{own: "main.f", allocating: true, poolUser: "main.f"}},
		"get":                 {"sync.(*Pool).Get < main.render", want{own: "main.render"}},
		"get looks elsewhere": {"sync.(*poolChain).popTail < sync.(*Pool).getSlow < sync.(*Pool).Get < main.render", want{own: "main.render"}},
		"get from its queue":  {"sync.(*poolChain).popHead < sync.(*Pool).Get < main.render", want{own: "main.render"}},
		"get unpins":          {"sync.runtime_procUnpin < sync.(*Pool).Get < main.render", want{own: "main.render"}},
		"get is interrupted":  {"runtime.asyncPreempt < sync.(*Pool).Get < main.render", want{own: "main.render"}},
		"get in the kernel":   {"asm_sysvec_apic_timer_interrupt [kernel] < sync.(*Pool).Get < main.render", want{own: "main.render", inSyscall: true}},
	} {
		t.Run(name, func(t *testing.T) {
			got := app.CPUOf(of(c.stack))
			assert.Equal(t, c.want.poolUser != "", got.PoolNew)
			assert.Equal(t, c.want, want{got.Own.Function, got.Collecting, got.Allocating, got.NetCall, got.Polling, got.InSyscall, got.Idling, got.PoolUser.Function})
		})
	}
}

func TestPoolPin(t *testing.T) {
	for s, want := range map[string]string{
		"runtime.mallocgc < runtime.makeslice < sync.(*Pool).pinSlow < sync.(*Pool).pin < sync.(*Pool).Get < main.render": "main.render",
		"sync.(*Pool).pinSlow < sync.(*Pool).pin < sync.(*Pool).Put < main.release < main.render":                         "main.release",
		"sync.(*Pool).pin < sync.(*Pool).Get < main.render":                                                               "",
		"sync.(*Pool).pinSlow < sync.(*Pool).pin < sync.(*Pool).Get < fmt.newPrinter":                                     "",
	} {
		user, ok := app.PoolPin(of(s))
		assert.Equal(t, want, user.Function, s)
		assert.Equal(t, strings.Contains(s, "pinSlow"), ok, s)
	}
}

func TestRuntimeAlone(t *testing.T) {
	for text, want := range map[string]bool{
		"runtime.gcDrain < runtime.gcBgMarkWorker.func2 < runtime.systemstack < runtime.gcBgMarkWorker": true,
		"internal/runtime/gc/scan.scanSpanPackedAVX512 < runtime.gcBgMarkWorker":                        true,
		"exc_page_fault [kernel] < runtime.findRunnable < runtime.schedule < runtime.mcall":             true,
		"runtime.mallocgc < main.render < net/http.(*conn).serve":                                       false,
		"runtime.mallocgc < net/http.readRequest < net/http.(*conn).serve":                              false,
		"do_syscall_64 [kernel]": false,
		"":                       false,
	} {
		assert.Equal(t, want, stack.RuntimeAlone(of(text)), text)
	}
}

func TestAttends(t *testing.T) {
	for name, c := range map[string]struct {
		stack string
		want  bool
	}{
		"at its channel":           {"runtime.chanrecv1 < example.com/app/jobs.(*pool).work < runtime.goexit", true},
		"for a child's end":        {"syscall.Syscall6 < os.(*Process).Wait < os/exec.(*Cmd).Wait < main.main.func2", true},
		"for an answer":            {"runtime.chanrecv1 < main.ask < main.work", false},
		"in a library, for others": {"runtime.chanrecv1 < example.org/flight.(*Group).Do < main.get < main.work", false},
		"nothing of the program":   {"runtime.gopark < runtime.bgsweep", false},
	} {
		t.Run(name, func(t *testing.T) { assert.Equal(t, c.want, app.Attends(of(c.stack))) })
	}
}
