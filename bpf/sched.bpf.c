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

// The calls in which the Go runtime parks its idle threads, over and over.
const volatile __u32 nr_futex = -1;
const volatile __u32 nr_epoll_pwait = -1;
const volatile __u32 nr_nanosleep = -1;

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
	HOLDER_UNKNOWN = 0, // nothing was switched there since attaching
	HOLDER_IDLE,
	HOLDER_TARGET,
	HOLDER_OTHER,
	HOLDERS,
};
exported_enum(holder);

struct cpu {
	__u64 since;
	__u64 ns[HOLDERS];
	__u32 holder;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct cpu);
} cpus SEC(".maps");

// What a thread did in the window, in nanoseconds and times.
struct thread_sums {
	__u64 on_cpu_ns;
	__u64 run_queue_ns;
	__u64 off_ns;
	__u64 switches;
	__u64 wakeups;
	__u64 migrations;
};

struct thread {
	__u64 since;
	__u64 left;   // when it last left the CPU
	__u64 woken;  // when it was woken since; 0: it was not
	__u64 caller; // return_word where it last left the CPU
	__u64 goid;   // of the goroutine it then ran; 0: none
	__s32 stack;  // where it last left the CPU
	__u16 state;
	__u16 ran;	// was on a CPU inside the window
	__u16 left_state; // how it left
	__u16 pad;
	__u32 nr; // of the system call it is in, if it is in one
	struct thread_sums sums;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, __u32);
	__type(value, struct thread);
} threads SEC(".maps");

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

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct sched_totals);
} totals SEC(".maps");

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

static __always_inline struct sched_totals *get_totals(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&totals, &zero);
}

static __always_inline __u32 holder_of(__u32 pid, __u32 tgid)
{
	if (pid == 0)
		return HOLDER_IDLE;
	return tgid == target_tgid ? HOLDER_TARGET : HOLDER_OTHER;
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

static __always_inline struct thread *add_thread(__u32 pid, __u32 state, __u64 now)
{
	struct thread t = {.since = now, .stack = STACK_NONE, .state = state};

	if (bpf_map_update_elem(&threads, &pid, &t, BPF_NOEXIST))
		count(COUNTER_MAP_FULL);
	return bpf_map_lookup_elem(&threads, &pid);
}

static __always_inline void ran(struct thread *t)
{
	struct sched_totals *sum;

	if (t->ran || !recording())
		return;
	t->ran = 1;
	sum = get_totals();
	if (sum)
		sum->threads++;
}

// Of preempted threads not every stack is walked, for it is a sample of what was on
// the CPU and no more. Waits whose stack was left out are put by until the next one
// that was walked, and given to it.
#define STACK_LEFT_OUT -3

struct put_by {
	struct sampler sampler;
	struct wait_key last;
	struct wait_value sum;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct put_by);
} preempted SEC(".maps");

// end_wait accounts for what a thread did off the CPU until now.
static __always_inline void end_wait(struct thread *t, __u64 now)
{
	struct wait_key key = {.caller = t->caller, .stack = t->stack, .state = t->state};
	__u64 ns = clip(t->since, now);
	struct wait_value one = {.ns = ns, .times = 1}, *v;
	struct sched_totals *sum = get_totals();
	struct put_by *p;
	__u32 zero = 0;

	if (!ns || !sum)
		return;
	if (key.state == STATE_RUNNABLE) {
		sum->run_queue_ns += ns;
		sum->run_queue_log2_ns[log2_slot(ns)]++;
		t->sums.run_queue_ns += ns;
	} else if (key.state < STATES) {
		sum->off_ns[key.state] += ns;
		t->sums.off_ns += ns;
	}
	if (key.state == STATE_RUNNABLE && t->left_state == STATE_RUNNABLE) {
		p = bpf_map_lookup_elem(&preempted, &zero);
		if (!p)
			return;
		p->sum.ns += ns;
		p->sum.times++;
		if (key.stack == STACK_LEFT_OUT)
			return;
		one = p->sum;
		p->sum.ns = 0;
		p->sum.times = 0;
		p->last = key;
	}
	v = bpf_map_lookup_elem(&waits, &key);
	if (!v) {
		if (!bpf_map_update_elem(&waits, &key, &one, BPF_NOEXIST))
			return;
		v = bpf_map_lookup_elem(&waits, &key); // another CPU may have been first
	}
	if (v) {
		v->ns += one.ns;
		v->times += one.times;
	} else {
		count_many(COUNTER_MAP_FULL, one.times);
	}
}

// bury forgets a thread that has ended. What it did stays in the sum of the ended.
static __always_inline void bury(struct thread *t, __u32 pid)
{
	struct thread_sums *sum;
	__u32 zero = 0;

	sum = bpf_map_lookup_elem(&ended, &zero);
	if (sum) {
		sum->on_cpu_ns += t->sums.on_cpu_ns;
		sum->run_queue_ns += t->sums.run_queue_ns;
		sum->off_ns += t->sums.off_ns;
		sum->switches += t->sums.switches;
		sum->wakeups += t->sums.wakeups;
		sum->migrations += t->sums.migrations;
	}
	bpf_map_delete_elem(&threads, &pid);
}

// tell gives user space the interval that ends now.
static __always_inline void tell(struct thread *t, __u32 tid, __u64 now)
{
	struct cut *c;

	if (!t->goid || !t->left || !clip(t->left, now))
		return;
	c = bpf_ringbuf_reserve(&cuts, sizeof(*c), 0);
	if (!c) {
		count(COUNTER_RING_FULL);
		return;
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
}

// leave keeps how and where the current thread leaves the CPU.
static __always_inline void leave(void *ctx, struct thread *t, __u64 now)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct pt_regs *regs = (struct pt_regs *)bpf_task_pt_regs(task);
	__u32 nr = regs->orig_ax, zero = 0;
	struct put_by *p;

	t->nr = nr;
	t->goid = 0;
	// A thread that sleeps in one of these has no goroutine: the runtime parks it.
	if (t->state == STATE_SLEEP && (nr == nr_futex || nr == nr_epoll_pwait || nr == nr_nanosleep)) {
		t->caller = return_word(task);
		t->stack = recent_stack_id(ctx, t->caller, nr, 0, now);
		return;
	}
	t->goid = goroutine_id(task);
	if (t->state == STATE_RUNNABLE) {
		p = bpf_map_lookup_elem(&preempted, &zero);
		if (p && !walk_due(&p->sampler, now)) {
			t->caller = 0;
			t->stack = STACK_LEFT_OUT;
			return;
		}
	}
	t->caller = return_word(task);
	t->stack = stack_id(ctx, BPF_F_USER_STACK);
}

SEC("tp_btf/sched_switch")
int chokepoint_sched_switch(__u64 *ctx)
{
	struct task_struct *prev = (struct task_struct *)ctx[1];
	struct task_struct *next = (struct task_struct *)ctx[2];
	__u32 prev_tgid = prev->tgid, next_tgid = next->tgid;
	__u32 prev_pid, next_pid, holder, zero = 0;
	__u64 now = bpf_ktime_get_ns(), since, ns;
	__u32 kernel_state = ctx[3];
	struct sched_totals *sum;
	struct thread *t;
	struct cpu *cpu;

	cpu = bpf_map_lookup_elem(&cpus, &zero);
	if (!cpu)
		return 0;
	next_pid = next->pid;
	prev_pid = prev->pid;
	holder = holder_of(prev_pid, prev_tgid);
	since = cpu->since;
	cpu->ns[holder & 3] += clip(since, now);
	cpu->since = now;
	cpu->holder = holder_of(next_pid, next_tgid);

	if (prev_tgid == target_tgid) {
		t = bpf_map_lookup_elem(&threads, &prev_pid);
		if (!t) // it has been there since the CPU's last switch
			t = add_thread(prev_pid, STATE_ON_CPU, since);
		if (t) {
			ran(t);
			ns = t->state == STATE_ON_CPU ? clip(t->since, now) : 0;
			t->sums.on_cpu_ns += ns;
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
				leave(ctx, t, now);
		}
		sum = get_totals();
		if (sum && recording()) {
			sum->switches++;
			count(COUNTER_EVENTS);
		}
	}
	if (next_tgid == target_tgid) {
		t = bpf_map_lookup_elem(&threads, &next_pid);
		if (!t)
			t = add_thread(next_pid, STATE_ON_CPU, now);
		if (t) {
			ran(t);
			if (t->state != STATE_ON_CPU) {
				end_wait(t, now);
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
	struct sched_totals *sum;
	__u32 pid = p->pid;
	struct thread *t;

	t = bpf_map_lookup_elem(&threads, &pid);
	if (!t) {
		t = add_thread(pid, STATE_RUNNABLE, now);
	} else if (t->state != STATE_ON_CPU && t->state != STATE_RUNNABLE) {
		end_wait(t, now);
		t->since = now;
		t->woken = now;
		t->state = STATE_RUNNABLE;
	}
	sum = get_totals();
	if (sum && recording()) {
		sum->wakeups++;
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
	struct sched_totals *sum;
	struct thread *t;
	__u32 pid;

	if (p->tgid != target_tgid || !recording())
		return 0;
	pid = p->pid;
	sum = get_totals();
	if (sum)
		sum->migrations++;
	t = bpf_map_lookup_elem(&threads, &pid);
	if (!t) // asleep for nobody knows how long: a sleeping thread is moved as it is woken
		t = add_thread(pid, STATE_SLEEP, 0);
	if (t)
		t->sums.migrations++;
	return 0;
}
