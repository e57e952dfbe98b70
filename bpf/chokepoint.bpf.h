// SPDX-License-Identifier: GPL-2.0
//
// What the programs share: the kernel structures they read, the filter on the
// target, the window they record in, and the stacks and counters they keep.
//
// The structures name only the fields that are read. CO-RE relocates them
// against the running kernel's BTF, so no vmlinux.h is needed.
#ifndef CHOKEPOINT_BPF_H
#define CHOKEPOINT_BPF_H

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <asm/unistd_64.h>

char LICENSE[] SEC("license") = "GPL";

// Keeps an enum in the object's BTF, so that user space gets its numbers from here.
#define exported_enum(name) enum name *enum_##name __attribute__((unused))

#define relocatable __attribute__((preserve_access_index))

struct thread_struct {
	unsigned long fsbase;
} relocatable;

struct task_struct {
	int pid;
	int tgid;
	struct thread_struct thread;
} relocatable;

struct pt_regs {
	unsigned long di;
	unsigned long si;
	unsigned long dx;
	unsigned long r10;
	unsigned long bp;
	unsigned long orig_ax;
	unsigned long ip;
	unsigned long sp;
} relocatable;

// What every run looks at stands together, in one cache line. The window is set while
// running, in CLOCK_MONOTONIC nanoseconds; 0 is "not yet".
volatile __u64 window_start = 0;
volatile __u64 window_end = 0;
volatile __u32 target_tgid = 0; // set before loading; in the initial PID namespace

// Set before loading.
const volatile __u64 text_start = 0; // the target's own code, as mapped
const volatile __u64 text_end = 0;

// The function of the Go runtime that a thread begins with; 0: not known. Before Go
// 1.26 a new thread has the frame pointer of the one that started it.
const volatile __u64 first_start = 0;
const volatile __u64 first_end = 0;

// Where a goroutine's id is: the g hangs off the thread's FS base at tls_g,
// and a g that has no id (g0 and the signal stack's) leads through its m to
// the goroutine that the thread runs. goid < 0 means not known.
const volatile __s64 tls_g = 0;
const volatile __s64 g_goid = -1;
const volatile __s64 g_m = 0;
const volatile __s64 m_curg = 0;

// Slots of a histogram by powers of two of nanoseconds: the last holds
// everything from 2^35 ns, about 34 s.
#define LOG2_SLOTS 36

// The deepest stack that is kept, innermost frames first. It is the kernel's own
// limit unless an administrator changed kernel.perf_event_max_stack.
#define STACK_DEPTH 127

// Stands in a stack for the frames that could not be read. It is no address of code.
#define STACK_CUT 1
#define STACKS 16384

// Stack ids that are no ids.
#define STACK_NONE -1 // there is no stack, or it could not be read
#define STACK_LOST -2 // there was no room for it, or no time

enum counter {
	COUNTER_EVENTS = 0,	 // recorded, where no other sum says it
	COUNTER_STACK_BUSY,	 // stacks not walked because another was, on the same CPU
	COUNTER_STACK_FULL,	 // stacks that found no room
	COUNTER_STACK_UNREADABLE, // user stacks that could not be walked
	COUNTER_MAP_FULL,	 // entries that found no room
	COUNTER_UNKNOWN,	 // events that have no slot, such as a syscall number beyond the table
	COUNTER_UNREAD_ARGUMENT, // arguments in user memory that could not be read
	COUNTER_MISSED,		 // events whose beginning was not seen, or was lost to another thread
	COUNTER_RING_SENT,	 // single events given to user space
	COUNTER_RING_FULL,	 // single events that found no room on the way there
	COUNTER_STACK_CUT,	 // user stacks that could be walked in part only
	COUNTER_CALLER_UNREAD,	 // words at the top of user stacks that could not be read
	COUNTERS,
};
exported_enum(counter);

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, COUNTERS);
	__type(key, __u32);
	__type(value, __u64);
} counters SEC(".maps");

struct stack {
	__s32 id;
	__u32 depth;
	__u64 pc[STACK_DEPTH];
};

// Stacks by a hash of 64 bits. The kernel's own map of stacks gives each a place
// by fewer bits, so that among a thousand some always lose theirs to another.
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, STACKS);
	__type(key, __u64);
	__type(value, struct stack);
} stacks SEC(".maps");

// Where each CPU walks a stack.
struct walk {
	__u32 busy;
	__u32 made; // stacks that this CPU was the first to see
	struct stack stack;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct walk);
} walks SEC(".maps");

static __always_inline void count_many(enum counter which, __u64 many)
{
	__u32 key = which;
	__u64 *n = bpf_map_lookup_elem(&counters, &key);
	if (n)
		*n += many;
}

static __always_inline void count(enum counter which)
{
	count_many(which, 1);
}

static __always_inline __u32 current_tgid(void)
{
	return bpf_get_current_pid_tgid() >> 32;
}

// recording reports whether the window is open.
static __always_inline int recording(void)
{
	return window_start && !window_end;
}

// clip is how much of the time from since to now lies inside the window.
static __always_inline __u64 clip(__u64 since, __u64 now)
{
	__u64 start = window_start, end = window_end;

	if (!start || !since)
		return 0;
	if (since < start)
		since = start;
	if (end && now > end)
		now = end;
	return now > since ? now - since : 0;
}

static __always_inline __u32 log2_slot(__u64 ns)
{
	__u32 slot = 0;

	if (ns >> 32) { ns >>= 32; slot += 32; }
	if (ns >> 16) { ns >>= 16; slot += 16; }
	if (ns >> 8) { ns >>= 8; slot += 8; }
	if (ns >> 4) { ns >>= 4; slot += 4; }
	if (ns >> 2) { ns >>= 2; slot += 2; }
	if (ns >> 1) { slot += 1; }
	return slot < LOG2_SLOTS ? slot : LOG2_SLOTS - 1;
}

#define HASH_SEED 0xcbf29ce484222325

static __always_inline __u64 hash_on(__u64 h, __u64 word)
{
	h = (h ^ word) * 0x9e3779b97f4a7c15;
	return h ^ h >> 29;
}

static __always_inline __u64 stack_hash(struct stack *s)
{
	__u64 h = HASH_SEED;
	__u32 i;

	for (i = 0; i < STACK_DEPTH; i++) {
		if (i >= s->depth)
			break;
		h = hash_on(h, s->pc[i]);
	}
	return h;
}

// keep_stack gives the id of the stack in w.
static __always_inline __s32 keep_stack(struct walk *w, __u64 hash)
{
	struct stack *known;

	hash ^= w->stack.depth;
	known = bpf_map_lookup_elem(&stacks, &hash);
	if (known)
		return known->id;
	w->stack.id = w->made++ << 12 | (bpf_get_smp_processor_id() & 0xfff);
	if (!bpf_map_update_elem(&stacks, &hash, &w->stack, BPF_NOEXIST))
		return w->stack.id;
	known = bpf_map_lookup_elem(&stacks, &hash); // another CPU may have been first
	if (known)
		return known->id;
	count(COUNTER_STACK_FULL);
	return STACK_LOST;
}

// walk_stack has the kernel walk into w and gives the stack's id.
static __always_inline __s32 walk_stack(void *ctx, struct walk *w, __u64 flags)
{
	long size = bpf_get_stack(ctx, w->stack.pc, sizeof(w->stack.pc), flags);

	if (size <= 0) {
		if (flags & BPF_F_USER_STACK)
			count(COUNTER_STACK_UNREADABLE);
		return STACK_NONE;
	}
	w->stack.depth = size / sizeof(__u64);
	return keep_stack(w, stack_hash(&w->stack));
}

// stack_id keeps the user or kernel stack of the current thread. A program that
// may be preempted can find another in the middle of it on the same CPU, and then
// goes without a stack, which is counted.
static __noinline __attribute__((unused)) __s32 stack_id(void *ctx, __u64 flags)
{
	__u32 zero = 0;
	struct walk *w = bpf_map_lookup_elem(&walks, &zero);
	__s32 id;

	if (!w)
		return STACK_NONE;
	if (w->busy) {
		count(COUNTER_STACK_BUSY);
		return STACK_LOST;
	}
	w->busy = 1;
	id = walk_stack(ctx, w, flags);
	w->busy = 0;
	return id;
}

// walk_frames walks the user stack into w as the kernel does, by frame pointers
// from where the thread entered the kernel, and gives the stack's id. The kernel
// reads on until a read faults, which takes longer than all of the rest: Go ends its
// chain of frames with 0, and there this ends, or at the function that a thread begins
// with. It also tells a stack that was cut short, because a frame's page was not there
// at that moment, from one that ends.
static __always_inline __s32 walk_frames(struct walk *w)
{
	struct pt_regs *regs = (struct pt_regs *)bpf_task_pt_regs(bpf_get_current_task_btf());
	__u64 at = regs->bp, hash, frame[2];
	__u32 i;

	w->stack.pc[0] = regs->ip;
	hash = hash_on(HASH_SEED, regs->ip);
	for (i = 1; i < STACK_DEPTH; i++) {
		if (!at || at & 7)
			break;
		if (bpf_probe_read_user(frame, sizeof(frame), (void *)at)) {
			count(COUNTER_STACK_CUT);
			frame[0] = 0; // what was read of it is not known
			frame[1] = STACK_CUT;
		}
		w->stack.pc[i] = frame[1];
		hash = hash_on(hash, frame[1]);
		at = frame[1] > first_start && frame[1] <= first_end ? 0 : frame[0];
	}
	w->stack.depth = i;
	return keep_stack(w, hash);
}

// user_stack_id keeps the user stack of the current thread, which is in the kernel
// by a system call or an interrupt. For the rest it is as stack_id.
static __noinline __attribute__((unused)) __s32 user_stack_id(void)
{
	__u32 zero = 0;
	struct walk *w = bpf_map_lookup_elem(&walks, &zero);
	__s32 id;

	if (!w)
		return STACK_NONE;
	if (w->busy) {
		count(COUNTER_STACK_BUSY);
		return STACK_LOST;
	}
	w->busy = 1;
	id = walk_frames(w);
	w->busy = 0;
	return id;
}

static __always_inline __u64 read_word(__u64 base, __s64 offset)
{
	__u64 word = 0;

	if (!base)
		return 0;
	if (bpf_probe_read_user(&word, sizeof(word), (void *)(base + offset)))
		return 0;
	return word;
}

// goroutine_id is the goroutine that task, the current one, runs; 0 when it runs
// none or that is not known. The reads do not fault: of memory that is paged
// out they give 0.
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

// in_text is word if it points into the target's code, or 0.
static __always_inline __u64 in_text(__u64 word)
{
	return word >= text_start && word < text_end ? word : 0;
}

// text_word is a word of user memory if it points into the target's code, or 0.
static __always_inline __u64 text_word(__u64 at)
{
	__u64 word = 0;

	if (bpf_probe_read_user(&word, sizeof(word), (void *)at))
		return 0;
	return in_text(word);
}

// return_word is the word at the top of the user stack if it points into the
// target's code. The assembly that enters the kernel, compares or copies has no frame of
// its own, and no function has one yet where it begins: the caller is in no frame-pointer
// walk, it is this word. Elsewhere it can be anything; user space checks that the
// function has nothing else on the stack there.
static __always_inline __u64 return_word(struct task_struct *task)
{
	struct pt_regs *regs = (struct pt_regs *)bpf_task_pt_regs(task);
	__u64 word = 0;

	if (bpf_probe_read_user(&word, sizeof(word), (void *)regs->sp)) {
		count(COUNTER_CALLER_UNREAD);
		return 0;
	}
	return in_text(word);
}

// Walking a user stack costs the target about half a microsecond: too much for what happens at every request. Where events of one
// kind are many, a sampler says which of them are walked. It aims at one in
// WALK_EVERY_NS on each CPU: at a low rate every one, at a high rate a fair
// sample, at a price that does not grow with the rate. The distance to the next
// is drawn at random, so that it keeps step with nothing. The first WALK_FIRST of
// a kind are all walked, so that what is rare is known exactly.
#define WALK_EVERY_NS 20000000
#define WALK_FIRST 256
#define WALK_FEWEST 4096 // one in so many is walked at the least

struct sampler {
	__u64 last;   // when one was walked
	__u32 left;   // until the next
	__u32 period; // the mean distance
	__u32 first;  // how many of the first have been walked
	__u32 pad;
};

// walk_due reports whether the stack of this event, at time now, is to be walked.
static __always_inline int walk_due(struct sampler *s, __u64 now)
{
	__u64 since;

	since = now - s->last;
	// However far the next one was put: where events have become few, each counts.
	if (s->left > 1 && since < WALK_EVERY_NS * 4) {
		s->left--;
		return 0;
	}
	s->last = now;
	if (s->first < WALK_FIRST) {
		s->first++;
		return 1;
	}
	if (since < WALK_EVERY_NS / 2) {
		if (s->period < WALK_FEWEST)
			s->period = s->period ? s->period * 2 : 1;
	} else if (since > WALK_EVERY_NS * 2) {
		s->period = s->period > 8 ? s->period / 8 : 0;
	}
	s->left = s->period < 2 ? 1 : 1 + bpf_get_prandom_u32() % (2 * s->period - 1);
	return 1;
}

// What tells kinds of events apart whose stacks stand for each other: a syscall,
// its op and where it is called, so that runtime and program never mix.
struct kind {
	__u64 site;
	__u32 nr;
	__u32 op;
};

struct recent {
	struct sampler sampler;
	__s32 stack;
	__u32 pad;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(max_entries, 1024);
	__type(key, struct kind);
	__type(value, struct recent);
} recents SEC(".maps");

// recent_stack_id is the stack of an event of a kind that is frequent: its own,
// or that of the last one of its kind on this CPU that was walked. Site is a word of
// the stack that says where the call is made; 0 where that is not known.
static __noinline __attribute__((unused)) __s32 recent_stack_id(__u64 site, __u32 nr, __u32 op, __u64 now)
{
	struct kind key = {.site = site, .nr = nr, .op = op};
	struct recent first = {.sampler = {.last = now, .left = 1}}, *r;

	// Without it kinds cannot be told apart.
	if (!site)
		return user_stack_id();
	r = bpf_map_lookup_elem(&recents, &key);
	if (r) {
		if (walk_due(&r->sampler, now))
			r->stack = user_stack_id();
		return r->stack;
	}
	first.stack = user_stack_id();
	bpf_map_update_elem(&recents, &key, &first, BPF_NOEXIST); // if full, every stack is walked
	return first.stack;
}

#endif
