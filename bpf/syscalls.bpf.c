//go:build ignore

// SPDX-License-Identifier: GPL-2.0
//
// Counts and times the target's system calls: totals and a histogram for each,
// errors by errno, calls and time by user stack for those in stack_calls, and
// those of slow_calls that take longer than slow_ns one by one.
// A call counts when it began and ended inside the window.
#include "chokepoint.bpf.h"

#define SYSCALLS 512 // numbers from here on are counted as unknown

// From here on a call of slow_calls is slow, in nanoseconds; 0: none is. It is set before
// loading, and stands beside the window because every call is compared with it.
volatile __u64 slow_ns = 0;

// One bit for each syscall number whose slow calls are kept one by one.
const volatile __u64 slow_calls[SYSCALLS / 64] = {};

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
	OPS, // that many are told at the entry, and counted together whatever the number
	OP_READ_END = OPS, // told at the exit, and counted by number: see ends
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

// Quick calls wait for the next of their kind whose stack is walked, and are then
// given to that stack: so sums stay exact, and the shares of stacks are a sample. The
// first of a kind is walked. A kind is a number, or an op. Those that wait are what was counted less what was
// given, so that a quick call touches no more than its kind's first cache line and the
// slot of its histogram. What waits at the window's end goes to the last stack.
struct given {
	struct call_value sum;
	struct call_key last;
};

// What user space asks to be kept of the calls of one number, in bits.
enum asked {
	ASKED_STACKS = 1,
	ASKED_ENDS = 2, // with stacks alone: a result of 0 is the end of what is read
};
exported_enum(asked);

// All calls of one number.
struct call_totals {
	__u64 calls;
	__u64 ns;
	__u64 again; // failed with EAGAIN, which is how a socket says "not yet"
	struct sampler sampler;
	__u32 asked;
	__u32 pad;
	struct given given;
	__u64 log2_ns[LOG2_SLOTS];
	__u64 fill[8]; // up to whole cache lines
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, SYSCALLS);
	__type(key, __u32);
	__type(value, struct call_totals);
} totals SEC(".maps");

// Those of calls that have an op, by that.
struct op_totals {
	struct call_value sum;
	__u64 empty; // returned 0
	struct sampler sampler;
	struct given given;
	__u64 fill[4]; // up to whole cache lines
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, OPS);
	__type(key, __u32);
	__type(value, struct op_totals);
} ops SEC(".maps");

// Calls that read and returned 0, by number: a file or a connection was at its end. They are a
// kind of their own, so that the line which finds an end again and again is not given the
// calls of those that read something.
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, SYSCALLS);
	__type(key, __u32);
	__type(value, struct op_totals);
} ends SEC(".maps");

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

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(max_entries, 16384);
	__type(key, struct call_key);
	__type(value, struct call_value);
} calls SEC(".maps");

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
	return nr == __NR_epoll_wait || nr == __NR_epoll_pwait || nr == __NR_epoll_pwait2;
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

	if (nr != __NR_epoll_pwait2) {
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
	if (nr == __NR_exit || nr == __NR_exit_group)
		return 0;
	call->tid = id;
	call->nr = nr;
	call->op = OP_NONE;
	if (nr == __NR_futex)
		call->op = futex_op(regs);
	else if (is_epoll(nr))
		call->op = epoll_op(regs, nr);
	call->start = bpf_ktime_get_ns();
	return 0;
}

static __noinline int add_failure(__u32 nr, __u32 code)
{
	struct error_key key = {.nr = nr, .code = code};
	__u64 one = 1, *n = bpf_map_lookup_elem(&failures, &key);

	if (n) {
		(*n)++;
		return 0;
	}
	if (!bpf_map_update_elem(&failures, &key, &one, BPF_NOEXIST))
		return 0;
	n = bpf_map_lookup_elem(&failures, &key); // another CPU may have been first
	if (n)
		(*n)++;
	else
		count(COUNTER_MAP_FULL);
	return 0;
}

static __noinline int add_calls(struct call_key *key, struct call_value *sum)
{
	struct call_value *v;

	if (!key || !sum)
		return 0;
	v = bpf_map_lookup_elem(&calls, key);
	if (!v) {
		if (!bpf_map_update_elem(&calls, key, sum, BPF_NOEXIST))
			return 0;
		v = bpf_map_lookup_elem(&calls, key); // another CPU may have been first
	}
	if (v) {
		v->calls += sum->calls;
		v->ns += sum->ns;
		v->returned += sum->returned;
	} else {
		count_many(COUNTER_MAP_FULL, sum->calls);
	}
	return 0;
}

// give gives sum, some or all of what waits, to the stack of key.
static __noinline int give(struct given *g, struct call_key *key, struct call_value *sum)
{
	if (!g || !key || !sum || !sum->calls)
		return 0;
	g->sum.calls += sum->calls;
	g->sum.ns += sum->ns;
	g->sum.returned += sum->returned;
	return add_calls(key, sum);
}

// here is the key of the current thread's stack.
static __always_inline struct call_key here(__u32 nr, __u32 op)
{
	struct call_key key = {.nr = nr, .op = op};

	key.caller = return_word(bpf_get_current_task_btf());
	key.stack = user_stack_id();
	return key;
}

// give_waiting gives what waits to the stack of the current thread. It is not inlined,
// nor are the next ones: most calls do without.
static __noinline int give_waiting(struct call_totals *t, __u32 nr)
{
	struct call_key key;
	struct call_value sum = {};

	if (!t)
		return 0;
	key = here(nr, OP_NONE);
	sum.calls = t->calls - t->given.sum.calls;
	sum.ns = t->ns - t->given.sum.ns;
	t->given.last = key;
	return give(&t->given, &key, &sum);
}

static __noinline int give_one(struct given *g, __u32 nr, __u32 op, __u64 ns, __u64 returned)
{
	struct call_value one = {.calls = 1, .ns = ns, .returned = returned};
	struct call_key key;

	if (!g)
		return 0;
	key = here(nr, op);
	return give(g, &key, &one);
}

static __noinline int give_op(struct op_totals *o, __u32 nr, __u32 op)
{
	struct call_key key;
	struct call_value sum = {};

	if (!o)
		return 0;
	key = here(nr, op);
	sum.calls = o->sum.calls - o->given.sum.calls;
	sum.ns = o->sum.ns - o->given.sum.ns;
	sum.returned = o->sum.returned - o->given.sum.returned;
	o->given.last = key;
	return give(&o->given, &key, &sum);
}

// epoll_elsewhere gives one call to a place that is not that of the ones before. Those
// that still wait are theirs.
static __noinline int epoll_elsewhere(struct op_totals *o, struct call_key *key, struct call_value *one, __u64 now)
{
	struct call_value sum = {};
	struct call_key last;

	if (!o || !key || !one)
		return 0;
	sum.calls = o->sum.calls - o->given.sum.calls - 1;
	sum.ns = o->sum.ns - o->given.sum.ns - one->ns;
	sum.returned = o->sum.returned - o->given.sum.returned - one->returned;
	last = o->given.last;
	give(&o->given, &last, &sum);
	key->stack = recent_stack_id(key->caller, key->nr, key->op, now);
	o->given.last = *key;
	return give(&o->given, key, one);
}

// add_op counts a call that has an op.
static __always_inline void add_op(__u32 nr, __u32 op, long result, __u64 ns, __u64 now)
{
	struct call_value one = {.calls = 1, .ns = ns, .returned = result > 0 ? result : 0};
	struct call_key key = {.nr = nr, .op = op};
	struct op_totals *o = bpf_map_lookup_elem(&ops, &op);

	if (!o)
		return;
	o->sum.calls++;
	o->sum.ns += ns;
	o->sum.returned += one.returned;
	if (is_epoll(nr)) {
		if (result == 0)
			o->empty++;
		// The program's own polling must not be mixed with the runtime's: which
		// of the two it is decides what is made of it.
		key.caller = return_word(bpf_get_current_task_btf());
		if (!key.caller || key.caller != o->given.last.caller || nr != o->given.last.nr) {
			epoll_elsewhere(o, &key, &one, now);
			return;
		}
	} else if (ns >= QUICK_NS && op != OP_FUTEX_WAIT) {
		give_one(&o->given, nr, op, ns, one.returned);
		return;
	}
	// Threads that wait on a futex or for the network are idle, and however long they
	// are, their stacks are all the runtime's.
	if (walk_due(&o->sampler, now))
		give_op(o, nr, op);
}

// add_end counts a call that found an end. Its stack is that of its own kind, so it is taken
// off what waits for one among the other calls of its number. It is not inlined: nearly all
// calls that read get something.
static __noinline int add_end(struct call_totals *t, __u32 nr, __u64 ns, __u64 now)
{
	struct op_totals *o = bpf_map_lookup_elem(&ends, &nr);

	if (!t || !o)
		return 0;
	t->given.sum.calls++;
	t->given.sum.ns += ns;
	o->sum.calls++;
	o->sum.ns += ns;
	if (ns >= QUICK_NS)
		return give_one(&o->given, nr, OP_READ_END, ns, 0);
	if (walk_due(&o->sampler, now))
		return give_op(o, nr, OP_READ_END);
	return 0;
}

// Not inlined: it is for the few calls that are slow.
static __noinline int add_slow(__u64 start, __u32 nr, long result, __u64 ns)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct slow_call *s;

	s = bpf_ringbuf_reserve(&slow, sizeof(*s), 0);
	if (!s) {
		count(COUNTER_RING_FULL);
		return 0;
	}
	count(COUNTER_RING_SENT);
	s->start = start;
	s->ns = ns;
	s->nr = nr;
	s->tid = bpf_get_current_pid_tgid();
	s->result = result;
	s->goid = goroutine_id(task);
	s->caller = return_word(task);
	s->stack = user_stack_id();
	s->pad = 0;
	bpf_ringbuf_submit(s, BPF_RB_NO_WAKEUP);
	return 0;
}

SEC("tp_btf/sys_exit")
int chokepoint_sys_exit(__u64 *ctx)
{
	__u64 id = bpf_get_current_pid_tgid(), now, start, ns;
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
	start = call->start;
	ns = now - start;
	nr = call->nr;
	op = call->op;
	result = ctx[1];

	call->start = 0;
	t = bpf_map_lookup_elem(&totals, &nr);
	if (!t) {
		count(COUNTER_UNKNOWN);
		return 0;
	}
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
		add_slow(start, nr, result, ns);
	if (op)
		add_op(nr, op, result, ns, now);
	else if (t->asked) {
		if (!result && t->asked & ASKED_ENDS)
			add_end(t, nr, ns, now);
		else if (ns >= QUICK_NS)
			give_one(&t->given, nr, OP_NONE, ns, 0);
		else if (walk_due(&t->sampler, now))
			give_waiting(t, nr);
	}
	return 0;
}
