"""How the hooks come, and that they go with the process that holds them."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from milecastle.kernel import Kernel, KernelUnavailable, layout, loader
from milecastle.kernel.launch import LOADER
from milecastle.kernel.loader import MAPS, PROCESS_MAPS, PROGRAMS

from .lab import sub_cgroup

pytestmark = pytest.mark.root

HOLDER = """
import sys, time
from pathlib import Path
from milecastle.kernel import Kernel
kernel = Kernel.open(Path(sys.argv[1]))
print("open", flush=True)
time.sleep(60)
"""


def programs_on(cgroup: Path) -> set[int]:
    done = subprocess.run(
        ["bpftool", "-j", "cgroup", "show", cgroup], capture_output=True, text=True, check=True
    )
    return {entry["id"] for entry in json.loads(done.stdout.strip() or "[]")}


def exist(programs: set[int]) -> set[int]:
    done = subprocess.check_output(["bpftool", "-j", "prog"], text=True)
    return programs & {entry["id"] for entry in json.loads(done)}


def soon(condition, seconds=3.0):
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.02)
    return condition()


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_when_the_holder_dies_every_hook_is_gone(how):
    with sub_cgroup() as cgroup:
        command = [sys.executable, "-c", HOLDER, str(cgroup)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
            assert holder.stdout.readline() == "open\n"
            programs = programs_on(cgroup)
            assert len(programs) == len(PROGRAMS)
            holder.send_signal(how)
        assert soon(lambda: not programs_on(cgroup))
        assert soon(lambda: not exist(programs))


def test_a_child_of_the_holder_does_not_keep_the_hooks_alive():
    with sub_cgroup() as cgroup:
        kernel = Kernel.open(cgroup)
        with subprocess.Popen(["sleep", "60"], close_fds=False) as child:
            programs = programs_on(cgroup)
            kernel.close()
            assert soon(lambda: not exist(programs))
            child.kill()


def test_opening_takes_about_a_second_and_little_memory():
    with sub_cgroup() as cgroup:
        began = time.monotonic()
        kernel = Kernel.open(cgroup)
        assert time.monotonic() - began < 5  # 0.6 s on an idle machine; this one may be busy
        assert "bcc" not in sys.modules
        kernel.close()


def test_what_is_no_cgroup_is_said_in_one_sentence(tmp_path):
    with pytest.raises(KernelUnavailable, match="is not a cgroup2 directory") as caught:
        Kernel.open(tmp_path)
    assert "/proc/mounts" in caught.value.hint
    with pytest.raises(KernelUnavailable, match="cannot be opened: No such file"):
        Kernel.open(tmp_path / "none")


def test_a_python_without_bcc_is_told_which_package_to_install():
    with sub_cgroup() as cgroup, pytest.raises(KernelUnavailable, match="has no module bcc") as it:
        Kernel.open(cgroup, python=sys.executable)
    assert it.value.hint == "apt-get install python3-bpfcc"


def test_a_python_that_is_not_there_is_said_so():
    with sub_cgroup() as cgroup, pytest.raises(KernelUnavailable, match="does not start"):
        Kernel.open(cgroup, python="/nonexistent/python3")


def test_a_python_that_says_nothing_is_said_so():
    with sub_cgroup() as cgroup, pytest.raises(KernelUnavailable, match="without an answer"):
        Kernel.open(cgroup, python="/bin/true")


def test_without_root_the_loader_says_so():
    script = f"""
import os, subprocess, sys
sys.path.insert(0, {str(Path(sys.modules["milecastle"].__file__).parent.parent)!r})
from pathlib import Path
from milecastle.kernel.launch import KernelUnavailable, load
os.setresuid(65534, 65534, 65534)
try:
    load(Path("/sys/fs/cgroup"), "/usr/bin/python3")
except KernelUnavailable as error:
    print(error)
"""
    copy = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert copy.stdout == "loading BPF programs needs root\n", copy.stderr


FOREIGN = """
import ctypes, os, sys, time, bcc
b = bcc.BPF(text="int foreign(struct bpf_sock_addr *ctx) { return 1; }")
fn = b.load_func("foreign", bcc.BPF.CGROUP_SOCK_ADDR, attach_type=10)
cgroup = os.open(sys.argv[1], os.O_RDONLY)
print(bcc.lib.bpf_prog_attach(fn.fd, cgroup, 10, int(sys.argv[2])), flush=True)
sys.stdin.readline()
bcc.lib.bpf_prog_detach2(fn.fd, cgroup, 10)
"""


@pytest.mark.parametrize(("flags", "blocks"), [(0, True), (2, False)])
def test_a_foreign_program_on_the_cgroup(flags, blocks):
    """An exclusive one (flags 0) is reported; one that shares (BPF_F_ALLOW_MULTI) is no trouble."""
    environment = {"BCC_KERNEL_SOURCE": str(LOADER.parents[3] / "bpf" / "include")}
    with sub_cgroup() as cgroup:
        command = ["/usr/bin/python3", "-I", "-c", FOREIGN, str(cgroup), str(flags)]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        with subprocess.Popen(command, env=environment, **pipes) as foreign:
            assert foreign.stdout.readline() == "0\n"
            try:
                if blocks:
                    with pytest.raises(KernelUnavailable, match="for itself alone"):
                        Kernel.open(cgroup)
                else:
                    Kernel.open(cgroup).close()
            finally:
                foreign.communicate("\n")


def test_nothing_of_the_loader_is_left_open():
    with sub_cgroup() as cgroup:
        before = {entry.name for entry in Path("/proc/self/fd").iterdir()}
        Kernel.open(cgroup).close()
        assert {entry.name for entry in Path("/proc/self/fd").iterdir()} == before


def test_loader_and_layout_name_the_same_maps():
    assert set(MAPS) == set(layout.MAPS)
    assert set(PROCESS_MAPS) == set(layout.PROCESS_MAPS)


EVERY_SHAPE = """
import os, sys
sys.path.append(sys.argv[1])
import loader
bcc = loader.import_bcc(sys.argv[2])
for shape in loader.SHAPES:
    loader.SHAPES = (shape,)
    _, programs = loader.load_all(bcc, sys.argv[2], [])
    print(len(programs), flush=True)
os._exit(0)
"""


def test_the_smaller_parsers_load_too():
    bpf = LOADER.parents[3] / "bpf"
    command = ["/usr/bin/python3", "-I", "-c", EVERY_SHAPE, str(LOADER.parent), str(bpf)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.stdout.split() == [str(len(PROGRAMS))] * len(loader.SHAPES), done.stderr


class ImpatientBcc:
    """A compiler whose kernel takes ``ingress`` only in a small shape."""

    class BPF:
        CGROUP_SOCK_ADDR = CGROUP_SKB = RAW_TRACEPOINT = 0

        def __init__(self, text, cflags):
            self.patience = "-DMOST_ANSWERS=8" in cflags

        def load_func(self, name, kind, attach_type):
            if name == "ingress" and not self.patience:
                raise Exception("Failed to load BPF program ingress: Argument list too long")
            return self

        fd = 3


def test_a_kernel_with_less_patience_gets_a_smaller_parser():
    module, programs = loader.load_all(ImpatientBcc, LOADER.parents[3] / "bpf", [])
    assert module.patience
    assert [name for name, _ in programs] == list(PROGRAMS)
