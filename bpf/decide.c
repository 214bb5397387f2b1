/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/*
 * What becomes of a connection to a service, and who makes it: the questions that the hooks of
 * connect.c, hello.c and packets.c ask. Nothing here is hooked.
 *
 * bpf_skc_lookup_tcp() finds the checkpoint from Linux 5.2 on, socket storage on what it found
 * from 5.9 on.
 *
 * The loader puts maps.h and restrictions.c before this text.
 */

#define ALLOW 1
#define REFUSE 0 /* EPERM */

#define LOOPBACK4 bpf_htonl(0x7f000001)
#define MAPPED bpf_htonl(0xffff) /* third word of ::ffff:a.b.c.d */

#define TCP_LISTEN 10
#define SOCK_STREAM 1
#define SOCK_DGRAM 2
#define IPPROTO_TCP 6
#define IPPROTO_UDP 17
#define HTTPS 443
#define HTTP 80

struct decision {
	u8 outcome;
	u8 reason;
};

static __always_inline bool is_v4(const struct address *a)
{
	return !a->word[0] && !a->word[1] && a->word[2] == MAPPED;
}

/* Loopback, or unspecified, by which connect() means loopback. */
static __always_inline bool is_loopback(const struct address *a)
{
	if (is_v4(a))
		return (a->word[3] & bpf_htonl(0xff000000)) == bpf_htonl(0x7f000000) || !a->word[3];
	return !a->word[0] && !a->word[1] && !a->word[2] && (a->word[3] & ~bpf_htonl(1)) == 0;
}

/* What is known of an address now, or null. */
static __always_inline struct place *watched(struct address *to)
{
	struct place *place = addresses.lookup(to);
	if (!place)
		return NULL;
	if (place->expires_ns < bpf_ktime_get_ns()) {
		count(COUNT_EXPIRED);
		return NULL;
	}
	return place;
}

/* Does a socket that the daemon vouched for listen on the checkpoint in this namespace? */
static __always_inline bool has_checkpoint(void *ctx, bool v4)
{
	u32 zero = 0;
	struct bpf_sock_tuple tuple = {};
	struct bpf_sock *listener;
	bool ours;

	struct checkpoint *at = checkpoints.lookup(&zero);
	if (!at)
		return false;
	if (v4) {
		if (!at->port4)
			return false;
		tuple.ipv4.daddr = LOOPBACK4;
		tuple.ipv4.dport = bpf_htons((u16)at->port4);
		listener = bpf_skc_lookup_tcp(ctx, &tuple, sizeof(tuple.ipv4), (u64)BPF_F_CURRENT_NETNS, 0);
	} else {
		if (!at->port6)
			return false;
		tuple.ipv6.daddr[3] = bpf_htonl(1);
		tuple.ipv6.dport = bpf_htons((u16)at->port6);
		listener = bpf_skc_lookup_tcp(ctx, &tuple, sizeof(tuple.ipv6), (u64)BPF_F_CURRENT_NETNS, 0);
	}
	if (!listener)
		return false;
	ours = listener->state == TCP_LISTEN && vouched.sk_storage_get(listener, 0, 0);
	bpf_sk_release(listener);
	return ours;
}

/* What stands in the way of a redirect now; 0 where nothing does. */
static __always_inline u8 obstacle(void *ctx, u32 device, bool v4)
{
	u32 zero = 0;
	u64 *beat;

	if (device > 1) { /* 1 is loopback itself */
		count(COUNT_BOUND_DEVICE);
		return REASON_BOUND_DEVICE;
	}
	beat = heartbeats.lookup(&zero);
	/* signed: a beat that lands while we read the clock is not 500 years old */
	if (!beat || !*beat || (s64)(bpf_ktime_get_ns() - *beat) > (s64)HEARTBEAT_NS) {
		count(COUNT_HEARTBEAT);
		return REASON_HEARTBEAT;
	}
	if (!has_checkpoint(ctx, v4)) {
		count(COUNT_NO_LISTENER);
		return REASON_NO_LISTENER;
	}
	return 0;
}

/* Is this network namespace opted out? `netns` is its cookie; 0, where that is not known, is not. */
static __always_inline bool is_excluded(u64 netns)
{
	return excluded.lookup(&netns);
}

static __always_inline u32 flags_of(u32 service)
{
	u32 *flags = services.lookup(&service);
	return flags ? *flags : 0;
}

/* `flags` are the service's and, with them, the caller's limits. */
static __always_inline struct decision decide(void *ctx, u32 device, u32 flags,
					      struct place *place, bool v4, u64 netns)
{
	struct decision decision = {.outcome = OUTCOME_DIRECT, .reason = REASON_POLICY};
	bool sure = place->evidence == EVIDENCE_DNS;
	u8 reason;

	if (flags & FLAG_REFUSE && sure) {
		decision.outcome = OUTCOME_REFUSED;
	} else if (flags & FLAG_REDIRECT && is_excluded(netns)) {
		decision.reason = REASON_EXCLUDED;
		count(COUNT_EXCLUDED);
	} else if (flags & FLAG_REDIRECT) {
		reason = obstacle(ctx, device, v4);
		if (!reason) {
			decision.outcome = OUTCOME_REDIRECTED;
		} else {
			decision.reason = reason;
			if (flags & FLAG_CLOSED && sure)
				decision.outcome = OUTCOME_REFUSED;
		}
	}
	return decision;
}

/* For datagrams: what would be redirected as TCP is refused, so that the client falls back. */
static __always_inline struct decision decide_quic(void *ctx, u32 device, u32 flags,
						     struct place *place, bool v4, u64 netns)
{
	struct decision decision = decide(ctx, device, flags, place, v4, netns);
	if (decision.outcome == OUTCOME_REDIRECTED) {
		decision.outcome = OUTCOME_REFUSED;
		decision.reason = REASON_QUIC;
	}
	return decision;
}

static __always_inline void report(struct flow *flow)
{
	if (flow_ring.ringbuf_output(flow, sizeof(*flow), 0))
		count(COUNT_FLOW_UNREPORTED);
}

/* Fill in who connects; the caller adds what was decided. */
static __always_inline void describe(struct bpf_sock_addr *ctx, struct flow *flow,
				     struct address *to, u16 port, u32 service)
{
	u64 ids = bpf_get_current_pid_tgid(), owner = bpf_get_current_uid_gid();

	flow->cookie = socket_cookie(ctx);
	flow->netns = bpf_get_netns_cookie(ctx);
	flow->cgroup = bpf_get_current_cgroup_id();
	flow->opened_ns = bpf_ktime_get_ns();
	flow->destination = *to;
	flow->pid = ids >> 32;
	flow->tid = (u32)ids;
	flow->uid = (u32)owner;
	flow->gid = owner >> 32;
	flow->port = port;
	flow->service = (u16)service;
	bpf_get_current_comm(&flow->comm, sizeof(flow->comm));
}

static __always_inline u64 checksum(const struct caller *c)
{
	const u64 *comm = (const u64 *)c->comm;
	return c->cookie ^ c->netns ^ c->cgroup ^ c->opened_ns ^ c->ids ^ c->owner ^ c->inode ^
	       c->device << 1 ^ comm[0] ^ comm[1];
}

/*
 * Note who connects to port 443 of an address that means nothing yet: hello.c may find out that it
 * is a service. Slots are taken by the cookie's last bits: no allocation, no eviction to manage,
 * and whoever reads can tell whether the slot is still this connection's.
 */
static __always_inline void note_caller(struct bpf_sock_addr *ctx)
{
	u64 cookie = socket_cookie(ctx);
	u32 slot = cookie & (CALLERS - 1);
	struct caller *c = callers.lookup(&slot);

	if (!c || ctx->type != SOCK_STREAM)
		return;
	c->cookie = cookie;
	c->netns = bpf_get_netns_cookie(ctx);
	c->cgroup = bpf_get_current_cgroup_id();
	c->opened_ns = bpf_ktime_get_ns();
	c->ids = bpf_get_current_pid_tgid();
	c->owner = bpf_get_current_uid_gid();
	c->inode = c->device = 0;
	if (asked() & ASKS_PROGRAM)
		read_program(&c->inode, &c->device);
	bpf_get_current_comm(&c->comm, sizeof(c->comm));
	c->check = checksum(c);
}

static __always_inline struct caller *caller_of(u64 cookie)
{
	u32 slot = cookie & (CALLERS - 1);
	struct caller *c = callers.lookup(&slot);

	return c && c->cookie == cookie && c->check == checksum(c) ? c : NULL;
}

static __always_inline bool is_exempt(void)
{
	u64 cgroup = bpf_get_current_cgroup_id();
	if (!exempt.lookup(&cgroup))
		return false;
	count(COUNT_EXEMPT);
	return true;
}
