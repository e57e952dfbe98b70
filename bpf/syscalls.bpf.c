//go:build ignore

// SPDX-License-Identifier: GPL-2.0
//
// Counts and times the target's system calls: totals and a histogram for each,
// errors by errno, and calls and time by user stack for those in stack_calls.
// A call counts when it began and ended inside the window.
#include "chokepoint.bpf.h"

#define SYSCALLS 512 // numbers from here on are counted as unknown

// The call numbers that this program looks into, for the target's architecture.
const volatile __u32 nr_futex = -1;
const volatile __u32 nr_epoll_wait = -1;
const volatile __u32 nr_epoll_pwait = -1;
const volatile __u32 nr_epoll_pwait2 = -1;

// One bit for each syscall number whose user stacks are kept.
const volatile __u64 stack_calls[SYSCALLS / 64] = {};

// Of these, the calls that servers make all the time. When they are quick and
// do not fail, not every stack is walked; see recent_stack_id.
const volatile __u64 frequent_calls[SYSCALLS / 64] = {};

// A call that takes longer is not quick: its stack is always walked, so that
// time is given to the right one.
#define QUICK_NS 20000

// What tells calls of one number apart.
enum op {
	OP_NONE = 0,
	OP_FUTEX_WAIT,
	OP_FUTEX_WAKE,
	OP_FUTEX_OTHER,
	OP_EPOLL_ZERO,	   // asked not to block
	OP_EPOLL_FINITE,   // asked to block for some time
	OP_EPOLL_INFINITE, // asked to block until something happens
};
exported_enum(op);

struct inflight_call {
	__u64 start;
	__u32 nr;
	__u32 op;
};

struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct inflight_call);
} inflight SEC(".maps");

struct call_totals {
	__u64 calls;
	__u64 ns;
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

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(max_entries, 16384);
	__type(key, struct call_key);
	__type(value, struct call_value);
} calls SEC(".maps");

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
	struct inflight_call *call;
	struct pt_regs *regs;
	__u32 nr;

	if (current_tgid() != target_tgid)
		return 0;
	if (!recording())
		return 0;
	call = bpf_task_storage_get(&inflight, bpf_get_current_task_btf(), 0,
				    BPF_LOCAL_STORAGE_GET_F_CREATE);
	if (!call) {
		count(COUNTER_MAP_FULL);
		return 0;
	}
	regs = (struct pt_regs *)ctx[0];
	nr = ctx[1];
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

static __always_inline void add_stack(__u64 *ctx, struct task_struct *task, __u32 nr, __u32 op,
				      long result, __u64 ns)
{
	struct call_key key = {.nr = nr, .op = op};
	struct call_value first = {}, *v;

	key.caller = return_word(task);
	if (is_epoll(nr) || (in(frequent_calls, nr) && ns < QUICK_NS && (result >= 0 || result == -11 /* EAGAIN */)))
		key.stack = recent_stack_id(ctx, key.caller, nr, op);
	else
		key.stack = stack_id(ctx, BPF_F_USER_STACK);
	v = bpf_map_lookup_elem(&calls, &key);
	if (v) {
		v->calls++;
		v->ns += ns;
		if (result > 0)
			v->returned += result;
		return;
	}
	first.calls = 1;
	first.ns = ns;
	first.returned = result > 0 ? result : 0;
	if (bpf_map_update_elem(&calls, &key, &first, BPF_NOEXIST))
		count(COUNTER_MAP_FULL);
}

SEC("tp_btf/sys_exit")
int chokepoint_sys_exit(__u64 *ctx)
{
	struct inflight_call *call;
	struct task_struct *task;
	struct call_totals *t;
	__u32 nr, op;
	long result;
	__u64 ns;

	if (current_tgid() != target_tgid)
		return 0;
	if (!recording())
		return 0;
	task = bpf_get_current_task_btf();
	call = bpf_task_storage_get(&inflight, task, 0, 0);
	if (!call || !call->start)
		return 0;
	ns = bpf_ktime_get_ns() - call->start;
	call->start = 0;
	nr = call->nr;
	op = call->op;
	result = ctx[1];

	t = bpf_map_lookup_elem(&totals, &nr);
	if (!t) {
		count(COUNTER_UNKNOWN);
		return 0;
	}
	count(COUNTER_EVENTS);
	t->calls++;
	t->ns += ns;
	t->log2_ns[log2_slot(ns)]++;

	if (result < 0 && result >= -4095)
		add_failure(nr, -result);
	if (is_epoll(nr))
		add_epoll(op, result, ns);
	if (in(stack_calls, nr))
		add_stack(ctx, task, nr, op, result, ns);
	return 0;
}
