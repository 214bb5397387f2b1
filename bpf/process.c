/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/*
 * Who lives, and as what: the beginning of processes, the programs they execute, their end. A
 * process that lives for two milliseconds is gone before anybody can read /proc.
 *
 * Hooks: raw tracepoints sched_process_fork, _exec and _exit, in the order of the kernel's
 * TP_PROTO (include/trace/events/sched.h), Linux 5.8 and newer with BTF. They see the whole host;
 * what happens outside of our cgroup is left alone.
 *
 * Places in kernel structs are not the same in every kernel: the loader reads them from the
 * kernel's BTF and gives them here as TASK_MM, MM_ARG_START, ... All reads of them may fail, and
 * then leave zero.
 *
 * The loader puts maps.h and restrictions.c before this text.
 */

BPF_RINGBUF_OUTPUT(process_ring, 512);
BPF_TABLE("array", u32, u64, scopes, 1); /* the id of the cgroup that the hooks are attached to */

/* Is the current thread in the cgroup that the hooks are attached to, or below? */
static __always_inline bool in_scope(void)
{
	u32 zero = 0;
	u64 *scope = scopes.lookup(&zero), ancestor;

	for (int level = 0; scope && level < MOST_LEVELS; level++) {
		ancestor = bpf_get_current_ancestor_cgroup_id(level);
		if (!ancestor)
			return false;
		if (ancestor == *scope)
			return true;
	}
	return false;
}

static __always_inline void identify(struct life *life, u32 kind, u64 task)
{
	u64 owner = bpf_get_current_uid_gid();

	life->kind = kind;
	life->at_ns = bpf_ktime_get_ns();
	life->cgroup = bpf_get_current_cgroup_id();
	life->started_ns = word_at(task, TASK_START_BOOTTIME);
	life->pid = half_at(task, TASK_TGID);
	life->parent = half_at(word_at(task, TASK_REAL_PARENT), TASK_TGID);
	life->uid = (u32)owner;
	life->gid = owner >> 32;
#ifdef TASK_LOGINUID
	life->loginuid = half_at(task, TASK_LOGINUID);
#else
	life->loginuid = -1;
#endif
	bpf_probe_read_kernel(life->comm, sizeof(life->comm), (void *)(task + TASK_COMM));
}

static __always_inline void tell(u32 kind, u64 task)
{
	struct life life = {};

	identify(&life, kind, task);
	if (process_ring.ringbuf_output(&life, sizeof(life), 0))
		count(COUNT_PROCESS_UNREPORTED);
}

/* TP_PROTO(struct task_struct *parent, struct task_struct *child) */
int forks(struct bpf_raw_tracepoint_args *ctx)
{
	u64 child = ctx->args[1];

	/* a new thread is no new process */
	if (in_scope() && half_at(child, TASK_TGID) == half_at(child, TASK_PID))
		tell(LIFE_FORK, child);
	return 0;
}

/* TP_PROTO(struct task_struct *task), and more arguments in newer kernels */
int exits(struct bpf_raw_tracepoint_args *ctx)
{
	u64 task = ctx->args[0];

	if (in_scope() && half_at(task, TASK_TGID) == half_at(task, TASK_PID))
		tell(LIFE_EXIT, task);
	return 0;
}

/* TP_PROTO(struct task_struct *task, pid_t old_pid, struct linux_binprm *program) */
int execs(struct bpf_raw_tracepoint_args *ctx)
{
	u64 task = ctx->args[0], program = ctx->args[2], mm, file, inode, begin, length;
	struct execution *e;

	if (!in_scope())
		return 0;
	e = process_ring.ringbuf_reserve(sizeof(struct execution));
	if (!e) {
		count(COUNT_PROCESS_UNREPORTED);
		return 0;
	}
	identify(&e->life, LIFE_EXEC, task);
	mm = word_at(task, TASK_MM);
	file = word_at(mm, MM_EXE_FILE);
	inode = word_at(file, FILE_INODE);
	e->inode = word_at(inode, INODE_INO);
	e->device = half_at(word_at(inode, INODE_SB), SB_DEV);
	e->links = half_at(inode, INODE_NLINK);
	e->filename[0] = e->interpreter[0] = 0;
	bpf_probe_read_kernel_str(e->filename, sizeof(e->filename),
				  (void *)word_at(program, BINPRM_FILENAME));
	bpf_probe_read_kernel_str(e->interpreter, sizeof(e->interpreter),
				  (void *)word_at(program, BINPRM_INTERP));

	/* the arguments stand one after the other in the new program's memory, each with a zero */
	begin = word_at(mm, MM_ARG_START);
	length = word_at(mm, MM_ARG_END) - begin;
	e->arguments_total = (u32)length;
	if (length > ARGUMENT_BYTES)
		length = ARGUMENT_BYTES;
	e->arguments_length = 0;
	e->unused = 0;
	if (length) {
		length -= 1;
		asm volatile("%0 &= %1" : "+r"(length) : "i"(ARGUMENT_BYTES - 1));
		length += 1;
		if (!bpf_probe_read_user(e->arguments, length, (void *)begin))
			e->arguments_length = length;
	}
	process_ring.ringbuf_submit(e, 0);
	return 0;
}
