"""A learned policy is one: it lets through what was seen, stops the rest, and passes `check`."""

from hypothesis import given
from hypothesis import strategies as st
from tests.policy.making import TODAY

from milecastle.model import Process, Subject
from milecastle.policy import check, learning
from milecastle.policy.learning import Use

NAMES = st.none() | st.text(min_size=1, max_size=300) | st.sampled_from(["[a]*", "0", "a: b #c"])
USES = st.builds(
    Use,
    st.sampled_from(["openai", "mistral", "deepseek"]),
    user=NAMES,
    uid=st.none() | st.integers(-1, 2**32 - 1),
    exe=NAMES,
    script=NAMES,
    client=NAMES,
    calls=st.integers(0, 10**9),
    tokens=st.integers(0, 10**12),
    first=st.floats(0, 2e9),
    last=st.floats(0, 2e9),
)


def learned(*uses):
    text = learning.propose(uses, now=TODAY)
    made, problems = check(text.replace("mode: monitor", "mode: enforce"), "learned.yaml")
    assert problems == [], f"{problems}\n{text}"
    return made


@given(st.lists(USES, max_size=6))
def test_whatever_was_seen_the_proposal_is_in_order_and_lets_it_through(uses):
    made = learned(*uses)
    for use in uses:
        user, exe, script = learning.caller_of(use)
        printable = all(word.isprintable() for word in (user, exe, script))
        if printable and (user or exe):
            process = Process(1, "x", use.uid if use.uid is not None else -1, exe=use.exe,
                              user=use.user, script=use.script)  # fmt: skip
            decision = made.decide(Subject(use.service, process=process), now=TODAY)
            assert decision.verdict.action == "allow"


def test_another_user_program_or_service_is_not_let_through():
    made = learned(Use("openai", user="ada", exe="/usr/bin/node", script="/opt/a.js", calls=3))

    def done(service="openai", **given):
        process = {"exe": "/usr/bin/node", "script": "/opt/a.js", "user": "ada", **given}
        who = Process(1, "node", 1000, **process)
        return made.decide(Subject(service, process=who), now=TODAY).verdict.action

    assert done() == "allow"
    assert done(service="mistral") == "block"
    assert done(user="bob") == "block"
    assert done(exe="/tmp/node") == "block"
    assert done(script="/tmp/a.js") == "block"


def test_wildcards_in_a_path_stand_for_themselves():
    made = learned(Use("openai", user="ada", exe="/opt/[x]*", calls=1))

    def done(exe):
        process = Process(1, "x", 1000, exe=exe, user="ada")
        return made.decide(Subject("openai", process=process), now=TODAY).verdict.action

    assert done("/opt/[x]*") == "allow"
    assert done("/opt/xyz") == "block"


def test_the_busiest_callers_come_first_and_their_number_is_bounded():
    uses = [Use("openai", user=f"u{n}", calls=n) for n in range(learning.MOST_CALLERS + 10)]
    made = learned(*uses)
    assert len(made.rules) == 1 + learning.MOST_CALLERS
    assert made.rules[1].id == f"seen-unknown-u{learning.MOST_CALLERS + 9}"
