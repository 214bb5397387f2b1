/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/*
 * Which addresses belong to which service: DNS answers, matched before the application can read
 * them. A connect() right after the look-up finds its address in the map; user space would be late
 * for nearly all of them.
 *
 * Read from packets.c at cgroup_skb ingress, where softirq makes the per-CPU scratch ours alone.
 *
 * Names are kept reversed: each label's bytes from the last to the first, then its length, the
 * last label first; an exact name ends in a zero byte (the root). So `.openai.com` is a prefix of
 * everything below it, a longest-prefix look-up finds the longest rule on label boundaries, and
 * the number of rules does not matter.
 *
 * How a parser passes the verifier:
 * - at the head of each loop the position goes through memory (`widened`): a number that is read
 *   back is unknown, so the states of all turns are equal and one turn stands for all;
 * - indices are masked in assembly (`within`): LLVM drops a mask that it can prove redundant, and
 *   the verifier can't follow that proof.
 *
 * What is not understood here goes to user space as it is.
 */

#define DNS_HEADER 12
#define TYPE_A 1
#define TYPE_AAAA 28
#define CLASS_IN 1
#define LONGEST_NAME 254 /* on the wire, without the root's zero byte (RFC 1035, 2.3.4) */
#define POINTER 0xc0	 /* the two bits of a compressed name (RFC 1035, 4.1.4) */

/* The loader lowers these where a kernel's verifier has less patience. */
#ifndef MOST_ANSWERS
#define MOST_ANSWERS 24
#endif
#ifndef MOST_LABELS
#define MOST_LABELS 127 /* of a record's owner; nearly always a pointer */
#endif

#define MINIMUM_TTL 60
#define MAXIMUM_TTL 86400
#define SECOND 1000000000ULL
#define QUESTION_NS (30 * SECOND) /* nobody waits longer for an answer */

struct scratch {
	u32 unknown;
	u8 message[PACKET_BYTES + 32]; /* a masked index and the fields behind it stay inside */
	struct name name;
};

BPF_TABLE("percpu_array", u32, struct scratch, scratches, 1);
BPF_TABLE("lru_hash", struct question, u64, questions, 8192);
BPF_F_TABLE("lpm_trie", struct name, u32, names, NAMES, BPF_F_NO_PREALLOC);

static __always_inline u64 within(u64 index)
{
	asm volatile("%0 &= %1" : "+r"(index) : "i"(PACKET_BYTES - 1));
	return index;
}

static __always_inline u32 widened(struct scratch *s, u32 value)
{
	*(volatile u32 *)&s->unknown = value;
	return *(volatile u32 *)&s->unknown;
}

static __always_inline u32 two_bytes(const u8 *at)
{
	return at[0] << 8 | at[1];
}

/* Copy the payload into the scratch; its length, or 0. */
static __always_inline u32 copy(struct __sk_buff *skb, u32 offset, struct scratch *s)
{
	u64 length = skb->len - offset;

	if (skb->len <= offset || length > PACKET_BYTES)
		return 0;
	length = within(length - 1) + 1;
	return bpf_skb_load_bytes(skb, offset, s->message, length) ? 0 : length;
}

/* Where the question's name ends (at the root's zero byte), or 0. */
static __always_inline u32 end_of_question(struct scratch *s, u32 size)
{
	u32 at = DNS_HEADER, length;

	for (int label = 0; label < 127; label++) {
		at = widened(s, at);
		length = s->message[within(at)];
		if (!length)
			return at;
		if (length > 63)
			return 0;
		at += length + 1;
		if (at > DNS_HEADER + LONGEST_NAME || at >= size)
			return 0;
	}
	return 0;
}

/* The service that the name in front of `end` belongs to, or 0. */
static __always_inline u32 service_named(struct scratch *s, u32 end)
{
	u32 length = widened(s, end - DNS_HEADER);
	u64 last;
	u32 *service;

	for (u32 i = 0; i < LONGEST_NAME; i++) {
		if (i >= length)
			break;
		u8 c = s->message[within(DNS_HEADER - 1 + length - i)];
		if ((u8)(c - 'A') < 26)
			c |= 32;
		s->name.bytes[i] = c;
	}
	last = length;
	asm volatile("%0 &= 255" : "+r"(last));
	s->name.bytes[last] = 0;
	s->name.bits = (length + 1) * 8;
	service = names.lookup(&s->name);
	return service ? *service : 0;
}

/* What can be nobody's service: loopback, unspecified, multicast. */
static __always_inline bool is_nowhere(const struct address *a)
{
	if (is_loopback(a))
		return true;
	if (is_v4(a))
		return (a->word[3] & bpf_htonl(0xf0000000)) == bpf_htonl(0xe0000000);
	return (a->word[0] & bpf_htonl(0xff000000)) == bpf_htonl(0xff000000);
}

static __always_inline void learn(struct address *address, u32 service, u32 ttl, u32 evidence)
{
	struct place place = {.service = service, .evidence = evidence}, *known;
	u64 now = bpf_ktime_get_ns();

	if (is_nowhere(address)) {
		count(COUNT_NOWHERE);
		return;
	}
	if (ttl < MINIMUM_TTL)
		ttl = MINIMUM_TTL;
	if (ttl > MAXIMUM_TTL)
		ttl = MAXIMUM_TTL;
	place.expires_ns = now + ttl * SECOND;
	known = addresses.lookup(address);
	if (known && known->expires_ns >= now) {
		if (known->evidence < evidence)
			return; /* better known already */
		if (known->evidence == evidence && known->service == service &&
		    known->expires_ns > place.expires_ns)
			return;
	}
	if (addresses.update(address, &place))
		count(COUNT_ADDRESS_LOST);
	else
		count(COUNT_LEARNT);
}

/* The position behind a record's owner name, or 0. */
static __always_inline u32 behind_name(struct scratch *s, u32 at, u32 size)
{
	for (int label = 0; label < MOST_LABELS; label++) {
		at = widened(s, at);
		if (at >= size)
			return 0;
		u32 length = s->message[within(at)];
		if (length >= POINTER)
			return at + 2;
		if (!length)
			return at + 1;
		if (length > 63)
			return 0;
		at += length + 1;
	}
	return 0;
}

/* Learn the addresses of all answers; whether every record was understood. */
static __always_inline bool learn_answers(struct scratch *s, u32 at, u32 size, u32 answers,
					  u32 service)
{
	for (u32 i = 0; i < MOST_ANSWERS; i++) {
		if (i >= answers)
			return true;
		at = behind_name(s, at, size);
		if (!at || at + 10 > size)
			return false;
		u8 *record = s->message + within(at);
		u32 type = two_bytes(record), class = two_bytes(record + 2);
		u32 ttl = two_bytes(record + 4) << 16 | two_bytes(record + 6);
		u32 length = two_bytes(record + 8);
		at += 10;
		if (at + length > size)
			return false;
		u8 *value = s->message + within(at);
		struct address address = {};
		if (class == CLASS_IN && type == TYPE_A && length == 4) {
			address.word[2] = MAPPED;
			__builtin_memcpy(&address.word[3], value, 4);
			learn(&address, service, ttl, EVIDENCE_DNS);
		} else if (class == CLASS_IN && type == TYPE_AAAA && length == 16) {
			__builtin_memcpy(&address, value, 16);
			learn(&address, service, ttl, EVIDENCE_DNS);
		}
		at += length;
	}
	return answers <= MOST_ANSWERS;
}

#ifdef NAMES_IN_USER_SPACE
static __always_inline bool read_answer(struct __sk_buff *skb, u32 offset)
{
	return false;
}
#else
/* Read an answer that was asked for; false where user space has to. */
static __always_inline bool read_answer(struct __sk_buff *skb, u32 offset)
{
	u32 zero = 0, size, answers, end, type, service;
	u32 *matching = matchings.lookup(&zero);
	struct scratch *s = scratches.lookup(&zero);
	u8 *m;

	if (!s || !matching || !*matching)
		return false;
	size = widened(s, copy(skb, offset, s));
	if (size < DNS_HEADER + 5)
		return false;
	m = s->message;
	answers = two_bytes(m + 6);
	/* a response (QR) to a standard query (opcode), without error (rcode), with answers */
	if (!(m[2] & 0x80) || m[2] & 0x78 || m[3] & 0x0f || !answers) {
		count(COUNT_DNS_EMPTY);
		return true;
	}
	if (two_bytes(m + 4) != 1) /* questions */
		return false;
	end = end_of_question(s, size);
	if (!end || end + 5 > size)
		return false;
	type = two_bytes(m + within(end + 1));
	if (type != TYPE_A && type != TYPE_AAAA) {
		count(COUNT_DNS_EMPTY);
		return true;
	}
	service = service_named(s, end);
	if (!service) {
		count(COUNT_DNS_OTHER);
		return true;
	}
	count(COUNT_DNS_MATCHED);
	return learn_answers(s, widened(s, end) + 5, size, answers, service);
}
#endif

/* In place of a DNS id: whatever comes back on a TCP connection to a resolver was asked for. */
#define STREAM 0x10000

static __always_inline void note_question(struct __sk_buff *skb, u32 id)
{
	struct question question = {.cookie = socket_cookie(skb), .id = id};
	u64 now = bpf_ktime_get_ns();

	questions.update(&question, &now);
}

/* A query leaves: its answer may be believed. */
static __always_inline void asks(struct __sk_buff *skb, u32 offset)
{
	u8 head[3];

	if (!bpf_skb_load_bytes(skb, offset, head, sizeof(head)) && !(head[2] & 0x80))
		note_question(skb, two_bytes(head));
}

/*
 * Was this asked here? Anybody can send a packet from port 53; only an answer to a query that was
 * seen leaving the same socket may say where a service is.
 */
static __always_inline bool was_asked(struct __sk_buff *skb, u32 id)
{
	struct question question = {.cookie = socket_cookie(skb), .id = id};
	u64 *asked = questions.lookup(&question);

	return asked && bpf_ktime_get_ns() - *asked <= QUESTION_NS;
}
