//go:build ignore

// SPDX-License-Identifier: GPL-2.0
//
// What the scheduler did with the target's threads and with the machine's
// CPUs: on-CPU, run queue and off-CPU time of the target, by user stack where
// it waited; idle time and the time of everything else.
//
// An interval that cut a goroutine short (it was preempted on its thread, or its
// thread slept in a system call) is also given to user space by itself, so that it
// can be laid beside what the runtime says of that goroutine.
//
// The state of CPUs and threads is kept from attaching on, so that what began
// before the window is known; only what lies inside the window is counted.
// Intervals still open at its end are closed by user space.
#include "chokepoint.bpf.h"

// What a thread is doing. The numbers are shared with user space.
enum state {
	STATE_ON_CPU = 0,
	STATE_RUNNABLE,
	STATE_SLEEP,   // interruptible
	STATE_DISK,    // uninterruptible
	STATE_STOPPED, // by a signal or a debugger
	STATE_OTHER,
	STATES,
};
exported_enum(state);

// Who has a CPU. The numbers are shared with user space.
enum holder {
	HOLDER_UNKNOWN = 0, // nothing was switched there since attaching, or a switch was not seen
	HOLDER_IDLE,
	HOLDER_TARGET,
	HOLDER_OTHER,
	HOLDERS,
};
exported_enum(holder);

// What a thread did in the window, in nanoseconds and times.
struct thread_sums {
	__u64 on_cpu_ns;
	__u64 run_queue_ns;
	__u64 off_ns;
	__u64 switches;
	__u64 wakeups;
	__u64 migrations;
};

// The first line of a processor's cache holds all that most switches need.
struct thread {
	__u32 tid; // 0: nobody's
	__u8 state;
	__u8 left_state; // how it left
	__u8 idle;	 // enum idle: its wait is put by, with those of its kind
	__u8 ran;	 // was on a CPU inside the window
	__u64 since;
	__u64 left;   // when it last left the CPU
	__u64 woken;  // when it was woken since; 0: it was not
	__u64 caller; // return_word where it last left the CPU
	__u64 site;   // where it last left the CPU, if its wait is put by
	__u64 goid;   // of the goroutine it then ran; 0: none
	__s32 stack;  // where it last left the CPU
	__u32 nr;     // of the system call it is in, if it is in one
	struct thread_sums sums;
	__u64 pad[2];
};

// Threads by the low bits of their ids: an array is found without a call or a lock.
// A thread whose place another one has is in others.
#define THREADS 16384

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, THREADS);
	__uint(map_flags, BPF_F_MMAPABLE); // only to begin where a cache line does
	__type(key, __u32);
	__type(value, struct thread);
} threads SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, __u32);
	__type(value, struct thread);
} others SEC(".maps");

// What threads did that have ended, all together.
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct thread_sums);
} ended SEC(".maps");

struct sched_totals {
	__u64 switches;
	__u64 wakeups;
	__u64 migrations;
	__u64 threads;
	__u64 run_queue_ns;
	__u64 run_queue_log2_ns[LOG2_SLOTS];
	__u64 off_ns[STATES];
};

struct wait_key {
	__u64 caller;
	__s32 stack;
	__u32 state;
};

struct wait_value {
	__u64 ns;
	__u64 times;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(max_entries, 16384);
	__type(key, struct wait_key);
	__type(value, struct wait_value);
} waits SEC(".maps");

// Two kinds of waits are so many that not every stack is walked: those of idle
// threads, which the runtime parks over and over, and those of preempted ones, whose
// stack is a sample of what was on the CPU. A wait whose stack was left out is put
// by, and given to a stack of its kind that was walked: so sums stay exact, and most
// switches look nothing up by a hash.

// Calls in which idle threads wait. Each CPU puts by those of one site alone, at which
// such waits are most: the runtime's and the program's own never mix.
enum idle {
	IDLE_NOT = 0,
	IDLE_FUTEX,
	IDLE_EPOLL,
	IDLE_NANOSLEEP,
	IDLES,
};
exported_enum(idle);

struct idle_waits {
	struct sampler sampler;
	__u64 site;   // of the waits put by here; 0: none yet
	__u64 caller; // and their return_word
	__s32 stack;  // the last one that was walked
	__u32 others; // waits elsewhere since the last one here
	struct wait_value asleep; // put by for that stack
	struct wait_value queued;
};

// After so many waits elsewhere, with none between, the site is another.
#define OTHERS_MOST 16

#define STACK_LEFT_OUT -3

// Waits of preempted threads, until the next one whose stack was walked.
struct preempted {
	struct sampler sampler;
	struct wait_key last;
	struct wait_value sum;
};

// What a CPU counts stands together, so that it is looked up once.
struct cpu {
	__u64 since;
	__u64 ns[HOLDERS];
	__u32 holder;
	__u32 pad;
	struct sched_totals totals;
	struct preempted preempted;
	struct idle_waits idle[IDLES];
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct cpu);
} cpus SEC(".maps");

// cut is one interval in which a goroutine had a thread and the thread no CPU.
// Times are CLOCK_MONOTONIC in nanoseconds.
struct cut {
	__u64 left;
	__u64 woken; // 0: it was runnable all the time
	__u64 back;
	__u64 goid;
	__u64 caller;
	__u32 tid;
	__s32 stack;
	__u32 state;
	__u32 nr; // of the system call it slept in
};

// Enough for the intervals between two looks of user space; those that find no
// room are counted.
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 21);
	__type(value, struct cut);
} cuts SEC(".maps");

static __always_inline struct cpu *this_cpu(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&cpus, &zero);
}

static __always_inline __u32 holder_of(__u32 pid, __u32 tgid)
{
	if (pid == 0)
		return HOLDER_IDLE;
	return tgid == target_tgid ? HOLDER_TARGET : HOLDER_OTHER;
}

// held_by is who had the CPU until now, when prev leaves it. A kernel may keep some of its
// processes from being looked at, and does not show the switches from those.
static __always_inline __u32 held_by(struct cpu *c, __u32 prev)
{
	return c->holder == HOLDER_UNKNOWN || c->holder == prev ? prev : HOLDER_UNKNOWN;
}

// The bits of the kernel's task states.
static __always_inline __u32 state_of(__u64 preempted, __u32 kernel_state)
{
	if (preempted || kernel_state == 0)
		return STATE_RUNNABLE;
	if (kernel_state & 0x400) // TASK_NOLOAD: uninterruptible, but idle
		return STATE_SLEEP;
	if (kernel_state & 0x1)
		return STATE_SLEEP;
	if (kernel_state & 0x2)
		return STATE_DISK;
	if (kernel_state & (0x4 | 0x8))
		return STATE_STOPPED;
	return STATE_OTHER;
}

static __always_inline int is_dead(__u32 kernel_state)
{
	return kernel_state & (0x10 | 0x20 | 0x80); // EXIT_DEAD, EXIT_ZOMBIE, TASK_DEAD
}

// find_thread is nil for a thread that is not known yet.
static __always_inline struct thread *find_thread(__u32 tid)
{
	__u32 place = tid % THREADS;
	struct thread *t = bpf_map_lookup_elem(&threads, &place);

	if (t && t->tid == tid)
		return t;
	return bpf_map_lookup_elem(&others, &tid);
}

static __noinline struct thread *add_thread(__u32 tid, __u32 state, __u64 now)
{
	struct thread fresh = {.tid = tid, .since = now, .stack = STACK_NONE, .state = state}, *t;
	__u32 place = tid % THREADS;

	t = bpf_map_lookup_elem(&threads, &place);
	if (t && __sync_val_compare_and_swap(&t->tid, 0, tid) == 0) {
		// All that the scheduler does with one thread it does in turn, so that
		// nobody else looks at it meanwhile.
		t->state = state;
		t->stack = STACK_NONE;
		t->since = now;
		return t;
	}
	if (bpf_map_update_elem(&others, &tid, &fresh, BPF_NOEXIST))
		count(COUNTER_MAP_FULL);
	return bpf_map_lookup_elem(&others, &tid);
}

static __always_inline void ran(struct cpu *c, struct thread *t)
{
	if (t->ran || !recording())
		return;
	t->ran = 1;
	c->totals.threads++;
}

// add_wait gives waits to a stack.
static __noinline int add_wait(struct wait_key *key, struct wait_value *sum)
{
	struct wait_value *v;

	if (!key || !sum)
		return 0;
	v = bpf_map_lookup_elem(&waits, key);
	if (!v) {
		if (!bpf_map_update_elem(&waits, key, sum, BPF_NOEXIST))
			return 0;
		v = bpf_map_lookup_elem(&waits, key); // another CPU may have been first
	}
	if (v) {
		v->ns += sum->ns;
		v->times += sum->times;
	} else {
		count_many(COUNTER_MAP_FULL, sum->times);
	}
	return 0;
}

// settle gives what is put by to its stack.
static __noinline int settle(struct idle_waits *w)
{
	struct wait_key key = {};
	struct wait_value sum;

	if (!w)
		return 0;
	key.caller = w->caller;
	key.stack = w->stack;
	if (w->asleep.times) {
		key.state = STATE_SLEEP;
		sum = w->asleep;
		w->asleep.ns = 0;
		w->asleep.times = 0;
		add_wait(&key, &sum);
	}
	if (w->queued.times) {
		key.state = STATE_RUNNABLE;
		sum = w->queued;
		w->queued.ns = 0;
		w->queued.times = 0;
		add_wait(&key, &sum);
	}
	return 0;
}

// end_wait accounts for what a thread did off the CPU until now.
static __always_inline void end_wait(struct cpu *c, struct thread *t, __u64 now)
{
	__u32 state = t->state;
	__u64 ns = clip(t->since, now);
	struct wait_value one = {.ns = ns, .times = 1};
	struct wait_key key = {};
	struct preempted *p;
	struct wait_value *v;
	struct idle_waits *w;

	if (!ns)
		return;
	if (state == STATE_RUNNABLE) {
		c->totals.run_queue_ns += ns;
		c->totals.run_queue_log2_ns[log2_slot(ns)]++;
		t->sums.run_queue_ns += ns;
	} else if (state < STATES) {
		c->totals.off_ns[state] += ns;
		t->sums.off_ns += ns;
	}
	if (t->idle) {
		w = &c->idle[t->idle % IDLES];
		if (w->site == t->site && w->caller == t->caller) {
			v = state == STATE_RUNNABLE ? &w->queued : &w->asleep;
			v->ns += ns;
			v->times++;
			return;
		}
		// It waited on a CPU where this is the site, and comes back on one where
		// it is not. Its stack is the last one there that was walked.
	}
	key.caller = t->caller;
	key.stack = t->stack;
	key.state = state;
	if (state == STATE_RUNNABLE && t->left_state == STATE_RUNNABLE) {
		p = &c->preempted;
		p->sum.ns += ns;
		p->sum.times++;
		if (key.stack == STACK_LEFT_OUT)
			return;
		one = p->sum;
		p->sum.ns = 0;
		p->sum.times = 0;
		p->last = key;
	}
	add_wait(&key, &one);
}

// bury forgets a thread that has ended. What it did stays in the sum of the ended.
static __noinline int bury(struct thread *t, __u32 pid)
{
	struct thread_sums *sum;
	__u32 zero = 0, place;
	struct thread *mine;

	if (!t)
		return 0;

	sum = bpf_map_lookup_elem(&ended, &zero);
	if (sum) {
		sum->on_cpu_ns += t->sums.on_cpu_ns;
		sum->run_queue_ns += t->sums.run_queue_ns;
		sum->off_ns += t->sums.off_ns;
		sum->switches += t->sums.switches;
		sum->wakeups += t->sums.wakeups;
		sum->migrations += t->sums.migrations;
	}
	place = pid % THREADS;
	mine = bpf_map_lookup_elem(&threads, &place);
	if (mine != t) {
		bpf_map_delete_elem(&others, &pid);
		return 0;
	}
	__builtin_memset(&t->state, 0, sizeof(*t) - __builtin_offsetof(struct thread, state));
	t->tid = 0; // last: from here on it is another's
	return 0;
}

// tell gives user space the interval that ends now.
static __noinline int tell(struct thread *t, __u32 tid, __u64 now)
{
	struct cut *c;

	if (!t || !t->left || !clip(t->left, now))
		return 0;
	c = bpf_ringbuf_reserve(&cuts, sizeof(*c), 0);
	if (!c) {
		count(COUNTER_RING_FULL);
		return 0;
	}
	count(COUNTER_RING_SENT);
	c->left = t->left;
	c->woken = t->woken;
	c->back = now;
	c->goid = t->goid;
	c->caller = t->caller;
	c->tid = tid;
	c->stack = t->stack;
	c->state = t->left_state;
	c->nr = t->nr;
	bpf_ringbuf_submit(c, BPF_RB_NO_WAKEUP);
	return 0;
}

// idle_of is for the calls in which the Go runtime parks its idle threads, over and
// over.
static __always_inline __u32 idle_of(__u32 nr)
{
	switch (nr) {
	case __NR_futex:
		return IDLE_FUTEX;
	case __NR_epoll_pwait:
		return IDLE_EPOLL;
	case __NR_nanosleep:
		return IDLE_NANOSLEEP;
	}
	return IDLE_NOT;
}

// leave_idle keeps where an idle thread waits.
static __always_inline void leave_idle(struct idle_waits *w, struct thread *t, __u32 kind, __u64 bp, __u64 now)
{
	// Where assembly has a frame of its own, its caller is the first one of the walk.
	__u64 site = t->caller ? t->caller : text_word(bp + 8);

	if (!site || w->site != site || w->caller != t->caller) {
		t->stack = recent_stack_id(site, t->nr, 0, now);
		if (site && (!w->site || ++w->others >= OTHERS_MOST)) {
			settle(w);
			w->site = site;
			w->caller = t->caller;
			w->stack = t->stack;
			w->others = 0;
		}
		return;
	}
	if (w->others)
		w->others = 0;
	if (!walk_due(&w->sampler, now)) {
		t->idle = kind;
		t->site = site;
		t->stack = w->stack;
		return;
	}
	t->stack = user_stack_id();
	if (t->stack != w->stack) {
		settle(w);
		w->stack = t->stack;
	}
}

// leave keeps how and where the current thread leaves the CPU.
static __always_inline void leave(struct cpu *c, struct thread *t, __u64 now)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct pt_regs *regs = (struct pt_regs *)bpf_task_pt_regs(task);
	__u32 kind;

	t->nr = regs->orig_ax;
	t->goid = 0;
	t->idle = IDLE_NOT;
	// A thread that sleeps in one of these has no goroutine: the runtime parks it. Where
	// another's code made the call, C waits for itself, maybe for a goroutine.
	kind = t->state == STATE_SLEEP && in_text(regs->ip) ? idle_of(t->nr) : IDLE_NOT;
	if (kind) {
		t->caller = text_word(regs->sp);
		leave_idle(&c->idle[kind % IDLES], t, kind, regs->bp, now);
		return;
	}
	t->goid = goroutine_id(task);
	if (t->state == STATE_RUNNABLE && !walk_due(&c->preempted.sampler, now)) {
		t->caller = 0;
		t->stack = STACK_LEFT_OUT;
		return;
	}
	t->caller = text_word(regs->sp);
	t->stack = user_stack_id();
}

SEC("tp_btf/sched_switch")
int chokepoint_sched_switch(__u64 *ctx)
{
	struct task_struct *prev = (struct task_struct *)ctx[1];
	struct task_struct *next = (struct task_struct *)ctx[2];
	__u32 prev_tgid = prev->tgid, next_tgid = next->tgid;
	__u32 prev_pid, next_pid, holder, kernel_state;
	struct thread *t;
	struct cpu *c;
	__u64 now, since;

	c = this_cpu();
	if (!c)
		return 0;
	next_pid = next->pid;
	prev_pid = prev->pid;
	holder = holder_of(next_pid, next_tgid);
	// From one process that is not looked at to another: the CPU stays with others.
	if (holder == HOLDER_OTHER && c->holder == HOLDER_OTHER && prev_tgid != target_tgid)
		return 0;
	now = bpf_ktime_get_ns();
	since = c->since;
	c->ns[held_by(c, holder_of(prev_pid, prev_tgid)) & 3] += clip(since, now);
	c->since = now;
	c->holder = holder;

	if (prev_tgid == target_tgid) {
		kernel_state = ctx[3];
		t = find_thread(prev_pid);
		if (!t) // it has been there since the CPU's last switch
			t = add_thread(prev_pid, STATE_ON_CPU, since);
		if (t) {
			ran(c, t);
			if (t->state == STATE_ON_CPU)
				t->sums.on_cpu_ns += clip(t->since, now);
			else if (recording()) // when it came back was not seen
				count(COUNTER_MISSED);
			t->since = now;
			t->left = now;
			t->woken = 0;
			t->state = state_of(ctx[0], kernel_state);
			t->left_state = t->state;
			if (recording())
				t->sums.switches++;
			if (is_dead(kernel_state))
				bury(t, prev_pid);
			else
				leave(c, t, now);
		}
		if (recording())
			c->totals.switches++;
	}
	if (next_tgid == target_tgid) {
		t = find_thread(next_pid);
		if (!t)
			t = add_thread(next_pid, STATE_ON_CPU, now);
		if (t) {
			ran(c, t);
			if (t->state != STATE_ON_CPU) {
				end_wait(c, t, now);
				if (t->goid)
					tell(t, next_pid, now);
			}
			t->since = now;
			t->state = STATE_ON_CPU;
		}
	}
	return 0;
}

static __always_inline int woken(struct task_struct *p)
{
	__u64 now = bpf_ktime_get_ns();
	struct cpu *c = this_cpu();
	__u32 pid = p->pid;
	struct thread *t;

	if (!c)
		return 0;
	t = find_thread(pid);
	if (!t) {
		t = add_thread(pid, STATE_RUNNABLE, now);
	} else if (t->state != STATE_ON_CPU && t->state != STATE_RUNNABLE) {
		end_wait(c, t, now);
		t->since = now;
		t->woken = now;
		t->state = STATE_RUNNABLE;
	}
	if (recording()) {
		c->totals.wakeups++;
		if (t)
			t->sums.wakeups++;
	}
	return 0;
}

SEC("tp_btf/sched_wakeup")
int chokepoint_sched_wakeup(__u64 *ctx)
{
	struct task_struct *p = (struct task_struct *)ctx[0];

	if (p->tgid != target_tgid)
		return 0;
	return woken(p);
}

SEC("tp_btf/sched_wakeup_new")
int chokepoint_sched_wakeup_new(__u64 *ctx)
{
	struct task_struct *p = (struct task_struct *)ctx[0];

	if (p->tgid != target_tgid)
		return 0;
	return woken(p);
}

SEC("tp_btf/sched_migrate_task")
int chokepoint_sched_migrate(__u64 *ctx)
{
	struct task_struct *p = (struct task_struct *)ctx[0];
	struct thread *t;
	struct cpu *c;
	__u32 pid;

	if (p->tgid != target_tgid || !recording())
		return 0;
	pid = p->pid;
	c = this_cpu();
	if (c)
		c->totals.migrations++;
	t = find_thread(pid);
	if (!t) // asleep for nobody knows how long: a sleeping thread is moved as it is woken
		t = add_thread(pid, STATE_SLEEP, 0);
	if (t)
		t->sums.migrations++;
	return 0;
}
