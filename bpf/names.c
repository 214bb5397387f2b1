/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/*
 * What packets tell: the addresses of names (DNS answers), and datagrams that must not leave.
 *
 * Hooks: cgroup_skb ingress and egress, Linux 5.8 and newer. Packets start at the IP header.
 * IP fragments and IPv6 extension headers are not followed: such a packet is left alone.
 *
 * The loader puts maps.h and connect.c before this text.
 */

#define DNS 53
#define QUESTION_NS (30ULL * 1000000000) /* an answer that comes later was not waited for */
#define DNS_HEADER 12

BPF_TABLE("lru_hash", struct question, u64, questions, 8192);

/* Where the payload starts, and what carries it. */
struct carried {
	struct address from, to;
	u32 offset; /* of the transport header */
	u8 protocol;
};

static __always_inline bool carried_by(struct __sk_buff *skb, struct carried *c)
{
	u8 first, v4[20];

	if (bpf_skb_load_bytes(skb, 0, &first, 1))
		return false;
	if (first >> 4 == 4) {
		if (bpf_skb_load_bytes(skb, 0, v4, sizeof(v4)))
			return false;
		if ((v4[6] & 0x3f) | v4[7]) /* a fragment */
			return false;
		c->protocol = v4[9];
		c->offset = (first & 15) * 4;
		c->from.word[2] = c->to.word[2] = MAPPED;
		__builtin_memcpy(&c->from.word[3], v4 + 12, 4);
		__builtin_memcpy(&c->to.word[3], v4 + 16, 4);
		return true;
	}
	if (first >> 4 == 6) {
		if (bpf_skb_load_bytes(skb, 6, &c->protocol, 1) ||
		    bpf_skb_load_bytes(skb, 8, &c->from, 16) ||
		    bpf_skb_load_bytes(skb, 24, &c->to, 16))
			return false;
		c->offset = 40;
		return true;
	}
	return false;
}

/* Hand the payload to user space as it is. */
static __always_inline void hand_over(struct __sk_buff *skb, u32 offset, u32 kind)
{
	u32 total = skb->len - offset;
	struct packet *packet;
	u64 length;

	if (skb->len <= offset) {
		count(COUNT_DNS_UNREADABLE);
		return;
	}
	packet = packet_ring.ringbuf_reserve(sizeof(struct packet));
	if (!packet) {
		count(COUNT_DNS_UNREPORTED);
		return;
	}
	packet->cookie = socket_cookie(skb);
	packet->seen_ns = bpf_ktime_get_ns();
	packet->kind = kind;
	packet->total = total;
	packet->unused = 0;
	/* The verifier wants 1 .. PACKET_BYTES; LLVM would drop a mask that it can prove redundant. */
	length = (total > PACKET_BYTES ? PACKET_BYTES : total) - 1;
	asm volatile("%0 &= %1" : "+r"(length) : "i"(PACKET_BYTES - 1));
	length += 1;
	packet->length = length;
	if (bpf_skb_load_bytes(skb, offset, packet->data, length)) {
		packet_ring.ringbuf_discard(packet, 0);
		count(COUNT_DNS_UNREADABLE);
		return;
	}
	packet_ring.ringbuf_submit(packet, 0);
	count(COUNT_DNS_REPORTED);
}

int ingress(struct __sk_buff *skb)
{
	struct carried c = {};
	struct question question = {};
	u8 udp[8], id[2];

	if (!carried_by(skb, &c) || c.protocol != IPPROTO_UDP)
		return ALLOW;
	if (bpf_skb_load_bytes(skb, c.offset, udp, sizeof(udp)) || (udp[0] << 8 | udp[1]) != DNS)
		return ALLOW;
	count(COUNT_DNS_SEEN);
	if (bpf_skb_load_bytes(skb, c.offset + sizeof(udp), id, sizeof(id))) {
		count(COUNT_DNS_UNREADABLE);
		return ALLOW;
	}
	question.cookie = socket_cookie(skb);
	question.id = id[0] << 8 | id[1];
	u64 *asked = questions.lookup(&question);
	if (!asked || bpf_ktime_get_ns() - *asked > QUESTION_NS) {
		count(COUNT_DNS_UNASKED);
		return ALLOW;
	}
	hand_over(skb, c.offset + sizeof(udp), PACKET_DNS);
	return ALLOW;
}

/* A query leaves: its answer may be believed. */
static __always_inline void asks(struct __sk_buff *skb, u32 offset)
{
	struct question question = {};
	u64 now = bpf_ktime_get_ns();
	u8 head[3];

	if (bpf_skb_load_bytes(skb, offset, head, sizeof(head)) || head[2] & 0x80)
		return;
	question.cookie = socket_cookie(skb);
	question.id = head[0] << 8 | head[1];
	questions.update(&question, &now);
}

/* A datagram to port 443 leaves a socket; connected ones are only seen here. */
static __always_inline int quic_leaves(struct __sk_buff *skb, struct address *to)
{
	struct place *place = watched(to);
	struct bpf_sock *sk = skb->sk;
	struct decision decision;
	struct flow *flow;
	u64 cookie, cgroup;

	if (!place)
		return ALLOW;
	cgroup = bpf_skb_cgroup_id(skb);
	if (exempt.lookup(&cgroup))
		return ALLOW;
	decision = decide_quic(skb, sk ? sk->bound_dev_if : 0, place->service, is_v4(to));
	cookie = socket_cookie(skb);
	flow = flows.lookup(&cookie);
	if (flow && flow->outcome != decision.outcome) {
		flow->outcome = decision.outcome;
		flow->reason = decision.reason;
		report(flow);
	}
	if (decision.outcome != OUTCOME_REFUSED)
		return ALLOW;
	count(COUNT_QUIC_REFUSED);
	return REFUSE;
}

int egress(struct __sk_buff *skb)
{
	struct carried c = {};
	u8 udp[8];
	u16 port;

	if (!carried_by(skb, &c) || c.protocol != IPPROTO_UDP)
		return ALLOW;
	if (bpf_skb_load_bytes(skb, c.offset, udp, sizeof(udp)))
		return ALLOW;
	port = udp[2] << 8 | udp[3];
	if (port == DNS)
		asks(skb, c.offset + sizeof(udp));
	else if (port == HTTPS)
		return quic_leaves(skb, &c.to);
	return ALLOW;
}
