"""Model servers of this host: seen at connect(), redirected only where the settings say so."""

from __future__ import annotations

import pytest

from milecastle.kernel import Outcome, Reason
from milecastle.kernel.checked import ports_in_words
from milecastle.kernel.fake import FakeKernel
from milecastle.kernel.layout import LOCALS

from . import lab as places
from .conftest import SERVICE

pytestmark = pytest.mark.root


@pytest.fixture
def server(gate):
    """Return the port of a server that listens on loopback and on the near address."""
    greeter = places.Greeter("model")
    port = greeter.listen(gate.lab.near, "127.0.0.1", 0).getsockname()[1]
    for address in ("::1", places.NEAR4):
        greeter.listen(gate.lab.near, address, port)
    gate.kernel.set_service(SERVICE, True, False, False)
    gate.kernel.beat()
    yield port
    gate.kernel.set_locals({})
    greeter.close()


def connect(gate, to, port):
    gate.kernel.beat()
    [result] = gate.run({"do": "tcp", "to": to, "port": port})
    return result["said"], gate.flows()


@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "::ffff:127.0.0.1", places.NEAR4])
def test_a_connection_to_a_model_server_is_reported_and_goes_its_way(gate, server, address):
    gate.kernel.set_locals(
        {(None, server): (SERVICE, False), (places.NEAR4, server): (SERVICE, False)}
    )
    said, [flow] = connect(gate, address, server)
    assert said == "model"
    assert (flow.outcome, flow.reason) == (Outcome.DIRECT, Reason.LOCAL)
    assert (flow.service, flow.port) == (SERVICE, server)


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_it_is_redirected_where_its_port_is_intercepted(gate, server, address):
    gate.kernel.set_locals({(None, server): (SERVICE, True)})
    said, [flow] = connect(gate, address, server)
    assert said == "checkpoint"
    assert (flow.outcome, flow.address) == (Outcome.REDIRECTED, address)


def test_other_addresses_and_ports_are_nobody_s(gate, server):
    gate.kernel.set_locals({(None, server): (SERVICE, True), (None, server ^ 1): (SERVICE, True)})
    assert connect(gate, places.NEAR4, server) == ("model", [])
    gate.kernel.set_locals({(None, server ^ 1): (SERVICE, True)})
    assert connect(gate, "127.0.0.1", server) == ("model", [])


def test_without_a_worker_an_intercepted_server_follows_on_failure(gate, server):
    gate.kernel.set_locals({(None, server): (SERVICE, True)})
    gate.kernel.beat(0)
    [result] = gate.run({"do": "tcp", "to": "127.0.0.1", "port": server})
    [flow] = gate.flows()
    assert (result["said"], flow.reason) == ("model", Reason.HEARTBEAT)


@pytest.mark.parametrize(
    "servers",
    [{(None, 443): (1, True)}, {(None, 70_000): (1, True)}, {(None, 5): (0, True)},
     {("nowhere", 5): (1, True)}, {(None, n): (1, True) for n in range(1000, LOCALS + 1001)}],
)  # fmt: skip
def test_what_the_tables_can_not_hold_is_a_value_error(servers):
    with pytest.raises(ValueError):
        FakeKernel().set_locals(servers)


def test_each_port_has_its_bit():
    assert ports_in_words([0, 63, 64, 65535]) == {0: 1 | 1 << 63, 1: 1, 1023: 1 << 63}
