// SPDX-License-Identifier: GPL-2.0
//
// What programs on the target's own functions share: the registers of Go's calling
// convention, the goroutine, and sums that stay exact.
//
// These programs run in the thread that hit the probe, and the kernel may take
// the CPU from it in their midst. Another thread may then run the same program on
// the same CPU, so that not even a value of this CPU is safe from others: every
// sum is added to atomically, and an entry is made empty before it is added to.
#ifndef CHOKEPOINT_UPROBE_H
#define CHOKEPOINT_UPROBE_H

#include "chokepoint.bpf.h"

// Three underscores and what follows are not part of the kernel's name for it.
struct pt_regs___user {
	unsigned long r14;
	unsigned long bx;
	unsigned long r11;
	unsigned long r10;
	unsigned long r9;
	unsigned long r8;
	unsigned long ax;
	unsigned long cx;
	unsigned long si;
	unsigned long di;
	unsigned long sp;
} relocatable;

// A register, read where it stands: the verifier refuses a pointer into the
// context that was computed first.
#define user_register(ctx, name)                                                                   \
	({                                                                                         \
		__u64 __value = ((struct pt_regs___user *)(ctx))->name;                            \
		asm volatile("" : "+r"(__value));                                                  \
		__value;                                                                           \
	})

// The upper end of a goroutine's stack, in its g. Frames keep their distance
// from it when the stack is copied to a larger one.
#define G_STACK_HI 8

static __always_inline void add(__u64 *sum, __u64 n)
{
	__sync_fetch_and_add(sum, n);
}

static __always_inline void count_exactly(enum counter which)
{
	__u32 key = which;
	__u64 *n = bpf_map_lookup_elem(&counters, &key);

	if (n)
		add(n, 1);
}

// entry finds the value of a key, after making an empty one where there was none.
static __always_inline void *entry(void *map, const void *key, const void *empty)
{
	void *value = bpf_map_lookup_elem(map, key);

	if (value)
		return value;
	bpf_map_update_elem(map, key, empty, BPF_NOEXIST); // or another CPU was first
	return bpf_map_lookup_elem(map, key);
}

// goid_of is the id of the goroutine g, or of the one that g's thread runs when g
// is the scheduler's; 0 when not known.
static __always_inline __u64 goid_of(__u64 g)
{
	__u64 goid;

	if (g_goid < 0 || !g)
		return 0;
	goid = read_word(g, g_goid);
	if (goid)
		return goid;
	return read_word(read_word(read_word(g, g_m), m_curg), g_goid);
}

// return_address is what a function returns to: at its first instruction, before it
// pushes its frame, and at each of its returns it is on top of the stack.
static __always_inline __u64 return_address(void *ctx)
{
	return read_word(user_register(ctx, sp), 0);
}

#endif
