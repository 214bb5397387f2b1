"""Rule files: YAML in, compiled rules out, and every problem with its file, line and a hint.

A rule says how a secret looks in one of three ways:

``token``    the secret is recognisable by itself (``ghp_`` and 36 characters);
``names`` + ``value``  it is recognisable where it is assigned to one of these names;
``pattern``  a whole RE2 expression; what its group ``secret`` (or ``secret2``, ``secret3``)
             took is redacted, else all of it.

Beside it stand the texts that it has to find (``matches``) and to leave alone (``ignores``);
``detect.trial`` runs them. The sign ‖ in an example is dropped: it keeps other people's scanners
from taking the example for a live key.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import re2
import yaml

from milecastle.detect.expressions import literal_prefix, longest, parse
from milecastle.detect.triggers import START, Trigger, trigger_of
from milecastle.detect.validators import CHECKS, Check
from milecastle.model import ParseError, Problem, Severity

CATEGORIES = ("secret", "pii", "injection", "tool", "document", "marking")
FILE_KEYS = ("category", "severity", "rules")
RULE_KEYS = (
    "id",
    "title",
    "source",
    "severity",
    "token",
    "names",
    "value",
    "pattern",
    "trigger",
    "needs",
    "reach",
    "checks",
    "generic",
    "certain",
    "keep",
    "matches",
    "ignores",
)
LARGEST_FILE = 1 << 20
FARTHEST = 24_000
"""Bytes that a match may be long where its pattern does not say: an armoured key."""
LONGEST_PATTERN = 4096
MOST_KEPT = 24
MEMORY = 4 << 20
"""Bytes that one rule's automaton may take; a pattern that needs more is refused."""

QUOTE = r"""(?:\\{0,3}["'`]){0,3}"""
OPERATOR = (
    r"(?:\s{0,8}(?:[?|:]{0,3}[:=]{1,3}>?|->|,|>|\(|\|\||(?i:\b(?:is|are|was|as|to)\b:?))\s{0,8}"
    r"|[ \t]{1,4})"
)
LINK = rf"{QUOTE}[\])]?{OPERATOR}{QUOTE}"
"""What may stand between a name and its value: ``=``, ``": "``, ``is``, an option's space."""
END = r"(?:[^A-Za-z0-9_]|\z)"


@dataclass(frozen=True, slots=True)
class Rule:
    id: str
    title: str
    category: str
    severity: Severity
    pattern: str
    """RE2 syntax; the first group named ``secret…`` that took part is the finding."""
    trigger: Trigger
    """What stands in every text that the pattern matches, and is cheaper to look for."""
    reach: int = FARTHEST
    """Bytes that a match is long at most: so far around its trigger it is looked for."""
    needs: tuple[str, ...] = ()
    """Of each of these at least one meaning of the lexicon has to occur (injection only)."""
    checks: tuple[tuple[Check, str], ...] = ()
    generic: bool = False
    """Whether it yields to any other rule that reports the same place."""
    certain: bool = False
    """Whether its form says enough: it is not asked whether it is a placeholder."""
    prefix: str = ""
    """The plain characters that every match begins with; empty where they vary."""
    keep: int = 0
    """How many leading characters of a match are public format and may be shown."""
    source: str = ""
    matches: tuple[str, ...] = ()
    ignores: tuple[str, ...] = ()
    file: str = ""
    line: int = 0


def compiled(pattern: str) -> re2._Regexp:
    """Compile for bytes. re2.error says what is wrong with the pattern."""
    options = re2.Options()
    options.max_mem = MEMORY
    options.log_errors = False
    return re2._Regexp(pattern.encode(), options)  # noqa: SLF001 - re2.compile's cache holds 128


def check(files: Sequence[tuple[str, str]]) -> tuple[list[Rule], list[Problem]]:
    """Return the rules of these (name, YAML text) files, and all that is wrong with them."""
    rules: list[Rule] = []
    problems: list[Problem] = []
    for name, text in files:
        reader = Reader(name, problems)
        rules += reader.file(text)
    seen: dict[str, Rule] = {}
    for rule in rules:
        first = seen.setdefault(rule.id, rule)
        if first is not rule:
            where = f"first in {first.file}:{first.line}"
            problems.append(Problem(rule.file, rule.line, f"rule {rule.id!r} twice", where))
    return list(seen.values()), problems


def load(files: Sequence[tuple[str, str]]) -> list[Rule]:
    """Return the rules, or raise ParseError that lists every problem."""
    rules, problems = check(files)
    if problems:
        raise ParseError("\n".join(map(str, problems)))
    return rules


def joined(shipped: Sequence[Rule], added: Sequence[Rule]) -> tuple[list[Rule], list[Problem]]:
    """Return both, and a problem for each added rule with the id of a shipped one, which stays."""
    names = {rule.id for rule in shipped}
    twice = [
        Problem(rule.file, rule.line, f"rule {rule.id!r} is shipped already", "give it another id")
        for rule in added
        if rule.id in names
    ]
    return [*shipped, *(rule for rule in added if rule.id not in names)], twice


class Reader:
    """Reads one file; appends to a shared list of problems instead of stopping at the first."""

    def __init__(self, name: str, problems: list[Problem]) -> None:
        self._name = name
        self._problems = problems

    def file(self, text: str) -> list[Rule]:
        if len(text) > LARGEST_FILE:
            self._say(0, f"larger than {LARGEST_FILE} characters", "split it")
            return []
        try:
            root = yaml.compose(text, Loader=SAFE)
        except yaml.YAMLError as error:
            mark = getattr(error, "problem_mark", None)
            what = str(getattr(error, "problem", None) or "not YAML")
            self._say(mark.line + 1 if mark else 0, what, "check indentation and quotes")
            return []
        if root is None:
            return []
        keys = self._mapping(root, FILE_KEYS, "a rule file")
        category = self._text(keys, "category", "")
        if category not in CATEGORIES:
            self._say(line(root), f"category {category!r}", f"one of {', '.join(CATEGORIES)}")
            return []
        severity = self._severity(keys, Severity.HIGH)
        nodes = keys.get("rules")
        if not isinstance(nodes, yaml.SequenceNode):
            self._say(line(root), "no list of rules", "add 'rules:' with a list under it")
            return []
        found = (self._rule(node, category, severity) for node in nodes.value)
        return [rule for rule in found if rule]

    def _rule(self, node: yaml.Node, category: str, severity: Severity) -> Rule | None:
        before = len(self._problems)
        keys = self._mapping(node, RULE_KEYS, "a rule")
        rule_id = self._text(keys, "id", "")
        if not rule_id or not rule_id.replace("-", "").isalnum() or rule_id != rule_id.lower():
            self._say(line(node), f"rule id {rule_id!r}", "lower-case letters, digits, hyphens")
        pattern, begins, prefix = self._pattern(node, keys)
        given = self._text(keys, "trigger", "")
        for what in ("token", "value"):
            if not well_formed(self._text(keys, what, "")):
                self._compilable(keys.get(what), what, self._text(keys, what, ""))
        self._compilable(keys.get("trigger"), "trigger", given)
        if len(self._problems) == before:
            written = next(
                (keys[way] for way in ("token", "value", "pattern") if way in keys), node
            )
            self._compilable(written, "pattern", pattern)
        evidence = {key: self._texts(keys, key) for key in ("matches", "ignores")}
        if not evidence["matches"]:
            self._say(line(node), f"rule {rule_id!r} has no matches", "add a text it must find")
        rule = Rule(
            id=rule_id,
            title=self._text(keys, "title", rule_id),
            category=category,
            severity=self._severity(keys, severity),
            pattern=pattern,
            trigger=trigger_of(begins, given),
            reach=self._number(keys, "reach", farthest(pattern), FARTHEST),
            needs=self._texts(keys, "needs"),
            checks=self._checks(keys),
            generic=self._text(keys, "generic", "false") == "true",
            certain=self._text(keys, "certain", "false") == "true",
            prefix=prefix,
            keep=self._number(keys, "keep", min(len(prefix), MOST_KEPT), MOST_KEPT),
            source=self._text(keys, "source", ""),
            matches=evidence["matches"],
            ignores=evidence["ignores"],
            file=self._name,
            line=line(node),
        )
        return rule if len(self._problems) == before else None

    def _pattern(self, node: yaml.Node, keys: Mapping[str, yaml.Node]) -> tuple[str, str, str]:
        """Return (pattern, what every match begins with, public prefix) of the way chosen."""
        ways = [way for way in ("token", "names", "pattern") if way in keys]
        if len(ways) != 1 or ("names" in keys) != ("value" in keys):
            self._say(line(node), "says how it looks in no way, or two", "see docs/RULES.md")
            return "", "", ""
        if "token" in keys:
            token = self._text(keys, "token", "")
            return f"{START}(?P<secret>{token}){END}", START + token, prefix_of(token)
        if "names" in keys:
            value = self._text(keys, "value", "")
            names = spelt(self._texts(keys, "names"))
            return assigned(names, value), names, prefix_of(value)
        pattern = self._text(keys, "pattern", "")
        return pattern, pattern, ""

    def _checks(self, keys: Mapping[str, yaml.Node]) -> tuple[tuple[Check, str], ...]:
        node = keys.get("checks")
        found = [(CHECKS["named"], "")] if "names" in keys else []
        for item in node.value if isinstance(node, yaml.SequenceNode) else ():
            argument = ""
            name = item
            if isinstance(item, yaml.MappingNode) and len(item.value) == 1:
                name, value = item.value[0]
                argument = str(value.value)
            if name.value in CHECKS:
                found.append((CHECKS[name.value], argument))
            else:
                self._say(line(item), f"check {name.value!r}", suggest(str(name.value), CHECKS))
        if node is not None and not isinstance(node, yaml.SequenceNode):
            self._say(line(node), "checks is no list", "checks: [varied]")
        return tuple(found)

    def _compilable(self, node: yaml.Node | None, what: str, expression: str) -> None:
        if node is None:
            return
        if len(expression) > LONGEST_PATTERN:
            self._say(line(node), f"{what} is over {LONGEST_PATTERN} characters", "split the rule")
            return
        try:
            compiled(expression)
        except re2.error as error:
            words = error.args[0] if error.args else "invalid"
            words = words.decode() if isinstance(words, bytes) else str(words)
            self._say(line(node), f"{what}: {words}", "RE2 syntax: no look-around")

    def _mapping(self, node: yaml.Node, allowed: Sequence[str], of: str) -> dict[str, yaml.Node]:
        if not isinstance(node, yaml.MappingNode):
            self._say(line(node), f"{of} is a mapping", "key: value")
            return {}
        found = {}
        for key, value in node.value:
            name = str(key.value)
            if name not in allowed:
                self._say(line(key), f"{of} has no {name!r}", suggest(name, allowed))
            elif name in found:
                self._say(line(key), f"{name!r} twice", "drop one")
            found[name] = value
        return found

    def _text(self, keys: Mapping[str, yaml.Node], key: str, default: str) -> str:
        node = keys.get(key)
        if node is None:
            return default
        if not isinstance(node, yaml.ScalarNode):
            self._say(line(node), f"{key!r} is a text", "quote it")
            return default
        return str(node.value)

    def _texts(self, keys: Mapping[str, yaml.Node], key: str) -> tuple[str, ...]:
        node = keys.get(key)
        if node is None:
            return ()
        if not isinstance(node, yaml.SequenceNode) or not all(
            isinstance(item, yaml.ScalarNode) for item in node.value
        ):
            self._say(line(node), f"{key!r} is a list of texts", "- 'one a line'")
            return ()
        return tuple(str(item.value).replace("‖", "") for item in node.value)

    def _number(self, keys: Mapping[str, yaml.Node], key: str, default: int, most: int) -> int:
        text = self._text(keys, key, str(default))
        if not text.isdecimal() or int(text) > most:
            self._say(line(keys[key]), f"{key!r} is a number up to {most}", "")
            return default
        return int(text)

    def _severity(self, keys: Mapping[str, yaml.Node], default: Severity) -> Severity:
        text = self._text(keys, "severity", default)
        if text not in set(Severity):
            self._say(line(keys["severity"]), f"severity {text!r}", suggest(text, list(Severity)))
            return default
        return Severity(text)

    def _say(self, at: int, what: str, hint: str) -> None:
        self._problems.append(Problem(self._name, at, what, hint))


def spelt(names: Sequence[str]) -> str:
    """Return an expression for these names; a blank stands for any joint.

    ``new relic`` is NEW_RELIC, newRelic, new-relic.
    """
    return f"(?i:{'|'.join(name.replace(' ', '[ _.-]?') for name in names)})"


def assigned(names: str, value: str) -> str:
    """Return the pattern of a value that is assigned to one of these names."""
    name = rf"(?:\b|_)(?P<name>{names}[A-Za-z0-9_.\- ]{{0,40}}?)"
    return rf"{name}{LINK}(?P<secret>{value}){END}"


def farthest(pattern: str) -> int:
    """Return how many bytes a match has at most; a character may have four."""
    most = longest(pattern)
    return FARTHEST if most is None else min(FARTHEST, 4 * most)


def well_formed(expression: str) -> bool:
    """Tell whether brackets close: a class left open could swallow what is put around it."""
    try:
        parse(expression)
    except ValueError:
        return False
    return True


def prefix_of(expression: str) -> str:
    try:
        return literal_prefix(expression)
    except ValueError:
        return ""


def suggest(name: str, known: Iterable[str]) -> str:
    """Return a hint that names the nearest known word, or all of them where there are few."""
    known = list(known)
    near = difflib.get_close_matches(name, known, 1)
    if near:
        return f"did you mean {near[0]!r}?"
    return f"one of {', '.join(known)}" if len(known) <= 14 else "see docs/RULES.md"


def line(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1


SAFE = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""libyaml reads the shipped rules in a tenth of the time; every wheel of PyYAML has it."""
