"""Services refused by hand and by the policy, down to what the kernel is told."""

import asyncio

import pytest

from milecastle.daemon.refusals import Refusals
from milecastle.daemon.rules import Rules
from milecastle.kernel.fake import FakeKernel
from milecastle.kernel.layout import Flag, Outcome

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
def refusals(ledger, services, kernel, clock):
    def make(rules):
        return Refusals(
            ledger, services, rules, lambda by_hand: rules.apply(kernel, by_hand), lambda: clock.now
        )

    return make


@pytest.fixture
def flags(kernel, services):
    return lambda service: Flag(kernel._services[services.number(service)])


async def test_a_refusal_by_hand_reaches_the_kernel_and_ends_by_hand(refusals, rules, flags):
    by_hand = refusals(rules())
    assert await by_hand.refuse("openai", 0) == {"service": "openai", "until": None}
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


async def test_it_ends_by_itself(refusals, rules, flags, ledger, services, kernel):
    made = rules()
    by_hand = Refusals(ledger, services, made, lambda refused: made.apply(kernel, refused))
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
