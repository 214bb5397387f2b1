/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/* The maps, in BCC's form. The loader puts this text before the programs: they share all of it. */
#include "milecastle.h"

/* Written by the daemon. */
BPF_TABLE("array", u32, u32, services, SERVICES);
BPF_TABLE("array", u32, struct checkpoint, checkpoints, 1);
BPF_TABLE("array", u32, u64, heartbeats, 1);
BPF_TABLE("hash", u64, u32, exempt, EXEMPTIONS);
BPF_TABLE("hash", u64, u32, excluded, EXCLUSIONS); /* by a network namespace's cookie */
BPF_TABLE("array", u32, u32, matchings, 1); /* 1: `names` is filled, answers are matched here */
BPF_F_TABLE("hash", struct restriction, u32, restrictions, RESTRICTIONS, BPF_F_NO_PREALLOC);
BPF_TABLE("array", u32, u32, strictness, 1); /* 1: what is named late and could be redirected is cut */
BPF_TABLE("array", u32, u32, askings, 1); /* enum asks, the sum of all restrictions' shapes */
/*
 * A mark that only the daemon can put on a socket, through a descriptor of it. Connections go to a
 * listener that bears it, not to whoever took the same port in some container's namespace.
 */
BPF_SK_STORAGE(vouched, u32);

BPF_TABLE("hash", struct local, u32, locals, LOCALS);
BPF_TABLE("array", u32, u64, local_ports, 1024); /* a bit for each port that `locals` has */

/* Written by both sides. */
BPF_TABLE("lru_hash", struct address, struct place, addresses, ADDRESSES);

/* Written here. */
BPF_TABLE("lru_hash", u64, struct flow, flows, FLOWS);
BPF_TABLE("lru_hash", struct source, u64, ports, FLOWS);
BPF_TABLE("array", u32, struct caller, callers, CALLERS);
BPF_TABLE("percpu_array", u32, u64, counters, COUNTERS);

/* Apart, so that no flood of packets can push out the record of a connection. */
BPF_RINGBUF_OUTPUT(flow_ring, 256);
BPF_RINGBUF_OUTPUT(packet_ring, 256);

/* BCC 0.26 declares it with a result of 32 bits. */
static u64 (*socket_cookie)(void *ctx) = (void *)BPF_FUNC_get_socket_cookie;

static __always_inline void count(u32 which)
{
	u64 *counter = counters.lookup(&which);
	if (counter)
		*counter += 1;
}
