/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/*
 * What packets tell: DNS answers (names.c), the source of a redirected connection, ClientHellos
 * (hello.c); and which datagrams must not leave.
 *
 * Hooks: cgroup_skb ingress and egress, Linux 5.8 and newer.
 *
 * The loader puts the other texts before this one.
 */

/* Hand the payload to user space as it is. */
static __always_inline void hand_over(struct __sk_buff *skb, u32 offset, u32 kind, u32 sequence)
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
	packet->sequence = sequence;
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

/* A DNS message arrives, at `offset`. */
static __always_inline void answer_arrives(struct __sk_buff *skb, u32 offset, u32 id)
{
	count(COUNT_DNS_SEEN);
	if (!was_asked(skb, id))
		count(COUNT_DNS_UNASKED);
	else if (!read_answer(skb, offset))
		hand_over(skb, offset, PACKET_DNS, 0);
}

/*
 * Where the DNS message of a TCP segment begins, if it fills it: behind its length (RFC 1035,
 * 4.2.2). Else 0, and pieces of messages, or several, are put together in user space.
 */
static __always_inline u32 message_in_segment(struct __sk_buff *skb, u32 offset)
{
	u8 *head = linear(skb, offset, 13), length[2];
	u32 sequence;

	if (!head)
		return 0;
	sequence = two_bytes(head + 4) << 16 | two_bytes(head + 6);
	offset += (head[12] >> 4) * 4;
	if (skb->len <= offset)
		return 0; /* nothing but an acknowledgement */
	if (!bpf_skb_load_bytes(skb, offset, length, sizeof(length)) &&
	    two_bytes(length) == skb->len - offset - 2)
		return offset + 2;
	count(COUNT_DNS_SPLIT);
	for (u32 piece = 0; piece < MOST_PIECES && was_asked(skb, STREAM); piece++) {
		if (skb->len <= offset)
			return 0;
		hand_over(skb, offset, PACKET_DNS_STREAM, sequence);
		offset += PACKET_BYTES;
		sequence += PACKET_BYTES;
	}
	return 0;
}

int ingress(struct __sk_buff *skb)
{
	u32 offset, id = STREAM;
	u8 protocol = carried(skb, &offset), head[2];

	if ((protocol != IPPROTO_UDP && protocol != IPPROTO_TCP) || port_at(skb, offset) != DNS)
		return ALLOW;
	if (protocol == IPPROTO_UDP) {
		offset += UDP_HEADER;
		if (bpf_skb_load_bytes(skb, offset, head, sizeof(head)))
			return ALLOW;
		id = two_bytes(head);
	} else {
		offset = message_in_segment(skb, offset);
	}
	if (offset)
		answer_arrives(skb, offset, id);
	return ALLOW;
}

/* A datagram to port 443 leaves a socket; of connected ones this is the first that we see. */
static __always_inline int quic_leaves(struct __sk_buff *skb)
{
	struct address from, to;
	struct bpf_sock *sk = skb->sk;
	struct decision decision;
	struct place *place;
	struct flow *flow;
	u64 cookie, cgroup;
	u32 flags;

	if (!addressed(skb, &from, &to))
		return ALLOW;
	place = watched(&to);
	if (!place)
		return ALLOW;
	cgroup = bpf_skb_cgroup_id(skb);
	if (exempt.lookup(&cgroup))
		return ALLOW;
	cookie = socket_cookie(skb);
	flow = flows.lookup(&cookie); /* the connect hook made it; here no helper tells the namespace */
	flags = flags_of(place->service) | (flow ? flow->limits : 0);
	decision = decide_quic(skb, sk ? sk->bound_dev_if : 0, flags, place, is_v4(&to),
			       flow ? flow->netns : 0);
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

/*
 * The first segment of a redirected connection leaves: note by which source the checkpoint will
 * know it. The source port is chosen after the connect hooks; here it is as the peer will see it,
 * after any translation of addresses.
 */
static __always_inline void syn_leaves(struct __sk_buff *skb, u32 offset)
{
	u32 zero = 0, to_port = port_at(skb, offset + 2);
	struct checkpoint *at = checkpoints.lookup(&zero);
	struct source source = {};
	struct address to;
	u64 cookie;

	if (!at || (to_port != at->port4 && to_port != at->port6))
		return;
	cookie = socket_cookie(skb);
	struct flow *flow = flows.lookup(&cookie);
	if (!flow || flow->outcome != OUTCOME_REDIRECTED)
		return;
	if (!addressed(skb, &source.address, &to) || !is_loopback(&to))
		return;
	source.netns = flow->netns;
	source.port = port_at(skb, offset);
	if (ports.update(&source, &cookie))
		count(COUNT_PORT_LOST);
}

static __always_inline bool begins_connection(struct __sk_buff *skb, u32 offset)
{
	u8 *flags = linear(skb, offset + 13, 1);
	return flags && (*flags & (TCP_SYN | TCP_ACK)) == TCP_SYN;
}

int egress(struct __sk_buff *skb)
{
	u32 offset, port;
	u8 protocol = carried(skb, &offset);

	if (protocol == IPPROTO_TCP) {
		if (begins_connection(skb, offset))
			syn_leaves(skb, offset);
		port = port_at(skb, offset + 2);
		if (port == HTTPS)
			return hello_leaves(skb, offset);
		if (port == DNS)
			note_question(skb, STREAM);
	} else if (protocol == IPPROTO_UDP) {
		port = port_at(skb, offset + 2);
		if (port == DNS)
			asks(skb, offset + UDP_HEADER);
		else if (port == HTTPS)
			return quic_leaves(skb);
	}
	return ALLOW;
}
