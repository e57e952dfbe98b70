//go:build ignore

// SPDX-License-Identifier: GPL-2.0
//
// What the Go runtime does: goroutines that park and why, that become ready, and
// that run again; and how often it takes its slow ways. Each program is put on
// the first instruction behind the stack check of a function of the runtime, or
// on its returns.
//
// The state of goroutines is kept from attaching on, so that what began before
// the window is known; only what lies inside the window is counted. What is
// still open at its end is closed by user space.
#include "uprobe.bpf.h"

// Where the runtime keeps the goroutines that wait for a descriptor.
const volatile __s64 pd_rg = -1;
const volatile __s64 pd_wg = -1;

// A delay between ready and running that is counted apart.
#define LONG_DELAY_NS 100000

// Reasons to park, a byte. Go 1.26 has 47.
#define REASONS 64

// Whose user stacks are wanted: without them a park costs a third.
const volatile __u32 with_stacks = 1;

// What is counted. The numbers are shared with user space, which gives one to
// each attached function as its cookie.
enum happening {
	HAPPENING_READY = 0,
	HAPPENING_READY_NETWORK, // the network poller has made a goroutine ready
	HAPPENING_RUN,		 // a goroutine was given a thread
	HAPPENING_RUN_UNREADY,	 // of these, without having been seen ready
	HAPPENING_THREAD,
	HAPPENING_GC,
	HAPPENING_FINALIZER,
	HAPPENING_CLEANUP,
	HAPPENING_POOL_SLOW,
	HAPPENING_POOL_MISS,
	HAPPENING_POOL_PIN_SLOW,
	HAPPENING_LOCK_SLOW,
	HAPPENING_LOCKED, // of these, have returned
	HAPPENING_GOROUTINE_FOLDED, // entries that lost their goroutine, as there are too many
	HAPPENINGS,
};
exported_enum(happening);

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, HAPPENINGS);
	__type(key, __u32);
	__type(value, __u64);
} happened SEC(".maps");

// What a goroutine does. The numbers are shared with user space.
enum doing {
	DOING_RUN = 0,
	DOING_PARK,
	DOING_READY, // may run, and has no thread yet
};
exported_enum(doing);

struct goroutine {
	__u64 since;
	__u64 goid;
	__s32 stack; // where it parked
	__u16 reason;
	__u16 doing;
};

// By the address of its g, which the runtime uses again and never frees.
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 131072);
	__type(key, __u64);
	__type(value, struct goroutine);
} goroutines SEC(".maps");

struct reason_totals {
	__u64 parks;
	__u64 parked_ns;
	__u64 delays;
	__u64 delay_ns;
	__u64 long_delays;
	__u64 delay_log2_ns[LOG2_SLOTS];
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, REASONS);
	__type(key, __u32);
	__type(value, struct reason_totals);
} reasons SEC(".maps");

struct park_key {
	__u64 goid;
	__s32 stack;
	__u32 reason;
};

struct park_value {
	__u64 parks; // whose time is in parked_ns
	__u64 parked_ns;
	__u64 delay_ns;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(max_entries, 65536);
	__type(key, struct park_key);
	__type(value, struct park_value);
} parks SEC(".maps");

struct locking {
	__u64 since;
	__u64 goid;
	__s32 stack;
	__u32 unused;
};

// By the address of g: a goroutine waits for one lock at a time.
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__type(key, __u64);
	__type(value, struct locking);
} lockings SEC(".maps");

struct lock_key {
	__u64 goid;
	__s32 stack;
	__u32 unused;
};

struct lock_value {
	__u64 times;
	__u64 ns;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(max_entries, 32768);
	__type(key, struct lock_key);
	__type(value, struct lock_value);
} locks SEC(".maps");

static __always_inline void happens(__u32 which)
{
	__u64 *n = bpf_map_lookup_elem(&happened, &which);

	if (n)
		add(n, 1);
}

// records counts an event of the target inside the window.
static __always_inline void records(__u32 which)
{
	happens(which);
	count_exactly(COUNTER_EVENTS);
}

static __always_inline struct reason_totals *totals_of(__u32 reason)
{
	__u32 key = reason & (REASONS - 1);

	return bpf_map_lookup_elem(&reasons, &key);
}

// park_entry is where time of a goroutine's park is added to. Where there is no more
// room its goroutine is forgotten before its time is.
static __always_inline struct park_value *park_entry(struct goroutine *g)
{
	struct park_key key = {.goid = g->goid, .stack = g->stack, .reason = g->reason};
	struct park_value empty = {}, *v;

	v = entry(&parks, &key, &empty);
	if (v)
		return v;
	happens(HAPPENING_GOROUTINE_FOLDED);
	key.goid = 0;
	v = entry(&parks, &key, &empty);
	if (!v)
		count_exactly(COUNTER_MAP_FULL);
	return v;
}

static __always_inline void end_park(struct goroutine *g, __u64 now)
{
	__u64 ns = clip(g->since, now);
	struct reason_totals *sum;
	struct park_value *v;

	if (!ns)
		return;
	sum = totals_of(g->reason);
	if (sum)
		add(&sum->parked_ns, ns);
	v = park_entry(g);
	if (v) {
		add(&v->parks, 1);
		add(&v->parked_ns, ns);
	}
}

SEC("uprobe.multi")
int chokepoint_gopark(void *ctx)
{
	struct goroutine now = {.stack = STACK_NONE, .doing = DOING_PARK};
	struct reason_totals *sum;
	__u64 gp;

	if (current_tgid() != target_tgid)
		return 0;
	gp = user_register(ctx, r14);
	now.since = bpf_ktime_get_ns();
	now.goid = goid_of(gp);
	now.reason = user_register(ctx, cx) & 0xff;
	if (with_stacks)
		now.stack = stack_id(ctx, BPF_F_USER_STACK);
	if (bpf_map_update_elem(&goroutines, &gp, &now, BPF_ANY))
		count_exactly(COUNTER_MAP_FULL);
	if (!recording())
		return 0;
	sum = totals_of(now.reason);
	if (sum)
		add(&sum->parks, 1);
	count_exactly(COUNTER_EVENTS);
	return 0;
}

static __always_inline void made_ready(__u64 gp, __u32 how)
{
	struct goroutine *g = bpf_map_lookup_elem(&goroutines, &gp);
	__u64 now = bpf_ktime_get_ns();

	if (recording())
		records(how);
	// One that parked before attaching is not there: why it parked is not known.
	if (!g || g->doing != DOING_PARK)
		return;
	end_park(g, now);
	g->since = now;
	g->doing = DOING_READY;
}

SEC("uprobe.multi")
int chokepoint_ready(void *ctx)
{
	if (current_tgid() != target_tgid)
		return 0;
	made_ready(user_register(ctx, ax), HAPPENING_READY);
	return 0;
}

// The poller takes goroutines off a descriptor and puts them on the run queue by
// itself, without runtime.ready. Values up to 2 are no goroutines but states.
static __always_inline void network_ready(__u64 pd, __s64 offset)
{
	__u64 gp = read_word(pd, offset);

	if (gp > 2)
		made_ready(gp, HAPPENING_READY_NETWORK);
}

SEC("uprobe.multi")
int chokepoint_netpollready(void *ctx)
{
	__u64 pd;
	__u32 mode;

	if (current_tgid() != target_tgid)
		return 0;
	pd = user_register(ctx, bx);
	mode = user_register(ctx, cx);
	if (mode == 'r' || mode == 'r' + 'w')
		network_ready(pd, pd_rg);
	if (mode == 'w' || mode == 'r' + 'w')
		network_ready(pd, pd_wg);
	return 0;
}

SEC("uprobe.multi")
int chokepoint_execute(void *ctx)
{
	struct reason_totals *sum;
	struct park_value *v;
	struct goroutine *g;
	__u64 now, ns, gp;

	if (current_tgid() != target_tgid)
		return 0;
	if (recording())
		records(HAPPENING_RUN);
	gp = user_register(ctx, ax);
	g = bpf_map_lookup_elem(&goroutines, &gp);
	if (!g || g->doing == DOING_RUN)
		return 0;
	now = bpf_ktime_get_ns();
	if (g->doing == DOING_PARK) {
		// It did not park after all, or became ready in a way that is not seen.
		end_park(g, now);
		if (recording())
			happens(HAPPENING_RUN_UNREADY);
		g->doing = DOING_RUN;
		return 0;
	}
	g->doing = DOING_RUN;
	ns = clip(g->since, now);
	if (!ns)
		return 0;
	sum = totals_of(g->reason);
	if (sum) {
		add(&sum->delays, 1);
		add(&sum->delay_ns, ns);
		if (ns > LONG_DELAY_NS)
			add(&sum->long_delays, 1);
		add(&sum->delay_log2_ns[log2_slot(ns)], 1);
	}
	v = park_entry(g);
	if (v)
		add(&v->delay_ns, ns);
	return 0;
}

// A function of which no more is asked than how often it is called: its cookie says
// which.
SEC("uprobe.multi")
int chokepoint_happens(void *ctx)
{
	if (current_tgid() != target_tgid)
		return 0;
	if (recording())
		records(bpf_get_attach_cookie(ctx));
	return 0;
}

// On the returns of sync.(*Pool).getSlow: a nil result is when New is called.
SEC("uprobe.multi")
int chokepoint_pool_returns(void *ctx)
{
	if (current_tgid() != target_tgid)
		return 0;
	if (recording() && !user_register(ctx, ax))
		records(HAPPENING_POOL_MISS);
	return 0;
}

SEC("uprobe.multi")
int chokepoint_lock_slow(void *ctx)
{
	struct locking now = {.stack = STACK_NONE};
	__u64 gp;

	if (current_tgid() != target_tgid)
		return 0;
	gp = user_register(ctx, r14);
	now.since = bpf_ktime_get_ns();
	now.goid = goid_of(gp);
	if (with_stacks)
		now.stack = stack_id(ctx, BPF_F_USER_STACK);
	if (bpf_map_update_elem(&lockings, &gp, &now, BPF_ANY))
		count_exactly(COUNTER_MAP_FULL);
	if (recording())
		records(HAPPENING_LOCK_SLOW);
	return 0;
}

SEC("uprobe.multi")
int chokepoint_locked(void *ctx)
{
	struct lock_value empty = {}, *v;
	struct lock_key key = {};
	struct locking *l;
	__u64 gp, ns;

	if (current_tgid() != target_tgid)
		return 0;
	gp = user_register(ctx, r14);
	l = bpf_map_lookup_elem(&lockings, &gp);
	if (!l)
		return 0;
	ns = clip(l->since, bpf_ktime_get_ns());
	key.goid = l->goid;
	key.stack = l->stack;
	bpf_map_delete_elem(&lockings, &gp);
	if (!ns)
		return 0;
	if (recording())
		records(HAPPENING_LOCKED);
	v = entry(&locks, &key, &empty);
	if (!v) {
		happens(HAPPENING_GOROUTINE_FOLDED);
		key.goid = 0;
		v = entry(&locks, &key, &empty);
	}
	if (!v) {
		count_exactly(COUNTER_MAP_FULL);
		return 0;
	}
	add(&v->times, 1);
	add(&v->ns, ns);
	return 0;
}
