//go:build ignore

// SPDX-License-Identifier: GPL-2.0
//
// Probes that a user declares: functions of the target and tracepoints of the
// kernel, counted, filtered by a number they are called with, and functions timed
// from their first instruction behind the stack check to the return.
//
// A call is known by its goroutine and by how far its frame is from the upper end
// of the goroutine's stack. That tells calls of a recursion apart, follows a
// goroutine over threads, and holds when the stack is copied to a larger one.
#include "uprobe.bpf.h"

#define PROBES 16
#define NUMBER_SLOTS 64

enum custom_flag {
	FLAG_TIMED = 1,
	FLAG_STACKS = 2,
	FLAG_NUMBER = 4,     // a number is read
	FLAG_HISTOGRAM = 8,  // and kept
	FLAG_G_IN_R14 = 16,  // else g is found by the thread
	FLAG_EVERYWHERE = 32, // events of other processes count too
};
exported_enum(custom_flag);

enum comparison {
	COMPARE_NONE = 0,
	COMPARE_EQUAL,
	COMPARE_NOT_EQUAL,
	COMPARE_LESS,
	COMPARE_LESS_EQUAL,
	COMPARE_GREATER,
	COMPARE_GREATER_EQUAL,
};
exported_enum(comparison);

struct custom_config {
	__u64 slower_ns; // calls that take no longer are not kept
	__s64 limit;	 // what the number is compared with
	__u32 flags;
	__u16 place; // of the number: a register, or bytes from the start of the event
	__u8 bytes;
	__u8 is_signed;
	__u8 comparison;
	__u8 unused[7];
};

// Set before loading; the cookie of each attached place is an index.
const volatile struct custom_config configs[PROBES] = {};

struct custom_totals {
	__u64 calls;	   // that the number let pass
	__u64 left_out;	   // by the number
	__u64 unread;	   // whose number could not be read
	__u64 ended;	   // timed calls that began and ended inside the window
	__u64 quick;	   // of these, not kept as they were no slower than slower_ns
	__u64 unwound;	   // timed calls that a panic ended, seen when another took their place
	__u64 untimed;	   // for which there was no room
	__u64 folded;	   // that lost their goroutine as there are too many
	__u64 ns;
	__u64 log2_ns[LOG2_SLOTS]; // of all that ended
	__u64 negative;
	__s64 sum;
	__u64 log2_number[NUMBER_SLOTS];
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, PROBES);
	__type(key, __u32);
	__type(value, struct custom_totals);
} totals SEC(".maps");

struct custom_key {
	__u64 goid;
	__u64 caller; // return address, where the stack does not have it
	__s32 stack;
	__u32 probe;
};

struct custom_value {
	__u64 calls;
	__u64 ns;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(max_entries, 65536);
	__type(key, struct custom_key);
	__type(value, struct custom_value);
} calls SEC(".maps");

struct call_id {
	__u64 g;
	__u64 depth; // bytes between the return address and the upper end of the stack
	__u64 probe;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__type(key, struct call_id);
	__type(value, __u64);
} inflight SEC(".maps");

static __always_inline struct custom_totals *totals_at(__u32 id)
{
	return bpf_map_lookup_elem(&totals, &id);
}

static __always_inline __u32 slot64(__u64 n)
{
	__u32 slot = 0;

	if (n >> 32) { n >>= 32; slot += 32; }
	if (n >> 16) { n >>= 16; slot += 16; }
	if (n >> 8) { n >>= 8; slot += 8; }
	if (n >> 4) { n >>= 4; slot += 4; }
	if (n >> 2) { n >>= 2; slot += 2; }
	if (n >> 1) { slot += 1; }
	return slot & (NUMBER_SLOTS - 1);
}

// The integer registers of Go's calling convention, in its order.
static __always_inline __u64 argument(void *ctx, __u32 n)
{
	switch (n) {
	case 0: return user_register(ctx, ax);
	case 1: return user_register(ctx, bx);
	case 2: return user_register(ctx, cx);
	case 3: return user_register(ctx, di);
	case 4: return user_register(ctx, si);
	case 5: return user_register(ctx, r8);
	case 6: return user_register(ctx, r9);
	case 7: return user_register(ctx, r10);
	}
	return user_register(ctx, r11);
}

// widen makes a number of 64 bits out of the low bytes of one; what is above
// them in a register is left over from before.
static __always_inline __s64 widen(__u64 raw, __u32 bytes, __u32 is_signed)
{
	switch (bytes) {
	case 1: return is_signed ? (__s64)(__s8)raw : (__s64)(__u8)raw;
	case 2: return is_signed ? (__s64)(__s16)raw : (__s64)(__u16)raw;
	case 4: return is_signed ? (__s64)(__s32)raw : (__s64)(__u32)raw;
	}
	return raw;
}

static __always_inline int passes(__s64 number, __u32 comparison, __s64 limit, __u32 is_signed)
{
	int less = is_signed ? number < limit : (__u64)number < (__u64)limit;

	switch (comparison) {
	case COMPARE_EQUAL: return number == limit;
	case COMPARE_NOT_EQUAL: return number != limit;
	case COMPARE_LESS: return less;
	case COMPARE_LESS_EQUAL: return less || number == limit;
	case COMPARE_GREATER: return !less && number != limit;
	case COMPARE_GREATER_EQUAL: return !less;
	}
	return 1;
}

// keeps reports whether a call with this number is wanted, and counts it.
static __always_inline int keeps(const volatile struct custom_config *c, struct custom_totals *sum, __u64 raw)
{
	__s64 number;

	if (c->flags & FLAG_NUMBER) {
		number = widen(raw, c->bytes, c->is_signed);
		if (!passes(number, c->comparison, c->limit, c->is_signed)) {
			add(&sum->left_out, 1);
			return 0;
		}
		if (c->flags & FLAG_HISTOGRAM) {
			add((__u64 *)&sum->sum, number);
			if (c->is_signed && number < 0)
				add(&sum->negative, 1);
			else
				add(&sum->log2_number[slot64(number)], 1);
		}
	}
	add(&sum->calls, 1);
	count_exactly(COUNTER_EVENTS);
	return 1;
}

static __always_inline void keep(struct custom_totals *sum, struct custom_key *key, __u64 ns)
{
	struct custom_value empty = {}, *v;

	v = entry(&calls, key, &empty);
	if (!v) {
		add(&sum->folded, 1);
		key->goid = 0;
		v = entry(&calls, key, &empty);
	}
	if (!v) {
		count_exactly(COUNTER_MAP_FULL);
		return;
	}
	add(&v->calls, 1);
	add(&v->ns, ns);
}

static __always_inline __u64 current_g(void *ctx, __u32 flags)
{
	if (flags & FLAG_G_IN_R14)
		return user_register(ctx, r14);
	if (g_goid < 0)
		return 0;
	return read_word(((struct task_struct *)bpf_get_current_task_btf())->thread.fsbase, tls_g);
}

static __always_inline struct call_id call_of(void *ctx, __u64 g, __u32 id)
{
	struct call_id call = {.g = g, .probe = id};

	call.depth = read_word(g, G_STACK_HI) - user_register(ctx, sp);
	return call;
}

SEC("uprobe.multi")
int chokepoint_custom_enter(void *ctx)
{
	const volatile struct custom_config *c;
	struct custom_totals *sum;
	__u64 g, now, *since;
	__u32 id, flags;

	if (current_tgid() != target_tgid)
		return 0;
	if (!recording())
		return 0;
	id = bpf_get_attach_cookie(ctx) & (PROBES - 1);
	c = &configs[id];
	sum = totals_at(id);
	if (!sum)
		return 0;
	flags = c->flags;
	if (!keeps(c, sum, flags & FLAG_NUMBER ? argument(ctx, c->place) : 0))
		return 0;
	g = current_g(ctx, flags);
	if (flags & FLAG_TIMED) {
		struct call_id call = call_of(ctx, g, id);

		now = bpf_ktime_get_ns();
		since = bpf_map_lookup_elem(&inflight, &call);
		if (since) {
			add(&sum->unwound, 1);
			*since = now;
		} else if (bpf_map_update_elem(&inflight, &call, &now, BPF_NOEXIST)) {
			add(&sum->untimed, 1);
		}
		return 0;
	}
	struct custom_key key = {.goid = goid_of(g), .stack = STACK_NONE, .probe = id};
	if (flags & FLAG_STACKS) {
		key.caller = return_address(ctx);
		key.stack = stack_id(ctx, BPF_F_USER_STACK);
	}
	keep(sum, &key, 0);
	return 0;
}

SEC("uprobe.multi")
int chokepoint_custom_leave(void *ctx)
{
	const volatile struct custom_config *c;
	struct custom_totals *sum;
	__u64 g, ns, *since;
	__u32 id, flags;

	if (current_tgid() != target_tgid)
		return 0;
	if (!recording())
		return 0;
	id = bpf_get_attach_cookie(ctx) & (PROBES - 1);
	c = &configs[id];
	flags = c->flags;
	g = current_g(ctx, flags);
	struct call_id call = call_of(ctx, g, id);
	since = bpf_map_lookup_elem(&inflight, &call);
	if (!since)
		return 0; // it was left out, or began before the window
	ns = bpf_ktime_get_ns() - *since;
	bpf_map_delete_elem(&inflight, &call);
	sum = totals_at(id);
	if (!sum)
		return 0;
	add(&sum->ended, 1);
	add(&sum->ns, ns);
	add(&sum->log2_ns[log2_slot(ns)], 1);
	if (c->slower_ns && ns <= c->slower_ns) {
		add(&sum->quick, 1);
		return 0;
	}
	struct custom_key key = {.goid = goid_of(g), .stack = STACK_NONE, .probe = id};
	if (flags & FLAG_STACKS) {
		key.caller = return_address(ctx);
		key.stack = stack_id(ctx, BPF_F_USER_STACK);
	}
	keep(sum, &key, ns);
	return 0;
}

SEC("tracepoint")
int chokepoint_custom_tracepoint(void *ctx)
{
	const volatile struct custom_config *c;
	struct custom_totals *sum;
	__u32 id, flags, ours;
	__u64 raw = 0;

	id = bpf_get_attach_cookie(ctx) & (PROBES - 1);
	c = &configs[id];
	flags = c->flags;
	ours = current_tgid() == target_tgid;
	if (!ours && !(flags & FLAG_EVERYWHERE))
		return 0;
	if (!recording())
		return 0;
	sum = totals_at(id);
	if (!sum)
		return 0;
	if (flags & FLAG_NUMBER && bpf_probe_read_kernel(&raw, c->bytes & 15, ctx + c->place)) {
		add(&sum->unread, 1);
		return 0;
	}
	if (!keeps(c, sum, raw))
		return 0;
	struct custom_key key = {.stack = STACK_NONE, .probe = id};
	if (ours) {
		key.goid = goroutine_id(bpf_get_current_task_btf());
		if (flags & FLAG_STACKS) {
			key.caller = return_word(bpf_get_current_task_btf());
			key.stack = stack_id(ctx, BPF_F_USER_STACK);
		}
	}
	keep(sum, &key, 0);
	return 0;
}
