"""What can be set, said or found is named in the documentation, or it does not exist."""

import re
from pathlib import Path

import pytest

from milecastle import settings, wire
from milecastle.catalogue import clients, reading
from milecastle.cli.main import COMMANDS
from milecastle.detect.rulebook import WITHOUT
from milecastle.policy import ACTIONS, asking, cases, conditions, document, merging
from milecastle.yamldoc import Mapping, Scalar, Sequence, compose

ROOT = Path(__file__).parents[1]
PRESETS = ROOT / "config" / "presets"


def detector_rules() -> set[str]:
    """Return the ids of all shipped detection rules."""
    found = set()
    for file in (ROOT / "config" / "rules").rglob("*.yaml"):
        tree, _ = compose(file.read_text(), file.name)
        rules = tree.entries.get("rules") if isinstance(tree, Mapping) else None
        for rule in rules.items if isinstance(rules, Sequence) else ():
            if isinstance(rule, Mapping) and isinstance(rule.entries.get("id"), Scalar):
                found.add(rule.entries["id"].text)
    return found


NAMED = {
    "a setting": (
        "docs/CONFIGURATION.md",
        {**settings.KEYS, **settings.NAMESPACES, **settings.EXCLUSION, **settings.KUBERNETES},
    ),
    "a key of intercept": ("docs/CONFIGURATION.md", settings.INTERCEPT),
    "a key of a catalogue file": (
        "docs/CONFIGURATION.md",
        {**reading.KEYS, **reading.SERVICE, **reading.CALL},
    ),
    "a key of a client": (
        "docs/CONFIGURATION.md",
        {**clients.CLIENT, **dict.fromkeys(clients.KINDS)},
    ),
    "a key of a policy": (
        "docs/POLICY.md",
        {
            **merging.OVERRIDE,
            **document.SERVICES,
            **document.FAILURE,
            **document.INTERCEPT,
            **document.RULE,
            **document.WHEN,
            **document.EXCEPTION,
            **document.LIMIT,
            **asking.WINDOW,
        },
    ),
    "a condition": (
        "docs/POLICY.md",
        {**conditions.SUBJECT, **conditions.PROCESS, **conditions.FINDING, "count": None},
    ),
    "a category of findings": ("docs/POLICY.md", conditions.FINDING_CATEGORIES),
    "a provenance": ("docs/POLICY.md", conditions.PROVENANCES),
    "an action": ("docs/POLICY.md", ACTIONS),
    "a key of a case": (
        "docs/POLICY.md",
        {**cases.GIVEN, **cases.EXPECT, **cases.PROCESS, **cases.FINDING},
    ),
    "a preset": (
        "docs/POLICY.md",
        [file.name for file in PRESETS.glob("*.yaml") if ".cases." not in file.name],
    ),
    "a command": ("docs/CLI.md", COMMANDS),
    "a detection rule": ("docs/RULES.md", detector_rules()),
    "a rule without a file": ("docs/RULES.md", [rule for rule, *_ in WITHOUT]),
    "a request of a socket": (
        "docs/PRIVSEP.md",
        {**wire.WORKER, **wire.CONTROL, **wire.SIGNER, **wire.PODS, **wire.ANSWERS},
    ),
}


@pytest.mark.parametrize("what", NAMED)
def test_it_is_named_in_the_documentation(what):
    file, names = NAMED[what]
    page = (ROOT / file).read_text()
    fences = "\n".join(re.findall(r"```.*?\n(.*?)```", page, re.DOTALL))
    code = "\n".join(re.findall(r"`([^`\n]+)`", page)) + "\n" + fences
    assert names
    missing = [
        str(name)
        for name in names
        if not re.search(rf"(?<![\w.-]){re.escape(str(name))}(?![\w.-])", code)
    ]
    assert missing == [], f"{file} does not name {what}: {', '.join(sorted(missing))}"


PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_between_pages_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if "://" in target or target.startswith("mailto:"):
            continue
        file, _, part = target.partition("#")
        there = (page.parent / file) if file else page
        assert there.exists(), f"{page.name} links to {target}"
        if part and there.suffix == ".md":
            headings = re.findall(r"^#+ (.+)$", there.read_text(), re.MULTILINE)
            anchors = {re.sub(r"[^\w -]", "", each).lower().replace(" ", "-") for each in headings}
            assert part in anchors, f"{page.name} links to {target}"


def examples(page):
    return re.findall(r"```yaml\n(.*?)```", (ROOT / "docs" / page).read_text(), re.DOTALL)


def test_the_examples_of_the_policy_page_are_policies():
    from milecastle.policy import check, run_cases

    first, override, exception, failure, given = examples("POLICY.md")
    made, problems = check(first, "POLICY.md")
    assert problems == []
    _, problems = check(first, "POLICY.md", overrides=[("POLICY.md", override)])
    assert problems == []
    _, problems = check("version: 1\nrules:\n" + exception, "POLICY.md")
    assert problems == []
    _, problems = check("version: 1\n" + failure, "POLICY.md")
    assert problems == []
    outcomes, problems = run_cases(made, given, "POLICY.md")
    assert problems == []
    assert all(outcome.holds for outcome in outcomes)


def test_the_example_of_a_catalogue_is_one():
    _containers, text, _beyond = examples("CONFIGURATION.md")
    catalogue, problems = reading.load([("CONFIGURATION.md", text)])
    assert problems == []
    assert catalogue.match("llm.turin.example.com").id == "house-llm"


def test_the_examples_of_settings_are_settings():
    containers, _catalogue, beyond = examples("CONFIGURATION.md")
    for text in (containers, beyond):
        _, problems = settings.check(text, "CONFIGURATION.md")
        assert problems == []
