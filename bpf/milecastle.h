/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/*
 * Everything that the kernel's side and the daemon's side of milecastle share: keys and values of
 * maps, records of ring buffers, and the names of outcomes, reasons and counters.
 *
 * agent/milecastle/kernel/layout.py mirrors this file, and tests/kernel/test_layout.py compares
 * every size, offset and number with what the C compiler says. Structs have no hidden padding.
 * Addresses are 16 bytes in network order, IPv4 in its mapped form ::ffff:a.b.c.d; ports and all
 * other numbers are in host order; times are nanoseconds of CLOCK_MONOTONIC (bpf_ktime_get_ns).
 */
#pragma once
#include <linux/types.h>

/* A heartbeat older than this means a worker that hangs: nothing is redirected to it. */
#define HEARTBEAT_NS 1000000000ULL

#define SERVICES 4096	 /* service numbers are 1 .. SERVICES-1; 0 is none */
#define ADDRESSES 65536	 /* addresses that are known to belong to a service */
#define FLOWS 65536	 /* connections to them that are remembered */
#define NAMES 131072	 /* exact names and suffixes of the catalogue */
#define CALLERS 65536	 /* a power of two */
#define EXEMPTIONS 64	 /* cgroups whose connections are never touched */
#define RESTRICTIONS 65536 /* who may not use which service */
#define EXCLUSIONS 8192	 /* network namespaces that are opted out */
#define LOCALS 4096	 /* where model servers of this host listen */
#define ARGUMENT_BYTES 1024 /* of a program's arguments; the rest is cut off */
#define MOST_LEVELS 32	 /* depth of a cgroup below the root that is looked at */
#define MOST_ABOVE 16	 /* of the cgroups above a caller's own, from the root, that may be restricted */
#define PACKET_BYTES 4096 /* of a packet that goes to user space; the rest is cut off */
#define MOST_PIECES 4	  /* records that one TCP segment is handed over in */

/* What is to be done with connections to a service: `services`, by number. */
enum flag {
	FLAG_REDIRECT = 1, /* to the checkpoint, if nothing stands in the way */
	FLAG_CLOSED = 2,   /* refuse where something does (on_failure: closed) */
	FLAG_REFUSE = 4,   /* refuse in any case */
	FLAG_SOME = 8,	   /* there are restrictions: some callers have more flags */
};

/* What a restriction asks of whoever connects; all that its shape names has to fit. */
enum asks {
	ASKS_USER = 1,
	ASKS_PROGRAM = 2,
	ASKS_CGROUP = 4,
};

#define BELOW 256 /* in a restriction's value: it holds for the cgroups below its own as well */

enum outcome {
	OUTCOME_DIRECT = 1,
	OUTCOME_REDIRECTED = 2,
	OUTCOME_REFUSED = 3,
};

/* Why an outcome is what it is. */
enum reason {
	REASON_POLICY = 1,	  /* the service's flags say so */
	REASON_BOUND_DEVICE = 2,  /* SO_BINDTODEVICE: loopback is out of its reach */
	REASON_HEARTBEAT = 3,	  /* no worker has given a sign of life lately */
	REASON_NO_LISTENER = 4,	  /* no checkpoint listens in this network namespace */
	REASON_QUIC = 5,	  /* refused so that the client falls back to TCP */
	REASON_LATE_NAME = 6,	  /* the name was only seen in the ClientHello */
	REASON_EXCLUDED = 7,	  /* the settings leave its network namespace alone */
	REASON_LOCAL = 8,	  /* a server of this host, whose port is not intercepted */
};

/* Index of the per-CPU array `counters`. Nothing is skipped or lost without one of them. */
enum counter {
	COUNT_REDIRECTED,	/* connect() sent to the checkpoint */
	COUNT_DIRECT,		/* connect() to a service let through */
	COUNT_REFUSED,		/* connect() to a service refused */
	COUNT_QUIC_REFUSED,	/* datagrams to a service refused */
	COUNT_BOUND_DEVICE,	/* obstacles: why a connection was not redirected */
	COUNT_HEARTBEAT,
	COUNT_NO_LISTENER,
	COUNT_EXEMPT,		/* connect() of an exempt cgroup to a service */
	COUNT_TRESPASS,		/* connect() to the checkpoint itself, refused */
	COUNT_EXPIRED,		/* the address was known once, its time is over */
	COUNT_FLOW_LOST,	/* a flow that the map did not take */
	COUNT_FLOW_UNREPORTED,	/* a flow that the ring buffer had no room for */
	COUNT_PORT_LOST,	/* a redirected flow that cannot be found by its port */
	COUNT_PEER_ANSWERED,	/* getpeername() answered with the original peer */
	COUNT_DNS_SPLIT,	/* TCP segments from port 53 that are not one whole message */
	COUNT_DNS_SEEN,		/* messages from port 53 */
	COUNT_DNS_UNASKED,	/* of them: no query was seen leaving; ignored */
	COUNT_DNS_EMPTY,	/* of them: errors, and answers without a record */
	COUNT_DNS_OTHER,	/* of them: about names that are not the catalogue's */
	COUNT_DNS_MATCHED,	/* of them: about names that are */
	COUNT_LEARNT,		/* addresses that were learnt here */
	COUNT_NOWHERE,		/* addresses that can be no service: loopback, multicast */
	COUNT_ADDRESS_LOST,	/* an address that the map did not take */
	COUNT_HELLO_SEEN,	/* ClientHellos that were read */
	COUNT_HELLO_MATCHED,	/* of them: a service whose address was not known */
	COUNT_HELLO_UNREADABLE, /* too large, or out of order */
	COUNT_CALLER_UNKNOWN,	/* of the matched: who connected was not kept */
	COUNT_PROCESS_UNREPORTED, /* an event of a process's life; the ring buffer had no room */
	COUNT_DNS_REPORTED,	/* of them: handed to user space */
	COUNT_DNS_UNREPORTED,	/* of them: the ring buffer had no room */
	COUNT_DNS_UNREADABLE,	/* of them: too short, or bytes that could not be loaded */
	COUNT_EXCLUDED,		/* of the direct: their network namespace is opted out */
	COUNTERS
};

struct address {
	__u32 word[4];
};

/*
 * How it is known whose an address is. A ClientHello is written by whoever connects, to any
 * address: it is good enough to redirect later connections (the worker reads their name again),
 * but not to refuse them; that is left to each one's own hello.
 */
enum evidence {
	EVIDENCE_DNS = 0, /* an answer, or what the daemon knows */
	EVIDENCE_HELLO = 1,
};

/* `addresses`: what is known of an address. */
struct place {
	__u64 expires_ns;
	__u32 service;
	__u32 evidence; /* enum evidence */
};

/* `restrictions`: the value is flags that a service has for some callers, beside its own. */
struct restriction {
	__u64 cgroup; /* its id; what the shape does not ask for is zero */
	__u64 inode;  /* of the executable's file */
	__u32 device; /* as the kernel has it: major << 20 | minor */
	__u32 uid;
	__u32 service;
	__u32 shape; /* enum asks, a sum */
};

/* `checkpoint`[0]: where the worker listens, the same ports in every namespace; 0 is nowhere. */
struct checkpoint {
	__u32 port4;
	__u32 port6;
};

/*
 * `locals`: where a model server of this host listens; any address of loopback is all zero. The
 * value is its service, and INTERCEPTED where the settings have the port intercepted.
 */
struct local {
	struct address address;
	__u32 port;
	__u32 unused;
};
#define INTERCEPTED 0x10000

/* `ports`: the source of a redirected connection, as the checkpoint sees its peer. */
struct source {
	struct address address;
	__u64 netns;
	__u32 port;
	__u32 unused;
};

/* `flows` by socket cookie, and the records of `flow_ring`: one connection to a service. */
struct flow {
	__u64 cookie;
	__u64 netns;	/* cookie of the socket's network namespace */
	__u64 cgroup;	/* id of the calling thread's cgroup */
	__u64 opened_ns;
	struct address destination; /* where the application wanted to go */
	struct address source;	    /* REASON_LATE_NAME only; else zero, as is its port */
	__u32 pid;		    /* the thread group's id, in the first pid namespace */
	__u32 tid;
	__u32 uid;
	__u32 gid;
	__u16 port;
	__u16 service;
	__u8 outcome;  /* enum outcome */
	__u8 reason;   /* enum reason */
	__u8 protocol; /* IPPROTO_TCP or IPPROTO_UDP */
	__u8 limits;   /* flags by restrictions on who called connect() */
	char comm[16];
	__u16 source_port;
	__u16 unused16;
	__u32 unused32;
};

/* `callers`: who connected to port 443 of an address that is not known, by socket cookie. */
struct caller {
	__u64 cookie;
	__u64 netns;
	__u64 cgroup;
	__u64 opened_ns;
	__u64 ids;   /* tgid << 32 | tid */
	__u64 owner; /* gid << 32 | uid */
	__u64 inode; /* of the program, where some restriction asks for that */
	__u64 device;
	char comm[16];
	__u64 check; /* all of the above, XORed: two CPUs may write one slot */
};

/* `names`: a reversed name, see names.c; `bits` of `bytes` count. The value is the service. */
struct name {
	__u32 bits;
	__u8 bytes[256];
};

/* `questions`: DNS queries that were seen leaving; the value is the time. */
struct question {
	__u64 cookie;
	__u32 id;
	__u32 unused;
};

enum packet_kind {
	PACKET_DNS = 1,	       /* a whole message from port 53 */
	PACKET_DNS_STREAM = 2, /* a TCP segment from port 53 that is not one whole message */
};

/* Records of `packet_ring`: bytes that the worker has to parse. */
struct packet {
	__u64 cookie;
	__u64 seen_ns;
	__u32 kind;  /* enum packet_kind */
	__u32 total; /* length before it was cut */
	__u32 length; /* of `data` that is filled */
	__u32 sequence; /* PACKET_DNS_STREAM: TCP's number of the first byte */
	__u8 data[PACKET_BYTES];
};

enum life_kind {
	LIFE_FORK = 1,
	LIFE_EXEC = 2,
	LIFE_EXIT = 3,
};

/* Records of `process_ring`: a process begins or ends (struct life), or becomes another program. */
struct life {
	__u64 at_ns;	  /* CLOCK_MONOTONIC */
	__u64 started_ns; /* CLOCK_BOOTTIME, as in /proc/PID/stat; of the process, not the program */
	__u64 cgroup;
	__u32 kind; /* enum life_kind */
	__u32 pid;
	__u32 parent;
	__u32 uid;
	__u32 gid;
	__u32 loginuid; /* 2^32-1 where none was set */
	char comm[16];
};

struct execution {
	struct life life;
	__u64 inode;  /* of the executable's file; for a script the interpreter's */
	__u32 device; /* as the kernel has it: major << 20 | minor */
	__u32 links;  /* 0: deleted, or a memfd */
	__u32 arguments_total;
	__u32 arguments_length; /* of `arguments` that is filled */
	__u64 unused;
	char filename[256];	/* as it was given to execve(); for a script the script's */
	char interpreter[256];	/* the same, or the script's interpreter */
	char arguments[ARGUMENT_BYTES]; /* each ends in a zero byte */
};
