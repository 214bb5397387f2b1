/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/*
 * Who connects to an AI service, and where the connection goes: to the service, to the checkpoint
 * on loopback, or nowhere.
 *
 * Hooks: cgroup/connect4, connect6, sendmsg4, sendmsg6, getpeername4 and getpeername6; from Linux
 * 5.8 on. No sock_ops: the kernel calls it six times for each connection of the host, and
 * packets.c has to look at packets anyway.
 *
 * - A hook is chosen by the cgroup in which the socket was *made*; pid, uid and the current cgroup
 *   are those of the thread that connects, the namespace is the socket's.
 * - connect() on a datagram socket is never refused: getaddrinfo() connects one to every address
 *   it found, with the caller's port, to sort them, and a refusal would put IPv6 first on a host
 *   that has none. QUIC is refused where it sends: here (sendmsg) and in packets.c (egress).
 * - Flow state is not deleted when a socket closes: a client that is quicker than the checkpoint
 *   would be lost. The maps evict what is least recently used.
 * - MPTCP sockets are redirected, but getpeername() shows them the checkpoint.
 *
 * The loader puts maps.h, restrictions.c and decide.c before this text.
 */

static __always_inline u32 device_of(struct bpf_sock_addr *ctx)
{
	struct bpf_sock *sk = ctx->sk;
	return sk ? sk->bound_dev_if : 0;
}

/*
 * What listens there, if it is a model server of this host, else 0. Where there is none, as on
 * most hosts, and for all other ports, this is one look at an array.
 */
static __always_inline u32 local_server(struct address *to, u16 port)
{
	u32 word = port >> 6, *server;
	u64 *bits = local_ports.lookup(&word);
	struct local key = {.port = port};

	if (!bits || !(*bits >> (port & 63) & 1))
		return 0;
	if (!is_loopback(to))
		key.address = *to;
	server = locals.lookup(&key);
	return server ? *server : 0;
}

/*
 * connect() to a watched address: decide, record, and return the outcome. `server` is what
 * local_server() said, 0 where the address is another host's.
 */
static __always_inline u8 connects(struct bpf_sock_addr *ctx, struct address *to, u16 port,
				   struct place *place, u32 server)
{
	struct flow flow = {};
	struct decision decision = {};
	u32 type = ctx->type, flags;

	if (type != SOCK_STREAM && (type != SOCK_DGRAM || port != HTTPS))
		return OUTCOME_DIRECT;
	if (is_exempt())
		return OUTCOME_DIRECT;
	describe(ctx, &flow, to, port, place->service);
	flags = flags_of(place->service);
	flow.limits = limits(place->service, flags);
	if (server && !(server & INTERCEPTED))
		flags &= ~FLAG_REDIRECT;
	if (type == SOCK_STREAM) {
		decision = decide(ctx, device_of(ctx), flags | flow.limits, place, is_v4(to), flow.netns);
		flow.protocol = IPPROTO_TCP;
		flow.outcome = decision.outcome;
		if (server && decision.outcome == OUTCOME_DIRECT && decision.reason == REASON_POLICY)
			decision.reason = REASON_LOCAL;
		flow.reason = decision.reason;
		count(decision.outcome == OUTCOME_REDIRECTED ? COUNT_REDIRECTED
		      : decision.outcome == OUTCOME_REFUSED  ? COUNT_REFUSED
							     : COUNT_DIRECT);
		report(&flow);
	} else {
		flow.protocol = IPPROTO_UDP; /* its outcome is decided when it first sends */
		decision.outcome = OUTCOME_DIRECT;
	}
	if (flows.update(&flow.cookie, &flow))
		count(COUNT_FLOW_LOST);
	return decision.outcome;
}

/*
 * Does this connect() want the checkpoint itself? Nobody is sent there but by us; a connection
 * that was not would be taken for an earlier one from the same port.
 */
static __always_inline bool trespasses(struct bpf_sock_addr *ctx, struct address *to, u16 port)
{
	u32 zero = 0;
	struct checkpoint *at = checkpoints.lookup(&zero);
	bool v4 = is_v4(to);

	if (!at || !port || port != (v4 ? at->port4 : at->port6) || !is_loopback(to))
		return false;
	if (is_exempt() || !has_checkpoint(ctx, v4))
		return false;
	count(COUNT_TRESPASS);
	return true;
}

/* Is a service meant by this address and port? Fill in which, and the server if it is local. */
static __always_inline bool meant(struct bpf_sock_addr *ctx, struct address *to, u16 port,
				  struct place *place, u32 *server)
{
	struct place *known;

	if (port != HTTPS && port != HTTP) {
		*server = local_server(to, port);
		place->service = *server & ~INTERCEPTED;
		return *server;
	}
	*server = 0;
	if (is_loopback(to))
		return false;
	known = watched(to);
	if (port == HTTPS && (!known || known->evidence != EVIDENCE_DNS))
		note_caller(ctx);
	if (!known)
		return false;
	*place = *known;
	return true;
}

int connect4(struct bpf_sock_addr *ctx)
{
	u16 port = bpf_ntohs((u16)ctx->user_port);
	u32 zero = 0;
	struct address to = {.word = {0, 0, MAPPED, ctx->user_ip4}};
	struct place place = {};
	u32 server;

	if (!meant(ctx, &to, port, &place, &server))
		return trespasses(ctx, &to, port) ? REFUSE : ALLOW;

	u8 outcome = connects(ctx, &to, port, &place, server);
	if (outcome == OUTCOME_REDIRECTED) {
		struct checkpoint *at = checkpoints.lookup(&zero);
		if (!at)
			return ALLOW;
		ctx->user_ip4 = LOOPBACK4;
		ctx->user_port = bpf_htons((u16)at->port4);
	}
	return outcome == OUTCOME_REFUSED ? REFUSE : ALLOW;
}

int connect6(struct bpf_sock_addr *ctx)
{
	u16 port = bpf_ntohs((u16)ctx->user_port);
	u32 zero = 0;

	struct address to = {.word = {ctx->user_ip6[0], ctx->user_ip6[1], ctx->user_ip6[2],
				      ctx->user_ip6[3]}};
	struct place place = {};
	u32 server;

	if (!meant(ctx, &to, port, &place, &server))
		return trespasses(ctx, &to, port) ? REFUSE : ALLOW;

	u8 outcome = connects(ctx, &to, port, &place, server);
	if (outcome == OUTCOME_REDIRECTED) {
		struct checkpoint *at = checkpoints.lookup(&zero);
		if (!at)
			return ALLOW;
		if (is_v4(&to)) {
			ctx->user_ip6[3] = LOOPBACK4;
			ctx->user_port = bpf_htons((u16)at->port4);
		} else {
			ctx->user_ip6[0] = 0;
			ctx->user_ip6[1] = 0;
			ctx->user_ip6[2] = 0;
			ctx->user_ip6[3] = bpf_htonl(1);
			ctx->user_port = bpf_htons((u16)at->port6);
		}
	}
	return outcome == OUTCOME_REFUSED ? REFUSE : ALLOW;
}

/* A datagram to port 443 of a watched address, from a socket that names its peer each time. */
static __always_inline int sends(struct bpf_sock_addr *ctx, struct address *to)
{
	struct place *place = watched(to);
	struct flow flow = {}, *known;
	struct decision decision;
	u64 cookie;
	u32 flags;

	if (!place || is_exempt())
		return ALLOW;
	flags = flags_of(place->service);
	flow.limits = limits(place->service, flags);
	decision = decide_quic(ctx, device_of(ctx), flags | flow.limits, place, is_v4(to),
			       bpf_get_netns_cookie(ctx));
	if (decision.outcome == OUTCOME_REFUSED)
		count(COUNT_QUIC_REFUSED);
	cookie = socket_cookie(ctx);
	known = flows.lookup(&cookie);
	if (!known || known->outcome != decision.outcome || known->service != place->service) {
		describe(ctx, &flow, to, HTTPS, place->service);
		flow.protocol = IPPROTO_UDP;
		flow.outcome = decision.outcome;
		flow.reason = decision.reason;
		report(&flow);
		if (flows.update(&cookie, &flow))
			count(COUNT_FLOW_LOST);
	}
	return decision.outcome == OUTCOME_REFUSED ? REFUSE : ALLOW;
}

int sendmsg4(struct bpf_sock_addr *ctx)
{
	if ((u16)ctx->user_port != bpf_htons(HTTPS))
		return ALLOW;
	struct address to = {.word = {0, 0, MAPPED, ctx->user_ip4}};
	return is_loopback(&to) ? ALLOW : sends(ctx, &to);
}

int sendmsg6(struct bpf_sock_addr *ctx)
{
	if ((u16)ctx->user_port != bpf_htons(HTTPS))
		return ALLOW;
	struct address to = {.word = {ctx->user_ip6[0], ctx->user_ip6[1], ctx->user_ip6[2],
				      ctx->user_ip6[3]}};
	return is_loopback(&to) ? ALLOW : sends(ctx, &to);
}

/* The flow of a socket whose peer is the checkpoint, or null. */
static __always_inline struct flow *redirected(struct bpf_sock_addr *ctx)
{
	u64 cookie = socket_cookie(ctx);
	struct flow *flow = flows.lookup(&cookie);
	if (!flow || flow->outcome != OUTCOME_REDIRECTED)
		return NULL;
	count(COUNT_PEER_ANSWERED);
	return flow;
}

int getpeername4(struct bpf_sock_addr *ctx)
{
	u32 zero = 0;
	struct checkpoint *at = checkpoints.lookup(&zero);

	if (!at || ctx->user_ip4 != LOOPBACK4 || bpf_ntohs((u16)ctx->user_port) != at->port4)
		return ALLOW;
	struct flow *flow = redirected(ctx);
	if (flow) {
		ctx->user_ip4 = flow->destination.word[3];
		ctx->user_port = bpf_htons(flow->port);
	}
	return ALLOW;
}

int getpeername6(struct bpf_sock_addr *ctx)
{
	u32 zero = 0;
	struct checkpoint *at = checkpoints.lookup(&zero);
	u16 port = bpf_ntohs((u16)ctx->user_port);

	if (!at || (port != at->port4 && port != at->port6))
		return ALLOW;
	struct address peer = {.word = {ctx->user_ip6[0], ctx->user_ip6[1], ctx->user_ip6[2],
					ctx->user_ip6[3]}};
	if (!is_loopback(&peer))
		return ALLOW;
	struct flow *flow = redirected(ctx);
	if (flow) {
		ctx->user_ip6[0] = flow->destination.word[0];
		ctx->user_ip6[1] = flow->destination.word[1];
		ctx->user_ip6[2] = flow->destination.word[2];
		ctx->user_ip6[3] = flow->destination.word[3];
		ctx->user_port = bpf_htons(flow->port);
	}
	return ALLOW;
}
