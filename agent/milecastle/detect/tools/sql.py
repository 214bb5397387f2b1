"""SQL in the plain form that the rules read: one statement a line, no comments, no texts."""

from __future__ import annotations

import re
from collections.abc import Iterator

LONGEST = 100_000
STATEMENT = re.compile(
    r"^\s*(?:--[^\n]*\n\s*|/\*.*?\*/\s*)*(?:SELECT|INSERT|UPDATE|DELETE|DROP|TRUNCATE|ALTER|CREATE|GRANT"
    r"|REVOKE|COPY|EXEC|WITH|MERGE|REPLACE|SET|USE|BEGIN|CALL|LOAD|ATTACH|PRAGMA|VACUUM|SHUTDOWN)\b",
    re.IGNORECASE | re.DOTALL,
)
COMMENT = re.compile(r"--[^\n]*|/\*.*?\*/|#[^\n]*", re.DOTALL)
TEXT = re.compile(r"'(?:[^'\\]|''|\\.)*'")
ALWAYS_TRUE = re.compile(r"\bWHERE\s+(?:1\s*=\s*1|TRUE|'…'\s*=\s*'…'|1)\s*$", re.I)


def is_sql(text: str) -> bool:
    return bool(STATEMENT.match(text[:2_000]))


def statements(text: str) -> Iterator[str]:
    """Yield each statement in capitals, its white space single, its texts as ``'…'``.

    One that changes every row ends in WITHOUT WHERE.
    """
    text = COMMENT.sub(" ", text[:LONGEST])
    for statement in TEXT.sub("'…'", text).split(";"):
        plain = " ".join(statement.split())
        if plain:
            plain = ALWAYS_TRUE.sub("", plain.upper()).strip()
            every = plain.startswith(("DELETE", "UPDATE")) and " WHERE " not in plain
            yield plain + " WITHOUT WHERE" * every
