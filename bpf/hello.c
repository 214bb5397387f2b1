/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/*
 * Connections whose name was not seen in DNS (DoH, a hard-coded address, an older cache): the SNI
 * of the ClientHello says which service they go to (RFC 8446, 4.1.2; RFC 6066, 3).
 *
 * Read from packets.c at cgroup_skb egress. Such a connection is on its way already: it is
 * recorded, its address is learnt for the next one, and it is cut only where the service is
 * refused. Who connected was noted by the connect hook, for each connection to port 443.
 *
 * A hello may span segments (a post-quantum key share is larger than one), so it is collected per
 * socket; per-CPU scratch would not do, since a process may be preempted at egress. The socket's
 * lock keeps two segments of one connection apart. See names.c for how loops pass the verifier.
 *
 * Not read: a hello over HELLO_BYTES, one whose segments leave out of order, ECH's inner name.
 */

#define HELLO_BYTES 8192
#define HELLOS 1024
#define HELLO_TTL 3600
#define RECORD_HEADER 5
#define SERVER_NAME_FIRST 43 /* record header, handshake header, version, random */
#define MOST_EXTENSIONS 64

enum hello_state {
	HELLO_OPEN = 0,
	HELLO_DONE = 1,
	HELLO_CUT = 2, /* nothing of this connection may leave */
};

/* A ClientHello as far as it has left. */
struct hello {
	u32 base; /* sequence number of its first byte */
	u32 have; /* bytes from there on, without a gap */
	u32 state;
	u32 unknown;
	struct name name;
	u8 bytes[2 * HELLO_BYTES + 64]; /* a masked index and a whole segment stay inside */
};

BPF_TABLE("lru_hash", u64, struct hello, hellos, HELLOS);
BPF_TABLE("array", u32, struct hello, blanks, 1);

static __always_inline u32 hello_widened(struct hello *h, u32 value)
{
	*(volatile u32 *)&h->unknown = value;
	return *(volatile u32 *)&h->unknown;
}

static __always_inline u64 in_hello(u64 index)
{
	asm volatile("%0 &= 16383" : "+r"(index));
	return index;
}

/* The service that the dotted name of `length` bytes before `end` belongs to, or 0. */
static __always_inline u32 service_of_host(struct hello *h, u32 end, u32 length)
{
	u32 run = 0, *service;
	u64 last;

	for (u32 i = 0; i < LONGEST_NAME - 1; i++) {
		if (i >= length)
			break;
		u8 c = h->bytes[in_hello(end - 1 - i)];
		if ((u8)(c - 'A') < 26)
			c |= 32;
		if (c == '.') {
			c = run;
			run = 0;
		} else {
			run++;
		}
		h->name.bytes[i] = c;
		run = hello_widened(h, run);
	}
	last = length;
	asm volatile("%0 &= 255" : "+r"(last));
	h->name.bytes[last] = run;
	last++;
	asm volatile("%0 &= 255" : "+r"(last));
	h->name.bytes[last] = 0;
	h->name.bits = (length + 2) * 8;
	service = names.lookup(&h->name);
	return service ? *service : 0;
}

/* What a hello says so far. */
#define SAYS_MORE 0xffffffff	/* not all of it is here */
#define SAYS_NOTHING 0		/* no name, no name of ours, or no hello */

/* The service that the hello names, SAYS_MORE or SAYS_NOTHING. */
static __always_inline u32 service_of_hello(struct hello *h)
{
	u32 end = hello_widened(h, h->have), at = SERVER_NAME_FIRST, extensions, kind, length;
	u8 *b = h->bytes;

	if (end > HELLO_BYTES)
		end = HELLO_BYTES;
	if (end <= SERVER_NAME_FIRST)
		return SAYS_MORE;
	if (b[0] != 0x16 || b[1] != 3 || b[5] != 1)
		return SAYS_NOTHING;
	at += 1 + b[SERVER_NAME_FIRST]; /* session id */
	at = hello_widened(h, at);
	if (at + 2 > end)
		return SAYS_MORE;
	at += 2 + two_bytes(b + in_hello(at)); /* cipher suites */
	at = hello_widened(h, at);
	if (at + 1 > end)
		return SAYS_MORE;
	at += 1 + b[in_hello(at)]; /* compression methods */
	at = hello_widened(h, at);
	if (at + 2 > end)
		return SAYS_MORE;
	extensions = at + 2 + two_bytes(b + in_hello(at));
	at += 2;
	for (int i = 0; i < MOST_EXTENSIONS; i++) {
		at = hello_widened(h, at);
		if (at >= extensions)
			return SAYS_NOTHING;
		if (at + 4 > end)
			return SAYS_MORE;
		kind = two_bytes(b + in_hello(at));
		length = two_bytes(b + in_hello(at + 2));
		if (!kind) { /* server_name: list length, type, name length, name */
			if (at + 9 > end)
				return SAYS_MORE;
			length = two_bytes(b + in_hello(at + 7));
			if (!length || length >= LONGEST_NAME)
				return SAYS_NOTHING;
			if (at + 9 + length > end)
				return SAYS_MORE;
			length = hello_widened(h, length);
			return service_of_host(h, at + 9 + length, length);
		}
		at += 4 + length;
	}
	return SAYS_NOTHING;
}

/* The collection that a segment belongs to, begun where it is a connection's first; or null. */
static __always_inline struct hello *hello_of(struct __sk_buff *skb, u64 *cookie, u32 sequence,
					      u32 payload)
{
	struct hello *h = hellos.lookup(cookie), *blank;
	u64 cgroup;
	u32 zero = 0;
	u8 first;

	if (h)
		return h;
	if (bpf_skb_load_bytes(skb, payload, &first, 1) || first != 0x16)
		return NULL;
	cgroup = bpf_skb_cgroup_id(skb);
	if (exempt.lookup(&cgroup))
		return NULL;
	blank = blanks.lookup(&zero);
	if (!blank || hellos.update(cookie, blank))
		return NULL;
	h = hellos.lookup(cookie);
	if (h)
		h->base = sequence;
	return h;
}

/* As limits(), of who connected; for cgroups above the socket's creator stands for the caller. */
static __always_inline u32 late_limits(struct __sk_buff *skb, u32 service, u32 flags,
				       struct caller *caller)
{
	struct subject who = {};
	u32 closed, found;
	u64 ancestor;

	if (!caller || !(flags & FLAG_SOME))
		return 0;
	who.uid = (u32)caller->owner;
	who.cgroup = caller->cgroup;
	who.inode = caller->inode;
	who.device = caller->device;
	closed = limits_of(service, &who, 0, 0);
	if (!(asked() & ASKS_CGROUP))
		return closed;
	closed |= limits_of(service, &who, ASKS_CGROUP, who.cgroup);
	for (int level = 0; level < MOST_ABOVE; level++) {
		ancestor = bpf_skb_ancestor_cgroup_id(skb, level);
		if (!ancestor || closed & FLAG_REFUSE)
			break;
		found = limits_of(service, &who, ASKS_CGROUP, ancestor);
		if (found)
			closed = found;
	}
	return closed;
}

/*
 * May a connection to a service that is redirected not go on as it is? Not where the service may
 * not go uninspected, nor, in enforce mode, where the next attempt will be redirected.
 */
static __always_inline bool must_begin_anew(struct __sk_buff *skb, u32 flags, struct flow *flow)
{
	u32 zero = 0, *strict = strictness.lookup(&zero);
	struct bpf_sock *sk = skb->sk;

	if (flags & FLAG_CLOSED)
		return true;
	return strict && *strict && sk && !obstacle(skb, sk->bound_dev_if, is_v4(&flow->destination));
}

/*
 * A service was named, by a connection whose address did not tell. Learn the address for the next
 * one, record this one; whether it may go on. It may not where it should have been refused, or
 * redirected with no exception: then nothing of it leaves, and the daemon destroys the socket.
 */
static __always_inline bool named_late(struct __sk_buff *skb, u64 cookie, u32 service,
				       struct flow *flow)
{
	struct caller *caller = caller_of(cookie);
	u32 own = flags_of(service), flags = own | late_limits(skb, service, own, caller);
	bool alone = caller && is_excluded(caller->netns);
	bool refused = flags & FLAG_REFUSE ||
		       (!alone && flags & FLAG_REDIRECT && must_begin_anew(skb, flags, flow));

	count(COUNT_HELLO_MATCHED);
	learn(&flow->destination, service, HELLO_TTL, EVIDENCE_HELLO);
	if (!refused && flows.lookup(&cookie))
		return true; /* the connect hook has reported it, by an earlier hello's address */
	flow->cookie = cookie;
	flow->port = HTTPS;
	flow->service = (u16)service;
	flow->protocol = IPPROTO_TCP;
	flow->outcome = refused ? OUTCOME_REFUSED : OUTCOME_DIRECT;
	flow->reason = alone && !refused ? REASON_EXCLUDED : REASON_LATE_NAME;
	if (caller) {
		flow->netns = caller->netns;
		flow->cgroup = caller->cgroup;
		flow->opened_ns = caller->opened_ns;
		flow->pid = caller->ids >> 32;
		flow->tid = (u32)caller->ids;
		flow->uid = (u32)caller->owner;
		flow->gid = caller->owner >> 32;
		__builtin_memcpy(flow->comm, caller->comm, sizeof(flow->comm));
	} else {
		count(COUNT_CALLER_UNKNOWN);
		flow->cgroup = bpf_skb_cgroup_id(skb);
		flow->opened_ns = bpf_ktime_get_ns();
	}
	report(flow);
	return !refused;
}

/* A segment to port 443 leaves; `offset` is that of its TCP header. */
static __always_inline int hello_leaves(struct __sk_buff *skb, u32 offset)
{
	struct flow flow = {};
	struct place *place;
	u32 sequence, payload, place_in_hello, service;
	struct bpf_tcp_sock *tcp;
	struct bpf_sock *sk = skb->sk;
	struct hello *h;
	u64 cookie, length, room;
	u8 head[14];

	if (!sk)
		return ALLOW;
	sk = bpf_sk_fullsock(sk);
	if (!sk)
		return ALLOW;
	tcp = bpf_tcp_sock(sk);
	if (!tcp || tcp->bytes_acked > HELLO_BYTES)
		return ALLOW; /* a hello stands at the beginning */
	if (bpf_skb_load_bytes(skb, offset, head, sizeof(head)))
		return ALLOW;
	payload = offset + (head[12] >> 4) * 4;
	if (skb->len <= payload)
		return ALLOW;
	length = skb->len - payload;
	sequence = two_bytes(head + 4) << 16 | two_bytes(head + 6);
	if (head[13] & TCP_SYN) /* Fast Open: the SYN has a number of its own */
		sequence++;

	cookie = socket_cookie(skb);
	h = hello_of(skb, &cookie, sequence, payload);
	if (!h || h->state == HELLO_DONE)
		return ALLOW;
	if (h->state == HELLO_CUT)
		return REFUSE;
	place_in_hello = sequence - h->base;
	if (place_in_hello > h->have || place_in_hello >= HELLO_BYTES) {
		count(COUNT_HELLO_UNREADABLE);
		h->state = HELLO_DONE;
		return ALLOW;
	}
	if (length > HELLO_BYTES)
		length = HELLO_BYTES;
	length -= 1;
	asm volatile("%0 &= 8191" : "+r"(length));
	length += 1;
	room = place_in_hello;
	asm volatile("%0 &= 8191" : "+r"(room));
	if (bpf_skb_load_bytes(skb, payload, h->bytes + room, length))
		return ALLOW;
	if (place_in_hello + length > h->have)
		h->have = place_in_hello + length;

	service = service_of_hello(h);
	if (service == SAYS_MORE && h->have < HELLO_BYTES)
		return ALLOW;
	h->state = HELLO_DONE;
	if (service == SAYS_MORE) {
		count(COUNT_HELLO_UNREADABLE);
		return ALLOW;
	}
	count(COUNT_HELLO_SEEN);
	if (!service || !addressed(skb, &flow.source, &flow.destination))
		return ALLOW;
	place = addresses.lookup(&flow.destination);
	if (place && place->evidence == EVIDENCE_DNS && place->expires_ns >= bpf_ktime_get_ns())
		return ALLOW; /* the connect hook knew as much */
	flow.source_port = port_at(skb, offset);
	if (named_late(skb, cookie, service, &flow))
		return ALLOW;
	h->state = HELLO_CUT;
	return REFUSE;
}
