"""What commands print to: plain lines, tables and JSON, in colour only for a person at a terminal.

Everything that a command did not write itself goes through ``escaping`` on its way out. JSON is
printed in ASCII: there, too, no byte of a model's answer can be a control sequence.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TextIO

from milecastle.cli import escaping
from milecastle.model import Action

type Colour = Literal["red", "yellow", "green", "dim", "bold"]
CODES: dict[Colour, str] = {"red": "31", "yellow": "33", "green": "32", "dim": "2", "bold": "1"}
BY_ACTION: dict[str, Colour] = {
    **{action.value: "red" for action in Action if action.stops},
    **{action.value: "yellow" for action in Action if action.edits},
    **dict.fromkeys(("alert", "coach"), "yellow"),
}
BY_SEVERITY: dict[str, Colour] = {"critical": "red", "high": "red", "medium": "yellow"}
NARROWEST = 40
LABEL = 12


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table."""

    title: str
    right: bool = False
    least: int | None = None
    """It may be cut down to this many cells where the table is too wide; None: never."""


@dataclass(slots=True)
class Terminal:
    """Standard output, and what it can do."""

    out: TextIO
    width: int = 80
    colours: bool = False
    person: bool = False
    """Whether somebody reads along: long lines are cut, and colours are welcome."""

    @classmethod
    def of(cls, out: TextIO) -> Terminal:
        """Look at the stream and the environment (NO_COLOR, COLUMNS, TERM)."""
        person = out.isatty()
        plain = bool(os.environ.get("NO_COLOR")) or os.environ.get("TERM") == "dumb"
        width = shutil.get_terminal_size((80, 24)).columns
        return cls(out, max(NARROWEST, width), person and not plain, person)

    def line(self, text: str = "") -> None:
        """Print a line that is already fit to be printed."""
        print(text, file=self.out)

    def json(self, value: Any) -> None:  # noqa: ANN401 - whatever JSON can hold
        """Print one JSON value on a line of its own, in ASCII, at once."""
        print(json.dumps(value, ensure_ascii=True), file=self.out, flush=True)

    def paint(self, text: str, colour: Colour | None) -> str:
        """Return the text in a colour, where there are colours."""
        if colour is None or not self.colours:
            return text
        return f"\x1b[{CODES[colour]}m{text}\x1b[0m"

    def table(
        self,
        columns: Sequence[Column],
        rows: Iterable[Sequence[object]],
        colours: Iterable[Colour | None] = (),
    ) -> None:
        """Print rows under their titles, cut so that no line is wider than the terminal."""
        cells = [[escaping.line("" if cell is None else cell) for cell in row] for row in rows]
        widths, gap = fit(columns, cells, self.width)

        def joined(row: Sequence[str]) -> str:
            parts = (
                escaping.padded(cell, width, right=column.right)
                for cell, column, width in zip(row, columns, widths, strict=True)
            )
            return gap.join(parts).rstrip()

        self.line(self.paint(joined([column.title for column in columns]), "bold"))
        paints = list(colours) or [None] * len(cells)
        for row, colour in zip(cells, paints, strict=True):
            self.line(self.paint(joined(row), colour))

    def fields(self, fields: Iterable[tuple[str, object]], indent: int = 0) -> None:
        """Print names and values one under the other, the values escaped and wrapped."""
        listed = [(name, value) for name, value in fields if value not in (None, "", [], ())]
        if not listed:
            return
        names = max(len(name) for name, _ in listed)
        for name, value in listed:
            first = " " * indent + self.paint(name.ljust(names), "dim") + "  "
            self.block(first, indent + names + 2, str(value))

    def block(
        self, first: str, indent: int, text: str, limit: int = 0, colour: Colour | None = None
    ) -> None:
        """Print text from elsewhere after ``first``, its further lines indented.

        ``limit`` is the most lines; 0 stands for all of them.
        """
        room = max(20, self.width - indent)
        wrapped = [part for each in escaping.lines(text) for part in wrap(each, room)]
        shown = wrapped[:limit] if limit else wrapped
        for number, part in enumerate(shown):
            self.line((first if number == 0 else " " * indent) + self.paint(part, colour))
        if len(shown) < len(wrapped):
            rest = f"… {len(wrapped) - len(shown)} more lines (--full shows them)"
            self.line(" " * indent + self.paint(rest, "dim"))

    def label(
        self,
        name: str,
        text: str,
        colour: Colour | None = None,
        *,
        limit: int = 0,
        name_colour: Colour | None = None,
    ) -> None:
        """Print text from elsewhere beside a label of at most LABEL cells."""
        first = "  " + escaping.padded(escaping.line(name), LABEL)
        self.block(self.paint(first, name_colour), LABEL + 2, text, limit, colour)


def fit(
    columns: Sequence[Column], rows: Sequence[Sequence[str]], width: int
) -> tuple[list[int], str]:
    """Return the columns' widths and the gap between them.

    Columns are as wide as their cells. Where that is too much the gap gives first, then whichever
    column is the widest.
    """
    widths = [
        max([escaping.cells(column.title), *(escaping.cells(row[place]) for row in rows)])
        for place, column in enumerate(columns)
    ]
    gap = 2 if sum(widths) + 2 * (len(columns) - 1) <= width else 1
    excess = sum(widths) + gap * (len(columns) - 1) - width
    while excess > 0:
        can_give = [
            place
            for place, column in enumerate(columns)
            if column.least is not None and widths[place] > column.least
        ]
        if not can_give:
            break
        widths[max(can_give, key=lambda place: widths[place])] -= 1
        excess -= 1
    return widths, " " * gap


def wrap(text: str, width: int) -> list[str]:
    """Return the escaped text in lines of at most ``width`` cells, broken at spaces if possible."""
    result = []
    while escaping.cells(text) > width:
        head = escaping.cut(text, width + 1)[:-1]
        space = head.rfind(" ")
        end = space if space > width // 3 else len(head)
        result.append(text[:end].rstrip())
        text = text[end:].lstrip(" ")
    result.append(text)
    return result


def clock(moment: float | None, now: float | None = None) -> str:
    """Return a Unix time in local time, without the date where it is today's."""
    if moment is None:
        return "-"
    then, today = time.localtime(moment), time.localtime(now)
    return time.strftime("%H:%M:%S" if then[:3] == today[:3] else "%m-%d %H:%M", then)


def duration(seconds: float) -> str:
    """Return a length of time in its two largest units."""
    whole = int(seconds)
    for size, name, below, smaller in (
        (86_400, "d", 3600, "h"),
        (3600, "h", 60, "min"),
        (60, "min", 1, "s"),
    ):
        if whole >= size:
            return f"{whole // size} {name} {whole % size // below} {smaller}"
    return f"{seconds:.1f} s" if seconds < 10 else f"{whole} s"


def size(count: float) -> str:
    """Return a number of bytes in the largest unit that leaves a digit."""
    for unit in ("B", "KB", "MB", "GB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" or count >= 100 else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TB"


def plural(count: int, noun: str, many: str = "") -> str:
    """Return ``1 finding`` or ``2 findings``."""
    return f"{count} {noun if count == 1 else many or noun + 's'}"


def stdout() -> Terminal:
    """Return standard output; what its encoding can't hold is escaped, never an error."""
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="backslashreplace")
    return Terminal.of(sys.stdout)
