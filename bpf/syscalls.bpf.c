//go:build ignore

// SPDX-License-Identifier: GPL-2.0
//
// Counts and times the target's system calls: totals and a histogram for each,
// errors by errno, calls and time by user stack for those in stack_calls, and
// those of slow_calls that take longer than slow_ns one by one.
// A call counts when it began and ended inside the window.
#include "chokepoint.bpf.h"

#define SYSCALLS 512 // numbers from here on are counted as unknown

// The call numbers that this program looks into, for the target's architecture.
const volatile __u32 nr_futex = -1;
const volatile __u32 nr_epoll_wait = -1;
const volatile __u32 nr_epoll_pwait = -1;
const volatile __u32 nr_epoll_pwait2 = -1;
const volatile __u32 nr_exit = -1; // these two never return
const volatile __u32 nr_exit_group = -1;

// One bit for each syscall number whose user stacks are kept, and for each whose
// slow calls are kept one by one.
const volatile __u64 stack_calls[SYSCALLS / 64] = {};
const volatile __u64 slow_calls[SYSCALLS / 64] = {};

// From here on a call of slow_calls is slow, in nanoseconds; 0: none is.
const volatile __u64 slow_ns = 0;

// A call that takes longer is not quick: its stack is always walked, so that
// time is given to the right one. Walking it then adds at most a thirtieth.
#define QUICK_NS 50000

// What tells calls of one number apart.
enum op {
	OP_NONE = 0,
	OP_FUTEX_WAIT,
	OP_FUTEX_WAKE,
	OP_FUTEX_OTHER,
	OP_EPOLL_ZERO,	   // asked not to block
	OP_EPOLL_FINITE,   // asked to block for some time
	OP_EPOLL_INFINITE, // asked to block until something happens
	OPS,
};
exported_enum(op);

// A call under way, by the low bits of its thread's id: an array is found without
// a call or a lock. Two threads of the target whose low bits are the same lose
// calls to each other, which is counted. An entry fills a cache line, so that
// threads with neighbouring ids do not share one.
#define THREADS 65536

struct inflight_call {
	__u64 start;
	__u32 tid;
	__u32 nr;
	__u32 op;
	__u32 pad[11];
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, THREADS);
	__type(key, __u32);
	__type(value, struct inflight_call);
} inflight SEC(".maps");

struct call_key {
	__u64 caller; // return_word
	__s32 stack;
	__u16 nr;
	__u16 op;
};

struct call_value {
	__u64 calls;
	__u64 ns;
	__u64 returned; // sum of positive results
};

// Quick calls that wait for the next of their kind whose stack is walked, and are
// then given to that stack: so sums stay exact, and the shares of stacks are a
// sample. A kind is a number, or an op. What waits at the window's end goes to
// the last stack.
struct pending {
	struct sampler sampler;
	struct call_key last;
	struct call_value sum;
};

// What a quick call touches stands together.
struct call_totals {
	__u64 calls;
	__u64 ns;
	__u64 again; // failed with EAGAIN, which is how a socket says "not yet"
	struct pending pending;
	__u64 log2_ns[LOG2_SLOTS];
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, SYSCALLS);
	__type(key, __u32);
	__type(value, struct call_totals);
} totals SEC(".maps");

struct error_key {
	__u32 nr;
	__u32 code;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(max_entries, 1024);
	__type(key, struct error_key);
	__type(value, __u64);
} failures SEC(".maps");

struct epoll_totals {
	__u64 waits;
	__u64 zero_timeout;
	__u64 events;
	__u64 empty;
	__u64 ns;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct epoll_totals);
} epoll SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(max_entries, 16384);
	__type(key, struct call_key);
	__type(value, struct call_value);
} calls SEC(".maps");

// Those of calls that have an op, by that.
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, OPS);
	__type(key, __u32);
	__type(value, struct pending);
} waiting SEC(".maps");

struct slow_call {
	__u64 start; // CLOCK_MONOTONIC, ns
	__u64 ns;
	__u64 goid;
	__u64 caller;
	__s64 result;
	__u32 tid;
	__u32 nr;
	__s32 stack;
	__u32 pad;
};

// Enough for the slow calls between two looks of user space; those that find no
// room are counted.
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
	__type(value, struct slow_call);
} slow SEC(".maps");

static __always_inline int in(const volatile __u64 *calls, __u32 nr)
{
	return nr < SYSCALLS && (calls[nr / 64] >> (nr % 64) & 1);
}

static __always_inline int is_epoll(__u32 nr)
{
	return nr == nr_epoll_wait || nr == nr_epoll_pwait || nr == nr_epoll_pwait2;
}

static __always_inline __u32 futex_op(struct pt_regs *regs)
{
	// The commands of futex(2), without its PRIVATE and CLOCK flags.
	switch (regs->si & 127) {
	case 0: // FUTEX_WAIT
	case 9: // FUTEX_WAIT_BITSET
		return OP_FUTEX_WAIT;
	case 1:	 // FUTEX_WAKE
	case 10: // FUTEX_WAKE_BITSET
		return OP_FUTEX_WAKE;
	}
	return OP_FUTEX_OTHER;
}

static __always_inline __u32 epoll_op(struct pt_regs *regs, __u32 nr)
{
	__u64 timespec[2] = {};

	if (nr != nr_epoll_pwait2) {
		int milliseconds = regs->r10;

		if (milliseconds == 0)
			return OP_EPOLL_ZERO;
		return milliseconds < 0 ? OP_EPOLL_INFINITE : OP_EPOLL_FINITE;
	}
	if (!regs->r10)
		return OP_EPOLL_INFINITE;
	if (bpf_probe_read_user(timespec, sizeof(timespec), (void *)regs->r10)) {
		count(COUNTER_UNREAD_ARGUMENT);
		return OP_EPOLL_FINITE;
	}
	return timespec[0] || timespec[1] ? OP_EPOLL_FINITE : OP_EPOLL_ZERO;
}

SEC("tp_btf/sys_enter")
int chokepoint_sys_enter(__u64 *ctx)
{
	__u64 id = bpf_get_current_pid_tgid();
	struct inflight_call *call;
	struct pt_regs *regs;
	__u32 nr, slot;

	if (id >> 32 != target_tgid)
		return 0;
	if (!recording())
		return 0;
	slot = (__u32)id % THREADS;
	call = bpf_map_lookup_elem(&inflight, &slot);
	if (!call)
		return 0;
	if (call->start && call->tid != (__u32)id)
		count(COUNTER_MISSED); // of the other thread
	call->start = 0;
	regs = (struct pt_regs *)ctx[0];
	nr = ctx[1];
	if (nr == nr_exit || nr == nr_exit_group)
		return 0;
	call->tid = id;
	call->nr = nr;
	call->op = OP_NONE;
	if (nr == nr_futex)
		call->op = futex_op(regs);
	else if (is_epoll(nr))
		call->op = epoll_op(regs, nr);
	call->start = bpf_ktime_get_ns();
	return 0;
}

static __always_inline void add_failure(__u32 nr, __u32 code)
{
	struct error_key key = {.nr = nr, .code = code};
	__u64 one = 1, *n = bpf_map_lookup_elem(&failures, &key);

	if (n)
		(*n)++;
	else if (bpf_map_update_elem(&failures, &key, &one, BPF_NOEXIST))
		count(COUNTER_MAP_FULL);
}

static __always_inline void add_epoll(__u32 op, long result, __u64 ns)
{
	__u32 zero = 0;
	struct epoll_totals *e = bpf_map_lookup_elem(&epoll, &zero);

	if (!e)
		return;
	e->waits++;
	e->ns += ns;
	if (op == OP_EPOLL_ZERO)
		e->zero_timeout++;
	if (result > 0)
		e->events += result;
	else if (result == 0)
		e->empty++;
}

static __always_inline void add_calls(struct call_key *key, struct call_value *sum)
{
	struct call_value *v = bpf_map_lookup_elem(&calls, key);

	if (v) {
		v->calls += sum->calls;
		v->ns += sum->ns;
		v->returned += sum->returned;
		return;
	}
	if (bpf_map_update_elem(&calls, key, sum, BPF_NOEXIST))
		count_many(COUNTER_MAP_FULL, sum->calls);
}

static __always_inline void add_stack(__u64 *ctx, struct call_totals *t, __u32 nr, __u32 op, long result, __u64 ns, __u64 now)
{
	struct call_value one = {.calls = 1, .ns = ns, .returned = result > 0 ? result : 0};
	struct call_key key = {.nr = nr, .op = op};
	struct pending *p = &t->pending;

	if (is_epoll(nr)) {
		// The program's own polling must not be mixed with the runtime's: which
		// of the two it is decides what is made of it.
		key.caller = return_word(bpf_get_current_task_btf());
		key.stack = recent_stack_id(ctx, key.caller, nr, op, now);
		add_calls(&key, &one);
		return;
	}
	// Threads that wait on a futex are idle, and however long they are, their
	// stacks are all the runtime's.
	if (ns < QUICK_NS || op == OP_FUTEX_WAIT) {
		if (op)
			p = bpf_map_lookup_elem(&waiting, &op);
		if (!p)
			return;
		p->sum.calls += one.calls;
		p->sum.ns += one.ns;
		p->sum.returned += one.returned;
		if (!walk_due(&p->sampler, now))
			return;
		one = p->sum;
		__builtin_memset(&p->sum, 0, sizeof(p->sum));
		key.caller = return_word(bpf_get_current_task_btf());
		key.stack = stack_id(ctx, BPF_F_USER_STACK);
		p->last = key;
	} else {
		key.caller = return_word(bpf_get_current_task_btf());
		key.stack = stack_id(ctx, BPF_F_USER_STACK);
	}
	add_calls(&key, &one);
}

// Not inlined: it is for the few calls that are slow.
static __noinline int add_slow(__u64 *ctx, struct inflight_call *call, long result, __u64 ns)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct slow_call *s;

	if (!call)
		return 0;
	s = bpf_ringbuf_reserve(&slow, sizeof(*s), 0);
	if (!s) {
		count(COUNTER_RING_FULL);
		return 0;
	}
	count(COUNTER_RING_SENT);
	s->start = call->start;
	s->ns = ns;
	s->nr = call->nr;
	s->tid = call->tid;
	s->result = result;
	s->goid = goroutine_id(task);
	s->caller = return_word(task);
	s->stack = stack_id(ctx, BPF_F_USER_STACK);
	s->pad = 0;
	bpf_ringbuf_submit(s, BPF_RB_NO_WAKEUP);
	return 0;
}

SEC("tp_btf/sys_exit")
int chokepoint_sys_exit(__u64 *ctx)
{
	__u64 id = bpf_get_current_pid_tgid(), now, ns;
	struct inflight_call *call;
	struct call_totals *t;
	__u32 nr, op, slot;
	long result;

	if (id >> 32 != target_tgid)
		return 0;
	if (!recording())
		return 0;
	slot = (__u32)id % THREADS;
	call = bpf_map_lookup_elem(&inflight, &slot);
	if (!call || !call->start)
		return 0; // it began before the window
	if (call->tid != (__u32)id)
		return 0; // counted when the entry was taken
	now = bpf_ktime_get_ns();
	ns = now - call->start;
	nr = call->nr;
	op = call->op;
	result = ctx[1];

	t = bpf_map_lookup_elem(&totals, &nr);
	if (!t) {
		call->start = 0;
		count(COUNTER_UNKNOWN);
		return 0;
	}
	count(COUNTER_EVENTS);
	t->calls++;
	t->ns += ns;
	t->log2_ns[log2_slot(ns)]++;

	if (result < 0 && result >= -4095) {
		if (result == -11 /* EAGAIN */)
			t->again++;
		else
			add_failure(nr, -result);
	}
	if (slow_ns && ns >= slow_ns && in(slow_calls, nr))
		add_slow(ctx, call, result, ns);
	call->start = 0;
	if (is_epoll(nr))
		add_epoll(op, result, ns);
	if (in(stack_calls, nr))
		add_stack(ctx, t, nr, op, result, ns, now);
	return 0;
}
