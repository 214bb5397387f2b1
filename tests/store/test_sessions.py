from milecastle.store.sessions import IDLE_GAP, Candidate, continued, identify, lineage


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
