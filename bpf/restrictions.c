/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/*
 * Who may not use a service, though others may: by user, by the program that runs, by cgroup.
 * Asked by decide.c and hello.c, only for services that have such restrictions. Nothing here is
 * hooked.
 *
 * A program is the file that the process executes (mm->exe_file): inode and device, by the same
 * reads as in process.c, so that the daemon knows it from the report of its exec. cgroup hooks may
 * read the task from Linux 5.10 on; without BTF there is no program.
 *
 * The loader puts maps.h before this text, and the places of members as options.
 */

/* Who connects, as far as restrictions ask. */
struct subject {
	u64 inode;
	u64 device;
	u64 cgroup;
	u32 uid;
};

/*
 * By its number: where BCC does not see the helper in /proc/kallsyms (a daemon without CAP_SYSLOG), it
 * puts bpf_probe_read() in its place, which programs on cgroups may not call.
 */
static long (*read_kernel)(void *to, u32 size, const void *from) =
	(void *)BPF_FUNC_probe_read_kernel;

static __always_inline u64 word_at(u64 base, u32 offset)
{
	u64 value = 0;
	read_kernel(&value, sizeof(value), (void *)(base + offset));
	return value;
}

static __always_inline u32 half_at(u64 base, u32 offset)
{
	u32 value = 0;
	read_kernel(&value, sizeof(value), (void *)(base + offset));
	return value;
}

/* What the current process runs; zeros where that cannot be told. */
static __always_inline void read_program(u64 *inode, u64 *device)
{
#ifdef TASK_MM
	u64 task = bpf_get_current_task();
	u64 file = word_at(word_at(task, TASK_MM), MM_EXE_FILE), node = word_at(file, FILE_INODE);

	*inode = word_at(node, INODE_INO);
	*device = half_at(word_at(node, INODE_SB), SB_DEV);
#endif
}

/* What restrictions ask for, all of them together: enum asks. */
static __always_inline u32 asked(void)
{
	u32 zero = 0, *asks = askings.lookup(&zero);
	return asks ? *asks : 0;
}

/* The flags by restrictions of one shape. */
static __always_inline u32 limit(struct restriction *key, u32 shape, const struct subject *who)
{
	u32 *found;

	key->shape = shape;
	key->uid = shape & ASKS_USER ? who->uid : 0;
	key->inode = shape & ASKS_PROGRAM ? who->inode : 0;
	key->device = shape & ASKS_PROGRAM ? (u32)who->device : 0;
	found = restrictions.lookup(key);
	/* the cgroup's own word counts in any case, that of one above only if it says so */
	if (!found || (shape & ASKS_CGROUP && key->cgroup != who->cgroup && !(*found & BELOW)))
		return 0;
	return *found & (FLAG_REFUSE | FLAG_CLOSED);
}

/*
 * The flags that a service has for a caller beside its own, by restrictions of these shapes:
 * `where` is ASKS_CGROUP and `cgroup` its id, or both are 0. Whatever refuses ends the search, which
 * keeps the verifier from following every sum.
 */
static __always_inline u32 limits_of(u32 service, const struct subject *who, u32 where, u64 cgroup)
{
	struct restriction key = {.service = service, .cgroup = cgroup};
	u32 closed = 0, found;

	for (u32 shape = 0; shape < ASKS_CGROUP; shape++) {
		if (!(where | shape))
			continue; /* everybody: that is for the service's own flags to say */
		found = limit(&key, where | shape, who);
		if (found & FLAG_REFUSE)
			return FLAG_REFUSE;
		if (found)
			closed = FLAG_CLOSED;
	}
	return closed;
}

/* The flags that a service has for the thread that calls, beside its own. */
static __always_inline u32 limits(u32 service, u32 flags)
{
	struct subject who = {};
	u32 closed, found, asks;
	u64 ancestor;

	if (!(flags & FLAG_SOME))
		return 0;
	asks = asked();
	who.uid = (u32)bpf_get_current_uid_gid();
	who.cgroup = bpf_get_current_cgroup_id();
	if (asks & ASKS_PROGRAM)
		read_program(&who.inode, &who.device);
	closed = limits_of(service, &who, 0, 0);
	if (!(asks & ASKS_CGROUP))
		return closed;
	closed |= limits_of(service, &who, ASKS_CGROUP, who.cgroup);
	for (int level = 0; level < MOST_ABOVE; level++) {
		ancestor = bpf_get_current_ancestor_cgroup_id(level);
		if (!ancestor || closed & FLAG_REFUSE)
			break;
		found = limits_of(service, &who, ASKS_CGROUP, ancestor);
		if (found)
			closed = found;
	}
	return closed;
}
