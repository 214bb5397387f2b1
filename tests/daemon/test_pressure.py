"""What the kernel could not do, said for a minute and then no more."""

import pytest

from milecastle.daemon.pressure import CROWDED, LOSSES, Pressure
from milecastle.kernel.fake import FakeKernel
from milecastle.kernel.layout import FLOWS


@pytest.mark.parametrize(("sentence", "counters"), LOSSES.items())
def test_each_loss_is_said_for_a_minute(sentence, counters):
    for counter in counters:
        pressure = Pressure(())
        assert pressure.sentences({counter: 0}, 0.0) == []
        assert pressure.sentences({counter: 3}, 1.0) == [sentence]
        assert pressure.sentences({counter: 3}, 60.0) == [sentence]
        assert pressure.sentences({counter: 3}, 61.0) == []
        assert pressure.sentences({counter: 4}, 62.0) == [sentence]


def test_the_counters_are_those_that_there_are():
    known = FakeKernel().counters().keys() | {"unattributed"}
    assert {name for names in LOSSES.values() for name in names} <= known


def test_no_sentence_holds_a_number_that_changes():
    """They are compared from second to second, and each change is an event."""
    assert not any(char.isdigit() for sentence in (*LOSSES, CROWDED) for char in sentence)


def test_more_connections_in_a_minute_than_the_table_holds_are_said():
    pressure, each = Pressure(()), FLOWS // 50
    said = [pressure.sentences({"redirected": second * each}, second) for second in range(60)]
    assert said[50] == []
    assert said[52] == [CROWDED]


def test_a_steady_host_is_not_crowded():
    pressure = Pressure(())
    for second in range(300):
        assert pressure.sentences({"direct": second * (FLOWS // 61)}, second) == []


def test_what_the_kernel_lacks_is_said_all_the_time():
    pressure = Pressure(["processes: this kernel has no BTF (/sys/kernel/btf/vmlinux)"])
    (sentence,) = pressure.sentences({}, 1e9)
    assert "no service can be refused to a program: this kernel has no BTF" in sentence
