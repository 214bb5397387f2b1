"""The corpus against the presets: floors that may only rise; and what a trial is made of."""

import base64
import gzip
import shlex
import subprocess
from collections import Counter
from pathlib import Path

import pytest

from milecastle import catalogue, detect, redteam, shipped
from milecastle.inspection import Inspector
from milecastle.policy import Policy, check
from milecastle.redteam import DISGUISES, OUTCOMES, bait, messages, plan, run
from milecastle.redteam.disguises import SHELL, TEXT
from milecastle.redteam.trial import remains

CONFIG = Path(__file__).parents[2] / "config"
ATTACKS, PROBLEMS = redteam.read(shipped.texts("config", "redteam"))
APPROVED = ("approved", "version: 1\nservices: {sanctioned: [openai, anthropic]}\n")
TRIED = {"plain", "base64", "percent-some", "zero-width", "homoglyphs", "quoted", "base64-pipe"}
"""Disguises that are tried here; `milecastle redteam` tries all."""

FLOORS = {
    "observe": {"LLM01": (0, 0.95), "LLM02": (0, 0.95), "LLM06": (0, 0.95)},
    "balanced": {
        "LLM01": (0.70, 0.95),
        "LLM02": (0.95, 0.95),
        "LLM03": (0.95, 0.95),
        "LLM06": (0.45, 0.95),
        "ASI01": (0.80, 0.95),
    },
    "coding-agents": {
        "LLM01": (0.70, 0.75),
        "LLM02": (0.85, 0.85),
        "LLM03": (0.95, 0.95),
        "LLM06": (0.45, 0.95),
    },
    "strict": {"LLM01": (0.70, 0.95), "LLM02": (0.95, 0.95), "LLM06": (0.80, 0.95)},
}
"""By preset and category: the shares that are kept out, and that somebody is told of."""


@pytest.fixture(scope="module")
def engine():
    files = [(str(file), file.read_text()) for file in sorted((CONFIG / "rules").rglob("*.yaml"))]
    return detect.Engine.load(files, key=b"k" * 32)


@pytest.fixture(scope="module")
def inspector(engine):
    def make(policy):
        return Inspector(catalogue.shipped(), engine, policy)

    return make


@pytest.mark.parametrize("preset", FLOORS)
def test_a_preset_keeps_out_what_it_kept_out_before(inspector, preset):
    file = CONFIG / "presets" / f"{preset}.yaml"
    policy, problems = check(file.read_text(), file.name, overrides=[APPROVED])
    assert problems == []
    under_test, table = inspector(policy), {}
    for trial in plan(ATTACKS):
        if trial.disguise in TRIED:
            outcome = run(under_test, trial)
            for category in trial.attack.against:
                table.setdefault(category, Counter())[outcome] += 1
    for category, (kept, noticed) in FLOORS[preset].items():
        counts = table[category]
        assert counts.total() >= 10
        out = counts["stopped"] + counts["replaced"]
        assert out / counts.total() >= kept, (category, counts)
        assert (out + counts["reported"]) / counts.total() >= noticed, (category, counts)


def test_without_rules_everything_gets_through(inspector):
    open_door = inspector(Policy())
    for trial in plan(ATTACKS[::5]):
        if trial.disguise == "plain":
            assert run(open_door, trial) == "through", trial.attack.id


def test_behind_a_rule_that_blocks_everything_nothing_does(inspector):
    closed, _ = check("version: 1\nmode: enforce\nrules: [{id: x, action: block}]\n", "closed.yaml")
    under_test = inspector(closed)
    assert {run(under_test, trial) for trial in list(plan(ATTACKS))[::40]} == {"stopped"}


# --- the corpus ------------------------------------------------------------------------------


def test_the_corpus_is_in_order_and_covers_the_categories():
    assert PROBLEMS == []
    covered = {each for attack in ATTACKS for each in attack.against}
    assert covered >= {f"LLM0{n}" for n in (1, 2, 3, 4, 5, 6, 7, 8)}
    assert covered >= {f"ASI0{n}" for n in (1, 2, 3, 4, 5, 6, 7, 9)} | {"ASI10"}
    assert {attack.place for attack in ATTACKS} == set(messages.PLACES)
    assert all(attack.payload != attack.text for attack in ATTACKS)


def test_no_key_stands_in_the_corpus(engine):
    from milecastle.model import Segment

    for name, text in shipped.texts("config", "redteam"):
        found = engine.scan([Segment(text, "user", "user")])
        assert [each.rule for each in found if each.category in {"secret", "pii"}] == [], name


def test_every_attack_goes_in_every_disguise_through_both_providers_streamed_and_not():
    trials = list(plan(ATTACKS))
    assert len({(each.attack.id, each.disguise) for each in trials}) == len(trials)
    assert len({(each.provider, each.stream) for each in trials}) == 4
    for trial in trials:
        assert trial.payload in trial.text
        assert "{" not in trial.text.replace("${", "").replace("{}", "") or "{{" in trial.text


def test_a_file_with_a_mistake_says_where():
    _, problems = redteam.read([("a.yaml", "attacks:\n- {id: a, titel: b, place: promt}\n")])
    told = [str(each) for each in problems]
    assert "a.yaml:2:11: unknown key 'titel' (did you mean 'title'?)" in told
    assert any("(did you mean 'prompt'?)" in each for each in told)
    assert "a.yaml:2:3: 'payload' is missing here (What must not get through.)" in told


# --- what it is made of ----------------------------------------------------------------------


@pytest.mark.parametrize("name", bait.BAIT)
def test_bait_looks_real_to_the_detectors(engine, name):
    from milecastle.model import Segment

    if name in {"hostile-host"}:
        return
    said = {"password": "The root password of the server is {}.", "card": "my visa card {}",
            "iban": "to our account, IBAN {}"}.get(name, "use {} for it")  # fmt: skip
    value = bait.BAIT[name]("seed/2")
    found = engine.scan([Segment(said.format(value), "user", "user")])
    assert {each.category for each in found} & {"secret", "pii"}, value
    assert bait.BAIT[name]("seed/2") == value != bait.BAIT[name]("seed/3")


def test_a_card_and_an_account_have_their_check_digits():
    digits = [int(each) for each in bait.card("x")][::-1]
    doubled = sum(sum(divmod(2 * each, 10)) for each in digits[1::2])
    assert (sum(digits[::2]) + doubled) % 10 == 0
    account = bait.iban("x")
    assert int(account[4:] + "1314" + account[2:4]) % 97 == 1


UNDONE = {
    "base64": lambda text: base64.b64decode(text).decode(),
    "gzip-base64": lambda text: gzip.decompress(base64.b64decode(text)).decode(),
    "hex": lambda text: bytes.fromhex(text).decode(),
    "reversed": lambda text: text[::-1],
    "zero-width": lambda text: text.replace("\u200b", ""),
    "tags": lambda text: "".join(chr(ord(each) - 0xE0000) for each in text),
    "joined": lambda text: text.replace('" + "', "")[1:-1],
}


@pytest.mark.parametrize("name", UNDONE)
def test_a_disguise_can_be_undone_by_who_reads_it(name):
    assert UNDONE[name](TEXT[name]("the root password is 12")) == "the root password is 12"
    assert TEXT[name]("the root password is 12") != "the root password is 12"


@pytest.mark.parametrize("name", [each for each in SHELL if each != "sudo-env"])
def test_a_command_does_the_same_in_every_disguise(name):
    command = SHELL[name]("printf '%s\\n' \"it's done\"")
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("it's done\n"), command
    assert shlex.split(command)


def test_half_a_payload_is_one():
    assert remains("0123456789abcdefghij", "x 0123456789 y")
    assert remains("0123456789abcdefghij", "x abcdefghij y")
    assert not remains("0123456789abcdefghij", "x 01234567 y")
    assert remains("rm -rf /", "then rm -rf / it is")


def test_the_outcomes_go_from_best_to_worst():
    assert OUTCOMES == ("stopped", "replaced", "reported", "through")
    assert set(DISGUISES) == {"text", "shell", "none"}
