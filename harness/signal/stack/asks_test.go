package stack_test

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"chokepoint/harness/signal/stack"
)

func TestAskingOf(t *testing.T) {
	for text, want := range map[string]stack.Asking{
		"runtime.selectgo < main.(*hub).run": stack.Asks,
		"runtime.lock2 < runtime.lockWithRank < runtime.sellock < runtime.selectgo < main.(*hub).run": stack.Asks,
		"runtime.selectnbrecv < main.(*hub).run":                                                      stack.Asks,
		"runtime.chanrecv < runtime.selectnbrecv < example.com/queue.(*Q).Try < main.run":             stack.Asks,
		"runtime.mcall < runtime.Gosched < main.await":                                                stack.Asks,
		"time.Since < main.await":                                                                     stack.AsksTime,
		"internal/sync.(*Mutex).Lock < sync.(*Mutex).Lock < main.(*queue).empty":                      stack.Asks,
		"sync/atomic.(*Bool).Load < main.await":                                                       stack.Asks,
		"context.(*cancelCtx).Err < main.await":                                                       stack.Asks,
		"time.Time.Before < main.await":                                                               stack.AsksTime,
		"main.await":                                                                                  stack.Itself,
		"runtime.asyncPreempt < main.await":                                                           stack.Itself,
		"asm_sysvec_apic_timer_interrupt [kernel] < main.await":                                       stack.Itself,
		"runtime.gopark < runtime.selectgo < main.(*hub).run":                                         stack.Otherwise,
		"runtime.ready < runtime.goready.func1 < runtime.goready < runtime.send < runtime.chansend < runtime.selectnbsend < main.(*hub).tell": stack.Otherwise,
		"runtime.procyield < internal/sync.(*Mutex).lockSlow < internal/sync.(*Mutex).Lock < sync.(*Mutex).Lock < main.(*stats).add":          stack.Otherwise,
		"runtime.chanrecv < runtime.chanrecv1 < main.work":                                         stack.Otherwise,
		"runtime.mallocgc < runtime.newobject < main.work":                                         stack.Otherwise,
		"encoding/json.Unmarshal < main.work":                                                      stack.Otherwise,
		"context.WithTimeout < main.work":                                                          stack.Otherwise,
		"syscall.Syscall < syscall.read < internal/poll.(*FD).Read < net.(*conn).Read < main.work": stack.Otherwise,
		"runtime.goschedImpl < runtime.gosched_m < runtime.mcall":                                  stack.Otherwise,
		"": stack.Otherwise,
	} {
		assert.Equal(t, want, app.AskingOf(of(text)), text)
	}
}
