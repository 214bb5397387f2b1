"""A policy's files change in all the ways in which files change; what is in force follows."""

import asyncio
import time

import pytest

from milecastle.daemon.reload import Watch, folders
from milecastle.daemon.rules import Rules
from milecastle.kernel.layout import Flag

BLOCKED = """version: 1
mode: enforce
rules:
- {id: no, action: refuse, when: {service: deepseek}}
"""
OVERRIDE = "version: 1\nrules:\n- {id: too, action: refuse, when: {service: openai}}\n"


@pytest.fixture
def etc(tmp_path):
    folder = tmp_path / "etc"
    folder.mkdir()
    return folder


@pytest.fixture
def in_force(etc, services, kernel):
    """Keep a policy and the kernel's maps up to date; say which services are refused."""
    watches = []

    class InForce:
        def __init__(self, file):
            self.rules = Rules(file, services, etc / "policy.d")
            assert self.rules.reload()
            self.rules.apply(kernel)
            self.loads = 0
            watches.append(Watch(self.rules.paths, self.changed))

        def changed(self):
            self.loads += 1
            if self.rules.reload():
                self.rules.apply(kernel)

        def refuses(self, service):
            return Flag.REFUSE in Flag(kernel._services[services.number(service)])

        async def until(self, service, refused=True):
            began = time.monotonic()
            async with asyncio.timeout(5):
                while self.refuses(service) is not refused:
                    await asyncio.sleep(0.002)
            return time.monotonic() - began

    yield InForce
    for watch in watches:
        watch.close()


async def test_an_edited_file_reaches_the_kernel_at_once(etc, in_force):
    file = etc / "policy.yaml"
    file.write_text("version: 1\n")
    now = in_force(file)
    assert not now.refuses("deepseek")
    file.write_text(BLOCKED)
    assert await now.until("deepseek") < 2  # benchmarks/bench_policy.py has the figure


async def test_a_file_replaced_by_rename_is_seen(etc, in_force):
    file = etc / "policy.yaml"
    file.write_text("version: 1\n")
    now = in_force(file)
    (etc / "new").write_text(BLOCKED)
    (etc / "new").rename(file)
    await now.until("deepseek")


async def test_a_config_map_s_swap_is_seen_again_and_again(etc, in_force):
    """As the kubelet does it: ..data points to a folder, and is replaced by rename."""

    def publish(name, text):
        (etc / name).mkdir()
        (etc / name / "policy.yaml").write_text(text)
        (etc / "..data_tmp").symlink_to(name)
        (etc / "..data_tmp").rename(etc / "..data")

    publish("..2027_1", "version: 1\n")
    (etc / "policy.yaml").symlink_to("..data/policy.yaml")
    now = in_force(etc / "policy.yaml")
    publish("..2027_2", BLOCKED)
    await now.until("deepseek")
    publish("..2027_3", "version: 1\n")
    await now.until("deepseek", refused=False)


async def test_a_symlink_further_up_is_seen(etc, in_force, tmp_path):
    for name, text in (("one", "version: 1\n"), ("two", BLOCKED)):
        (tmp_path / name / "conf").mkdir(parents=True)
        (tmp_path / name / "conf" / "policy.yaml").write_text(text)
    (tmp_path / "current").symlink_to("one")
    now = in_force(tmp_path / "current" / "conf" / "policy.yaml")
    (tmp_path / "next").symlink_to("two")
    (tmp_path / "next").rename(tmp_path / "current")
    await now.until("deepseek")
    # and what lies behind it now is watched in its turn
    (tmp_path / "two" / "conf" / "policy.yaml").write_text("version: 1\n")
    await now.until("deepseek", refused=False)


async def test_a_folder_of_overrides_may_come_later_and_go(etc, in_force):
    file = etc / "policy.yaml"
    file.write_text(BLOCKED)
    now = in_force(file)
    (etc / "policy.d").mkdir()
    await asyncio.sleep(0.1)
    (etc / "policy.d" / "10-mine.yaml").write_text(OVERRIDE)
    await now.until("openai")
    assert now.refuses("deepseek")
    (etc / "policy.d" / "10-mine.yaml").unlink()
    await now.until("openai", refused=False)


async def test_a_bad_file_changes_nothing_and_is_reported_with_its_place(etc, in_force):
    file = etc / "policy.yaml"
    file.write_text(BLOCKED)
    now = in_force(file)
    (etc / "policy.d").mkdir()
    await asyncio.sleep(0.1)
    override = etc / "policy.d" / "10-mine.yaml"
    override.write_text(OVERRIDE.replace("refuse", "refuze"))
    async with asyncio.timeout(5):
        while not now.rules.problems:
            await asyncio.sleep(0.01)
    (problem,) = now.rules.problems
    assert (problem.file, problem.line, problem.column) == (str(override), 3, 21)
    assert problem.hint == "did you mean 'refuse'?"
    assert now.refuses("deepseek")
    assert not now.refuses("openai")
    override.write_text(OVERRIDE)
    await now.until("openai")
    assert now.rules.problems == []


async def test_a_folder_in_which_something_always_happens_delays_nothing(etc, in_force):
    file = etc / "policy.yaml"
    file.write_text("version: 1\n")
    now = in_force(file)

    async def busy():
        while True:
            (etc / "log").write_text("more")
            await asyncio.sleep(0.005)

    writer = asyncio.create_task(busy())
    await asyncio.sleep(0.1)
    file.write_text(BLOCKED)
    await now.until("deepseek")
    writer.cancel()


def test_the_folders_that_matter(tmp_path):
    real = tmp_path / "real" / "sub"
    real.mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "real")
    (real / "file").write_text("")
    assert folders(tmp_path / "link" / "sub" / "file") == {tmp_path, real}
    assert folders(tmp_path / "nowhere" / "deep" / "file") == {tmp_path}
    assert folders(real) == {real, real.parent}
    (tmp_path / "round").symlink_to("round")
    assert tmp_path in folders(tmp_path / "round" / "file")
