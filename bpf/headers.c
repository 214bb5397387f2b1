/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/*
 * The headers of a packet at cgroup_skb, which starts at the IP header. IP fragments and IPv6
 * extension headers are not followed: such a packet is left alone.
 */

#define DNS 53
#define UDP_HEADER 8
#define TCP_SYN 2
#define TCP_ACK 16
#define ETH_P_IPV6 0x86dd

/*
 * The protocol that an IP packet carries and where its header starts; 0 for what is not followed.
 * This and the port checks are all that a packet of no interest pays for, so the header is read in
 * place: the network layer has made the IP header linear before either hook.
 */
static __always_inline u8 carried(struct __sk_buff *skb, u32 *offset)
{
	u8 *ip = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;

	if (ip + 20 > end)
		return 0;
	if (ip[0] >> 4 == 4) {
		if ((ip[6] & 0x3f) | ip[7]) /* a fragment */
			return 0;
		*offset = (ip[0] & 15) * 4;
		return ip[9];
	}
	if (ip[0] >> 4 != 6)
		return 0;
	*offset = 40;
	return ip[6];
}

/*
 * The place of `length` bytes in the packet's linear part, or null. LLVM knows that an IPv4 header
 * is a multiple of four bytes and writes `offset | 1` for the byte after; the verifier does not
 * follow that, so the pointer is pinned.
 */
static __always_inline u8 *linear(struct __sk_buff *skb, u32 offset, u32 length)
{
	u8 *place = (u8 *)(long)skb->data + offset, *end = (void *)(long)skb->data_end;

	asm volatile("" : "+r"(place));
	return place + length > end ? NULL : place;
}

static __always_inline u16 port_at(struct __sk_buff *skb, u32 offset)
{
	u8 *port = linear(skb, offset, 2);
	return port ? port[0] << 8 | port[1] : 0;
}

/* The packet's addresses in the form of the maps' keys. */
static __always_inline bool addressed(struct __sk_buff *skb, struct address *from,
				      struct address *to)
{
	u8 v6 = skb->protocol == bpf_htons(ETH_P_IPV6);

	if (v6)
		return !bpf_skb_load_bytes(skb, 8, from, 16) && !bpf_skb_load_bytes(skb, 24, to, 16);
	__builtin_memset(from, 0, sizeof(*from));
	__builtin_memset(to, 0, sizeof(*to));
	from->word[2] = to->word[2] = MAPPED;
	return !bpf_skb_load_bytes(skb, 12, &from->word[3], 4) &&
	       !bpf_skb_load_bytes(skb, 16, &to->word[3], 4);
}

