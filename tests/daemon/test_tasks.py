"""What the daemon says of its own bugs."""

from __future__ import annotations

from milecastle.daemon.tasks import bug


def test_a_bug_is_told_by_its_kind_and_place_and_never_by_what_it_was_about():
    def deep():
        raise KeyError("the prompt of a user")

    try:
        deep()
    except KeyError as error:
        told = bug(error)
    assert told.startswith("KeyError < ")
    assert told.count("test_tasks.py:") == 2
    assert "prompt" not in told
