//go:build ignore

// SPDX-License-Identifier: GPL-2.0
//
// Samples where the target's threads are, in user code and in the kernel, and
// for which goroutine they run. A software clock on every CPU drives it.
#include "chokepoint.bpf.h"

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
