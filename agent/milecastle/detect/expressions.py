"""RE2 expressions as trees: what they begin with, and what a text looks like that could still
become a match.

Understood: literals, escapes, classes, groups (plain, named, with flags), alternation and
quantifiers, which is all of RE2 but flags in mid-expression. Pure text in, text out.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

SHORTEST = 24
"""A counted repetition longer than this is where ``beginning`` stops."""
ENOUGH = 3
"""Plain characters after which a gap (``.{0,60}``) ends a beginning as well."""
ASSERTIONS = frozenset({r"\b", r"\B", r"\A", r"\z", "^", "$"})
ATOM = re.compile(
    r"\\x\{[0-9A-Fa-f]+\}|\\[pP]\{[^}]*\}|\\[pP].|\\x[0-9A-Fa-f]{2}|\\.|"
    r"\[\^?\]?(?:\[:\^?[a-z]+:\]|\\x\{[0-9A-Fa-f]+\}|\\.|[^\]\\])*\]|[^\\\[\](){}|*+?]|[\]}{]",
    re.DOTALL,
)
QUANTIFIER = re.compile(r"(?:\*|\+|\?|\{(\d+)(,(\d*))?\})(\??)")
QUANTIFIERS = ("*", "+", "?", "{")
OPENING = re.compile(r"\((?:\?P<(\w+)>|\?([a-zA-Z-]*):)?")
FLAGS = re.compile(r"\(\?([a-zA-Z-]+)\)")


@dataclass(frozen=True, slots=True)
class Group:
    name: str
    """Empty where it has none."""
    flags: str
    branches: tuple[tuple[Item, ...], ...]


@dataclass(frozen=True, slots=True)
class Item:
    """One thing of a sequence and how often it may occur; ``most`` None is any number."""

    what: str | Group
    least: int = 1
    most: int | None = 1
    lazy: bool = False

    @property
    def once(self) -> bool:
        return self.least == self.most == 1


@lru_cache(maxsize=64)
def parse(expression: str) -> Group:
    """Return the tree. ValueError where the expression is beyond this module."""
    flags = FLAGS.match(expression)
    start = flags.end() if flags else 0
    branches, end = parse_branches(expression, start)
    if end != len(expression):
        raise ValueError(f"unbalanced bracket at {end}")
    return Group("", flags.group(1) if flags else "", branches)


def parse_branches(text: str, at: int) -> tuple[tuple[tuple[Item, ...], ...], int]:
    branches: list[tuple[Item, ...]] = []
    items: list[Item] = []
    while at < len(text) and text[at] != ")":
        if text[at] == "|":
            branches.append(tuple(items))
            items = []
            at += 1
            continue
        what: str | Group
        if text[at] == "(":
            opening = OPENING.match(text, at)
            if opening is None or FLAGS.match(text, at):
                raise ValueError(f"flags in mid-expression at {at}")
            inner, end = parse_branches(text, opening.end())
            if text[end : end + 1] != ")":
                raise ValueError("a bracket is not closed")
            what, at = Group(opening.group(1) or "", opening.group(2) or "", inner), end + 1
        elif text[at].isalnum():
            what, at = text[at], at + 1
        else:
            atom = ATOM.match(text, at)
            if atom is None:
                raise ValueError(f"unexpected {text[at]!r} at {at}")
            what, at = atom.group(), atom.end()
        item, at = parse_quantifier(what, text, at)
        items.append(item)
    branches.append(tuple(items))
    return tuple(branches), at


def parse_quantifier(what: str | Group, text: str, at: int) -> tuple[Item, int]:
    found = QUANTIFIER.match(text, at) if text[at : at + 1] in QUANTIFIERS else None
    if found is None:
        return Item(what), at
    sign = found.group()[0]
    if sign == "{":
        least = int(found.group(1))
        most = (int(found.group(3)) if found.group(3) else None) if found.group(2) else least
    else:
        least, most = {"*": (0, None), "+": (1, None), "?": (0, 1)}[sign]
    return Item(what, least, most, bool(found.group(4))), found.end()


def beginning(expression: str, *, asserting: bool = False) -> str:
    """Return a shorter expression that stands at the beginning of every match.

    It ends with the first long repetition or gap: what follows only makes the automaton large.
    ``asserting`` keeps the assertions.
    """
    tree = parse(expression)
    return "".join(map(render, start_of([Item(tree)], asserting)[0]))


def literal_length(items: Sequence[Item]) -> int:
    """Return how many plain bytes stand in every text of this sequence, at least."""
    total = 0
    for item in items:
        if isinstance(item.what, Group):
            total += item.least * min(map(literal_length, item.what.branches))
        elif len(item.what) == 1 and item.what not in ".^$":
            total += item.least * len(item.what.encode())
    return total


def longest(expression: str) -> int | None:
    """Return how many characters a match has at most; None for any number, or where not known."""
    try:
        return longest_of([Item(parse(expression))])
    except ValueError:
        return None


def longest_of(items: Sequence[Item]) -> int | None:
    total = 0
    for item in items:
        one: int | None = int(item.what not in ASSERTIONS)
        if isinstance(item.what, Group):
            sizes = [longest_of(branch) for branch in item.what.branches]
            one = None if None in sizes else max(size or 0 for size in sizes)
        if one is None or (one and item.most is None):
            return None
        total += one * (item.most or 0)
    return total


def start_of(items: Sequence[Item], asserting: bool = False) -> tuple[list[Item], bool]:
    """Return the leading items, and whether a long repetition cut them short."""
    kept: list[Item] = []
    for item in items:
        if item.what in ASSERTIONS and not asserting:
            continue  # they double an automaton's states and hardly make it choosier
        if isinstance(item.what, Group) and item.once:
            starts = [start_of(branch, asserting) for branch in item.what.branches]
            inner = tuple(tuple(begun) for begun, _ in starts)
            kept.append(Item(Group("", item.what.flags, inner)))
            if any(cut for _, cut in starts):
                return kept, True
        elif item.most is None or item.most > SHORTEST:
            least = min(item.least, SHORTEST)
            if least:
                kept.append(Item(item.what, least, least))
            if item.least or literal_length(kept) >= ENOUGH:
                return kept, True
            kept.append(Item(item.what, 0, None, item.lazy))
        else:
            kept.append(item)
    return kept, False


def unfinished(expression: str) -> str:
    """Return an expression for texts that end within the secret of a possible match.

    Its groups begin where the secret begins. It is generous: counted repetitions become any
    number, so a text that can no longer match may be taken for one that can.
    """
    tree = parse(expression)
    if not holds_secret(tree):
        tree = Group("", "", ((Item(Group("secret", tree.flags, tree.branches)),),))
    return with_flags(tree.flags, within_group(tree)) + r"\z"


def within_group(group: Group) -> str:
    """Texts that end after the secret of this group has begun."""
    if group.name.startswith("secret"):
        begun = "|".join(filter(None, map(begun_part, group.branches)))
        return f"({with_flags(group.flags, begun)})"
    found = [within(branch) for branch in group.branches if any(map(holds, branch))]
    return with_flags(group.flags, "|".join(found)) if found else ""


def within(items: Sequence[Item]) -> str:
    head, rest = items[0], items[1:]
    if not holds(head):
        return whole(head) + within(rest)
    assert isinstance(head.what, Group)
    return f"(?:{whole(head)}{part(rest)}|{within_group(head.what)})"


def begun_part(items: Sequence[Item]) -> str:
    """Texts that end somewhere in this sequence, after at least one character of it."""
    if not items:
        return ""
    head, rest = items[0], items[1:]
    if head.what in ASSERTIONS:
        return whole(head) + begun_part(rest)
    once = Item(head.what, 1, None if head.most != 1 else 1, head.lazy)
    found = [whole(once) + part(rest)]
    if isinstance(head.what, Group):
        begun = "|".join(filter(None, map(begun_part, head.what.branches)))
        found.append(with_flags(head.what.flags, begun) if begun else "")
    if head.least == 0:
        found.append(begun_part(rest))
    return f"(?:{'|'.join(filter(None, found))})"


def part(items: Sequence[Item]) -> str:
    """Texts that end somewhere in this sequence, at its very beginning included."""
    if not items:
        return ""
    head, rest = items[0], items[1:]
    if head.what == r"\z":
        return ""
    begun = part_of(head)
    if not rest and isinstance(head.what, str):
        return begun
    return f"(?:{whole(head)}{part(rest)}|{begun})"


def part_of(item: Item) -> str:
    if isinstance(item.what, str):
        return "" if item.once or item.what in ASSERTIONS else f"{item.what}*"
    inner = part_of_group(item.what)
    return inner if item.once else f"(?:{whole(Item(item.what))})*{inner}"


def part_of_group(group: Group) -> str:
    return with_flags(group.flags, "|".join(map(part, group.branches)))


def whole(item: Item) -> str:
    """The item itself, its long repetitions made endless."""
    if isinstance(item.what, str):
        return item.what + quantifier(item)
    inner = "|".join("".join(map(whole, branch)) for branch in item.what.branches)
    if item.what.name.startswith("secret"):
        return f"({inner})" + quantifier(item)
    return with_flags(item.what.flags, inner) + quantifier(item)


def quantifier(item: Item) -> str:
    if item.once:
        return ""
    lazy = "?" if item.lazy else ""
    if item.least == 0 and item.most == 1:
        return "?" + lazy
    return ("+" if item.least else "*") + lazy


def holds(item: Item) -> bool:
    return isinstance(item.what, Group) and holds_secret(item.what)


def holds_secret(group: Group) -> bool:
    named = group.name.startswith("secret")
    return named or any(holds(item) for branch in group.branches for item in branch)


def with_flags(flags: str, inner: str) -> str:
    return f"(?{flags}:{inner})"


def render(item: Item) -> str:
    """Return the item as it was written, names of groups left out."""
    if isinstance(item.what, str):
        text = item.what
    else:
        inner = "|".join("".join(map(render, branch)) for branch in item.what.branches)
        text = with_flags(item.what.flags, inner)
    if item.once:
        return text
    most = "" if item.most is None else str(item.most)
    return f"{text}{{{item.least},{most}}}" + ("?" if item.lazy else "")


def literal_prefix(expression: str) -> str:
    """Return the plain characters that every match of the expression begins with."""
    tree = parse(expression)
    if len(tree.branches) != 1 or tree.flags:
        return ""
    text = ""
    for item in tree.branches[0]:
        if not isinstance(item.what, str) or not item.once:
            break
        plain = item.what[1:] if re.fullmatch(r"\\[^A-Za-z0-9]", item.what) else item.what
        if len(plain) != 1 or (plain in "^$." and plain == item.what):
            break
        text += plain
    return text
