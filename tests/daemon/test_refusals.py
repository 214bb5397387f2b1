"""Services refused by hand and by the policy, down to what the kernel is told."""

import asyncio
import hashlib
import pwd
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from milecastle.daemon.refusals import Refusals
from milecastle.daemon.restrictions import Restrictions
from milecastle.daemon.rules import Rules
from milecastle.host import Biography, Census, Chronicle, ExecutableHashes, Image
from milecastle.kernel import Life, LifeKind, Program
from milecastle.kernel.fake import FakeKernel
from milecastle.kernel.layout import Flag, Outcome
from milecastle.store.entries import Caller

BLOCKED = """
version: 1
mode: enforce
services: {sanctioned: [openai]}
rules:
  - id: no-deepseek
    when: {service: deepseek}
    action: block
  - id: no-login
    when: {service: github-copilot-token}
    action: block
  - id: only-tried
    when: {service: mistral}
    action: block
    mode: monitor
"""
SHADOW = """
version: 1
mode: enforce
services: {sanctioned: [openai]}
rules:
  - id: approved-only
    when: {standing: unsanctioned}
    action: block
"""
EXCEPTED = """
version: 1
mode: enforce
rules:
  - id: no-deepseek
    when: {service: deepseek}
    action: block
  - id: the-lab
    when: {service: "deep*", user: ada}
    action: allow
    exception: {owner: the lab, reason: trying, expires: 2999-01-01}
"""


class Clock:
    now = 1e9


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def rules(tmp_path, services):
    def make(text="version: 1\n"):
        file = tmp_path / "policy.yaml"
        file.write_text(text)
        made = Rules(file, services)
        assert made.reload()
        return made

    return make


@pytest.fixture
def restrictions(kernel):
    def make(rules):
        made = Restrictions(kernel, rules, Census(), Chronicle(), ExecutableHashes())
        made._census.take(made._census.survey())
        return made

    return make


@pytest.fixture
def refusals(restrictions, ledger, services, clock):
    def make(rules, now=lambda: clock.now):
        return Refusals(ledger, services, rules, restrictions(rules).enforce, now)

    return make


@pytest.fixture
def flags(kernel, services):
    return lambda service: Flag(kernel._services[services.number(service)])


async def test_a_refusal_by_hand_reaches_the_kernel_and_ends_by_hand(refusals, rules, flags):
    by_hand = refusals(rules())
    told = await by_hand.refuse("openai", 0)
    assert (told["service"], told["until"]) == ("openai", None)
    assert Flag.REFUSE in flags("openai")
    assert Flag.REFUSE not in flags("anthropic")
    assert (await by_hand.permit("openai"))["was_refused"] is True
    assert Flag.REFUSE not in flags("openai")


async def test_a_connection_to_a_refused_service_fails_without_a_worker(
    refusals, rules, kernel, services
):
    await refusals(rules()).refuse("openai", 60)
    kernel.learn("198.51.100.9", services.number("openai"), 60)
    assert kernel.connect("198.51.100.9")[0] is Outcome.REFUSED


async def test_a_refusal_ends_when_its_time_is_over(refusals, rules, flags, clock):
    by_hand = refusals(rules())
    assert (await by_hand.refuse("openai", 60))["until"] == clock.now + 60
    clock.now += 59
    by_hand.apply()
    assert Flag.REFUSE in flags("openai")
    clock.now += 1
    by_hand.apply()
    assert Flag.REFUSE not in flags("openai")
    assert by_hand.listed() == []


async def test_it_ends_by_itself(refusals, rules, flags):
    by_hand = refusals(rules(), time.time)
    keeping = asyncio.create_task(by_hand.keep())
    await by_hand.refuse("openai", 1)
    assert Flag.REFUSE in flags("openai")
    await asyncio.sleep(1.3)
    assert Flag.REFUSE not in flags("openai")
    keeping.cancel()


async def test_it_outlives_the_daemon_and_not_its_time(refusals, rules, flags, clock):
    before = refusals(rules())
    await before.refuse("openai", 60)
    await before.refuse("mistral", 5)
    clock.now += 30
    after = refusals(rules())
    await after.begin()
    assert Flag.REFUSE in flags("openai")
    assert Flag.REFUSE not in flags("mistral")
    assert [row["service"] for row in after.listed()] == ["openai"]


async def test_a_service_that_nobody_knows_is_refused_with_a_hint(refusals, rules):
    by_hand = refusals(rules())
    with pytest.raises(LookupError, match="did you mean 'openai'"):
        await by_hand.refuse("opnai", 0)
    with pytest.raises(LookupError):
        await by_hand.refuse("milecastle-selftest", 0)
    with pytest.raises(LookupError):
        await by_hand.permit("x" * 10_000)


async def test_a_silly_length_of_time_is_bounded(refusals, rules, clock):
    until = (await refusals(rules()).refuse("openai", 1 << 62))["until"]
    assert until < clock.now + 11 * 365 * 86_400


async def test_what_the_policy_blocks_for_all_is_closed_and_left_to_the_worker(
    refusals, rules, flags
):
    await refusals(rules(BLOCKED)).begin()
    assert flags("deepseek") == Flag.REDIRECT | Flag.CLOSED
    assert Flag.CLOSED not in flags("openai")
    assert Flag.CLOSED not in flags("mistral")  # its rule is tried out


async def test_without_a_worker_what_the_policy_blocks_is_refused(
    refusals, rules, kernel, services
):
    await refusals(rules(BLOCKED)).begin()
    kernel.learn("198.51.100.9", services.number("deepseek"), 60)
    assert kernel.connect("198.51.100.9")[0] is Outcome.REFUSED


async def test_a_service_that_is_not_decrypted_is_refused_where_the_policy_names_it(
    refusals, rules, flags, services
):
    assert not services.services["github-copilot-token"].decrypt
    named = refusals(rules(BLOCKED))
    await named.begin()
    assert Flag.REFUSE in flags("github-copilot-token")
    rows = {row["service"]: row["where"] for row in named.listed()}
    assert rows == {"deepseek": "request", "github-copilot-token": "connect"}
    # a host that carries much beside AI is not cut off by a word on standings
    await refusals(rules(SHADOW)).begin()
    assert Flag.REFUSE not in flags("github-copilot-token")
    assert flags("deepseek") == Flag.REDIRECT | Flag.CLOSED
    assert Flag.CLOSED not in flags("openai")


async def test_an_exception_for_somebody_leaves_the_decision_to_the_worker(refusals, rules, flags):
    await refusals(rules(EXCEPTED)).begin()
    assert flags("deepseek") == Flag.REDIRECT


async def test_permit_says_where_it_is_the_policy_that_refuses(refusals, rules):
    by_hand = refusals(rules(BLOCKED))
    with pytest.raises(ValueError, match="rule 'no-deepseek'"):
        await by_hand.permit("deepseek")
    await by_hand.refuse("deepseek", 0)
    assert (await by_hand.permit("deepseek"))["rule"] == "no-deepseek"


def test_the_fake_kernel_refuses_as_the_real_one(services):
    kernel = FakeKernel()
    kernel.set_service(1, redirect=True, closed=False, refuse=True)
    kernel.learn("198.51.100.9", 1, 60)
    assert kernel.connect("198.51.100.9")[0] is Outcome.REFUSED
    kernel.close()


# --- to some callers ---------------------------------------------------------------------------

SOME = """
version: 1
mode: enforce
rules:
  - id: not-nobody
    when: {service: openai, user: nobody}
    action: refuse
  - id: not-this-shell
    when: {service: openai, process: {exe: "*/bin/dash"}}
    action: block
  - id: by-hash
    when: {service: openai, process: {sha256: "%s"}}
    action: refuse
"""
NO_HASH = "0" * 64
NOBODY = pwd.getpwnam("nobody").pw_uid
DASH = Path("/bin/dash").resolve().stat()


def kept(kernel):
    return {(one.uid, one.program, one.cgroup): one.refuse for one in kernel.restrictions}


async def test_rules_about_a_user_and_a_program_reach_the_kernel_as_numbers(
    refusals, rules, kernel, services
):
    refusals(rules(SOME % NO_HASH)).apply()
    program = (DASH.st_dev, DASH.st_ino)
    assert kept(kernel) == {(NOBODY, None, None): True, (None, program, None): False}
    assert {one.service for one in kernel.restrictions} == {services.number("openai")}


async def test_who_may_not_connect_is_refused_and_others_are_not(refusals, rules, kernel, services):
    refusals(rules(SOME % NO_HASH)).apply()
    kernel.learn("198.51.100.9", services.number("openai"), 60)
    assert kernel.connect("198.51.100.9", uid=NOBODY)[0] is Outcome.REFUSED
    assert kernel.connect("198.51.100.9", uid=1234)[0] is Outcome.DIRECT
    program = (DASH.st_dev, DASH.st_ino)  # blocked: by the worker, or where there is none here
    assert kernel.connect("198.51.100.9", uid=1234, program=program)[0] is Outcome.REFUSED


async def test_some_are_refused_by_hand_beside_all(refusals, rules, kernel, flags):
    by_hand = refusals(rules())
    ci = Caller(user="nobody", exe="/usr/bin/dash", cgroup="/a/b/")
    assert (await by_hand.refuse("openai", 0, ci))["exe"] == "/usr/bin/dash"
    assert Flag.REFUSE not in flags("openai")
    assert kernel.restrictions == ()  # there is no such cgroup
    await by_hand.refuse("openai", 60, Caller(user=str(NOBODY)))
    assert kept(kernel) == {(NOBODY, None, None): True}
    await by_hand.permit("openai", Caller(user=str(NOBODY)))
    assert kernel.restrictions == ()
    assert [one["exe"] for one in by_hand.listed()] == ["/usr/bin/dash"]
    assert (await by_hand.permit("openai"))["was_refused"]
    assert by_hand.listed() == []


async def test_refusals_of_some_outlive_the_daemon(refusals, rules, kernel):
    policy = rules()
    await refusals(policy).refuse("openai", 0, Caller(user="nobody"))
    kernel.restrict(())
    await refusals(policy).begin()
    assert kept(kernel) == {(NOBODY, None, None): True}


@pytest.mark.parametrize(
    ("caller", "words"),
    [(Caller(user="no-such-user"), "no user"), (Caller(user="4294967295"), "no user's number"),
     (Caller(exe="curl"), "whole path"), (Caller(cgroup="system.slice"), "as in /proc/PID/cgroup")]
)  # fmt: skip
async def test_a_caller_that_there_cannot_be_is_refused_in_words(refusals, rules, caller, words):
    with pytest.raises(ValueError, match=words):
        await refusals(rules()).refuse("openai", 0, caller)


async def test_the_list_says_whom_a_rule_is_about(refusals, rules):
    listed = {one["rule"]: one for one in refusals(rules(SOME % NO_HASH)).listed()}
    assert (listed["not-nobody"]["user"], listed["not-nobody"]["where"]) == ("nobody", "connect")
    assert (listed["not-this-shell"]["exe"], listed["not-this-shell"]["where"]) == (
        "*/bin/dash", "request"
    )  # fmt: skip
    assert listed["by-hash"]["exe"] == "sha256 " + NO_HASH


def execution(pid, path, at=1):
    """The kernel's word that a process executes a file."""
    status = Path(path).stat()
    program = Program(
        str(path), str(path), (str(path),), False, status.st_ino, status.st_dev, False
    )
    return Life(LifeKind.EXEC, at, pid, 1, 1000, 1000, None, 1, 1, "x", program)


async def test_a_program_that_is_new_is_found_out_at_its_first_exec(
    rules, restrictions, kernel, tmp_path
):
    tool = tmp_path / "dash"
    shutil.copy("/bin/true", tool)
    forbidden = SOME.replace("*/bin/dash", str(tool)) % digest(tool)
    made = restrictions(rules(forbidden))
    made.enforce(())
    assert kept(kernel) == {(NOBODY, None, None): True}
    with subprocess.Popen([tool.parent / "dash"]) as child:
        life = execution(child.pid, tool)
    made._chronicle.executed(
        Biography(child.pid, 1, 1, 1000, None, 1, ()),
        Image(1, "dash", str(tool), ("dash",)),
        (life.program.device, life.program.inode),
    )
    made.witness([life])
    assert (None, (life.program.device, life.program.inode), None) in kept(kernel)


async def test_a_program_is_told_by_its_hash_whatever_it_is_called(
    rules, restrictions, kernel, tmp_path
):
    tool = tmp_path / "innocent"
    shutil.copy("/bin/sleep", tool)
    made = restrictions(rules(SOME % digest(tool)))
    made.enforce(())
    with subprocess.Popen([tool, "60"]) as child:
        life = execution(child.pid, tool)
        file = (life.program.device, life.program.inode)
        image = Image(1, "x", str(tool), ("x",))
        made._chronicle.executed(Biography(child.pid, 1, 1, 1000, None, 1, ()), image, file)
        made.witness([life])
        for _ in range(100):
            if (None, file, None) in kept(kernel):
                break
            await asyncio.sleep(0.02)
        child.kill()
    assert kept(kernel)[None, file, None] is True


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("by", ["path", "hash"])
async def test_a_rule_that_comes_later_finds_what_was_started_meanwhile(
    rules, restrictions, kernel, tmp_path, by
):
    made = restrictions(rules())
    made.enforce(())
    tool = tmp_path / "meanwhile"
    shutil.copy("/bin/sleep", tool)
    with subprocess.Popen([tool, "60"]) as child:
        told = {
            "path": SOME.replace("*/bin/dash", str(tool)) % NO_HASH,
            "hash": SOME % digest(tool),
        }
        made._rules = rules(told[by])
        made.enforce(())
        status = tool.stat()
        for _ in range(100):
            if (None, (status.st_dev, status.st_ino), None) in kept(kernel):
                break
            await asyncio.sleep(0.02)
        child.kill()
    assert (None, (status.st_dev, status.st_ino), None) in kept(kernel)
