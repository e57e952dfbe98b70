//go:build ignore

// SPDX-License-Identifier: GPL-2.0
//
// Samples where the target's threads are, in user code and in the kernel, and
// for which goroutine they run. A software clock on every CPU drives it.
#include "chokepoint.bpf.h"

// Where a goroutine's id is: the g hangs off the thread's FS base at tls_g,
// and a g that has no id (g0 and the signal stack's) leads through its m to
// the goroutine that the thread runs. goid < 0 means not known.
const volatile __s64 tls_g = 0;
const volatile __s64 g_goid = -1;
const volatile __s64 g_m = 0;
const volatile __s64 m_curg = 0;

struct sample_key {
	__u64 goid;
	__u64 caller;
	__s32 user;
	__s32 kernel;
};

// A plain hash: at a hundred samples a second and CPU, copies for each CPU
// would cost memory and gain nothing.
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__type(key, struct sample_key);
	__type(value, __u64);
} samples SEC(".maps");

static __always_inline __u64 read_word(__u64 base, __s64 offset)
{
	__u64 word = 0;

	if (!base)
		return 0;
	if (bpf_probe_read_user(&word, sizeof(word), (void *)(base + offset)))
		return 0;
	return word;
}

static __always_inline __u64 goroutine_id(struct task_struct *task)
{
	__u64 g, goid;

	if (g_goid < 0)
		return 0;
	g = read_word(task->thread.fsbase, tls_g);
	goid = read_word(g, g_goid);
	if (goid)
		return goid;
	g = read_word(read_word(g, g_m), m_curg);
	return read_word(g, g_goid);
}

SEC("perf_event")
int chokepoint_oncpu(void *ctx)
{
	struct sample_key key = {};
	struct task_struct *task;
	__u64 one = 1, *n;

	if (current_tgid() != target_tgid)
		return 0;
	if (!recording())
		return 0;
	task = bpf_get_current_task_btf();
	key.goid = goroutine_id(task);
	key.user = stack_id(ctx, BPF_F_USER_STACK);
	key.kernel = stack_id(ctx, 0);
	key.caller = return_word(task);
	count(COUNTER_EVENTS);
	n = bpf_map_lookup_elem(&samples, &key);
	if (n)
		__sync_fetch_and_add(n, 1);
	else if (bpf_map_update_elem(&samples, &key, &one, BPF_NOEXIST) == -17 /* EEXIST */) {
		// Another CPU was first with the same key.
		n = bpf_map_lookup_elem(&samples, &key);
		if (n)
			__sync_fetch_and_add(n, 1);
	} else if (!bpf_map_lookup_elem(&samples, &key)) {
		count(COUNTER_MAP_FULL);
	}
	return 0;
}
