"""What is wrong with bytes that others sent and with files that operators wrote."""

from __future__ import annotations

from dataclasses import dataclass

type Json = bool | int | float | str | list[Json] | dict[str, Json] | None


class ParseError(ValueError):
    """A peer, a provider or a file sent something that is not what it claims to be."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong in a file that an operator wrote; collected and reported together."""

    file: str
    line: int
    """1-based; 0 where the problem belongs to the file as a whole."""
    what: str
    hint: str = ""
    column: int = 0
    """1-based; 0 where unknown."""

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}" + (f":{self.column}" if self.column else "")
        return f"{where}: {self.what}" + (f" ({self.hint})" if self.hint else "")
