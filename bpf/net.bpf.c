//go:build ignore

// SPDX-License-Identifier: GPL-2.0
//
// Counts what TCP does with the target's connections: accepts that fail and how
// long connections wait to be accepted, sends that find the send buffer full,
// segments sent again, resets, segments dropped, and connections opened and
// closed.
//
// Most of this happens in softirq, in the context of whoever was interrupted.
// A socket is therefore the target's by what it is, not by who runs: it has a
// local port that the target listens on, or the target's own thread connected
// it, or its cookie was found among the target's descriptors at load. What is
// in the target's network namespace and none of these is counted as elsewhere.
#include "chokepoint.bpf.h"
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>

#define AF_INET6 10
#define IPPROTO_TCP 6
#define IPPROTO_MPTCP 262 // Go's servers listen with it where the kernel has it
#define EAGAIN 11

// The states of include/net/tcp_states.h that are looked at.
#define TCP_ESTABLISHED 1
#define TCP_SYN_SENT 2
#define TCP_SYN_RECV 3
#define TCP_FIN_WAIT1 4
#define TCP_CLOSE 7
#define TCP_LAST_ACK 9
#define TCP_LISTEN 10

struct ns_common {
	unsigned int inum;
} relocatable;

struct net {
	struct ns_common ns;
} relocatable;

typedef struct {
	struct net *net;
} relocatable possible_net_t;

typedef struct {
	long long counter;
} relocatable atomic64_t;

struct in6_addr {
	__u8 bytes[16];
};

struct sock_common {
	unsigned int skc_daddr; // the peer's, network order as below
	unsigned short skc_dport;
	unsigned short skc_num; // local port, host order
	unsigned short skc_family;
	struct in6_addr skc_v6_daddr;
	possible_net_t skc_net;
	atomic64_t skc_cookie;
} relocatable;

struct sock {
	struct sock_common __sk_common;
	unsigned short sk_protocol;
} relocatable;

struct tcp_sock {
	unsigned int srtt_us; // eighths of a microsecond
} relocatable;

struct net_device {
	possible_net_t nd_net;
} relocatable;

struct sk_buff {
	struct net_device *dev;
	unsigned char *head;
	unsigned short transport_header;
} relocatable;

struct socket {
	struct sock *sk;
} relocatable;

struct file {
	void *private_data;
} relocatable;

struct fdtable {
	unsigned int max_fds;
	struct file **fd;
} relocatable;

struct files_struct {
	struct fdtable *fdt;
} relocatable;

// The same structure as the header's task_struct, by the fields read here.
struct task_struct___files {
	struct files_struct *files;
} relocatable;

enum sk_rst_reason { SK_RST_REASON_NOT_SPECIFIED }; // Linux 6.10

// Set before loading.
const volatile __u32 target_netns = 0; // inode number of its network namespace
const volatile __u32 nr_accept = -1;
const volatile __u32 nr_accept4 = -1;

// One bit for each port that the target listened on at load, set by user space,
// and for each that it listened on since, set by this program.
volatile __u64 known_ports[65536 / 64] = {};
volatile __u64 new_ports[65536 / 64] = {};

enum socket_owner {
	OWNER_TARGET = 0,
	OWNER_ELSEWHERE, // in the same network namespace, and not known as the target's
	OWNERS,
	OWNER_OUTSIDE, // in another network namespace
};
exported_enum(socket_owner);

struct times {
	__u64 count;
	__u64 ns;
	__u64 log2_ns[LOG2_SLOTS];
};

// For each CPU. Softirq runs on top of the target's own calls, so that what
// both of them count is added atomically.
struct tcp_totals {
	__u64 accepts; // that returned a connection
	__u64 accepts_unmatched; // of these, not seen when they were established
	__u64 connects;
	__u64 connected;
	__u64 connects_failed;
	__u64 incoming;
	__u64 incoming_failed;	 // before they were established
	__u64 incoming_untimed;	 // established without a measured round trip
	__u64 closed_unaccepted; // closed while they waited for accept
	__u64 lives_unknown;	 // closed, opened before anybody looked
	__u64 retransmits[OWNERS];
	__u64 synack_retransmits[OWNERS];
	__u64 resets_sent[OWNERS];
	__u64 resets_received[OWNERS];
	__u64 drops[OWNERS];
	__u64 sends;
	__u64 sent_bytes;
	__u64 sends_blocked;
	struct times accept_wait;
	struct times connect_time;
	struct times incoming_round_trip;
	struct times life;
	struct times send_blocked;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct tcp_totals);
} totals SEC(".maps");

// What is counted by a number that the kernel names.
enum tally_kind {
	TALLY_ACCEPT_ERROR = 0, // errno
	TALLY_SEND_ERROR,	// errno
	TALLY_CLOSED_FROM,	// TCP state
	TALLY_RESET_REASON,	// enum sk_rst_reason
	TALLY_DROP_REASON,	// enum skb_drop_reason
};
exported_enum(tally_kind);

struct tally_key {
	__u32 what;
	__u32 code;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(max_entries, 1024);
	__type(key, struct tally_key);
	__type(value, __u64);
} tallies SEC(".maps");

// A connection of the target, as long as its socket lives.
struct connection {
	__u64 began;	   // connect(2) sent the SYN; 0 for an incoming one
	__u64 established; // 0: not yet
	__u64 sender;	   // the goroutine that sent last; 0: not known
	__u32 blocked;	   // 1: its last send found no room
	__u32 pad;
};

struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct connection);
} connections SEC(".maps");

// The target's sockets that were connected before loading, by cookie.
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u64);
	__type(value, __u8);
} cookies SEC(".maps");

// Established and not accepted, by address of the socket, since when.
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u64);
	__type(value, __u64);
} waiting SEC(".maps");

// Sockets whose last send found no room, by address, since when.
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u64);
	__type(value, __u64);
} blocked SEC(".maps");

// The peer of the one connection on which a goroutine sends, of those that the
// target accepted.
struct peer {
	__u8 addr[16]; // of IPv4 the first four, in network order
	__u16 port;
	__u8 v6;
	__u8 several; // it sends on more than one
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u64);
	__type(value, struct peer);
} peers SEC(".maps");

// over reports whether the window has been closed. From then on nothing changes:
// what waits in the maps is what waited at the window's end.
static __always_inline int over(void)
{
	return window_end != 0;
}

static __always_inline void add(__u64 *to, __u64 n)
{
	__sync_fetch_and_add(to, n);
}

static __always_inline void add_time(struct times *to, __u64 ns)
{
	add(&to->count, 1);
	add(&to->ns, ns);
	add(&to->log2_ns[log2_slot(ns)], 1);
}

static __always_inline struct tcp_totals *here(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&totals, &zero);
}

static __always_inline void tally(enum tally_kind what, __u32 code)
{
	struct tally_key key = {.what = what, .code = code};
	__u64 one = 1, *n = bpf_map_lookup_elem(&tallies, &key);

	if (!n && bpf_map_update_elem(&tallies, &key, &one, BPF_NOEXIST) == 0)
		return;
	if (!n) // a softirq was first with the same key, or there is no room
		n = bpf_map_lookup_elem(&tallies, &key);
	if (n)
		add(n, 1);
	else
		count(COUNTER_MAP_FULL);
}

static __always_inline int is_listening(__u16 port)
{
	return (known_ports[port / 64] | new_ports[port / 64]) >> (port % 64) & 1;
}

static __always_inline int known_cookie(struct sock *sk)
{
	__u64 cookie = sk->__sk_common.skc_cookie.counter;

	return cookie && bpf_map_lookup_elem(&cookies, &cookie);
}

// owner is whose socket sk is. It reads only what request and TIME_WAIT sockets
// have too; for these there is no storage.
static __always_inline enum socket_owner owner(struct sock *sk)
{
	if (sk->__sk_common.skc_net.net->ns.inum != target_netns)
		return OWNER_OUTSIDE;
	if (is_listening(sk->__sk_common.skc_num))
		return OWNER_TARGET;
	if (bpf_sk_storage_get(&connections, sk, 0, 0) || known_cookie(sk))
		return OWNER_TARGET;
	return OWNER_ELSEWHERE;
}

static __always_inline void wait_since(void *map, struct sock *sk, __u64 now)
{
	__u64 key = (__u64)sk;

	if (bpf_map_update_elem(map, &key, &now, BPF_NOEXIST) && !bpf_map_lookup_elem(map, &key))
		count(COUNTER_MAP_FULL);
}

// established keeps when a connection came about. Called in softirq for most.
static __always_inline void established(struct sock *sk, int old, struct tcp_totals *t)
{
	struct connection *c;
	__u64 now = bpf_ktime_get_ns();
	__u32 eighths;

	c = bpf_sk_storage_get(&connections, sk, 0, BPF_LOCAL_STORAGE_GET_F_CREATE);
	if (!c)
		count(COUNTER_MAP_FULL);
	else
		c->established = now;
	if (old != TCP_SYN_RECV) {
		if (!recording())
			return;
		add(&t->connected, 1);
		if (c && c->began)
			add_time(&t->connect_time, now - c->began);
		return;
	}
	wait_since(&waiting, sk, now);
	if (!recording())
		return;
	add(&t->incoming, 1);
	// The kernel has just measured from its SYN-ACK to the ACK, unless the
	// SYN-ACK was sent more than once.
	eighths = BPF_CORE_READ((struct tcp_sock *)sk, srtt_us);
	if (eighths)
		add_time(&t->incoming_round_trip, (__u64)eighths * 125);
	else
		add(&t->incoming_untimed, 1);
}

// sent_last ends the wait for room of a connection that nothing more is written to.
static __always_inline void sent_last(struct sock *sk, struct tcp_totals *t)
{
	__u64 key = (__u64)sk, ns, *since = bpf_map_lookup_elem(&blocked, &key);

	if (!since)
		return;
	ns = clip(*since, bpf_ktime_get_ns());
	bpf_map_delete_elem(&blocked, &key);
	if (ns)
		add_time(&t->send_blocked, ns);
}

static __always_inline void closed(struct sock *sk, int old, struct tcp_totals *t)
{
	struct connection *c = bpf_sk_storage_get(&connections, sk, 0, 0);
	__u64 key = (__u64)sk, now = bpf_ktime_get_ns();
	int unaccepted = bpf_map_delete_elem(&waiting, &key) == 0;

	sent_last(sk, t);
	if (!recording())
		return;
	if (old == TCP_SYN_SENT) {
		add(&t->connects_failed, 1);
		return;
	}
	if (old == TCP_SYN_RECV) {
		add(&t->incoming_failed, 1);
		return;
	}
	tally(TALLY_CLOSED_FROM, old);
	if (unaccepted)
		add(&t->closed_unaccepted, 1);
	if (c && c->established)
		add_time(&t->life, now - c->established);
	else
		add(&t->lives_unknown, 1);
}

SEC("tp_btf/inet_sock_set_state")
int chokepoint_net_state(__u64 *ctx)
{
	struct sock *sk = (struct sock *)ctx[0];
	int old = ctx[1], new = ctx[2];
	struct tcp_totals *t;

	if (!sk || sk->__sk_common.skc_net.net->ns.inum != target_netns)
		return 0;
	if (over())
		return 0;
	if (sk->sk_protocol != IPPROTO_TCP)
		return 0;
	t = here();
	if (!t)
		return 0;
	// listen(2) and connect(2) run in the context of their caller.
	if (new == TCP_LISTEN) {
		__u16 port = sk->__sk_common.skc_num;

		if (current_tgid() == target_tgid)
			__sync_fetch_and_or(&new_ports[port / 64], 1ULL << (port % 64));
		return 0;
	}
	if (new == TCP_SYN_SENT) {
		struct connection *c;

		if (current_tgid() != target_tgid)
			return 0;
		c = bpf_sk_storage_get(&connections, sk, 0, BPF_LOCAL_STORAGE_GET_F_CREATE);
		if (c) {
			c->began = bpf_ktime_get_ns();
			c->established = 0; // a socket may be connected again
		} else {
			count(COUNTER_MAP_FULL);
		}
		if (recording())
			add(&t->connects, 1);
		return 0;
	}
	// The target has closed it. While the peer does not read, what was written
	// before stays in the kernel for minutes, and nobody waits for it.
	if (new == TCP_FIN_WAIT1 || new == TCP_LAST_ACK) {
		sent_last(sk, t);
		return 0;
	}
	if (new != TCP_ESTABLISHED && new != TCP_CLOSE)
		return 0;
	if (old == TCP_LISTEN || old == TCP_CLOSE || owner(sk) != OWNER_TARGET)
		return 0;
	if (new == TCP_ESTABLISHED)
		established(sk, old, t);
	else
		closed(sk, old, t);
	return 0;
}

// The socket behind a descriptor of the current process; 0 when it cannot be told.
static __always_inline __u64 socket_of(long fd)
{
	struct task_struct___files *task = (void *)bpf_get_current_task();
	struct fdtable *table = BPF_CORE_READ(task, files, fdt);
	struct file **files, *file = 0;
	struct socket *socket;

	if (fd < 0 || fd >= BPF_CORE_READ(table, max_fds))
		return 0;
	files = BPF_CORE_READ(table, fd);
	if (bpf_probe_read_kernel(&file, sizeof(file), files + fd))
		return 0;
	socket = BPF_CORE_READ(file, private_data);
	return (__u64)BPF_CORE_READ(socket, sk);
}

static __always_inline int accepted(long result)
{
	struct tcp_totals *t;
	__u64 key, *since, now;

	if (over())
		return 0;
	t = here();
	if (!t)
		return 0;
	if (result < 0) {
		if (recording())
			tally(TALLY_ACCEPT_ERROR, -result);
		return 0;
	}
	key = socket_of(result);
	now = bpf_ktime_get_ns();
	since = bpf_map_lookup_elem(&waiting, &key);
	if (recording()) {
		add(&t->accepts, 1);
		if (since)
			add_time(&t->accept_wait, now - *since);
		else
			add(&t->accepts_unmatched, 1);
	}
	if (since)
		bpf_map_delete_elem(&waiting, &key);
	return 0;
}

// What the tracepoints syscalls:sys_exit_* give.
struct call_exit {
	__u64 common;
	__u64 nr;
	long result;
};

// With these two the kernel runs a program for accept alone. To attach them it
// takes tracefs; without that there is the third, which looks at every call.
SEC("tracepoint/syscalls/sys_exit_accept")
int chokepoint_net_accept(struct call_exit *ctx)
{
	return current_tgid() == target_tgid ? accepted(ctx->result) : 0;
}

SEC("tracepoint/syscalls/sys_exit_accept4")
int chokepoint_net_accept4(struct call_exit *ctx)
{
	return current_tgid() == target_tgid ? accepted(ctx->result) : 0;
}

SEC("tp_btf/sys_exit")
int chokepoint_net_any_call(__u64 *ctx)
{
	struct pt_regs *regs;
	__u64 nr;

	if (current_tgid() != target_tgid)
		return 0;
	regs = (struct pt_regs *)ctx[0];
	nr = regs->orig_ax;
	return nr == nr_accept || nr == nr_accept4 ? accepted(ctx[1]) : 0;
}

// serves notes that a goroutine sends on a connection that the target accepted.
// Not inlined: it is for the first time that it does, mostly.
static __noinline int serves(struct sock *sk, __u64 goid)
{
	struct peer now = {}, *known;

	if (!sk)
		return 0;
	now.port = bpf_ntohs(sk->__sk_common.skc_dport);
	known = bpf_map_lookup_elem(&peers, &goid);
	if (known) {
		if (known->port != now.port)
			known->several = 1;
		return 0;
	}
	now.v6 = sk->__sk_common.skc_family == AF_INET6;
	if (now.v6)
		BPF_CORE_READ_INTO(&now.addr, sk, __sk_common.skc_v6_daddr);
	else
		__builtin_memcpy(now.addr, &sk->__sk_common.skc_daddr, 4);
	if (bpf_map_update_elem(&peers, &goid, &now, BPF_NOEXIST))
		count(COUNTER_MAP_FULL);
	return 0;
}

// Most sends find room, by the goroutine that sent before. What is known of a connection
// is therefore kept at its socket, and nothing else is looked up for these; where there
// is no room for that, it is.
SEC("tp_btf/sock_send_length")
int chokepoint_net_send(__u64 *ctx)
{
	struct sock *sk = (struct sock *)ctx[0];
	struct connection *c;
	struct tcp_totals *t;
	int result = ctx[1];
	__u64 goid;

	if (current_tgid() != target_tgid)
		return 0;
	if (over())
		return 0;
	if (!sk || (sk->sk_protocol != IPPROTO_TCP && sk->sk_protocol != IPPROTO_MPTCP))
		return 0;
	t = here();
	if (!t)
		return 0;
	c = bpf_sk_storage_get(&connections, sk, 0, BPF_LOCAL_STORAGE_GET_F_CREATE);
	if (result == -EAGAIN) {
		if (c)
			c->blocked = 1;
		wait_since(&blocked, sk, bpf_ktime_get_ns());
		if (recording())
			add(&t->sends_blocked, 1);
		return 0;
	}
	if (!c || c->blocked)
		sent_last(sk, t);
	if (c)
		c->blocked = 0;
	if (!recording())
		return 0;
	if (result < 0) {
		tally(TALLY_SEND_ERROR, -result);
		return 0;
	}
	// Only this program, which does not run inside itself, writes these two.
	t->sends++;
	t->sent_bytes += result;
	if (!is_listening(sk->__sk_common.skc_num))
		return 0;
	goid = goroutine_id(bpf_get_current_task_btf());
	if (!goid || (c && c->sender == goid))
		return 0;
	if (c)
		c->sender = goid;
	return serves(sk, goid);
}

SEC("tp_btf/tcp_retransmit_skb")
int chokepoint_net_retransmit(__u64 *ctx)
{
	struct sock *sk = (struct sock *)ctx[0];
	struct tcp_totals *t;
	enum socket_owner who;

	if (!sk || !recording())
		return 0;
	who = owner(sk);
	t = here();
	if (t && who < OWNERS)
		add(&t->retransmits[who], 1);
	return 0;
}

SEC("tp_btf/tcp_retransmit_synack")
int chokepoint_net_synack(__u64 *ctx)
{
	struct sock *sk = (struct sock *)ctx[0]; // that listens
	struct tcp_totals *t;
	enum socket_owner who;

	if (!sk || !recording())
		return 0;
	who = owner(sk);
	t = here();
	if (t && who < OWNERS)
		add(&t->synack_retransmits[who], 1);
	return 0;
}

SEC("tp_btf/tcp_receive_reset")
int chokepoint_net_reset_received(__u64 *ctx)
{
	struct sock *sk = (struct sock *)ctx[0];
	struct tcp_totals *t;
	enum socket_owner who;

	if (!sk || !recording())
		return 0;
	who = owner(sk);
	t = here();
	if (t && who < OWNERS)
		add(&t->resets_received[who], 1);
	return 0;
}

// A reset that answers a segment for which there is no socket (any more) is
// the target's if the segment was for a port of its.
static __always_inline enum socket_owner addressee(struct sk_buff *skb)
{
	__u16 port = 0;

	if (BPF_CORE_READ(skb, dev, nd_net.net, ns.inum) != target_netns)
		return OWNER_OUTSIDE;
	// struct tcphdr: source, dest.
	if (bpf_probe_read_kernel(&port, sizeof(port), BPF_CORE_READ(skb, head) + BPF_CORE_READ(skb, transport_header) + 2))
		return OWNER_ELSEWHERE;
	return is_listening(__builtin_bswap16(port)) ? OWNER_TARGET : OWNER_ELSEWHERE;
}

SEC("tp_btf/tcp_send_reset")
int chokepoint_net_reset_sent(__u64 *ctx)
{
	struct sock *sk = (struct sock *)ctx[0];
	struct sk_buff *skb = (struct sk_buff *)ctx[1];
	struct tcp_totals *t;
	enum socket_owner who;

	if (!recording())
		return 0;
	if (sk)
		who = owner(sk);
	else if (skb)
		who = addressee(skb);
	else
		return 0;
	t = here();
	if (!t || who >= OWNERS)
		return 0;
	add(&t->resets_sent[who], 1);
	if (who == OWNER_TARGET && bpf_core_type_exists(enum sk_rst_reason))
		tally(TALLY_RESET_REASON, ctx[2]);
	return 0;
}

SEC("tp_btf/kfree_skb")
int chokepoint_net_drop(__u64 *ctx)
{
	struct sock *sk = (struct sock *)ctx[3]; // that was to receive it; Linux 6.11
	struct tcp_totals *t;
	enum socket_owner who;

	if (!sk || !recording())
		return 0;
	who = owner(sk);
	t = here();
	if (!t || who >= OWNERS)
		return 0;
	add(&t->drops[who], 1);
	if (who == OWNER_TARGET)
		tally(TALLY_DROP_REASON, ctx[2]);
	return 0;
}
