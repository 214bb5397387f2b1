from milecastle.store.sessions import (
    IDLE_GAP,
    Asked,
    Candidate,
    continued,
    family,
    identify,
    lineage,
    loose,
    named,
)


def a_session(**changes):
    usual = {"number": 1, "id": "a", "started": 1000.0, "ended": 2000.0, "conversation": None}
    return Candidate(**{**usual, **changes})


def test_half_an_hour_of_silence_ends_a_session():
    session = a_session()
    assert continued([session], 2000 + IDLE_GAP, 9999, None) is session
    assert continued([session], 2001 + IDLE_GAP, 9999, None) is None


def test_an_exchange_that_began_before_the_session_but_arrives_later_belongs_to_it():
    session = a_session()
    assert continued([session], 900, 1100, None) is session
    assert continued([session], -5000, -4000, None) is None


def test_conversations_of_one_process_are_kept_apart():
    one, two = a_session(conversation="one"), a_session(number=2, id="b", conversation="two")
    assert continued([one, two], 2001, 2002, "two") is two
    assert continued([one, two], 2001, 2002, None) is None


def test_the_latest_session_is_continued_when_several_could_be():
    early, late = a_session(), a_session(number=2, id="b", ended=2500.0)
    assert continued([early, late], 2600, 2601, None) is late


def test_without_a_process_the_connection_stands_in_for_it():
    assert lineage({}, "openai", "h", 1) != lineage({}, "openai", "h", 2)
    assert lineage({}, "openai", "h", 1) == lineage({}, "openai", "h", 1)


def test_hosts_outside_the_catalogue_are_kept_apart_by_name():
    process = {"pid": 5}
    assert lineage(process, None, "one", 1) != lineage(process, None, "two", 1)


def test_ids_differ_in_their_first_digits():
    ids = {identify("lineage", f"exchange{number}")[:6] for number in range(100)}
    assert len(ids) > 95


def asked(**changes):
    usual = {"lineage": "l", "started": 2001.0, "ended": 2002.0, "conversation": None}
    return Asked(**{**usual, "system": "s", **changes})


def test_what_holds_no_conversation_belongs_to_whatever_the_process_last_did():
    session = a_session(system="s", turns=3)
    assert loose([session], asked(system=None)).session is session


def test_a_beginning_joins_single_questions_but_not_a_conversation():
    single, conversing = a_session(system="s"), a_session(system="s", turns=1)
    assert loose([single], asked()).session is single
    assert loose([conversing], asked()).session is None
    place = loose([conversing], asked(summary=True))
    assert (place.session, place.seam) == (conversing, "compacted")


def test_children_have_the_eldest_as_their_parent():
    first = a_session(id="first", system="x", started=1.0)
    child = a_session(id="child", system="y", started=2.0, parent="first")
    assert loose([child, first], asked()).parent == "first"
    assert loose([child], asked()).parent == "first"


def test_in_a_conversation_that_has_a_name_other_instructions_make_a_child():
    session = a_session(id="first", conversation="c", system="s", turns=2)
    assert named([session], asked(), known=True).seam is None
    assert named([session], asked(), known=False).seam == "compacted"
    assert named([session], asked(system="t"), known=False).parent == "first"
    assert named([], asked(), known=False) is None


def test_a_family_is_one_users_runs_of_one_program():
    process = {"pid": 5, "exe": "/bin/a", "uid": 1, "started": 7.0}
    same = family({**process, "pid": 6, "started": 8.0}, "openai", "h", 1)
    assert family(process, "openai", "h", 1) == same
    for change in ({"exe": "/bin/b"}, {"uid": 2}, {"container": "c"}):
        assert family({**process, **change}, "openai", "h", 1) != same
    assert family({}, "openai", "h", 1) != family({}, "openai", "h", 2)
