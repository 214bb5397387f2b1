"""A stitched session as `milecastle show` prints it."""

import pytest
from tests.store.conversations import Wire, assistant, user

from milecastle.store import Store


@pytest.fixture
def wire(tmp_path):
    store = Store.open(tmp_path / "milecastle.db")
    yield Wire(store)
    store.close()


@pytest.fixture
def show(cli, daemon, wire):
    def show(stored):
        daemon(show=lambda body: wire.store.show(next(iter(body.values()))))
        code, out, err = cli("show", stored["session"])
        assert code == 0, err
        return out

    return show


def test_each_message_stands_once_and_seams_are_visible(wire, show):
    history = []
    for turn in ("first", "second", "third"):
        history.append(user(f"the {turn} question"))
        stored = wire.chat(history, f"the {turn} answer")
        history.append(assistant(f"the {turn} answer"))
    wire.chat([*history[:2], user("another way")], "another answer")
    wire.chat([user("<summary>We spoke of walls.</summary>")], "So we did.")
    out = show(stored)
    for turn in ("first", "second", "third"):
        assert out.count(f"the {turn} question") == 1
        assert out.count(f"the {turn} answer") == 1
    assert out.count("-- branched from ") == 1
    assert "-- compacted: history was replaced by a summary --" in out
    assert out.index("branched") < out.index("another way") < out.index("compacted")
    assert "(4 messages as before)" in out


def test_instructions_are_shown_where_they_changed(wire, show):
    wire.chat([user("a question")], "an answer", system="Be brief.")
    history = [user("a question"), assistant("an answer"), user("more")]
    stored = wire.chat(history, "fine", system="Be brief.")
    history += [assistant("fine"), user("still more")]
    wire.chat(history, "enough", system="Be long.")
    out = show(stored)
    assert out.count("Be brief.") == 1
    assert out.count("Be long.") == 1


def test_a_child_names_its_parent_and_the_parent_its_children(wire, show):
    agent = wire.chat([user("write")], "done", system="You are an agent.")
    child = wire.chat([user("write")], "Title", system="Make a title.")
    assert ["part", "of", agent["session"]] in [line.split() for line in show(child).splitlines()]
