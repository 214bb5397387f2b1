"""Compile, load and attach milecastle's BPF programs, send their descriptors, exit.

A program of its own for the system's Python (3.10 or newer), where the distribution's bcc is; it
imports nothing of milecastle. Whoever started it keeps the links: they are not pinned, so that
every hook is gone when that process is. Nothing stays here, least of all the compiler.

    /usr/bin/python3 -I loader.py --socket FD --cgroup DIRECTORY --bpf DIRECTORY [--processes]

FD is a SOCK_SEQPACKET unix socket. One message is sent on it: JSON and, where all went well, the
descriptors (SCM_RIGHTS) that its ``descriptors`` name in order: ``{"descriptors": ["map flows",
"program connect4", "link connect4", ...], "lacks": [...]}``. Otherwise it is
``{"problem": ..., "hint": ..., "passing": ...}``.
"""

import argparse
import ctypes
import errno
import json
import os
import socket
import sys

SOURCES = (
    "maps.h",
    "restrictions.c",
    "decide.c",
    "connect.c",
    "headers.c",
    "names.c",
    "hello.c",
    "packets.c",
)
"""One translation unit, in this order: all programs share the maps."""
PROCESS_SOURCE = "process.c"

# program: (type in BCC's names, bpf_attach_type of include/uapi/linux/bpf.h)
PROGRAMS = {
    "connect4": ("CGROUP_SOCK_ADDR", 10),
    "connect6": ("CGROUP_SOCK_ADDR", 11),
    "sendmsg4": ("CGROUP_SOCK_ADDR", 14),
    "sendmsg6": ("CGROUP_SOCK_ADDR", 15),
    "getpeername4": ("CGROUP_SOCK_ADDR", 29),
    "getpeername6": ("CGROUP_SOCK_ADDR", 30),
    "ingress": ("CGROUP_SKB", 0),
    "egress": ("CGROUP_SKB", 1),
}
# program: raw tracepoint
TRACEPOINTS = {
    "forks": "sched_process_fork",
    "execs": "sched_process_exec",
    "exits": "sched_process_exit",
}
SHAPES = (
    ("-DMOST_ANSWERS=24", "-DMOST_LABELS=127"),
    ("-DMOST_ANSWERS=24", "-DMOST_LABELS=32"),
    ("-DMOST_ANSWERS=8", "-DMOST_LABELS=32"),
    ("-DNAMES_IN_USER_SPACE",),
)
"""How much of a DNS answer the kernel reads: as much as this kernel's verifier has patience for."""
MAPS = (
    "services",
    "checkpoints",
    "heartbeats",
    "exempt",
    "excluded",
    "locals",
    "local_ports",
    "matchings",
    "restrictions",
    "askings",
    "strictness",
    "names",
    "vouched",
    "addresses",
    "flows",
    "ports",
    "counters",
    "flow_ring",
    "packet_ring",
)
PROCESS_MAPS = ("scopes", "process_ring")
LOCKDOWN = "/sys/kernel/security/lockdown"
CGROUP2 = 0x63677270  # CGROUP2_SUPER_MAGIC, include/uapi/linux/magic.h


class Refused(Exception):  # noqa: N818 - what happened to the request
    """Why nothing was loaded: one sentence, and what the reader can do."""

    def __init__(self, problem, hint="", program="", passing=False):
        super().__init__(problem)
        self.problem = problem
        self.hint = hint
        self.program = program
        self.passing = passing


def require_root():
    if os.geteuid() != 0:
        raise Refused("loading BPF programs needs root", "run milecastled as root")


def open_cgroup(path):
    """Return a descriptor of a cgroup2 directory."""
    libc = ctypes.CDLL(None, use_errno=True)
    try:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise Refused(
            f"the cgroup {path} cannot be opened: {os.strerror(error.errno)}",
            "set `cgroup` to a directory of the cgroup2 file system, or to `auto`",
        ) from None
    buffer = (ctypes.c_long * 64)()  # struct statfs begins with f_type
    if libc.fstatfs(fd, buffer) != 0 or buffer[0] != CGROUP2:
        raise Refused(
            f"{path} is not a cgroup2 directory",
            "`grep cgroup2 /proc/mounts` shows where cgroup2 is mounted",
        )
    return fd


def import_bcc(bpf):
    """Return the bcc module, told to use our own few headers in place of the kernel's."""
    os.environ["BCC_KERNEL_SOURCE"] = os.path.join(bpf, "include")  # noqa: PTH118
    try:
        import bcc
    except ImportError:
        raise Refused(
            f"{sys.executable} has no module bcc", "apt-get install python3-bpfcc"
        ) from None
    return bcc


def compile_all(bcc, bpf, shape, places, processes):
    """Return the compiled module; BCC wants one text, and map operations in it, not included."""
    parts = []
    for name in (*SOURCES, *([PROCESS_SOURCE] if processes else [])):
        with open(os.path.join(bpf, name), encoding="utf-8") as source:  # noqa: PTH118, PTH123
            parts.append(f'#line 1 "{name}"\n{source.read()}')
    try:
        return bcc.BPF(text="\n".join(parts), cflags=[f"-I{bpf}", *shape, *places])
    except Exception as error:  # noqa: BLE001 - bcc raises plain Exception
        raise Refused(f"the BPF programs do not compile: {error}", said()) from None


def load(bcc, module, name):
    kind, attach_type = PROGRAMS.get(name, ("RAW_TRACEPOINT", -1))
    try:
        return module.load_func(name, getattr(bcc.BPF, kind), attach_type=attach_type).fd
    except Exception as error:  # noqa: BLE001 - bcc raises plain Exception, and calls EPERM "no root"
        number = ctypes.get_errno()
        raise Refused(
            f"the kernel does not take the program {name}: "
            f"{os.strerror(number) if number else error}",
            f"Linux {os.uname().release}; milecastle needs 5.15 or newer with cgroup BPF. {said()}",
            name,
        ) from None


def load_all(bcc, bpf, places, processes=False):
    """Return the module and its programs' descriptors, in the largest shape that is taken."""
    names = [*PROGRAMS, *(TRACEPOINTS if processes else ())]
    for shape in SHAPES:
        module = compile_all(bcc, bpf, shape, places, processes)
        try:
            return module, [(name, load(bcc, module, name)) for name in names]
        except Refused as refusal:
            if refusal.program != "ingress" or shape == SHAPES[-1]:
                raise
    raise AssertionError("the last shape returns or raises")


def attach(bcc, program, name, cgroup):
    """Return the descriptor of an unpinned link."""
    if name in TRACEPOINTS:
        link = bcc.lib.bpf_attach_raw_tracepoint(program, TRACEPOINTS[name].encode())
    else:
        link = bcc.lib.bpf_link_create(program, cgroup, PROGRAMS[name][1], None)
    if link >= 0:
        return link
    number = ctypes.get_errno() or -link
    if number == errno.EPERM and name in PROGRAMS:
        raise Refused(
            f"another BPF program holds {name} on this cgroup or above for itself alone",
            "`bpftool cgroup tree` lists it: the one without the flag `multi`",
            passing=True,
        )
    raise Refused(
        f"{name} cannot be attached: {os.strerror(number)}", f"Linux {os.uname().release}"
    )


def places_of_members(lockdown=LOCKDOWN):
    """Return the compiler's options for process.c and restrictions.c, or why there can be none."""
    sys.path.append(os.path.dirname(os.path.abspath(__file__)))  # noqa: PTH100, PTH120
    import offsets

    if is_confidential(lockdown):
        return [], ["processes: the kernel is locked down (confidentiality)"]
    try:
        return offsets.defines(), []
    except OSError as error:
        return [], [f"processes: {error}"]


def is_confidential(lockdown):
    """Whether programs may not read the kernel's memory (kernel_lockdown(7))."""
    try:
        with open(lockdown, encoding="ascii") as file:  # noqa: PTH123
            return "[confidentiality]" in file.read(256)
    except OSError:  # securityfs is not mounted, or the kernel has no lockdown
        return False


def load_everything(cgroup_path, bpf, processes):
    """Return the descriptors with their names, in the order in which they are sent, and lacks."""
    require_root()
    cgroup = open_cgroup(cgroup_path)
    bcc = import_bcc(bpf)
    places, lacks = places_of_members()
    processes = processes and bool(places)
    module, programs = load_all(bcc, bpf, places, processes)
    maps = [*MAPS, *(PROCESS_MAPS if processes else ())]
    # not module[name]: bcc 0.26 knows no socket storage there
    descriptors = [
        (f"map {name}", bcc.lib.bpf_table_fd(module.module, name.encode())) for name in maps
    ]
    descriptors += [(f"program {name}", fd) for name, fd in programs]
    descriptors += [(f"link {name}", attach(bcc, fd, name, cgroup)) for name, fd in programs]
    return descriptors, lacks


def said(limit=600):
    """Return the end of what clang or the verifier wrote to the standard error, a file."""
    try:
        os.lseek(2, 0, os.SEEK_SET)
        return os.read(2, 1 << 20).decode("utf-8", "replace")[-limit:].strip()
    except OSError:
        return ""


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--socket", type=int, required=True)
    parser.add_argument("--cgroup", required=True)
    parser.add_argument("--bpf", required=True)
    parser.add_argument("--processes", action="store_true")
    options = parser.parse_args()
    descriptors = []
    try:
        bpf = os.path.abspath(options.bpf)  # noqa: PTH100
        descriptors, lacks = load_everything(options.cgroup, bpf, options.processes)
        answer = {"descriptors": [name for name, _ in descriptors], "lacks": lacks}
    except Refused as refusal:
        answer = {
            "problem": refusal.problem,
            "hint": refusal.hint,
            "passing": refusal.passing,
        }
    except Exception as error:  # noqa: BLE001 - whatever it is, the daemon is told in one sentence
        answer = {"problem": f"the loader failed: {type(error).__name__}: {error}", "hint": said()}
    with socket.socket(fileno=options.socket) as peer:
        socket.send_fds(peer, [json.dumps(answer).encode()], [fd for _, fd in descriptors])
    sys.stdout.flush()
    os._exit(0 if descriptors else 1)  # the descriptors are sent; bcc's own clean-up is of no use


if __name__ == "__main__":
    main()
