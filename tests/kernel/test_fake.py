"""The fake behaves like the real thing; where root is to be had, both are asked the same."""

from __future__ import annotations

import inspect
import itertools
import select

import pytest

from milecastle.kernel import Kernel, Outcome, Reason
from milecastle.kernel.fake import UDP, FakeKernel, decide
from milecastle.kernel.layout import HEARTBEAT_NS, Flag

from .conftest import SERVICE
from .lab import SERVICE4, SERVICE6

PUBLIC = [name for name in vars(Kernel) if not name.startswith("_")]


@pytest.fixture
def fake():
    now = [10**12]
    kernel = FakeKernel(lambda: now[0])
    kernel.now = now
    kernel.set_checkpoint(4000, 4001)
    kernel.vouch(3)
    kernel.set_service(SERVICE, True, False, False)
    kernel.learn(SERVICE4, SERVICE, 60)
    kernel.learn(SERVICE6, SERVICE, 60)
    kernel.beat()
    yield kernel
    kernel.close()


@pytest.mark.parametrize("name", PUBLIC)
def test_it_has_every_method_with_the_same_parameters(name):
    real, fake = getattr(Kernel, name), getattr(FakeKernel, name)
    assert list(inspect.signature(real).parameters.items()) == list(
        inspect.signature(fake).parameters.items()
    )


@pytest.mark.parametrize(
    ("address", "source"),
    [(SERVICE4, "127.0.0.1"), (SERVICE6, "::1"), (f"::ffff:{SERVICE4}", "127.0.0.1")],
)
def test_a_redirected_connection_is_found_by_its_source(fake, address, source):
    outcome, (host, port) = fake.connect(address, pid=77, netns=5)
    assert (outcome, host) == (Outcome.REDIRECTED, source)
    [flow] = fake.events()
    assert fake.flow(host, port, 5) == flow
    assert (flow.pid, flow.address, flow.service) == (77, address.removeprefix("::ffff:"), SERVICE)
    assert fake.flow(host, port, 6) is None


def test_what_is_not_watched_leaves_no_trace(fake):
    assert fake.connect("198.51.100.9") == (Outcome.DIRECT, None)
    assert fake.connect(SERVICE4, 8443) == (Outcome.DIRECT, None)
    assert list(fake.events()) == []


def test_a_heartbeat_lasts_one_second(fake):
    fake.now[0] += HEARTBEAT_NS
    assert fake.connect(SERVICE4)[0] is Outcome.REDIRECTED
    fake.now[0] += 1
    assert fake.connect(SERVICE4)[0] is Outcome.DIRECT
    assert fake.counters()["heartbeat"] == 1


def test_an_address_lasts_as_long_as_its_ttl(fake):
    fake.now[0] += 60 * 10**9 + 1
    assert fake.addresses() == {}
    assert fake.connect(SERVICE4) == (Outcome.DIRECT, None)


def test_an_exempt_cgroup_leaves_no_trace(fake):
    fake.exempt(9)
    assert fake.connect(SERVICE4, cgroup=9) == (Outcome.DIRECT, None)
    assert fake.counters()["exempt"] == 1


def test_the_descriptor_is_readable_while_there_are_events(fake):
    def readable():
        return bool(select.select([fake.fileno()], [], [], 0)[0])

    assert not readable()
    fake.connect(SERVICE4)
    assert readable()
    assert len(list(fake.events())) == 1
    assert not readable()


def test_loopback_cannot_be_learnt(fake):
    with pytest.raises(ValueError, match="cannot be the address"):
        fake.learn("127.0.0.1", SERVICE, 60)


OF_ALL = (Flag.REDIRECT, Flag.CLOSED, Flag.REFUSE)


@pytest.mark.root
@pytest.mark.parametrize("flags", range(8))
def test_both_decide_alike(gate, fake, flags):
    redirect, closed, refuse = (bool(flags & flag) for flag in OF_ALL)
    fake.set_service(SERVICE, redirect, closed, refuse)
    gate.watch(redirect=redirect, closed=closed, refuse=refuse)
    operations = [{"do": "tcp", "to": SERVICE4}, {"do": "udp", "to": SERVICE4}]
    for alive in (True, False):
        if not alive:
            gate.kernel.beat(0)
            fake.beat(0)
        gate.run(*operations)
        fake.connect(SERVICE4)
        fake.connect(SERVICE4, protocol=UDP)
        seen = [
            [(e.outcome, e.reason, e.protocol) for e in k.events()] for k in (gate.kernel, fake)
        ]
        assert seen[0] == seen[1]


def test_what_is_refused_never_depends_on_anything_else():
    for rest, obstacle, protocol in itertools.product((0, 1, 2, 3), Reason, (6, 17)):
        assert decide(Flag.REFUSE | rest, obstacle, protocol) == (Outcome.REFUSED, Reason.POLICY)
