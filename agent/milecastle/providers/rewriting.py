"""Change strings inside a body and leave every other byte as the client wrote it.

Re-serialising would be simpler and wrong: a signature over the body, a prompt cache keyed by its
bytes, or a client that compares what it sent would notice. So the strings that are edited are
found by a position-keeping scan, and inside such a string only the edited range changes; escapes
around it stay as they were written.
"""

from __future__ import annotations

import base64
import binascii
import re
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import orjson

from milecastle.model import Edit, ParseError
from milecastle.providers.document import mend, read, read_lenient
from milecastle.providers.echoes import echoes
from milecastle.providers.media import is_packed
from milecastle.providers.places import Step, take_apart
from milecastle.providers.scan import Span, Wanted, scan

_RUN = re.compile(
    rb"[^\\]++"
    rb"|\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"
    rb"|\\u[0-9a-fA-F]{4}|\\.",
    re.DOTALL,
)
_DATA_URL = re.compile(r"data:[^,]{0,300};base64,", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Splice:
    """Bytes ``start:end`` of a document become ``new``."""

    start: int
    end: int
    new: bytes


@dataclass(slots=True)
class _Document:
    """The edits of one document, those of documents inside its strings gathered below them."""

    edits: dict[Step, list[Edit]] = field(default_factory=dict)
    inside: dict[Step, _Document] = field(default_factory=dict)


def rewrite(body: bytes, edits: Sequence[Edit]) -> bytes:
    """Return the body with the edits made; ParseError where a place is not in it."""
    if not edits:
        return body
    ranges: dict[tuple[int, int] | None, _Document] = {}
    splices: list[Splice] = []
    texts: dict[tuple[int, int], list[Edit]] = {}
    for edit in edits:
        place = take_apart(edit.place)
        if place.text and place.range is not None:
            texts.setdefault(place.range, []).append(edit)
        else:
            document = ranges.setdefault(place.range, _Document())
            _file(document, place.steps, edit)
    for (start, end), changes in texts.items():
        splices += _moved(_edit_text(_cut_out(body, start, end), changes), start)
    for span, document in ranges.items():
        start, end = span or (0, len(body))
        splices += _moved(_splices(_cut_out(body, start, end), document), start)
    return apply(body, splices)


def apply(body: bytes, splices: Iterable[Splice]) -> bytes:
    """Return the body with the splices made; they may not overlap."""
    out: list[bytes] = []
    at = 0
    for splice in sorted(splices, key=lambda each: each.start):
        if splice.start < at:
            raise ParseError("two edits of one place overlap")
        out += (body[at : splice.start], splice.new)
        at = splice.end
    out.append(body[at:])
    return b"".join(out)


def edited(text: str, edits: Sequence[Edit]) -> str:
    """Return a text with the edits made (offsets in code points)."""
    out: list[str] = []
    at = 0
    for edit in _apart(edits, len(text)):
        out += (text[at : edit.start], edit.replacement)
        at = edit.end
    return "".join(out) + text[at:]


def _cut_out(body: bytes, start: int, end: int) -> bytes:
    if not 0 <= start <= end <= len(body):
        raise ParseError("a place outside of the body")
    return body[start:end]


def _moved(splices: Iterable[Splice], by: int) -> list[Splice]:
    return [Splice(each.start + by, each.end + by, each.new) for each in splices]


def _file(document: _Document, steps: tuple[Step, ...], edit: Edit) -> None:
    """Put an edit where it belongs: with this document, or with one inside of a string of it."""
    for index, step in enumerate(steps):
        if step.enters == "#":
            document = document.inside.setdefault(step, _Document())
        else:
            if index < len(steps) - 1:
                raise ParseError("a place that goes on behind base64 text")
            document.edits.setdefault(step, []).append(edit)


def _splices(raw: bytes, document: _Document) -> list[Splice]:
    """Return what changes in one JSON document."""
    wanted = Wanted()
    for step in (*document.edits, *document.inside):
        wanted.add(step.tokens, key=step.names_key)
    raw = mend(raw)  # of the same length, so the spans are those of the body
    gone = echoes(raw, read(raw))
    for tokens in gone:
        wanted.add(tokens)
    spans = scan(raw, wanted)
    splices = [
        Splice(spans[tokens, False].start, spans[tokens, False].end, new)
        for tokens, new in gone.items()
    ]
    for step, edits in document.edits.items():
        if any(step.tokens[: len(tokens)] == tokens for tokens in gone):
            continue
        span = spans[step.tokens, step.names_key]
        if step.enters == "^":
            text = _string(raw, span)
            splices.append(_whole(span, _edit_base64(text, edits)))
        else:
            splices += _edit_string(raw, span, edits)
    for step, inner in document.inside.items():
        span = spans[step.tokens, step.names_key]
        text = _string(raw, span)
        splices += _edit_string(raw, span, _as_edits(text, inner))
    return splices


def _as_edits(text: str, document: _Document) -> list[Edit]:
    """Return the changes of a document held in a string as edits of that string."""
    raw = text.encode()
    return [
        Edit("", *_code_points(raw, splice), splice.new.decode())
        for splice in _splices(raw, document)
    ]


def _code_points(raw: bytes, splice: Splice) -> tuple[int, int]:
    start = len(raw[: splice.start].decode())
    return start, start + len(raw[splice.start : splice.end].decode())


def _string(raw: bytes, span: Span) -> str:
    value = read_lenient(raw[span.start : span.end])
    if not isinstance(value, str):
        raise ParseError("a place that holds no string")
    return value


def _whole(span: Span, text: str) -> Splice:
    return Splice(span.start, span.end, orjson.dumps(text))


def _edit_base64(text: str, edits: Sequence[Edit]) -> str:
    """Return base64 (or a data URL) with the text inside edited."""
    match = _DATA_URL.match(text)
    prefix = match[0] if match else ""
    try:
        raw = base64.b64decode(text[len(prefix) :], validate=False)
        inner = _plain_text(raw)
    except binascii.Error as error:
        raise ParseError(f"not base64 text: {type(error).__name__}") from None
    return prefix + base64.b64encode(edited(inner, edits).encode()).decode()


def _edit_string(raw: bytes, span: Span, edits: Sequence[Edit]) -> list[Splice]:
    """Return the splices that edit one JSON string; a number becomes a string."""
    token = raw[span.start : span.end]
    if not token.startswith(b'"'):
        if token[:1] in b"[{":
            raise ParseError("a place that holds no string")
        return [_whole(span, edited(token.decode(), edits))]
    content = mend(token)[1:-1]
    changes = _apart(edits, None)
    offsets = _byte_offsets(
        content, sorted({p for each in changes for p in (each.start, each.end)})
    )
    base = span.start + 1
    return [
        Splice(
            base + offsets[each.start],
            base + offsets[each.end],
            orjson.dumps(each.replacement)[1:-1],
        )
        for each in changes
    ]


def _edit_text(raw: bytes, edits: Sequence[Edit]) -> list[Splice]:
    """Return the splices that edit a run of UTF-8."""
    text = _plain_text(raw)
    return [
        Splice(
            len(text[: each.start].encode()),
            len(text[: each.end].encode()),
            each.replacement.encode(),
        )
        for each in _apart(edits, len(text))
    ]


def _plain_text(raw: bytes) -> str:
    if is_packed(raw):
        raise ParseError("a document's text can be read, not rewritten")
    try:
        return raw.decode()
    except UnicodeDecodeError:
        raise ParseError("a place that holds no UTF-8") from None


def _apart(edits: Sequence[Edit], length: int | None) -> list[Edit]:
    """Return the edits in order; where some overlap, one edit over all of them."""
    merged: list[Edit] = []
    for edit in sorted(edits, key=lambda each: (each.start, -each.end)):
        if not 0 <= edit.start <= edit.end or (length is not None and edit.end > length):
            raise ParseError("an edit outside of its string")
        last = merged[-1] if merged else None
        if last is None or edit.start >= last.end:
            merged.append(edit)
        elif edit.end > last.end:
            merged[-1] = Edit(last.place, last.start, edit.end, last.replacement)
    return merged


def _byte_offsets(content: bytes, points: Sequence[int]) -> dict[int, int]:
    """Map code points of the decoded string to offsets in the bytes between its quotes."""
    starts: list[int] = []
    runs: list[tuple[int, str]] = []
    count = 0
    for match in _RUN.finditer(content):
        starts.append(count)
        if match[0].startswith(b"\\"):
            runs.append((match.start(), ""))
            count += 1
        else:
            text = match[0].decode()
            runs.append((match.start(), text))
            count += len(text)
    offsets: dict[int, int] = {}
    for point in points:
        if point > count:
            raise ParseError("an edit outside of its string")
        if point == count:
            offsets[point] = len(content)
            continue
        index = bisect_right(starts, point) - 1
        start, text = runs[index]
        offsets[point] = start + len(text[: point - starts[index]].encode())
    return offsets
