"""Text from the network, made harmless for a terminal and measured in its cells. Pure.

A model's name, an argument of a process or a prompt may hold sequences that move the cursor,
set the title or answer on the reader's behalf. Nothing but printable characters gets through;
what is not printable is shown as an escape, so that hidden text is seen and not swallowed.
"""

from __future__ import annotations

import unicodedata

MARKS = 4
"""Most combining marks on one character; more would pile up over other lines."""
TAB = "    "


def line(text: object) -> str:
    """Return the text fit for one line: every control character, also line ends, escaped."""
    string = text if isinstance(text, str) else str(text)
    if string.isascii() and string.isprintable():
        return string
    return _escaped(string)


def lines(text: object) -> list[str]:
    """Return the text fit for several lines, split where it has line ends; tabs become spaces."""
    string = text if isinstance(text, str) else str(text)
    return [line(each.expandtabs(len(TAB))) for each in string.replace("\r\n", "\n").split("\n")]


def _escaped(string: str) -> str:
    result = []
    marks = 0
    for character in string:
        marks = marks + 1 if unicodedata.category(character) in ("Mn", "Me") else 0
        if character.isprintable() and marks <= MARKS:
            result.append(character)
        elif unicodedata.category(character) == "Zs":
            result.append(" ")
        else:
            result.append(_NAMED.get(character) or _numbered(ord(character)))
    return "".join(result)


_NAMED = {"\n": "\\n", "\r": "\\r", "\t": "\\t", "\0": "\\0", "\x1b": "\\e"}


def _numbered(code: int) -> str:
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def cells(text: str) -> int:
    """Return how many columns of a terminal the escaped text takes."""
    if text.isascii():
        return len(text)
    return sum(_cells(character) for character in text)


def _cells(character: str) -> int:
    if unicodedata.category(character) in ("Mn", "Me"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def cut(text: str, width: int) -> str:
    """Return the escaped text in at most ``width`` columns, with … where something is missing."""
    if cells(text) <= width:
        return text
    kept, used = [], 0
    for character in text:
        used += _cells(character)
        if used > width - 1:
            break
        kept.append(character)
    return "".join(kept) + "…"


def padded(text: str, width: int, *, right: bool = False) -> str:
    """Return the text in exactly ``width`` columns."""
    text = cut(text, width)
    space = " " * (width - cells(text))
    return space + text if right else text + space
